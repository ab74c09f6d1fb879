using System.CommandLine;
using CudnnDigits.Cli.Report;
using CudnnDigits.Cli.Studies;
using CudnnDigits.Data;
using CudnnDigits.Runs;

namespace CudnnDigits.Cli;

/// <summary><c>report</c>: one or more runs, or a study, as a web page.</summary>
internal static class ReportCommand
{
    private static readonly Argument<string[]> Runs = new("DIR")
    {
        Description = "Folders of runs; several are shown side by side. Or the folder of a study: compare, crossval, repeat, tune.",
        Arity = ArgumentArity.OneOrMore,
    };

    private static readonly Option<string?> Out = new("--out")
    {
        Description = "The page; - is standard output. Default: report.html in the run's folder; for several runs, runs.html here.",
        HelpName = "FILE",
    };

    private static readonly Option<bool> Json = CommonOptions.Json();

    public static Command Create()
    {
        Command command =
            new("report", "Show runs as one page: curves, confusion matrix, misread digits, calibration.") { Runs, Out, Json };
        command.SetAction(Run);
        return command;
    }

    private static int Run(ParseResult result)
    {
        string[] folders = result.GetRequiredValue(Runs);
        return folders is [string only] && Study.IsIn(only) ? OfStudy(result, only) : OfRuns(result, folders);
    }

    /// <summary>Writes a study's page again.</summary>
    private static int OfStudy(ParseResult result, string folder)
    {
        using Study study = Study.Read(folder);
        IEnumerable<string> files = Directory.GetFiles(folder, "*", SearchOption.AllDirectories).Where(file => file != study.PageFile);
        OutputFile output = new(
            Out.Name, result.GetValue(Out) ?? study.PageFile, result.GetValue(Json),
            [.. files, .. DataSource.FilesOf(study.Record.Data.Path)]);
        string page = study.Record.Command switch
        {
            "compare" => CompareCommand.Page(study),
            "crossval" => CrossvalCommand.Page(study),
            "repeat" => RepeatCommand.Page(study),
            _ => TuneCommand.Page(study),
        };
        output.WriteText(writer => writer.Write(page));
        output.Tell(result.GetValue(Json)
            ? JsonSerializer.Serialize(new ReportResult($"{output}", [folder], null, null), CliJson.Default.ReportResult)
            : $"report    {output}");
        return ExitCode.Done;
    }

    private static int OfRuns(ParseResult result, string[] folders)
    {
        if (folders.FirstOrDefault(Study.IsIn) is { } study)
        {
            throw new InputException($"{study}: holds a study, which has a page of its own; give it alone, or the folders of its runs");
        }

        string path = result.GetValue(Out) ?? (folders is [string only] ? new RunFolder(only).ReportFile : "runs.html");
        Dictionary<string, DigitDataset> cache = [];
        RunReport[] runs = [.. folders.Select(folder => RunReport.Load(folder, cache))];
        OutputFile output = new(Out.Name, path, result.GetValue(Json), runs.SelectMany(InputsOf));
        foreach (RunReport run in runs.Where(run => run.WhyNoPictures is not null))
        {
            Console.Error.WriteLine($"note      {run.Folder.Path}: no pictures of digits and no calibration: {run.WhyNoPictures}");
        }

        output.WriteText(writer => writer.Write(HtmlReport.Page(runs)));
        RunsTable? table = runs.Length > 1 ? new RunsTable(runs) : null;
        ReportResult report = new(path, [.. runs.Select(run => run.Folder.Path)], table?.OverSeeds, RunFacts.WhyNotComparable(runs));
        output.Tell(result.GetValue(Json) ? JsonSerializer.Serialize(report, CliJson.Default.ReportResult) : $"{table}report    {output}");
        return ExitCode.Done;
    }

    /// <summary>Files that the page must not replace: the data, and all files of a run except its page.</summary>
    private static IEnumerable<string> InputsOf(RunReport run)
    {
        string page = Path.GetFileName(run.Folder.ReportFile);
        IEnumerable<string> files = Directory.GetFiles(run.Folder.Path).Where(file => Path.GetFileName(file) != page);
        return files.Concat(DataSource.FilesOf(run.Record.Data.Path));
    }
}
