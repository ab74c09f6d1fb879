using System.CommandLine.Parsing;
using CudnnDigits.Cli.Datasets;
using CudnnDigits.Cli.Exchange;
using CudnnDigits.Cli.Serve;
using CudnnDigits.Cli.Studies;
using CudnnDigits.Cli.Terminal;

namespace CudnnDigits.Cli;

/// <summary>The commands, and the errors of a command line that are found before a command runs.</summary>
internal static class CommandLine
{
    public static RootCommand Create()
    {
        RootCommand root = new("Train and use networks that read digits, on an NVIDIA GPU or on all cores of the CPU.")
        {
            TrainCommand.Create(), EvaluateCommand.Create(), PredictCommand.Create(), ExportCommand.Create(), ReportCommand.Create(),
            CompareCommand.Create(), CrossvalCommand.Create(), RepeatCommand.Create(), TuneCommand.Create(), ServeCommand.Create(),
            DataCommand.Create(), BenchCommand.Create(), InfoCommand.Create(),
        };
        HelpExamples.AddTo(root);
        return root;
    }

    /// <summary>What is wrong with a command line, in one line. Null if it can run, or asks for help.</summary>
    public static string? Refusal(ParseResult parsed)
    {
        if (HelpExamples.IsAskedFor(parsed))
        {
            return null;
        }

        string? message = WhatIsWrongWithTheFolder(parsed)
            ?? parsed.CommandResult.Children.Select(WhatIsUseless).FirstOrDefault(useless => useless is not null)
            ?? WhatIsNoArgument(parsed)
            ?? parsed.Errors.FirstOrDefault(error => error.Message.StartsWith("--", StringComparison.Ordinal))?.Message // our own
            ?? (parsed.Errors.Count == 0 ? null
                : parsed.UnmatchedTokens is [string token, ..] ? $"'{token}' is not understood{WhatWasMeant(parsed, token)}"
                : WhatIsMissing(parsed) ?? parsed.Errors[0].Message.TrimEnd('.'));
        string[] path = HelpExamples.PathOf(parsed.CommandResult).Split(' ', StringSplitOptions.RemoveEmptyEntries);
        return message is null ? null : $"{message} (see {ThisProgram.Command([.. path, "--help"])})";
    }

    /// <summary>Refuses an option that the command lacks, which the parser takes for an argument if the command has any.</summary>
    private static string? WhatIsNoArgument(ParseResult parsed) =>
        parsed.Tokens.Any(token => token.Type == TokenType.DoubleDash) ? null
        : parsed.CommandResult.Children.OfType<ArgumentResult>().SelectMany(argument => argument.Tokens)
            .FirstOrDefault(token => token.Value.StartsWith("--", StringComparison.Ordinal) && !Path.Exists(token.Value)) is { } option
            ? $"'{option.Value}' is not understood{WhatWasMeant(parsed, option.Value)}"
        : null;

    /// <summary>A suggestion such as "; did you mean train?". Empty if nothing is similar.</summary>
    private static string WhatWasMeant(ParseResult parsed, string word)
    {
        Command command = parsed.CommandResult.Command, root = parsed.RootCommandResult.Command;
        Option[] options = [.. command.Options.Union(root.Options.Where(option => option.Recursive))];
        if (parsed.Tokens.Any(token => token.Type == TokenType.DoubleDash))
        {
            return "; leave out the -- before it";
        }

        if (Path.Exists(word) || (word[0] != '-' && word.Any(char.IsLetter) && word.AsSpan().IndexOfAny("./\\") >= 0))
        {
            bool isRun = File.Exists(Path.Combine(word, "run.json"));
            bool isWeights = isRun || Path.GetExtension(word) is ".safetensors" or ".onnx";
            string quoted = Shell.OfUser.Quote(word), name = isWeights ? "--weights" : "--data";
            return command == root
                    ? $"; name a command first: {(isRun ? "report" : isWeights ? "serve --weights" : "train --data")} {quoted}"
                : options.Any(option => option.Name == name && parsed.GetResult(option) is null or { Implicit: true })
                    ? $"; did you mean {name} {quoted}?"
                : "";
        }

        string[] names = [.. command.Subcommands.Select(sub => sub.Name), .. options.Select(option => option.Name)];
        bool isOutput = word.StartsWith("--out", StringComparison.Ordinal) && names.Contains(ExportCommand.Onnx);
        bool isOwn = isOutput || names.Any(name => name.StartsWith(word, StringComparison.Ordinal)); // though others may have it, too
        string[] nearest = isOutput ? [ExportCommand.Onnx] : Spelling.Nearest(word, names);
        IEnumerable<Command> having = root.Subcommands.Where(other => other.Options.Any(option => option.Name == word));
        string[] elsewhere = [.. having.Select(other => other.Name)];
        return elsewhere.Length > 0 && command == root ? $"; name a command first: {elsewhere[0]} {word}"
            : elsewhere.Length > 0 && !isOwn ? $"; it is an option of {string.Join(", ", elsewhere)}"
            : nearest.Length > 0 ? $"; did you mean {InputException.OneOf(nearest)}?"
            : "";
    }

    /// <summary>Which options or arguments have no value or too many, with an example of a complete command line. Null if none.</summary>
    private static string? WhatIsMissing(ParseResult parsed)
    {
        Command command = parsed.CommandResult.Command;
        IEnumerable<string> wrong = parsed.CommandResult.Children.OfType<OptionResult>().Where(given => !given.Implicit).Select(WhatIsWrong)
            .OfType<string>();
        IEnumerable<Argument> arguments = command.Arguments
            .Where(argument => argument.Arity.MinimumNumberOfValues > 0 && parsed.GetResult(argument) is null or { Tokens.Count: 0 });
        IEnumerable<Option> options = command.Options
            .Where(option => option.Required && parsed.GetResult(option) is null or { Implicit: true });
        string[] missing = [.. arguments.Select(argument => argument.HelpName ?? argument.Name), .. options.Select(Called)];
        string verb = missing.Length == 1 ? "is" : "are";
        return wrong.FirstOrDefault() ?? (missing.Length == 0 ? null
            : $"{string.Join(" and ", missing)} {verb} missing, as in: {HelpExamples.FirstOf(parsed.CommandResult)}");

        static string? WhatIsWrong(OptionResult given) =>
            given.Tokens.Count < given.Option.Arity.MinimumNumberOfValues
                ? $"{given.Option.Name} has no value; give it one: {Called(given.Option)}"
            : given.Tokens.Count > given.Option.Arity.MaximumNumberOfValues
                ? $"{given.Option.Name} is given {given.Tokens.Count} times ({string.Join(", ", given.Tokens)}); give it once"
            : null;

        static string Called(Option option) => $"{option.Name} {option.HelpName}".TrimEnd();
    }

    /// <summary>.NET reads the name "b\xFF" as "b\uFFFD", and would create files in a folder of that name.</summary>
    private static string? WhatIsWrongWithTheFolder(ParseResult parsed)
    {
        bool isThere = parsed.CommandResult.Command is not RootCommand && Directory.Exists("."); // it may have been removed
        return isThere && Environment.CurrentDirectory is var folder && folder.Contains('\uFFFD')
            ? $"the working directory {folder} is not UTF-8; change to one that is" : null;
    }

    /// <summary>Refuses an empty value, as of an unset variable, and bytes that are not UTF-8, which .NET reads as U+FFFD.</summary>
    private static string? WhatIsUseless(SymbolResult result)
    {
        string? name = result switch
        {
            OptionResult option => option.Option.Name,
            ArgumentResult argument => argument.Argument.Name,
            _ => null,
        };
        return name is null ? null
            : result.Tokens.Any(token => string.IsNullOrWhiteSpace(token.Value)) ? $"{name} is empty; give it a value, or leave it out"
            : result.Tokens.FirstOrDefault(token => token.Value.Contains('\uFFFD')) is { } token
                ? $"{name} {token.Value}: is not UTF-8; give the file a name that is"
            : null;
    }
}
