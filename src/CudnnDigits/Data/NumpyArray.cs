using System.Text.RegularExpressions;
using CudnnDigits.Files;

namespace CudnnDigits.Data;

/// <summary>A NumPy array: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html, versions 1 to 3.</summary>
internal sealed partial class NumpyArray(InputFile file, char kind, int width, bool bigEndian, bool fortran, long[] shape)
{
    private const int MostHeader = 1 << 16;

    private readonly long _count = shape.Aggregate(1L, (product, size) => product * size);

    private static ReadOnlySpan<byte> Magic => [0x93, (byte)'N', (byte)'U', (byte)'M', (byte)'P', (byte)'Y'];

    /// <summary>Whether a file is a NumPy array, judged by its first bytes.</summary>
    public static bool Begins(ReadOnlySpan<byte> head) => head.StartsWith(Magic);

    /// <summary>Reads the header of an array. The file is not closed.</summary>
    public static NumpyArray Open(InputFile file)
    {
        byte[] start = ReadHeader(8);
        if (!Begins(start))
        {
            throw Wrong(file, "not an array of NumPy; save it again with numpy.savez");
        }

        uint bytes = start[6] == 1
            ? BinaryPrimitives.ReadUInt16LittleEndian(ReadHeader(2))
            : BinaryPrimitives.ReadUInt32LittleEndian(ReadHeader(4));
        if (start[6] is 0 or > 3 || bytes > MostHeader)
        {
            throw Wrong(file, $"a NumPy array of version {start[6]} with a header of {bytes} bytes; "
                + $"expected version 1 to 3 and at most {MostHeader}");
        }

        string header = Encoding.UTF8.GetString(ReadHeader((int)bytes));
        if (Header().Match(header) is not { Success: true, Groups: var fields })
        {
            throw Wrong(file, "its header is damaged, or it is a table of several columns; expected an array of numbers");
        }

        string descr = fields["type"].Value;
        long[] sizes = [.. fields["shape"].Value.Split([',', ' ', 'L'], StringSplitOptions.RemoveEmptyEntries)
            .Select(size => long.TryParse(size, NumberStyles.None, CultureInfo.InvariantCulture, out long value) ? value : long.MaxValue)];
        if (Numbers().Match(descr) is not { Success: true, Groups: var number } || sizes.Any(size => size > int.MaxValue))
        {
            string danger = descr == "|O" ? " (objects of Python, which could run code)" : "";
            string what = $"an array {ShapeOf(sizes)} of type '{KnownFile.Printable(descr)}'{danger}";
            throw Wrong(file, $"{what}; expected numbers, such as uint8 or float32");
        }

        char kind = number[2].Value[0];
        int width = kind == 'U' ? 4 : number[3].Value[0] - '0';
        return new NumpyArray(file, kind, width, number[1].Value == ">", fields["fortran"].Value == "True", sizes);

        byte[] ReadHeader(int count) => file.ReadUpTo(count) is { } read && read.Length == count ? read
            : throw Wrong(file, "cut off within its header; expected an array of NumPy");
    }

    /// <summary>Reads (N, 28, 28), (N, 784), (N, 28, 28, 1) or (N, 1, 28, 28) with values from 0 to 255 or from 0 to 1.</summary>
    public byte[] ReadImages()
    {
        const int Side = DigitDataset.Side, Count = DigitDataset.PixelCount;
        long[] each = [.. shape.Skip(1).Where(size => size != 1)];
        bool one = shape is [Side, Side]; // a single image
        if (!(one || each is [Side, Side] or [Count]))
        {
            throw Wrong(file, $"an array of {ShapeOf(shape)}; expected images of 28×28, (N, 28, 28) or (N, 784)"
                + (shape.Length == 1 ? ": give the images, and the labels beside them are found" : ""));
        }

        if (kind is 'U' or 'S')
        {
            throw Wrong(file, "an array of text; expected numbers, such as uint8 or float32");
        }

        long images = one ? 1 : shape[0];
        if (images == 0)
        {
            throw Wrong(file, $"the array holds no digits");
        }

        PixelBuffer pixels = new(file.Path);
        double[] values = new double[Count];
        double most = 0;
        bool hasFractions = false;
        bool? isUnit = null; // while every image was blank
        byte[] bytes = fortran ? ReadValues(images * Count) : [];
        for (long image = 0; image < images; image++)
        {
            bytes = fortran ? bytes : ReadValues(Count, image * Count);
            for (int i = 0; i < Count; i++)
            {
                // In Fortran order the first index runs fastest and the column slowest; (N, 784) has a single index for the pixel.
                values[i] = Value(bytes, !fortran ? i
                    : one || each.Length == 2 ? image + images * (i / Side + (long)Side * (i % Side))
                    : image + images * i);
            }

            most = Math.Max(most, values.Max());
            hasFractions |= Array.Exists(values, value => value != Math.Floor(value));
            isUnit ??= most > 0 ? PixelScale.IsUnit(most, !hasFractions) : null;
            Span<byte> into = pixels.AddImage();
            for (int i = 0; i < Count; i++)
            {
                double value = values[i];
                int pixel = isUnit == true ? PixelScale.ToByte(value) : value is >= 0 and <= byte.MaxValue ? (int)Math.Round(value) : -1;
                into[i] = pixel >= 0 ? (byte)pixel : throw Wrong(file, string.Create(CultureInfo.InvariantCulture,
                    $"image {image} (from 0) has the value {value}; expected ")
                    + (isUnit == true ? "0 to 1, as in the images before it" : "0 to 255, or 0 to 1 in all images"));
            }
        }

        return isUnit != false || !hasFractions || most >= PixelScale.LeastInk ? pixels.ToArray()
            : throw Wrong(file, string.Create(CultureInfo.InvariantCulture,
                $"the values are no whole numbers and go up to {most}; expected 0 to 255, or 0 to 1: multiply them so"));
    }

    /// <summary>Reads labels, (N) or (N, 1), or one-hot (N, 10).</summary>
    public byte[] ReadLabels(int expected)
    {
        const int Classes = DigitDataset.Classes;
        bool oneHot = shape is [_, Classes];
        if (!(oneHot || shape is [_] or [_, 1]))
        {
            throw Wrong(file, $"an array of {ShapeOf(shape)}; expected labels, ({expected},)");
        }

        if (shape[0] != expected)
        {
            throw Wrong(file, $"{shape[0]} labels for {expected} images; the two arrays do not belong together");
        }

        byte[] labels = new byte[expected];
        byte[] raw = ReadValues((long)expected * (oneHot ? Classes : 1));
        for (int i = 0; i < expected; i++)
        {
            double label = oneHot ? OneOf(i) : Value(raw, i);
            string text = oneHot ? "not one of ten" : label.ToString(CultureInfo.InvariantCulture);
            labels[i] = label is >= 0 and < Classes && label == Math.Floor(label)
                ? (byte)label
                : throw Wrong(file, $"label {i} (from 0) is {text}, expected a digit 0 to 9");
        }

        return labels;

        double OneOf(int row)
        {
            double[] marks = [.. Enumerable.Range(0, Classes).Select(i => Value(raw, fortran ? row + i * expected : row * Classes + i))];
            return marks.Count(mark => mark == 1) == 1 && marks.Count(mark => mark == 0) == Classes - 1 ? Array.IndexOf(marks, 1) : -1;
        }
    }

    private static string ShapeOf(long[] shape) => $"({string.Join(", ", shape)}{(shape.Length == 1 ? "," : "")})";

    private double Value(byte[] values, long at)
    {
        ReadOnlySpan<byte> bytes = values.AsSpan((int)(at * width), width);
        return (kind, width) switch
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
    }

    /// <summary>Reads values and makes them little-endian. Memory grows with the bytes that are there.</summary>
    private byte[] ReadValues(long count, long after = 0)
    {
        if (count * width > Array.MaxLength)
        {
            throw Wrong(file, $"an array of {ShapeOf(shape)} is too large to be read at once; save images with numpy.ascontiguousarray");
        }

        byte[] bytes = file.ReadUpTo(count * width);
        if (bytes.Length < count * width)
        {
            throw Wrong(file, $"promises {_count} values of {ShapeOf(shape)} "
                + $"but ends after {after + bytes.Length / width}; the array is cut off");
        }

        if (after + count == _count && !file.Peek(1).IsEmpty)
        {
            throw Wrong(file, $"goes on after its {ShapeOf(shape)} values; the array is damaged");
        }

        for (int i = 0; bigEndian && i < bytes.Length; i += width)
        {
            bytes.AsSpan(i, width).Reverse();
        }

        return bytes;
    }

    private static InputException Wrong(InputFile file, string what) => new($"{file.Path}: {what}");

    /// <summary>The fields that every header has, in any order.</summary>
    [GeneratedRegex(
        @"\A(?=.*?'descr'\s*:\s*'(?<type>[^']*)')(?=.*?'fortran_order'\s*:\s*(?<fortran>True|False))"
            + @"(?=.*?'shape'\s*:\s*\((?<shape>[0-9, L]*)\))", RegexOptions.Singleline)]
    private static partial Regex Header();

    [GeneratedRegex(@"^([<>|=])([uifb](?=[1248])|[US](?=1))([1-8])$")]
    private static partial Regex Numbers();
}
