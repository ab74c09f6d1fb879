using System.Text.Json.Serialization;

namespace CudnnDigits.Training;

/// <summary>The part of a training state that is not tensors.</summary>
internal sealed record StateHeader(
    long Step, int Epoch, int StepInEpoch, double LossSum, long Correct, long Samples, double SecondsInEpoch, List<EpochRecord> History)
{
    /// <summary>
    /// Whether there can be such a state, whatever the run; see <see cref="TrainingState.CheckFits"/> for what a run asks for.
    /// </summary>
    public bool IsPossible => Epoch == History.Count && History.Index().All(row => row.Item is not null && EpochRecord.IsPossible(row.Item, row.Index + 1, History[0]))
        && StepInEpoch >= 0 && Step >= StepInEpoch && Correct >= 0 && Samples >= Correct && Samples > 0 == StepInEpoch > 0
        && double.IsFinite(LossSum) && double.IsFinite(SecondsInEpoch) && SecondsInEpoch >= 0;
}

/// <summary>JSON in the field's snake_case, without reflection.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, WriteIndented = true, UseStringEnumConverter = true, RespectNullableAnnotations = true)]
[JsonSerializable(typeof(StateHeader))]
[JsonSerializable(typeof(Metrics))]
[JsonSerializable(typeof(RunRecord))]
internal sealed partial class TrainingJson : JsonSerializerContext;
