using System.Text.Json.Serialization;
using CudnnDigits.Cli.Datasets;
using CudnnDigits.Cli.Studies;
using CudnnDigits.Cuda;
using CudnnDigits.Training;

namespace CudnnDigits.Cli;

/// <summary>Result of <c>train --json</c>.</summary>
/// <param name="Epochs">Finished epochs of the run.</param>
/// <param name="TrainedEpochs">Epochs that this command has trained; 0 if <c>--resume</c> found nothing left to train.</param>
/// <param name="KeptEpoch">The epoch whose weights are kept.</param>
/// <param name="Accuracy">Accuracy of the kept weights, 0 … 1.</param>
/// <param name="Samples">Number of digits that they were evaluated on.</param>
/// <param name="EvaluatedOn">Which digits: "validation" or "training".</param>
/// <param name="StartUpSeconds">Seconds of each phase before the first step.</param>
internal sealed record TrainResult(
    string Model, string Device, int Epochs, int TrainedEpochs, int KeptEpoch, double Accuracy, double Loss, int Samples,
    string EvaluatedOn, string Run, string Weights, IReadOnlyDictionary<string, double> StartUpSeconds);

/// <summary>Result of <c>predict --json</c>.</summary>
internal sealed record PredictResult(string Submission, int Digits, int[] Counts);

/// <summary>Result of <c>export --json</c>.</summary>
internal sealed record ExportResult(string Onnx, string Model, long Bytes);

/// <summary>Result of <c>bench --json</c>. Device memory and the algorithms of the convolutions are null on the CPU.</summary>
internal sealed record BenchResult(
    string Model, string Device, int Threads, int BatchSize, double TrainImagesPerSecond, double InferImagesPerSecond, int Steps,
    int Repetitions, Precision Precision, string Augmentation, string Data, long? DeviceMemoryBytes,
    IReadOnlyDictionary<string, string>? Algorithms);

/// <summary>Result of <c>report --json</c>.</summary>
/// <param name="Validation">Validation accuracy after the last epochs, if the runs are one training with several seeds.</param>
/// <param name="Warning">Why the runs cannot be compared; null if they can.</param>
internal sealed record ReportResult(string Report, string[] Runs, Spread? Validation, string? Warning);

/// <summary>What <c>serve --json</c> prints when the server is ready.</summary>
internal sealed record ServeResult(string Url, string Model);

/// <summary>A network in <c>info --json</c>.</summary>
internal sealed record NetworkInfo(string Name, int Parameters);

/// <summary>Result of <c>info --json</c>.</summary>
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
internal sealed partial class CliJson : JsonSerializerContext;
