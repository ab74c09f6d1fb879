using System.Buffers.Binary;

namespace CudnnDigits.Tests.Reference;

/// <summary>A damaged copy of a file.</summary>
/// <param name="Name">Seed, number and what was done, for messages: the same seed and number damage the same file in the same way.</param>
/// <param name="Bytes">The damaged file; may by chance be the good one.</param>
internal sealed record Mutation(string Name, byte[] Bytes)
{
    public override string ToString() => Name;
}

/// <summary>What disks, networks and people do to files, drawn by a seed.</summary>
internal static class Mutations
{
    /// <summary>Sizes, lengths and magic numbers stand near the front, and in zip and gzip near the end.</summary>
    private const int Front = 600, Back = 100;

    private static readonly string[] BoundaryTexts =
        ["", "0", "-0", "-1", "1", "9", "10", "255", "256", "999999", "2147483648", "4294967295", "9223372036854775807",
            "9223372036854775808", "99999999999999999999", "1e999", "0.5", "NaN", "\"", "[", "{}"];

    /// <summary>How many times as many mutations as usual the environment variable CUDNN_DIGITS_ATTACK asks for; 1 without it.</summary>
    public static double Factor { get; } =
        double.TryParse(Environment.GetEnvironmentVariable("CUDNN_DIGITS_ATTACK"), NumberStyles.Float, CultureInfo.InvariantCulture,
            out double factor) ? factor : 1;

    /// <summary>Damaged copies of a file, each with one to three wounds.</summary>
    /// <param name="good">The file; not changed.</param>
    /// <param name="usually">How many, times <see cref="Factor"/>.</param>
    /// <param name="seed">Of the draw; mutation number n of a seed is the same whatever their count.</param>
    public static IEnumerable<Mutation> Of(byte[] good, int usually, int seed = 1)
    {
        int count = (int)Math.Ceiling(usually * Factor);
        for (int number = 0; number < count; number++)
        {
            Random random = new(seed * 1_000_003 + number);
            List<string> wounds = [];
            byte[] bytes = good;
            for (int left = Math.Max(1, random.Next(-2, 4)); left > 0; left--)
            {
                (string wound, bytes) = Wound(bytes, random);
                wounds.Add(wound);
            }

            yield return new Mutation($"seed {seed}, mutation {number}: {string.Join("; ", wounds)}", bytes);
        }
    }

    private static (string Wound, byte[] Bytes) Wound(byte[] bytes, Random random)
    {
        int at = Place(bytes.Length, random), length = Math.Min(bytes.Length - at, 1 << random.Next(9)), end = at + length;
        if (length == 0)
        {
            return ("a byte appended", [.. bytes, (byte)random.Next(256)]);
        }

        switch (random.Next(12))
        {
            case 0 or 1:
                int bit = random.Next(8);
                return ($"bit {bit} of byte {at} flipped", Overwrite(bytes, at, [(byte)(bytes[at] ^ 1 << bit)]));
            case 2:
                byte value = (byte)random.Next(256);
                return ($"byte {at} set to {value}", Overwrite(bytes, at, [value]));
            case 3:
                return ($"cut off at {at}", bytes[..at]);
            case 4:
                return ($"{length} bytes missing at {at}", [.. bytes[..at], .. bytes[end..]]);
            case 5:
                return ($"{length} random bytes inserted at {at}", [.. bytes[..at], .. RandomBytes(length, random), .. bytes[at..]]);
            case 6:
                return ($"{length} bytes twice at {at}", [.. bytes[..end], .. bytes[at..]]);
            case 7:
                int other = end + random.Next(bytes.Length - end + 1), otherEnd = Math.Min(bytes.Length, other + length);
                return ($"{length} bytes at {at} swapped with those at {other}",
                    [.. bytes[..at], .. bytes[other..otherEnd], .. bytes[end..other], .. bytes[at..end], .. bytes[otherEnd..]]);
            case 8:
                byte[] filler = random.Next(3) switch
                {
                    0 => new byte[length],
                    1 => [.. Enumerable.Repeat((byte)0xFF, length)],
                    _ => RandomBytes(length, random)
                };
                return ($"{length} bytes at {at} overwritten with {filler[0]} …", Overwrite(bytes, at, filler));
            case 9 or 10:
                return SetNumber(bytes, at, random);
            default:
                return SetText(bytes, at, random);
        }
    }

    /// <summary>Whole numbers of 2, 4 or 8 bytes, in either order, at values where sizes go wrong.</summary>
    private static (string Wound, byte[] Bytes) SetNumber(byte[] bytes, int at, Random random)
    {
        int width = 2 << random.Next(3);
        bool bigEndian = random.Next(2) == 0;
        long[] values = [0, 1, -1, bytes.Length, bytes.Length - at, bytes.Length + 1, short.MaxValue, int.MaxValue, 1L << 31, uint.MaxValue,
            1L << 32, long.MaxValue, long.MinValue];
        long number = values[random.Next(values.Length)];
        byte[] eight = new byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(eight, number);
        byte[] little = eight[..width];
        return ($"{width} bytes at {at} set to {number}, {(bigEndian ? "big" : "little")}-endian",
            Overwrite(bytes, at, bigEndian ? [.. little.Reverse()] : little));
    }

    /// <summary>The number in decimal digits that is next, if the file has one, becomes another text.</summary>
    private static (string Wound, byte[] Bytes) SetText(byte[] bytes, int at, Random random)
    {
        int from = at + Math.Max(0, bytes.AsSpan(at).IndexOfAnyInRange((byte)'0', (byte)'9')), to = from;
        while (to < bytes.Length && char.IsAsciiDigit((char)bytes[to]))
        {
            to++;
        }

        string text = BoundaryTexts[random.Next(BoundaryTexts.Length)];
        return ($"{to - from} digits at {from} became '{text}'", [.. bytes[..from], .. Encoding.ASCII.GetBytes(text), .. bytes[to..]]);
    }

    private static int Place(int length, Random random) => random.Next(4) switch
    {
        0 => random.Next(Math.Min(length, Front) + 1),
        1 => length - random.Next(Math.Min(length, Back) + 1),
        2 => 4 * random.Next(Math.Min(length, Front) / 4 + 1),
        _ => random.Next(length + 1),
    };

    private static byte[] RandomBytes(int length, Random random)
    {
        byte[] bytes = new byte[length];
        random.NextBytes(bytes);
        return bytes;
    }

    private static byte[] Overwrite(byte[] bytes, int at, byte[] by)
    {
        byte[] copy = (byte[])bytes.Clone();
        by.AsSpan(0, Math.Min(by.Length, copy.Length - at)).CopyTo(copy.AsSpan(at));
        return copy;
    }
}
