using System.Buffers.Binary;
using System.IO.Compression;

namespace CudnnDigits.Tests.Reference;

/// <summary>Files of digits in every format, made for tests.</summary>
internal static class DigitFiles
{
    public static byte[] Csv(DigitDataset data)
    {
        using StringWriter text = new();
        DigitCsv.Write(text, data);
        return Encoding.UTF8.GetBytes(text.ToString());
    }

    public static DigitDataset WithoutLabels(DigitDataset data) => new(data.Name, data.Pixels.ToArray(), null);

    public static byte[] Gzip(byte[] bytes)
    {
        using MemoryStream packed = new();
        using (GZipStream gzip = new(packed, CompressionLevel.Optimal))
        {
            gzip.Write(bytes);
        }

        return packed.ToArray();
    }

    public static byte[] Zip(params (string Name, byte[] Bytes)[] files)
    {
        using MemoryStream packed = new();
        using (ZipArchive zip = new(packed, ZipArchiveMode.Create))
        {
            foreach ((string name, byte[] bytes) in files)
            {
                using Stream entry = zip.CreateEntry(name).Open();
                entry.Write(bytes);
            }
        }

        return packed.ToArray();
    }

    public static byte[] IdxImages(DigitDataset data) => [.. Header(0x00000803, (uint)data.Count, 28, 28), .. data.Pixels];

    public static byte[] IdxLabels(DigitDataset data) => [.. Header(0x00000801, (uint)data.Count), .. data.Labels];

    public static byte[] Header(params uint[] words)
    {
        byte[] bytes = new byte[4 * words.Length];
        for (int i = 0; i < words.Length; i++)
        {
            BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(4 * i), words[i]);
        }

        return bytes;
    }

    public static void AssertSame(DigitDataset expected, DigitDataset actual)
    {
        Assert.Equal(expected.Pixels.ToArray(), actual.Pixels.ToArray());
        Assert.Equal(expected.Labels.ToArray(), actual.Labels.ToArray());
    }
}
