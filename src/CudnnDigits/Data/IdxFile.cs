using CudnnDigits.Files;

namespace CudnnDigits.Data;

/// <summary>
/// MNIST's IDX format: a big-endian header (magic 0x00000803 for images, 0x00000801 for labels; then the sizes, 4 bytes
/// each), then the bytes. Source: http://yann.lecun.com/exdb/mnist/.
/// </summary>
public static class IdxFile
{
    internal const uint ImagesMagic = 0x00000803;
    private const uint LabelsMagic = 0x00000801;

    /// <summary>Reads images, and labels if there are any.</summary>
    /// <param name="images">An idx3-ubyte stream of 28×28 images.</param>
    /// <param name="imagesName">The name to use in messages.</param>
    /// <param name="labels">The idx1-ubyte stream with the labels of the images, or null.</param>
    /// <param name="labelsName">The name to use in messages.</param>
    /// <exception cref="InputException">Wrong magic, sizes that disagree, data missing or left over, or a label over 9.</exception>
    public static DigitDataset Read(Stream images, string imagesName, Stream? labels, string labelsName)
    {
        ArgumentNullException.ThrowIfNull(images);
        uint[] sizes = ReadHeader(images, imagesName, ImagesMagic, 3);
        if (sizes[1] != DigitDataset.Side || sizes[2] != DigitDataset.Side)
        {
            throw new InputException($"{imagesName}: images of {sizes[1]}×{sizes[2]} pixels, expected 28×28");
        }

        PixelBuffer pixels = new(imagesName);
        ReadDigits(images, imagesName, sizes[0], pixels.AddImage);
        return pixels.Count == 0
            ? throw new InputException($"{imagesName}: the file holds no digits")
            : new(imagesName, pixels.ToArray(), labels is null ? null : ReadLabels(labels, labelsName, pixels.Count, imagesName));
    }

    /// <summary>Writes images, idx3-ubyte.</summary>
    /// <param name="stream">The stream to write to.</param>
    /// <param name="data">The digits.</param>
    public static void WriteImages(Stream stream, DigitDataset data)
    {
        ArgumentNullException.ThrowIfNull(data);
        WriteHeader(stream, ImagesMagic, (uint)data.Count, DigitDataset.Side, DigitDataset.Side);
        stream.Write(data.Pixels);
    }

    /// <summary>Writes labels, idx1-ubyte.</summary>
    /// <param name="stream">The stream to write to.</param>
    /// <param name="data">Labelled digits.</param>
    public static void WriteLabels(Stream stream, DigitDataset data)
    {
        ArgumentNullException.ThrowIfNull(data);
        if (!data.HasLabels)
        {
            throw new ArgumentException($"{data.Name}: the digits carry no labels to write", nameof(data));
        }

        WriteHeader(stream, LabelsMagic, (uint)data.Labels.Length);
        stream.Write(data.Labels);
    }

    /// <summary>Whether a file holds labels, judged by its first bytes.</summary>
    internal static bool IsLabels(ReadOnlySpan<byte> head) => head.Length >= 4 && BinaryPrimitives.ReadUInt32BigEndian(head) == LabelsMagic;

    private static void WriteHeader(Stream stream, params ReadOnlySpan<uint> words)
    {
        ArgumentNullException.ThrowIfNull(stream);
        Span<byte> bytes = stackalloc byte[4];
        foreach (uint word in words)
        {
            BinaryPrimitives.WriteUInt32BigEndian(bytes, word);
            stream.Write(bytes);
        }
    }

    private static byte[] ReadLabels(Stream stream, string name, int expected, string imagesName)
    {
        uint count = ReadHeader(stream, name, LabelsMagic, 1)[0];
        if (count != expected)
        {
            throw new InputException(
                $"{name}: {count} labels for the {expected} images of {imagesName}; the two files do not belong together");
        }

        byte[] labels = new byte[expected];
        int next = 0;
        ReadDigits(stream, name, count, () => labels.AsSpan(next++, 1));
        int bad = Array.FindIndex(labels, label => label >= DigitDataset.Classes);
        return bad < 0 ? labels : throw new InputException($"{name}: label {bad} (from 0) is {labels[bad]}, expected a digit 0 to 9");
    }

    private static uint[] ReadHeader(Stream stream, string name, uint magic, int sizes)
    {
        byte[] header = new byte[4 * (1 + sizes)];
        if (stream.ReadAtLeast(header, header.Length, throwOnEndOfStream: false) < header.Length)
        {
            throw new InputException($"{name}: cut off within its {header.Length}-byte header; expected an IDX file");
        }

        uint[] words = [.. Enumerable.Range(0, 1 + sizes).Select(i => BinaryPrimitives.ReadUInt32BigEndian(header.AsSpan(4 * i)))];
        return words[0] == magic ? words[1..] : throw new InputException(KnownFile.Name(header) is { } kind ? $"{name}: is {kind}"
            : $"{name}: begins with 0x{words[0]:X8}, expected 0x{magic:X8} ({(magic == ImagesMagic ? "IDX images" : "IDX labels")})");
    }

    /// <summary>Reads the bytes of each digit into its room, to the end of the file.</summary>
    private static void ReadDigits(Stream stream, string name, uint count, Func<Span<byte>> room)
    {
        for (uint i = 0; i < count; i++)
        {
            Span<byte> into = room();
            if (stream.ReadAtLeast(into, into.Length, throwOnEndOfStream: false) < into.Length)
            {
                throw new InputException($"{name}: promises {count} digits but ends after {i}; the file is cut off");
            }
        }

        if (stream.ReadByte() >= 0)
        {
            throw new InputException($"{name}: promises {count} digits but goes on after them; the file is damaged");
        }
    }
}
