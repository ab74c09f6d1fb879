using CudnnDigits;
using CudnnDigits.Cli;
using CudnnDigits.Cli.Datasets;
using CudnnDigits.Cli.Datasets.Parquet;
using CudnnDigits.Cli.Terminal;
using CudnnDigits.Cuda;

StandardStreams.Prepare();
DataSource.Containers = [.. DataSource.Containers, new ParquetContainer(), new PictureContainer()];
ParserConfiguration configuration = new() { ResponseFileTokenReplacer = null }; // "@data.csv" is the name of a file
ParseResult parsed = CommandLine.Create().Parse(args, configuration);
if (CommandLine.Refusal(parsed) is { } refusal)
{
    return Fail(ExitCode.BadInput, refusal);
}

try
{
    using Interruption interruption = new(atOnce: true);
    return parsed.Invoke(new InvocationConfiguration { EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null });
}
catch (OperationCanceledException)
{
    return ExitCode.Interrupted;
}
catch (Exception e) when (e is InputException or CudaUnavailableException) // the latter when it is too late for another device
{
    return Fail(ExitCode.BadInput, e.Message);
}
catch (Exception e)
{
    return Fail(ExitCode.RunFailed, e switch
    {
        RunFailedException => e.Message,
        CudaException => $"the GPU failed: {e.Message}; see what nvidia-smi says, then try again, or use --device cpu",
        IOException or UnauthorizedAccessException => $"a file could not be written: {e.Message}; make room or choose another place",
        OutOfMemoryException => "out of memory; choose a smaller --batch-size or less data",
        _ => $"an error in the program: {e.GetType().Name}: {e.Message}; please report it with the command you ran",
    });
}

static int Fail(int code, string message)
{
    string line = message.ReplaceLineEndings(" ").Replace(".; ", "; ", StringComparison.Ordinal); // what the system says ends with a stop
    Console.Error.WriteLine(Screen.Fit($"{ThisProgram.Name}: error: {line}", Screen.ErrorWidth));
    return code;
}
