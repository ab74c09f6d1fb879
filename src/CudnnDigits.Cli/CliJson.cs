using System.Text.Json.Serialization;
using CudnnDigits.Cli.Datasets;
using CudnnDigits.Cli.Studies;
using CudnnDigits.Cli.Terminal;
using CudnnDigits.Cuda;

namespace CudnnDigits.Cli;

/// <summary>Result of <c>train --json</c>: epochs of the whole run, and of this command; figures of the kept weights.</summary>
internal sealed record TrainResult(
    string Model, string Device, int Epochs, int TrainedEpochs, int KeptEpoch, double Accuracy, double Loss, int Samples,
    string EvaluatedOn, string Run, string Weights, IReadOnlyDictionary<string, double> StartUpSeconds);

internal sealed record PredictResult(string Submission, int Digits, int[] Counts);

internal sealed record ExportResult(string Onnx, string Model, long Bytes);

/// <summary>Result of <c>bench --json</c>. Device memory, kernels and the algorithms of the convolutions are null on the CPU.</summary>
internal sealed record BenchResult(
    string Model, string Device, int Threads, int BatchSize, double TrainImagesPerSecond, double InferImagesPerSecond, int Steps,
    int Repetitions, Precision Precision, string Augmentation, string Data, long? DeviceMemoryBytes,
    IReadOnlyDictionary<string, string>? Algorithms, string? Kernels);

/// <summary>Result of <c>report --json</c>: accuracy of one training from several seeds; why runs cannot be compared.</summary>
internal sealed record ReportResult(string Report, string[] Runs, Spread? Validation, string? Warning);

internal sealed record ServeResult(string Url, string Model);

internal sealed record NetworkInfo(string Name, int Parameters);

internal sealed record InfoResult(
    string Version, string Runtime, string System, string Architecture, int Processors, string CpuInstructionSet, CudaInfo Cuda,
    NetworkInfo[] Networks);

/// <summary>JSON in snake_case, without reflection.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, WriteIndented = true)]
[JsonSerializable(typeof(TrainResult))]
[JsonSerializable(typeof(PredictResult))]
[JsonSerializable(typeof(BenchResult))]
[JsonSerializable(typeof(ExportResult))]
[JsonSerializable(typeof(ServeResult))]
[JsonSerializable(typeof(ReportResult))]
[JsonSerializable(typeof(DataShowResult))]
[JsonSerializable(typeof(DataGenerateResult))]
[JsonSerializable(typeof(DataDownloadResult))]
[JsonSerializable(typeof(LayerResult))]
[JsonSerializable(typeof(InfoResult))]
[JsonSerializable(typeof(Metrics))]
[JsonSerializable(typeof(CompareResult))]
[JsonSerializable(typeof(CrossvalResult))]
[JsonSerializable(typeof(FoldResult))]
[JsonSerializable(typeof(RepeatResult))]
[JsonSerializable(typeof(TuneResult))]
internal sealed partial class CliJson : JsonSerializerContext
{
    public static string Format<T>(bool isJson, T result, string text) =>
        isJson ? JsonSerializer.Serialize(result, typeof(T), Default) : text;

    /// <summary>Prints a result: with --json as JSON, which must arrive, else as a text.</summary>
    public static void Print<T>(ParseResult parsed, T result, string text, bool mustArrive = false)
    {
        bool isJson = parsed.GetValue(CommonOptions.Json);
        StandardStreams.Tell(isJson || mustArrive, Format(isJson, result, Screen.Fit(text, Screen.OutputWidth)));
    }
}
