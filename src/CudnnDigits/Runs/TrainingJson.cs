using System.Text.Json.Serialization;
using CudnnDigits.Training;

namespace CudnnDigits.Runs;

/// <summary>The part of a training state that is not tensors.</summary>
internal sealed record StateHeader(
    long Step, int Epoch, int StepInEpoch, double LossSum, long Correct, long Samples, double SecondsInEpoch, List<EpochRecord> History)
{
    /// <summary>Whether there can be such a state in any run; <see cref="TrainingState.CheckFits"/> compares it with its own.</summary>
    [JsonIgnore]
    public bool IsPossible => Epoch == History.Count
        && History.Index().All(row => row.Item is not null && EpochRecord.IsPossible(row.Item, row.Index + 1, History[0]))
        && StepInEpoch >= 0 && Step >= StepInEpoch && Correct >= 0 && Samples >= Correct && Samples > 0 == StepInEpoch > 0
        && (Samples > 0 ? EpochRecord.IsLoss(LossSum / Samples) : LossSum == 0) && EpochRecord.IsTime(SecondsInEpoch);
}

/// <summary>What a state says of its run: options, fingerprint of the digits, time of its start; older versions did not say so.</summary>
internal sealed record StateOrigin(TrainingOptions? Options, string? Data, string? Started);

/// <summary>JSON in the field's snake_case, without reflection; what is read has every member, and no other.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, WriteIndented = true, UseStringEnumConverter = true,
    RespectNullableAnnotations = true, RespectRequiredConstructorParameters = true,
    UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow)]
[JsonSerializable(typeof(StateHeader))]
[JsonSerializable(typeof(Metrics))]
[JsonSerializable(typeof(RunRecord))]
internal sealed partial class TrainingJson : JsonSerializerContext;
