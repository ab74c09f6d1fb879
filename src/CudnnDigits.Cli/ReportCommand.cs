using CudnnDigits.Cli.Report;
using CudnnDigits.Cli.Studies;

namespace CudnnDigits.Cli;

internal static class ReportCommand
{
    private static readonly Argument<string[]> Runs = new("DIR")
    {
        Description = "Folders of runs; several are shown side by side. Or the folder of a study: compare, crossval, repeat, tune.",
        Arity = ArgumentArity.OneOrMore,
    };

    private static readonly Option<string?> Out = CommonOptions.Value(
        "--out", "FILE", "The page; - is standard output. Default: report.html in the run's folder; for several runs, runs.html here.");

    public static Command Create() => CommonOptions.NewCommand(
        "report", "Show runs as one page: curves, confusion matrix, misread digits, calibration.", [Runs, Out, CommonOptions.Json],
        result =>
        {
            string[] folders = result.GetRequiredValue(Runs);
            if (folders is [string only] && Study.IsIn(only))
            {
                OfStudy(result, only);
            }
            else
            {
                OfRuns(result, folders);
            }
        });

    private static void OfStudy(ParseResult result, string folder)
    {
        using Study study = Study.Read(folder);
        OutputFile output = Output(result, study.PageFile, SearchOption.AllDirectories, [(folder, study.Record.Data.Path)]);
        string page = study.Record.Command switch
        {
            "compare" => CompareCommand.Page(study),
            "crossval" => CrossvalCommand.Page(study),
            "repeat" => RepeatCommand.Page(study),
            _ => TuneCommand.Page(study),
        };
        output.WriteText(writer => writer.Write(page));
        output.Tell(new ReportResult($"{output}", [folder], null, null), $"report    {output}");
    }

    private static void OfRuns(ParseResult result, string[] folders)
    {
        if (folders.FirstOrDefault(Study.IsIn) is { } study)
        {
            throw new InputException($"{study}: holds a study, which has a page of its own; give it alone, or the folders of its runs");
        }

        Dictionary<string, DigitDataset> cache = [];
        RunReport[] runs = [.. folders.Select(folder => RunReport.Load(folder, cache))];
        string path = runs is [var only] ? only.Folder.ReportFile : "runs.html";
        OutputFile output = Output(
            result, path, SearchOption.TopDirectoryOnly, runs.Select(run => (run.Folder.Path, run.Record.Data.Path)));
        foreach (RunReport run in runs.Where(run => run.WhyNoPictures is not null))
        {
            CommonOptions.Note("note", $"{run.Folder.Path}: no pictures of digits and no calibration: {run.WhyNoPictures}");
        }

        output.WriteText(writer => writer.Write(HtmlReport.Page(runs)));
        RunsTable? table = runs.Length > 1 ? new RunsTable(runs) : null;
        output.Tell(
            new ReportResult(
                result.GetValue(Out) ?? path, [.. runs.Select(run => run.Folder.Path)], table?.OverSeeds, RunFacts.WhyNotComparable(runs)),
            $"{table?.Format(output.Width)}report    {output}");
    }

    /// <summary>The page, which must not replace the digits, nor a file in a folder of runs other than its page.</summary>
    private static OutputFile Output(
        ParseResult result, string path, SearchOption depth, IEnumerable<(string Folder, string? Data)> inputs) => new(
        Out.Name, result.GetValue(Out) ?? path, result.GetValue(CommonOptions.Json), inputs.SelectMany(input => Directory
            .GetFiles(input.Folder, "*", depth).Where(file => file != Path.Combine(input.Folder, Study.PageName))
            .Concat(DataSource.FilesOf(input.Data))));
}
