using CudnnDigits.Cli.Exchange;
using CudnnDigits.Cli.Serve;

namespace CudnnDigits.Tests.Data;

/// <summary>
/// Damaged files at our readers and at plain, strict ones of the formats' specifications (<c>Plain*</c>): both refuse, or
/// both read the same, and nothing else than an <see cref="InputException"/> comes out. CUDNN_DIGITS_ATTACK=20 damages twenty times
/// as many. What is read though a rule is broken, by the plain readers too, because nothing of what is kept depends on it: blank lines
/// and a missing last line end in CSV; in zip, bytes before and after, the directory's stated size, the local headers' copies of what
/// the directory says, and packed bytes after the deflated data; in PNG, bytes after IEND and after the compressed data; zeros after
/// gzip members.
/// </summary>
public sealed class MutatedFileTests : TestsWithFolder
{
    /// <summary>Bytes allocated in all for a file of a few thousand: buffers, and pixels of the largest PNG several times over.</summary>
    private const long MostMemory = 32 << 20;

    private static readonly DigitDataset Digits = GeneratedDigits.Create(3);

    /// <summary>Of every kind of layer, and small, so that most of its file is structure.</summary>
    private static readonly NetworkSpec Tiny = new("tiny", new Shape(1, 28, 28),
    [
        new Conv2dLayer("conv1", 1, 2, Kernel: 3, Padding: 1, Bias: false), new BatchNorm2dLayer("bn1", 2), new ReLULayer("relu1"),
        new MaxPool2dLayer("pool1", 2), new MaxPool2dLayer("pool2", 2), new FlattenLayer("flatten"), new LinearLayer("fc1", 98, 10),
    ]);

    private static readonly byte[] Csv = DigitFiles.Csv(Digits), Idx = DigitFiles.IdxImages(Digits);

    private readonly List<string> _differences = [];

    public static TheoryData<string> Formats => ["csv", "csv.gz", "csv.gz of members", "zip", "zip, stored", "idx", "idx.gz"];

    [Theory]
    [MemberData(nameof(Formats))]
    public void Damaged_files_of_digits_are_read_as_a_plain_reader_reads_them(string format)
    {
        byte[] good = format switch
        {
            "csv" => Csv,
            "csv.gz" => DigitFiles.Gzip(Csv),
            "csv.gz of members" => [.. DigitFiles.Gzip(Csv[..5000]), .. DigitFiles.Gzip([]), .. DigitFiles.Gzip(Csv[5000..])],
            "zip" => DigitFiles.Zip(("train.csv", Csv)),
            "zip, stored" => ZipFiles.Write(("train.csv", Csv, ZipKind.Stored)),
            "idx" => Idx,
            _ => DigitFiles.Gzip(Idx),
        };
        foreach (Mutation mutation in Mutations.Of(good, usually: 300))
        {
            Compare(mutation, () => Ours(format, mutation.Bytes), () => Plain(format, mutation.Bytes), Same);
        }

        AssertNoDifferences();
    }

    public static TheoryData<int, int, bool> PngKinds => DigitPictureTests.Kinds;

    [Theory]
    [MemberData(nameof(PngKinds))]
    public void Damaged_pngs_are_read_as_a_plain_reader_reads_them(int colorType, int bitDepth, bool interlaced)
    {
        byte[] opaque = PngFiles.Write(Digits.Image(0), 28, colorType, bitDepth, interlaced);
        byte[][] goods = colorType is PngFiles.GreyAlpha or PngFiles.Rgba ? [opaque]
            : [opaque, PngFiles.WithTransparency(opaque, colorType)];
        int seed = 100 * colorType + bitDepth;
        foreach (byte[] good in goods)
        {
            foreach (Mutation mutation in Mutations.Of(good, usually: 15, seed)
                .SelectMany(mutation => new[] { mutation, PngFiles.WithRightChecksums(mutation) })
                .Concat(Mutations.Of(PngFiles.Pixels(good), usually: 15, seed)
                    .Select(pixels => pixels with { Bytes = PngFiles.WithPixels(good, PngFiles.Pack(pixels.Bytes)) }))
                .Prepend(new Mutation("undamaged", good)))
            {
                Compare(mutation, () => OurPicture(mutation.Bytes), () => PlainPicture(mutation.Bytes),
                    (ours, plain) => ours.AsSpan().SequenceEqual(plain));
            }
        }

        AssertNoDifferences();
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Damaged_onnx_files_are_read_as_a_plain_reader_reads_them(bool keepBatchNorm)
    {
        byte[] good = OnnxWriter.Write(Initializer.Create(Tiny, 3), keepBatchNorm);
        foreach (Mutation mutation in Mutations.Of(good, usually: 300))
        {
            Compare(
                mutation, () => Text(OnnxGraph.Parse("a model", mutation.Bytes)), () => PlainOnnx.Read(mutation.Bytes),
                (ours, plain) => ours.SequenceEqual(plain));
            try
            {
                OnnxReader.Find("a model", OnnxGraph.Parse("a model", mutation.Bytes), Tiny);
            }
            catch (InputException)
            {
                // Another network, or damaged: as good as read.
            }
        }

        AssertNoDifferences();
    }

    /// <summary>Both refuse, or both read the same; nothing but an InputException comes out of ours.</summary>
    private void Compare<T>(Mutation mutation, Func<T> ours, Func<T> plain, Func<T, T, bool> same)
        where T : class
    {
        long before = GC.GetAllocatedBytesForCurrentThread();
        (T? our, string? refusal) = Try<T, InputException>(ours, mutation);
        long used = GC.GetAllocatedBytesForCurrentThread() - before;
        if (used > MostMemory)
        {
            _differences.Add($"{mutation}: took {used} bytes for a file of {mutation.Bytes.Length}");
        }

        (T? their, string? broken) = Try<T, BrokenFileException>(plain, mutation);
        if (refusal is null != broken is null)
        {
            _differences.Add($"{mutation}: we {refusal ?? "read it"}; the plain reader: {broken ?? "read it"}");
        }
        else if (our is not null && !same(our, their!))
        {
            _differences.Add($"{mutation}: read as something else");
        }

        Assert.True(refusal is null || (refusal.Length is > 8 and < 600 && !refusal.Contains('\n', StringComparison.Ordinal)), refusal);
    }

    private void AssertNoDifferences() => Assert.True(_differences.Count == 0, string.Join('\n', _differences.Take(20)));

    private static (T? Read, string? Refusal) Try<T, TException>(Func<T> read, Mutation mutation)
        where T : class
        where TException : Exception
    {
        try
        {
            return (read(), null);
        }
        catch (TException e)
        {
            return (null, e.Message);
        }
        catch (Exception e)
        {
            throw new InvalidOperationException($"{mutation}: {e.GetType().Name}: {e.Message}", e);
        }
    }

    private DigitDataset Ours(string format, byte[] bytes)
    {
        if (format.StartsWith("idx", StringComparison.Ordinal))
        {
            _folder.Write(format == "idx" ? "t10k-images-idx3-ubyte" : "t10k-images-idx3-ubyte.gz", bytes);
            return DataSource.Open(_folder.Path, DataPart.Prediction);
        }

        return DataSource.Open(_folder.Write($"digits.{format.Split([' ', ','])[0]}", bytes), DataPart.Training);
    }

    private static DigitDataset Plain(string format, byte[] bytes)
    {
        if (format.StartsWith("idx", StringComparison.Ordinal))
        {
            return new DigitDataset("", PlainIdx.Read(IsGzip() ? PlainGzip.Read(bytes) : bytes), null);
        }

        (byte[] pixels, byte[] labels) = PlainCsv.Read(
            format.StartsWith("zip", StringComparison.Ordinal) ? PlainZip.Read(bytes, "train.csv") : IsGzip() ? PlainGzip.Read(bytes)
                : bytes);
        return labels.Length > 0 ? new DigitDataset("", pixels, labels) : throw new BrokenFileException("no labels");

        bool IsGzip() => format.Contains("gz", StringComparison.Ordinal);
    }

    private static bool Same(DigitDataset ours, DigitDataset plain) => ours.Pixels.SequenceEqual(plain.Pixels)
        && ours.Labels.SequenceEqual(plain.Labels);

    /// <summary>Width, height, and the pixels. The colour of what nobody sees does not count.</summary>
    private static byte[] Pixels(byte[] rgba, int width, int height)
    {
        for (int i = 0; i < rgba.Length; i += 4)
        {
            if (rgba[i + 3] == 0)
            {
                rgba.AsSpan(i, 3).Clear();
            }
        }

        return [.. BitConverter.GetBytes(width), .. BitConverter.GetBytes(height), .. rgba];
    }

    private static byte[] OurPicture(byte[] png)
    {
        (byte[] rgba, int width, int height) = PictureFile.Decode(png);
        return Pixels(rgba, width, height);
    }

    private static byte[] PlainPicture(byte[] png)
    {
        (int width, int height, byte[] rgba) = PlainPng.Read(png);
        return Pixels(rgba, width, height);
    }

    private static string[] Text(OnnxGraph graph) =>
    [
        .. graph.Nodes.Select(node => OnnxText.Node(node.OpType, node.Inputs, node.Outputs,
            node.Ints.ToDictionary(ints => ints.Key, ints => string.Join(' ', ints.Value)),
            node.Reals.ToDictionary(real => real.Key,
                real => BitConverter.SingleToInt32Bits(real.Value).ToString(CultureInfo.InvariantCulture)))),
        .. graph.Initializers.Where(tensor => tensor.Value.Values.Length > 0 || tensor.Value.Shape.Contains(0))
            .Select(tensor => $"{tensor.Key}: {OnnxText.Tensor(tensor.Value.Shape, tensor.Value.Values)}"),
        .. graph.Metadata.Select(entry => $"{entry.Key} = {entry.Value}"),
        .. graph.Inputs.Select(input => $"{input.Key}: {input.Value}"),
        .. graph.Outputs,
    ];
}
