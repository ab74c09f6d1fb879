using System.Text.RegularExpressions;
using CudnnDigits.Files;

namespace CudnnDigits.Data;

/// <summary>
/// A NumPy array (.npy, versions 1 to 3): integers or floating-point numbers of any width and byte order, or single characters, in
/// C or Fortran order (the first index runs fastest). The kind is NumPy's letter: u, i, f, b, U or S. Source:
/// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html.
/// </summary>
internal sealed partial class NumpyArray(Stream stream, string name, char kind, int width, bool bigEndian, bool fortran, long[] shape)
{
    private const int MostHeader = 1 << 16;

    /// <summary>The greatest value so far.</summary>
    private double _most;

    private bool _hasFractions;

    /// <summary>Whether values go from 0 to 1; null while every image was blank.</summary>
    private bool? _isUnit;

    private static ReadOnlySpan<byte> Magic => [0x93, (byte)'N', (byte)'U', (byte)'M', (byte)'P', (byte)'Y'];

    /// <summary>Whether a file is a NumPy array, judged by its first bytes.</summary>
    public static bool Begins(ReadOnlySpan<byte> head) => head.StartsWith(Magic);

    /// <summary>Reads the header of an array. The stream is not closed.</summary>
    public static NumpyArray Open(Stream stream, string name)
    {
        byte[] start = ReadHeader(stream, 8, name);
        if (!Begins(start))
        {
            throw new InputException($"{name}: not an array of NumPy; save it again with numpy.savez");
        }

        byte[] length = new byte[4];
        ReadHeader(stream, start[6] == 1 ? 2 : 4, name).CopyTo(length, 0);
        uint bytes = BinaryPrimitives.ReadUInt32LittleEndian(length);
        if (start[6] is 0 or > 3 || bytes > MostHeader)
        {
            throw new InputException($"{name}: a NumPy array of version {start[6]} with a header of {bytes} bytes; "
                + $"expected version 1 to 3 and at most {MostHeader}");
        }

        string header = Encoding.UTF8.GetString(ReadHeader(stream, (int)bytes, name));
        if (Description().Match(header) is not { Success: true } type || Order().Match(header) is not { Success: true } order
            || Shape().Match(header) is not { Success: true } shape)
        {
            throw new InputException($"{name}: its header is damaged, or it is a table of several columns; expected an array of numbers");
        }

        string descr = type.Groups[1].Value;
        long[] sizes = [.. shape.Groups[1].Value.Split([',', ' ', 'L'], StringSplitOptions.RemoveEmptyEntries)
            .Select(size => long.TryParse(size, NumberStyles.None, CultureInfo.InvariantCulture, out long value) ? value : long.MaxValue)];
        if (Numbers().Match(descr) is not { Success: true, Groups: var number } || sizes.Any(size => size > int.MaxValue))
        {
            string danger = descr == "|O" ? " (objects of Python, which could run code)" : "";
            throw new InputException(
                $"{name}: an array {ShapeOf(sizes)} of type '{KnownFile.Printable(descr)}'{danger}; expected numbers: uint8, float32");
        }

        char kind = number[2].Value[0];
        int width = kind == 'U' ? 4 : number[3].Value[0] - '0';
        return new NumpyArray(stream, name, kind, width, number[1].Value == ">", order.Groups[1].Value == "True", sizes);
    }

    /// <summary>
    /// Reads images, (N, 28, 28), (N, 784), (N, 28, 28, 1) or (N, 1, 28, 28), with values from 0 to 255 or from 0 to 1; the first image
    /// that is not blank tells which. The result is (N, 28, 28) uint8.
    /// </summary>
    public byte[] ReadImages()
    {
        const int Side = DigitDataset.Side, Count = DigitDataset.PixelCount;
        long[] each = [.. shape.Skip(1).Where(size => size != 1)];
        bool one = shape is [Side, Side]; // a single image
        if (!(one || each is [Side, Side] or [Count]))
        {
            throw new InputException($"{name}: an array of {ShapeOf(shape)}; expected images of 28×28, (N, 28, 28) or (N, 784)");
        }

        if (kind is 'U' or 'S')
        {
            throw new InputException($"{name}: an array of text; expected numbers, such as uint8 or float32");
        }

        long images = one ? 1 : shape[0];
        if (images == 0)
        {
            throw new InputException($"{name}: the array holds no digits");
        }

        PixelBuffer pixels = new(name);
        double[] values = new double[Count];
        byte[] bytes = fortran ? ReadRest(images * Count) : new byte[Count * width];
        for (long image = 0; image < images; image++)
        {
            if (!fortran)
            {
                ReadData(bytes, images, image);
            }

            for (int i = 0; i < Count; i++)
            {
                // In Fortran order the first index runs fastest and the column slowest; (N, 784) has a single index for the pixel.
                long at = !fortran ? i
                    : one || each.Length == 2 ? image + images * (i / Side + (long)Side * (i % Side))
                    : image + images * i;
                values[i] = Value(bytes.AsSpan((int)(at * width), width));
            }

            ToPixels(values, pixels.AddImage(), image);
        }

        CheckEnd();
        return _isUnit != false || !_hasFractions || _most >= PixelScale.LeastInk ? pixels.ToArray()
            : throw new InputException(string.Create(CultureInfo.InvariantCulture,
                $"{name}: the values are no whole numbers and go up to {_most}; expected 0 to 255, or 0 to 1: multiply them so"));
    }

    /// <summary>Reads labels, (N) or (N, 1), or one-hot (N, 10).</summary>
    public byte[] ReadLabels(int expected)
    {
        const int Classes = DigitDataset.Classes;
        bool oneHot = shape is [_, Classes];
        if (!(oneHot || shape is [_] or [_, 1]))
        {
            throw new InputException($"{name}: an array of {ShapeOf(shape)}; expected labels, ({expected},)");
        }

        if (shape[0] != expected)
        {
            throw new InputException($"{name}: {shape[0]} labels for {expected} images; the two arrays do not belong together");
        }

        byte[] labels = new byte[expected];
        byte[] raw = ReadRest((long)expected * (oneHot ? Classes : 1));
        for (int i = 0; i < expected; i++)
        {
            double label = oneHot ? OneOf(i) : Value(raw.AsSpan(i * width, width));
            string text = oneHot ? "not one of ten" : label.ToString(CultureInfo.InvariantCulture);
            labels[i] = label is >= 0 and < Classes && label == Math.Floor(label)
                ? (byte)label
                : throw new InputException($"{name}: label {i} (from 0) is {text}, expected a digit 0 to 9");
        }

        CheckEnd();
        return labels;

        double OneOf(int row)
        {
            double[] marks = [.. Enumerable.Range(0, Classes)
                .Select(i => Value(raw.AsSpan((fortran ? row + i * expected : row * Classes + i) * width, width)))];
            return marks.Count(mark => mark == 1) == 1 && marks.Count(mark => mark == 0) == Classes - 1 ? Array.IndexOf(marks, 1) : -1;
        }
    }

    private static string ShapeOf(long[] shape) => $"({string.Join(", ", shape)}{(shape.Length == 1 ? "," : "")})";

    /// <summary>Converts one image to bytes.</summary>
    private void ToPixels(double[] values, Span<byte> image, long number)
    {
        _most = Math.Max(_most, values.Max());
        _hasFractions |= Array.Exists(values, value => value != Math.Floor(value));
        _isUnit ??= _most > 0 ? PixelScale.IsUnit(_most, !_hasFractions) : null;
        for (int i = 0; i < values.Length; i++)
        {
            double value = values[i];
            int pixel = _isUnit == true ? PixelScale.ToByte(value) : value is >= 0 and <= byte.MaxValue ? (int)Math.Round(value) : -1;
            image[i] = pixel >= 0 ? (byte)pixel : throw new InputException(string.Create(CultureInfo.InvariantCulture,
                $"{name}: image {number} (from 0) has the value {value}; expected ")
                + (_isUnit == true ? "0 to 1, as in the images before it" : "0 to 255, or 0 to 1 in all images"));
        }
    }

    private double Value(ReadOnlySpan<byte> bytes) => (kind, width) switch
    {
        ('u' or 'b', 1) => bytes[0],
        ('i', 1) => (sbyte)bytes[0],
        ('S', 1) => bytes[0] - (double)'0', // the character of a digit
        ('U', _) => BinaryPrimitives.ReadUInt32LittleEndian(bytes) - (double)'0',
        ('f', 2) => (double)BinaryPrimitives.ReadHalfLittleEndian(bytes),
        ('f', 4) => BinaryPrimitives.ReadSingleLittleEndian(bytes),
        ('f', 8) => BinaryPrimitives.ReadDoubleLittleEndian(bytes),
        ('i', 2) => BinaryPrimitives.ReadInt16LittleEndian(bytes),
        ('i', 4) => BinaryPrimitives.ReadInt32LittleEndian(bytes),
        ('i', 8) => BinaryPrimitives.ReadInt64LittleEndian(bytes),
        ('u', 2) => BinaryPrimitives.ReadUInt16LittleEndian(bytes),
        ('u', 4) => BinaryPrimitives.ReadUInt32LittleEndian(bytes),
        _ => BinaryPrimitives.ReadUInt64LittleEndian(bytes),
    };

    /// <summary>Reads all values of the array. Memory grows with the bytes that are there.</summary>
    private byte[] ReadRest(long numbers)
    {
        if (numbers * width > Array.MaxLength)
        {
            throw new InputException(
                $"{name}: an array of {ShapeOf(shape)} is too large to be read at once; save images with numpy.ascontiguousarray");
        }

        byte[] bytes = [];
        while (bytes.Length < numbers * width)
        {
            int count = bytes.Length;
            Array.Resize(ref bytes, (int)Math.Min(numbers * width, Math.Max(1 << 20, 2L * count)));
            ReadData(bytes.AsSpan(count), numbers, count / width);
        }

        return bytes;
    }

    /// <summary>Reads values and makes them little-endian.</summary>
    private void ReadData(Span<byte> into, long promised, long at)
    {
        if (stream.ReadAtLeast(into, into.Length, throwOnEndOfStream: false) < into.Length)
        {
            throw new InputException($"{name}: promises {promised} values of {ShapeOf(shape)} but ends after {at}; the array is cut off");
        }

        for (int i = 0; bigEndian && i < into.Length; i += width)
        {
            into.Slice(i, width).Reverse();
        }
    }

    private void CheckEnd()
    {
        if (stream.ReadByte() >= 0)
        {
            throw new InputException($"{name}: goes on after its {ShapeOf(shape)} values; the array is damaged");
        }
    }

    private static byte[] ReadHeader(Stream stream, int count, string name)
    {
        byte[] bytes = new byte[count];
        return stream.ReadAtLeast(bytes, count, throwOnEndOfStream: false) == count
            ? bytes
            : throw new InputException($"{name}: cut off within its header; expected an array of NumPy");
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
