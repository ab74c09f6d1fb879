namespace CudnnDigits.Data;

/// <summary>Turns a picture with transparent parts into an opaque one.</summary>
internal static class Opacity
{
    /// <summary>Lays a picture, (N, 4) uint8, on paper, or makes its opacity the brightness if one colour is visible.</summary>
    public static void Flatten(Span<byte> rgba)
    {
        const int SameColour = 24; // scaling and saving a picture change a colour by less
        int visible = 0;
        int[][] counts = [new int[256], new int[256], new int[256]];
        bool isOpaque = true;
        for (int i = 0; i < rgba.Length; i += 4)
        {
            isOpaque &= rgba[i + 3] == 255;
            int isVisible = rgba[i + 3] >> 7;
            visible += isVisible;
            for (int channel = 0; channel < 3; channel++)
            {
                counts[channel][rgba[i + channel]] += isVisible;
            }
        }

        if (isOpaque)
        {
            return;
        }

        bool isOneColour = visible == 0 || Array.TrueForAll(
            counts, count => Array.FindLastIndex(count, n => n > 0) - Array.FindIndex(count, n => n > 0) < SameColour);
        int[] paper = Array.ConvertAll(counts, count => Median(count, visible));
        if (2 * visible <= rgba.Length / 4) // else the visible pixels are the paper
        {
            Array.Fill(paper, paper.Sum() >= 3 * 128 ? 0 : 255);
        }

        for (int i = 0; i < rgba.Length; i += 4)
        {
            int alpha = rgba[i + 3];
            for (int channel = 0; channel < 3; channel++)
            {
                rgba[i + channel] = (byte)(isOneColour ? alpha : (alpha * rgba[i + channel] + (255 - alpha) * paper[channel] + 127) / 255);
            }

            rgba[i + 3] = 255;
        }
    }

    private static int Median(int[] counts, int total)
    {
        int below = 0;
        return Array.FindIndex(counts, count => 2 * (below += count) >= total);
    }
}
