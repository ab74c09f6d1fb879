namespace CudnnDigits.Training;

/// <summary>The learning rate of every step of a run.</summary>
/// <param name="schedule">The rule.</param>
/// <param name="rate">Constant: the rate; plateau: the rate at the start; one-cycle: the peak.</param>
/// <param name="totalSteps">Steps in the whole run; only one-cycle looks at it.</param>
internal sealed class LearningRate(LearningRateSchedule schedule, double rate, long totalSteps)
{
    /// <summary>The lowest rate that <see cref="LearningRateSchedule.Plateau"/> goes down to.</summary>
    public const double PlateauFloor = 1e-5;

    /// <summary>Epochs without better validation after which <see cref="LearningRateSchedule.Plateau"/> halves.</summary>
    public const int PlateauPatience = 2;

    // PyTorch's OneCycleLR defaults, which are fastai's (Smith, "Super-convergence", 2017).
    private const double WarmUpShare = 0.3, StartDivisor = 25, EndDivisor = 1e4;

    /// <summary>The rate of one step.</summary>
    /// <param name="step">Step of the run, counted from 0.</param>
    /// <param name="halvings">How often the plateau rule has halved so far (see <see cref="Halvings"/>).</param>
    public float At(long step, int halvings) => (float)(schedule switch
    {
        LearningRateSchedule.Constant => rate,
        LearningRateSchedule.Plateau => Math.Max(rate / Math.Pow(2, halvings), Math.Min(rate, PlateauFloor)),
        _ => OneCycleAt(step),
    });

    /// <summary>How often the plateau rule has halved, given the epochs' validation so far.</summary>
    /// <param name="isBetter">For each epoch, whether its validation was better than every one before.</param>
    public static int Halvings(IEnumerable<bool> isBetter)
    {
        ArgumentNullException.ThrowIfNull(isBetter);
        int halvings = 0, waited = 0;
        foreach (bool better in isBetter)
        {
            waited = better ? 0 : waited + 1;
            if (waited == PlateauPatience)
            {
                halvings++;
                waited = 0;
            }
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
