namespace CudnnDigits.Cli;

internal static class Spelling
{
    /// <summary>The known words that are nearest to a word or, if none is near, that begin with it or have the same initials.</summary>
    public static string[] Nearest(string word, IReadOnlyList<string> known)
    {
        string typed = Plain(word);
        int most = Math.Min(2, typed.Length / 3); // slips
        (string Word, int Slips)[] near = [.. known.Select(one => (one, Slips(typed, Plain(one)))).Where(pair => pair.Item2 <= most)];
        if (near.Length > 0 || typed.Length == 0 || (typed.Length == 1 && word[0] != '-'))
        {
            return [.. near.Where(pair => pair.Slips == near.Min(other => other.Slips)).Select(pair => pair.Word)];
        }

        string[] longer = [.. known.Where(one => Plain(one).StartsWith(typed, StringComparison.Ordinal))];
        return longer.Length > 0 ? longer : [.. known.Where(IsPartOrInitials)];

        bool IsPartOrInitials(string one) => (Plain(one).Length > 2 && typed.StartsWith(Plain(one), StringComparison.Ordinal))
            || Plain(one) == Initials(typed) || Initials(Plain(one)) == typed;
    }

    private static string Initials(string word) =>
        string.Concat(word.Split('-', '_').Where(part => part.Length > 0).Select(part => part[0]));

    /// <summary>A word in lower case, without leading dashes and a value after "=".</summary>
    private static string Plain(string word) => word.Split('=', ':')[0].TrimStart('-').ToLowerInvariant();

    /// <summary>Letters added, missing, wrong or exchanged: https://en.wikipedia.org/wiki/Damerau-Levenshtein_distance.</summary>
    private static int Slips(string a, string b)
    {
        int[,] least = new int[a.Length + 1, b.Length + 1];
        for (int i = 0; i <= a.Length; i++)
        {
            for (int j = 0; j <= b.Length; j++)
            {
                least[i, j] = i == 0 ? j : j == 0 ? i
                    : Math.Min(Math.Min(least[i - 1, j], least[i, j - 1]) + 1, least[i - 1, j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1));
                if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                {
                    least[i, j] = Math.Min(least[i, j], least[i - 2, j - 2] + 1);
                }
            }
        }

        return least[a.Length, b.Length];
    }
}
