using CudnnDigits.Data;

namespace CudnnDigits.Cuda;

/// <summary>The beginning of a step: its samples to the network's input, pixel/255, by our own kernels, and its state moves on.</summary>
/// <param name="session">The device.</param>
/// <param name="n">Samples.</param>
internal sealed unsafe class GatherAugment(CudaSession session, int n)
{
    private const int Threads = 128;

    private readonly string _augment = "gather_augment" + session.KernelSuffix, _images = "gather_images" + session.KernelSuffix;

    /// <summary>The next samples of a resident dataset, augmented on the way; Adam's next step begins.</summary>
    /// <param name="state">Says which samples are next.</param>
    /// <param name="x">(N, 28, 28, 1), overwritten.</param>
    /// <param name="augmentation">Ranges; none leaves the pixels as they are.</param>
    /// <param name="seed">The run's seed.</param>
    /// <param name="weightDecay">AdamW's.</param>
    public void Training(DeviceTensor state, DeviceTensor x, AugmentationSpec augmentation, ulong seed, double weightDecay) => Begin(state, x, new Gathering
    {
        Trains = 1,
        RotateRadians = augmentation.RotateDegrees * (MathF.PI / 180),
        ShiftPixels = augmentation.ShiftFraction * DigitDataset.Side,
        Zoom = augmentation.ZoomFraction,
        WeightDecay = weightDecay,
        Seed = seed,
    });

    /// <summary>The next samples of a resident dataset, as they are.</summary>
    /// <param name="state">Says which samples are next.</param>
    /// <param name="x">(N, 28, 28, 1), overwritten.</param>
    public void Prediction(DeviceTensor state, DeviceTensor x) => Begin(state, x, default);

    /// <summary>Images of a caller, as <see cref="StepState"/> describes them.</summary>
    /// <param name="state">Says where they are.</param>
    /// <param name="x">(N, 28, 28, 1), overwritten.</param>
    public void Images(DeviceTensor state, DeviceTensor x)
    {
        nint stateAt = state.Address, xAt = X(x);
        void** parameters = stackalloc void*[] { &stateAt, &xAt };
        session.Launch(_images, (n, 1), (Threads, 1), parameters);
    }

    private void Begin(DeviceTensor state, DeviceTensor x, Gathering gathering)
    {
        nint stateAt = state.Address, xAt = X(x);
        void** parameters = stackalloc void*[] { &stateAt, &xAt, &gathering };
        session.Launch(_augment, (n, 1), (Threads, 1), parameters);
    }

    private nint X(DeviceTensor tensor) => tensor.Holding((long)n * DigitDataset.PixelCount, session.ActivationType);

    /// <summary>As gather_augment.cu has it.</summary>
    private struct Gathering
    {
        public uint Trains;
        public float RotateRadians, ShiftPixels, Zoom;
        public double WeightDecay;
        public ulong Seed;
    }
}
