using System.Text.RegularExpressions;

namespace CudnnDigits.Cli.Datasets;

/// <summary>Sorts names by the numbers in them: 2.png before 10.png. Leading zeros count only between otherwise equal names.</summary>
internal static partial class NaturalOrder
{
    public static IEnumerable<string> InNaturalOrder(this IEnumerable<string> names) => names
        .OrderBy(name => Number().Replace(name, WithLength), StringComparer.Ordinal).ThenBy(name => name, StringComparer.Ordinal);

    /// <summary>A number after a character that counts its digits, so that a longer one comes later.</summary>
    private static string WithLength(Match number)
    {
        string digits = number.Value.TrimStart('0');
        return $"{(char)('0' + digits.Length)}{digits}";
    }

    [GeneratedRegex("[0-9]+")]
    private static partial Regex Number();
}
