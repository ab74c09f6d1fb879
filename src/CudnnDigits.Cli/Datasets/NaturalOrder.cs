namespace CudnnDigits.Cli.Datasets;

/// <summary>Sorts names by the numbers in them: 2.png before 10.png. Leading zeros count only between otherwise equal names.</summary>
internal static class NaturalOrder
{
    public static IComparer<string> Comparer { get; } = Comparer<string>.Create(Compare);

    private static int Compare(string first, string second)
    {
        int i = 0, j = 0;
        while (i < first.Length && j < second.Length)
        {
            if (!char.IsAsciiDigit(first[i]) || !char.IsAsciiDigit(second[j]))
            {
                if (first[i] != second[j])
                {
                    return first[i].CompareTo(second[j]);
                }

                i++;
                j++;
                continue;
            }

            ReadOnlySpan<char> one = Number(first, ref i), other = Number(second, ref j);
            int order = one.Length != other.Length ? one.Length.CompareTo(other.Length) : one.SequenceCompareTo(other);
            if (order != 0)
            {
                return order;
            }
        }

        int rest = (first.Length - i).CompareTo(second.Length - j);
        return rest != 0 ? rest : string.CompareOrdinal(first, second);
    }

    /// <summary>The number at a place, without leading zeros.</summary>
    private static ReadOnlySpan<char> Number(string text, ref int at)
    {
        int start = at;
        while (at < text.Length && char.IsAsciiDigit(text[at]))
        {
            at++;
        }

        return text.AsSpan(start, at - start).TrimStart('0');
    }
}
