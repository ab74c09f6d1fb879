using System.CommandLine.Help;
using System.CommandLine.Invocation;
using System.CommandLine.Parsing;
using System.Text.RegularExpressions;
using CudnnDigits.Cli.Terminal;

namespace CudnnDigits.Cli;

internal static partial class HelpExamples
{
    private static readonly string Other = DigitNetworks.Names.First(name => name != DigitNetworks.Default.Name);

    /// <summary>After each command its examples, the most important one first.</summary>
    private static readonly Dictionary<string, string[]> Examples = $"""
        # train
        train                                     the {DigitNetworks.Default.Name} network on built-in digits, a minute
        train --data train.csv                    on Kaggle's digits, with good defaults
        train --data train.csv --model {Other} --seed 1 --out runs/first
        train --data train.csv --device cuda --batch-size 512    on a GPU
        train --resume runs/first                 the same bits as without the interruption
        train --resume runs/first --epochs 20     further, to 20 epochs in all; one-cycle is computed again for 20
        train --data mine.csv --init-from runs/first --lr 3e-4    fine-tuning
        # evaluate
        evaluate --weights runs/first --data train.csv --subset validation
        evaluate --weights runs/first --data mnist/ --json
        # export
        export --weights runs/first --onnx digits.onnx
        evaluate --weights digits.onnx --data train.csv
        # predict
        predict --weights runs/first --data test.csv --out submission.csv
        predict --weights runs/first --data test.csv --out - | head    - is standard output
        # report
        report runs/first
        report runs/first runs/second --out both.html
        report runs/crossval-20260101-120000      a study's page
        # compare
        compare --data train.csv --seeds 5        the university report's table, made again
        compare --data train.csv --models {string.Join(',', DigitNetworks.Names)}
        # crossval
        crossval --data train.csv --folds 5
        crossval --data train.csv --folds 10 --fold 3 --out cv/fold-3      one fold, for a job array
        crossval --collect cv --out cv            the folds put together
        # repeat
        repeat --data train.csv --seeds 10 --epochs 30
        repeat --resume runs/repeat-20260101-120000
        # tune
        tune --data train.csv --model {Other} --budget 60
        tune --resume runs/tune-20260101-120000
        # serve
        serve --weights runs/first
        serve                                     a quick model on built-in digits first
        # data
        data show --data train.csv
        data generate --count 60000 --out digits.csv.gz
        data download mnist
        # data show
        data show --data train.csv --out sheet.png
        data show --data digit-recognizer.zip --part test --json
        # data generate
        data generate --count 60000 --seed 1 --out digits.csv.gz
        data generate --out digits-idx
        # data download
        data download mnist
        data download mnist --mirror https://mirror.example.org/mnist/ --out mnist
        # bench
        bench --model {Other} --batch-size 64 --json
        bench --layers                            on the CPU: each operation's time and its floor
        bench --device cuda --batch-size 1024 --augment standard
        # info
        info
        info --json
        """
        .Split("# ", StringSplitOptions.RemoveEmptyEntries)
        .Select(command => command.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))
        .ToDictionary(lines => lines[0], lines => lines[1..]);

    public static void AddTo(RootCommand root)
    {
        HelpOption help = root.Options.OfType<HelpOption>().Single();
        SynchronousCommandLineAction inner = (SynchronousCommandLineAction)help.Action!;
        help.Action = new HelpWithExamples(inner, whateverIsWrong: true);
        foreach (Command command in root.Subcommands.Append(root).Where(command => command.Subcommands.Count > 0))
        {
            command.Action = new HelpWithExamples(inner, whateverIsWrong: false); // without a subcommand: shows which there are
        }
    }

    /// <summary>Whether to show help: with --help, whatever else is wrong, or for a command that only has subcommands.</summary>
    public static bool IsAskedFor(ParseResult parsed) => parsed.Action is HelpWithExamples;

    /// <summary>A command's first example, without its explanation.</summary>
    public static string FirstOf(CommandResult command) => Gap().Split(Examples[PathOf(command)][0])[0];

    /// <summary>A command as it is typed, such as "data show". Empty for the program itself.</summary>
    public static string PathOf(CommandResult? command) =>
        command is null or { Command: RootCommand } ? "" : $"{PathOf(command.Parent as CommandResult)} {command.Command.Name}".Trim();

    /// <summary>Between an example and its explanation.</summary>
    [GeneratedRegex("  +")]
    private static partial Regex Gap();

    private sealed class HelpWithExamples(SynchronousCommandLineAction inner, bool whateverIsWrong) : SynchronousCommandLineAction
    {
        public override bool ClearsParseErrors => whateverIsWrong;

        public override int Invoke(ParseResult parseResult)
        {
            int result = inner.Invoke(parseResult);
            IEnumerable<string> lines = Examples.GetValueOrDefault(PathOf(parseResult.CommandResult))
                ?? Examples.Where(entry => !entry.Key.Contains(' ', StringComparison.Ordinal)).Select(entry => entry.Value[0]);
            string stands = ThisProgram.Prefix == ThisProgram.Name ? "" : $", where {ThisProgram.Name} stands for {ThisProgram.Prefix}";
            string examples = string.Concat(lines.Select(line => $"  {ThisProgram.Name} {Gap().Replace(line, "\n      ")}\n"));
            parseResult.InvocationConfiguration.Output.WriteLine(Screen.Fit($"Examples{stands}:\n{examples}", Screen.OutputWidth));
            return result;
        }
    }
}
