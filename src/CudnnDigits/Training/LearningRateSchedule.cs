namespace CudnnDigits.Training;

/// <summary>How the learning rate moves during a run.</summary>
public enum LearningRateSchedule
{
    /// <summary>The same rate at every step.</summary>
    Constant,

    /// <summary>Halved after two epochs without better validation, down to 1e-5.</summary>
    Plateau,

    /// <summary>One cycle: a cosine from peak/25 up to the peak, then a cosine down to peak/250,000, changed at every step.</summary>
    OneCycle,
}
