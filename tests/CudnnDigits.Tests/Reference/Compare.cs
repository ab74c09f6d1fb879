namespace CudnnDigits.Tests.Reference;

internal static class Compare
{
    /// <summary>‖a − b‖ / ‖b‖.</summary>
    public static double RelativeL2(ReadOnlySpan<float> a, ReadOnlySpan<double> b)
    {
        Assert.Equal(b.Length, a.Length);
        double difference = 0, norm = 0;
        for (int i = 0; i < b.Length; i++)
        {
            difference += (a[i] - b[i]) * (a[i] - b[i]);
            norm += b[i] * b[i];
        }

        return norm > 0 ? Math.Sqrt(difference / norm) : Math.Sqrt(difference);
    }

    /// <summary>Fails unless the relative L2 distance is at most the tolerance.</summary>
    public static void Close(ReadOnlySpan<float> a, ReadOnlySpan<double> b, double tolerance, string what)
    {
        double distance = RelativeL2(a, b);
        Assert.True(distance <= tolerance, $"{what}: relative L2 distance {distance:E2}, tolerated {tolerance:E1}");
    }

    /// <summary>Pixels as the network sees them, pixel/255 in float32, then exact in double.</summary>
    public static double[] Images(DigitDataset data, int count) =>
        [.. data.Pixels[..(count * DigitDataset.PixelCount)].ToArray().Select(pixel => (double)(pixel / 255f))];
}
