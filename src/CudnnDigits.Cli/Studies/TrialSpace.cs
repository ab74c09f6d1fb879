using CudnnDigits.Numerics;

namespace CudnnDigits.Cli.Studies;

/// <summary>What <c>tune</c> searches: the fields that have a <see cref="TrainingField.Search"/>.</summary>
internal static class TrialSpace
{
    public static readonly TrainingField[] Fields = [.. TrainingField.All.Where(field => field.Search is not null)];

    /// <summary>The options of a trial: always the same ones for the same seed. Trial 0 is the defaults.</summary>
    public static TrainingOptions Draw(TrainingOptions defaults, int trial)
    {
        Philox random = new(defaults.Seed);
        IEnumerable<uint> words = Enumerable.Range(0, (Fields.Length + 3) / 4).SelectMany(block => Words((uint)block));
        return trial == 0 ? defaults : Fields.Zip(words).Where(drawn => drawn.First.Applies(defaults))
            .Aggregate(defaults, (options, drawn) => drawn.First.Parse(options, drawn.First.Search!.Draw(drawn.Second))!);

        uint[] Words(uint block)
        {
            (uint a, uint b, uint c, uint d) = random.Block(block, (uint)trial, 0, RandomPurpose.Tuning);
            return [a, b, c, d];
        }
    }
}

/// <summary>Successive halving: many trials for few epochs, the best third for three times as many, and so on.</summary>
// Every rung has the same share of the budget, and trains from scratch, because a schedule spans its run. Source: Jamieson, Talwalkar
// 2016, "Non-stochastic best arm identification and hyperparameter optimization".
internal sealed record Rung(int Epochs, int Trials)
{
    private const int Factor = 3;

    /// <summary>The rungs, from the shortest trainings to the longest, which has the given epochs.</summary>
    public static IReadOnlyList<Rung> Plan(int epochs, int budget)
    {
        List<int> lengths = [epochs];
        while (lengths[^1] >= Factor)
        {
            lengths.Add((int)Math.Round((double)lengths[^1] / Factor));
        }

        lengths.Reverse();
        return [.. lengths.Select(length => new Rung(length, budget / lengths.Count / length))];
    }

    /// <summary>The least budget whose last rung has the defaults and one more to compare.</summary>
    public static int LeastBudget(int epochs) => 2 * epochs * Plan(epochs, budget: 0).Count;
}
