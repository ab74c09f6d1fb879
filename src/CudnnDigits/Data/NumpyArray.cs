using System.Text.RegularExpressions;

namespace CudnnDigits.Data;

/// <summary>
/// An array of NumPy (.npy, versions 1 to 3): whole or real numbers of any width and byte order, or single characters, in C or Fortran
/// order. Source: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html.
/// </summary>
internal sealed partial class NumpyArray
{
    private const int MostHeader = 1 << 16;

    private readonly Stream _stream;
    private readonly string _name;
    private readonly char _kind;
    private readonly int _width;
    private readonly bool _bigEndian, _fortran;
    private readonly long[] _shape;

    private NumpyArray(Stream stream, string name, char kind, int width, bool bigEndian, bool fortran, long[] shape) =>
        (_stream, _name, _kind, _width, _bigEndian, _fortran, _shape) = (stream, name, kind, width, bigEndian, fortran, shape);

    private static ReadOnlySpan<byte> Magic => [0x93, (byte)'N', (byte)'U', (byte)'M', (byte)'P', (byte)'Y'];

    private string ShapeText => ShapeOf(_shape);

    /// <summary>Whether a file is such an array, by its first bytes.</summary>
    public static bool Begins(ReadOnlySpan<byte> head) => head.StartsWith(Magic);

    /// <summary>Reads the header.</summary>
    /// <param name="stream">From the array's first byte; not closed.</param>
    /// <param name="name">What to call it in messages.</param>
    /// <exception cref="InputException">It is none, or holds something else than numbers.</exception>
    public static NumpyArray Open(Stream stream, string name)
    {
        byte[] start = new byte[8];
        ReadExactly(stream, start, name);
        if (!Begins(start))
        {
            throw new InputException($"{name}: not an array of NumPy; save it again with numpy.savez");
        }

        byte[] length = new byte[start[6] == 1 ? 2 : 4];
        ReadExactly(stream, length, name);
        uint bytes = length.Length == 2 ? BinaryPrimitives.ReadUInt16LittleEndian(length) : BinaryPrimitives.ReadUInt32LittleEndian(length);
        if (start[6] is 0 or > 3 || bytes > MostHeader)
        {
            throw new InputException($"{name}: an array of NumPy of version {start[6]} with a header of {bytes} bytes; expected version 1 to 3 and at most {MostHeader}");
        }

        byte[] text = new byte[bytes];
        ReadExactly(stream, text, name);
        string header = Encoding.UTF8.GetString(text);
        if (Description().Match(header) is not { Success: true } type || Order().Match(header) is not { Success: true } order || Shape().Match(header) is not { Success: true } shape)
        {
            throw new InputException($"{name}: its header is damaged, or it is a table of several columns; expected an array of numbers");
        }

        string descr = type.Groups[1].Value;
        long[] sizes = [.. shape.Groups[1].Value.Split([',', ' ', 'L'], StringSplitOptions.RemoveEmptyEntries).Select(size => long.TryParse(size, NumberStyles.None, CultureInfo.InvariantCulture, out long value) ? value : long.MaxValue)];
        return Numbers().Match(descr) is { Success: true } number && sizes.All(size => size is >= 0 and <= int.MaxValue)
            ? new NumpyArray(stream, name, number.Groups[2].Value[0], number.Groups[2].Value == "U" ? 4 : number.Groups[3].Value[0] - '0', number.Groups[1].Value == ">", order.Groups[1].Value == "True", sizes)
            : throw new InputException($"{name}: an array {ShapeOf(sizes)} of type '{KnownFile.Printable(descr)}'{(descr == "|O" ? " (objects of Python, which could run code)" : "")}; expected numbers, such as uint8 or float32");
    }

    /// <summary>
    /// Images, (N, 28, 28), (N, 784), (N, 28, 28, 1) or (N, 1, 28, 28), whose values go from 0 to 255 or from 0 to 1; the first image that
    /// is not blank tells which.
    /// </summary>
    /// <returns>(N, 28, 28) uint8.</returns>
    /// <exception cref="InputException">Another shape, a value out of range, or data missing or left over.</exception>
    public byte[] ReadImages()
    {
        const int Side = DigitDataset.Side, Count = DigitDataset.PixelCount;
        long[] each = [.. _shape.Skip(1).Where(size => size != 1)];
        bool one = _shape is [Side, Side]; // a single image
        if (!(one || each is [Side, Side] or [Count]))
        {
            throw new InputException($"{_name}: an array of {ShapeText}; expected images of 28×28, (N, 28, 28) or (N, 784)");
        }

        if (_kind is 'U' or 'S')
        {
            throw new InputException($"{_name}: an array of text; expected numbers, such as uint8 or float32");
        }

        long images = one ? 1 : _shape[0];
        if (images == 0)
        {
            throw new InputException($"{_name}: the array holds no digits");
        }

        PixelBuffer pixels = new(_name);
        double[] values = new double[Count];
        ValueRange range = new();
        if (_fortran)
        {
            byte[] all = ReadRest(images * Count);
            for (long image = 0; image < images; image++)
            {
                for (int i = 0; i < Count; i++)
                {
                    // The first index runs fastest, the column slowest; (N, 784) has the pixel in one.
                    long at = one || each.Length == 2 ? image + images * (i / Side + (long)Side * (i % Side)) : image + images * i;
                    values[i] = Value(all.AsSpan((int)(at * _width), _width));
                }

                ToPixels(values, pixels.AddImage(), range, image);
            }
        }
        else
        {
            byte[] row = new byte[Count * _width];
            for (long image = 0; image < images; image++)
            {
                ReadData(row, images, image);
                for (int i = 0; i < Count; i++)
                {
                    values[i] = Value(row.AsSpan(i * _width, _width));
                }

                ToPixels(values, pixels.AddImage(), range, image);
            }
        }

        CheckEnd();
        return range is { IsUnit: false, HasFractions: true, Most: < PixelScale.LeastInk }
            ? throw new InputException($"{_name}: the values are no whole numbers and go up to {range.Most.ToString(CultureInfo.InvariantCulture)}; expected 0 to 255, or 0 to 1: multiply them so")
            : pixels.ToArray();
    }

    /// <summary>Labels, (N) or (N, 1), or (N, 10) of which one is 1.</summary>
    /// <param name="expected">N.</param>
    /// <exception cref="InputException">Another shape, another number of them, no digit 0 to 9, or data missing or left over.</exception>
    public byte[] ReadLabels(int expected)
    {
        const int Classes = DigitDataset.Classes;
        bool oneHot = _shape is [_, Classes];
        if (!(oneHot || _shape is [_] or [_, 1]))
        {
            throw new InputException($"{_name}: an array of {ShapeText}; expected labels, ({expected},)");
        }

        if (_shape[0] != expected)
        {
            throw new InputException($"{_name}: {_shape[0]} labels for {expected} images; the two arrays do not belong together");
        }

        byte[] labels = new byte[expected];
        byte[] raw = ReadRest((long)expected * (oneHot ? Classes : 1));
        for (int i = 0; i < expected; i++)
        {
            double label = oneHot ? OneOf(i) : Value(raw.AsSpan(i * _width, _width));
            labels[i] = label is >= 0 and < Classes && label == Math.Floor(label)
                ? (byte)label
                : throw new InputException($"{_name}: label {i} (from 0) is {(oneHot ? "not one of ten" : label.ToString(CultureInfo.InvariantCulture))}, expected a digit 0 to 9");
        }

        CheckEnd();
        return labels;

        double OneOf(int row)
        {
            double[] marks = [.. Enumerable.Range(0, Classes).Select(i => Value(raw.AsSpan((_fortran ? row + i * expected : row * Classes + i) * _width, _width)))];
            return marks.Count(mark => mark == 1) == 1 && marks.Count(mark => mark == 0) == Classes - 1 ? Array.IndexOf(marks, 1) : -1;
        }
    }

    private static string ShapeOf(long[] shape) => $"({string.Join(", ", shape)}{(shape.Length == 1 ? "," : "")})";

    /// <summary>What is known of the values so far.</summary>
    private sealed class ValueRange
    {
        /// <summary>Whether they go from 0 to 1 in place of 255; null as long as every image was blank.</summary>
        public bool? IsUnit { get; set; }

        public bool HasFractions { get; set; }

        public double Most { get; set; }
    }

    /// <summary>Takes over one image.</summary>
    private void ToPixels(double[] values, Span<byte> image, ValueRange range, long number)
    {
        range.Most = Math.Max(range.Most, values.Max());
        range.HasFractions |= Array.Exists(values, value => value != Math.Floor(value));
        range.IsUnit ??= range.Most > 0 ? PixelScale.IsUnit(range.Most, !range.HasFractions) : null;
        for (int i = 0; i < values.Length; i++)
        {
            double value = values[i];
            int pixel = range.IsUnit == true ? PixelScale.ToByte(value) : value is >= 0 and <= byte.MaxValue ? (int)Math.Round(value) : -1;
            image[i] = pixel >= 0
                ? (byte)pixel
                : throw new InputException($"{_name}: image {number} (from 0) has the value {value.ToString(CultureInfo.InvariantCulture)}; expected {(range.IsUnit == true ? "0 to 1, as in the images before it" : "0 to 255, or 0 to 1 in all images")}");
        }
    }

    private double Value(ReadOnlySpan<byte> bytes) => (_kind, _width) switch
    {
        ('u' or 'b', 1) => bytes[0],
        ('i', 1) => (sbyte)bytes[0],
        ('S', 1) => bytes[0] - (double)'0', // the character of a digit
        ('U', _) => (_bigEndian ? BinaryPrimitives.ReadUInt32BigEndian(bytes) : BinaryPrimitives.ReadUInt32LittleEndian(bytes)) - (double)'0',
        ('f', 2) => (double)(_bigEndian ? BinaryPrimitives.ReadHalfBigEndian(bytes) : BinaryPrimitives.ReadHalfLittleEndian(bytes)),
        ('f', 4) => _bigEndian ? BinaryPrimitives.ReadSingleBigEndian(bytes) : BinaryPrimitives.ReadSingleLittleEndian(bytes),
        ('f', 8) => _bigEndian ? BinaryPrimitives.ReadDoubleBigEndian(bytes) : BinaryPrimitives.ReadDoubleLittleEndian(bytes),
        ('i', 2) => _bigEndian ? BinaryPrimitives.ReadInt16BigEndian(bytes) : BinaryPrimitives.ReadInt16LittleEndian(bytes),
        ('i', 4) => _bigEndian ? BinaryPrimitives.ReadInt32BigEndian(bytes) : BinaryPrimitives.ReadInt32LittleEndian(bytes),
        ('i', 8) => _bigEndian ? BinaryPrimitives.ReadInt64BigEndian(bytes) : BinaryPrimitives.ReadInt64LittleEndian(bytes),
        ('u', 2) => _bigEndian ? BinaryPrimitives.ReadUInt16BigEndian(bytes) : BinaryPrimitives.ReadUInt16LittleEndian(bytes),
        ('u', 4) => _bigEndian ? BinaryPrimitives.ReadUInt32BigEndian(bytes) : BinaryPrimitives.ReadUInt32LittleEndian(bytes),
        _ => _bigEndian ? BinaryPrimitives.ReadUInt64BigEndian(bytes) : BinaryPrimitives.ReadUInt64LittleEndian(bytes),
    };

    /// <summary>All numbers of the array; memory follows what is there.</summary>
    private byte[] ReadRest(long numbers)
    {
        if (numbers * _width > Array.MaxLength)
        {
            throw new InputException($"{_name}: an array of {ShapeText} is too large to be read at once; save images with numpy.ascontiguousarray");
        }

        byte[] bytes = new byte[Math.Min(numbers * _width, 1 << 20)];
        int count = 0;
        while (true)
        {
            ReadData(bytes.AsSpan(count), numbers, count / _width);
            count = bytes.Length;
            if (count == numbers * _width)
            {
                return bytes;
            }

            Array.Resize(ref bytes, (int)Math.Min(numbers * _width, 2L * count));
        }
    }

    private void ReadData(Span<byte> into, long promised, long at)
    {
        if (_stream.ReadAtLeast(into, into.Length, throwOnEndOfStream: false) < into.Length)
        {
            throw new InputException($"{_name}: promises {promised} values of {ShapeText} but ends after {at}; the array is cut off");
        }
    }

    private void CheckEnd()
    {
        if (_stream.ReadByte() >= 0)
        {
            throw new InputException($"{_name}: goes on after its {ShapeText} values; the array is damaged");
        }
    }

    private static void ReadExactly(Stream stream, Span<byte> into, string name)
    {
        if (stream.ReadAtLeast(into, into.Length, throwOnEndOfStream: false) < into.Length)
        {
            throw new InputException($"{name}: cut off within its header; expected an array of NumPy");
        }
    }

    [GeneratedRegex(@"'descr'\s*:\s*'([^']*)'")]
    private static partial Regex Description();

    [GeneratedRegex(@"'fortran_order'\s*:\s*(True|False)")]
    private static partial Regex Order();

    [GeneratedRegex(@"'shape'\s*:\s*\(([0-9, L]*)\)")]
    private static partial Regex Shape();

    [GeneratedRegex(@"^([<>|=])([uifb](?=[1248])|[US](?=1))([1-8])$")]
    private static partial Regex Numbers();
}
