using System.CommandLine;
using System.Text.Json;
using CudnnDigits.Cli.Report;
using CudnnDigits.Data;

namespace CudnnDigits.Cli;

/// <summary><c>report</c>: one or more runs as a page to look at.</summary>
internal static class ReportCommand
{
    private static readonly Argument<string[]> Runs = new("DIR") { Description = "Folders of runs; several are shown side by side.", Arity = ArgumentArity.OneOrMore };
    private static readonly Option<string?> Out = new("--out") { Description = "The page. Default: report.html in the run's folder; for several, runs.html here.", HelpName = "FILE" };
    private static readonly Option<bool> Json = CommonOptions.Json();

    public static Command Create()
    {
        Command command = new("report", "Show runs as one page: curves, confusion matrix, the digits read wrong, calibration.") { Runs, Out, Json };
        command.SetAction(Run);
        return command;
    }

    private static int Run(ParseResult result)
    {
        Dictionary<string, DigitDataset> cache = [];
        RunReport[] runs = [.. result.GetRequiredValue(Runs).Select(folder => RunReport.Load(folder, cache))];
        string path = result.GetValue(Out) ?? (runs is [RunReport only] ? only.Folder.ReportFile : "runs.html");
        if (Directory.Exists(path))
        {
            throw new InputException($"{path}: is a folder; give --out the name of a file");
        }

        try
        {
            HtmlReport.Write(path, runs);
        }
        catch (Exception e) when (e is DirectoryNotFoundException or UnauthorizedAccessException)
        {
            throw new InputException($"{path}: cannot be written: {e.Message}; choose another --out", e);
        }

        Console.Out.WriteLine(result.GetValue(Json)
            ? JsonSerializer.Serialize(new ReportResult(path, [.. runs.Select(run => run.Folder.Path)], runs.Length > 1 ? new RunsTable(runs).OverSeeds : null), CliJson.Default.ReportResult)
            : $"{(runs.Length > 1 ? new RunsTable(runs) : "")}report    {path}");
        return ExitCode.Done;
    }
}
