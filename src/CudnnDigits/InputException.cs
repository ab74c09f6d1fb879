namespace CudnnDigits;

/// <summary>
/// The user's input cannot be used: a file that is missing, damaged or not what it should be, or an option out of range.
/// The message is one line that says what is wrong, where (file, row, column), and what to do.
/// </summary>
public sealed class InputException : Exception
{
    /// <summary>Creates the exception.</summary>
    public InputException()
    {
    }

    /// <summary>Creates the exception.</summary>
    /// <param name="message">One line: what, where, what to do.</param>
    public InputException(string message)
        : base(message)
    {
    }

    /// <summary>Creates the exception.</summary>
    /// <param name="message">One line: what, where, what to do.</param>
    /// <param name="innerException">What was caught.</param>
    public InputException(string message, Exception innerException)
        : base(message, innerException)
    {
    }

    /// <summary>Choices in a message: "simple, improved or mlp".</summary>
    internal static string OneOf(IReadOnlyList<string> choices) => Joined(choices, "or");

    /// <summary>"simple, improved and mlp".</summary>
    internal static string Joined(IReadOnlyList<string> all, string last = "and") =>
        all.Count < 2 ? string.Concat(all) : $"{string.Join(", ", all.SkipLast(1))} {last} {all[^1]}";
}
