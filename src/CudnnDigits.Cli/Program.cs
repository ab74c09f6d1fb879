using System.CommandLine;
using CudnnDigits.Cli;
using CudnnDigits.Cli.Datasets;
using CudnnDigits.Cli.Exchange;
using CudnnDigits.Cli.Serve;
using CudnnDigits.Cli.Studies;
using CudnnDigits.Cuda;
using CudnnDigits.Data;

RootCommand root = new("Trains two CNNs to read digits, and uses them: on an NVIDIA GPU, or on the CPU with all its cores.")
{
    TrainCommand.Create(),
    EvaluateCommand.Create(),
    PredictCommand.Create(),
    ExportCommand.Create(),
    ReportCommand.Create(),
    CompareCommand.Create(),
    CrossvalCommand.Create(),
    RepeatCommand.Create(),
    TuneCommand.Create(),
    ServeCommand.Create(),
    DataCommand.Create(),
    BenchCommand.Create(),
    InfoCommand.Create(),
};
HelpExamples.AddTo(root);

ParseResult parsed = root.Parse(args);
if (parsed.Errors.Count > 0 && !HelpExamples.IsAskedFor(parsed))
{
    string message = parsed.Errors.FirstOrDefault(error => error.Message.StartsWith("--", StringComparison.Ordinal))?.Message // ours
        ?? (parsed.UnmatchedTokens is [string token, ..] ? $"'{token}' is not understood" : parsed.Errors[0].Message.TrimEnd('.'));
    return Fail(ExitCode.BadInput, $"{message} (see {$"cudnn-digits {HelpExamples.PathOf(parsed.CommandResult)}".Trim()} --help)");
}

try
{
    return parsed.Invoke(new InvocationConfiguration { EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null });
}
catch (InputException e)
{
    return Fail(ExitCode.BadInput, e.Message);
}
catch (OperationCanceledException)
{
    return ExitCode.Interrupted;
}
catch (CudaException e)
{
    return Fail(ExitCode.RunFailed, $"the GPU failed: {e.Message}; see what nvidia-smi says, then try again, or use --device cpu");
}
catch (RunFailedException e)
{
    return Fail(ExitCode.RunFailed, e.Message);
}
catch (Exception e) when (e is IOException or UnauthorizedAccessException)
{
    return Fail(ExitCode.RunFailed, $"a file could not be written: {e.Message}; make room or choose another place");
}
catch (OutOfMemoryException)
{
    return Fail(ExitCode.RunFailed, "out of memory; choose a smaller --batch-size or less data");
}
catch (Exception e)
{
    return Fail(ExitCode.RunFailed, $"an error in the program itself: {e.GetType().Name}: {e.Message}; please report it with the command you ran");
}

static int Fail(int code, string message)
{
    Console.Error.WriteLine($"cudnn-digits: error: {message.ReplaceLineEndings(" ")}");
    return code;
}
