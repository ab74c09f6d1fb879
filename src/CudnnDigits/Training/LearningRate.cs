namespace CudnnDigits.Training;

/// <summary>The learning rate of every step of a run. Plateau begins with the rate; one-cycle has it as its peak.</summary>
internal sealed class LearningRate(LearningRateSchedule schedule, double rate, long totalSteps)
{
    /// <summary>The lowest rate that <see cref="LearningRateSchedule.Plateau"/> goes down to.</summary>
    public const double PlateauFloor = 1e-5;

    /// <summary>Epochs without better validation after which <see cref="LearningRateSchedule.Plateau"/> halves.</summary>
    public const int PlateauPatience = 2;

    // PyTorch's OneCycleLR defaults, which are fastai's (Smith, "Super-convergence", 2017).
    private const double WarmUpShare = 0.3, StartDivisor = 25, EndDivisor = 1e4;

    /// <summary>The rate of a step of the run, from 0, where the plateau rule has halved so often (see <see cref="Halvings"/>).</summary>
    public float At(long step, int halvings) => (float)(schedule switch
    {
        LearningRateSchedule.Constant => rate,
        LearningRateSchedule.Plateau => Math.Max(rate / Math.Pow(2, halvings), Math.Min(rate, PlateauFloor)),
        LearningRateSchedule.OneCycle => OneCycleAt(step),
        _ => throw new NotSupportedException($"{schedule}"),
    });

    /// <summary>How often the plateau rule has halved, given for each epoch whether its validation was the best so far.</summary>
    public static int Halvings(IEnumerable<bool> isBetter)
    {
        int halvings = 0, waited = 0;
        foreach (bool better in isBetter)
        {
            waited = better ? 0 : waited + 1;
            halvings += waited / PlateauPatience;
            waited %= PlateauPatience;
        }

        return halvings;
    }

    private double OneCycleAt(long step)
    {
        double start = rate / StartDivisor, end = start / EndDivisor;
        double top = Math.Max(WarmUpShare * totalSteps - 1, 1);
        double last = Math.Max(totalSteps - 1, top + 1);
        return step <= top ? Cosine(start, rate, step / top) : Cosine(rate, end, Math.Min((step - top) / (last - top), 1));
    }

    private static double Cosine(double from, double to, double share) => to + (from - to) / 2 * (1 + Math.Cos(Math.PI * share));
}
