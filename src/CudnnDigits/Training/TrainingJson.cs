using System.Text.Json.Serialization;

namespace CudnnDigits.Training;

/// <summary>The part of a training state that is not tensors.</summary>
internal sealed record StateHeader(
    long Step, int Epoch, int StepInEpoch, double LossSum, long Correct, long Samples, double SecondsInEpoch, List<EpochRecord> History);

/// <summary>JSON in the field's snake_case, without reflection.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, WriteIndented = true, UseStringEnumConverter = true, RespectNullableAnnotations = true)]
[JsonSerializable(typeof(StateHeader))]
[JsonSerializable(typeof(Metrics))]
[JsonSerializable(typeof(RunRecord))]
internal sealed partial class TrainingJson : JsonSerializerContext;
