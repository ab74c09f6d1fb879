using System.Buffers.Binary;

namespace CudnnDigits.Tests.Reference;

/// <summary>Arrays of NumPy, written for tests after the format's description.</summary>
internal static class NumpyFiles
{
    /// <summary>A .npy file.</summary>
    /// <param name="type">As NumPy has it: "|u1", "&lt;f4", "&gt;i8".</param>
    /// <param name="shape">Sizes.</param>
    /// <param name="values">In C order.</param>
    /// <param name="fortran">Whether to write them in Fortran order.</param>
    /// <param name="version">1 to 3.</param>
    public static byte[] Array(string type, int[] shape, IEnumerable<double> values, bool fortran = false, int version = 1)
    {
        double[] ordered = [.. values];
        if (fortran)
        {
            double[] source = ordered;
            ordered = new double[source.Length];
            for (int i = 0; i < source.Length; i++)
            {
                int rest = i, at = 0;
                int[] index = new int[shape.Length];
                for (int axis = shape.Length - 1; axis >= 0; axis--)
                {
                    (rest, index[axis]) = (rest / shape[axis], rest % shape[axis]);
                }

                for (int axis = shape.Length - 1; axis >= 0; axis--)
                {
                    at = at * shape[axis] + index[axis];
                }

                ordered[at] = source[i];
            }
        }

        string text = $"{{'descr': '{type}', 'fortran_order': {(fortran ? "True" : "False")}, 'shape': "
            + $"({string.Join(", ", shape)}{(shape.Length == 1 ? "," : "")}), }}";
        int start = version == 1 ? 10 : 12;
        text = text.PadRight((start + text.Length + 64) / 64 * 64 - start - 1) + "\n";
        byte[] length = new byte[version == 1 ? 2 : 4];
        length[0] = (byte)text.Length;
        length[1] = (byte)(text.Length >> 8);
        return [0x93, .. "NUMPY"u8, (byte)version, 0, .. length, .. Encoding.ASCII.GetBytes(text),
            .. ordered.SelectMany(value => Bytes(type, value))];
    }

    private static byte[] Bytes(string type, double value)
    {
        byte[] bytes = new byte[int.Parse(type[2..], CultureInfo.InvariantCulture)];
        switch (type[1..])
        {
            case "f2":
                BinaryPrimitives.WriteHalfLittleEndian(bytes, (Half)value);
                break;
            case "f4":
                BinaryPrimitives.WriteSingleLittleEndian(bytes, (float)value);
                break;
            case "f8":
                BinaryPrimitives.WriteDoubleLittleEndian(bytes, value);
                break;
            default:
                for (int i = 0; i < bytes.Length; i++)
                {
                    bytes[i] = (byte)((long)value >> (8 * i));
                }

                break;
        }

        return type[0] == '>' ? [.. bytes.Reverse()] : bytes;
    }
}
