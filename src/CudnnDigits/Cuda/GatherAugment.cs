using CudnnDigits.Data;

namespace CudnnDigits.Cuda;

/// <summary>The beginning of a step: its samples to the network's input, pixel/255, by our own kernels, and its state moves on.</summary>
/// <param name="session">The device.</param>
/// <param name="n">Samples.</param>
/// <param name="fused">Where convolutions are fused: a training step then begins with the first layer's statistics, too.</param>
internal sealed unsafe class GatherAugment(CudaSession session, int n, FusedTensors? fused)
{
    private const int Threads = 128;

    private readonly string _augment = "gather_augment" + session.KernelSuffix, _images = "gather_images" + session.KernelSuffix;

    /// <summary>The next samples of a resident dataset, augmented on the way.</summary>
    /// <param name="state">Says which samples are next.</param>
    /// <param name="x">(N, 28, 28, 1), overwritten.</param>
    /// <param name="augmentation">Ranges; none leaves the pixels as they are.</param>
    /// <param name="seed">The run's seed.</param>
    public void Training(DeviceTensor state, DeviceTensor x, AugmentationSpec augmentation, ulong seed)
    {
        Gathering gathering = new()
        {
            Trains = 1,
            RotateRadians = (float)augmentation.Rotate * (MathF.PI / 180),
            ShiftPixels = (float)augmentation.Shift * DigitDataset.Side,
            Zoom = (float)augmentation.Zoom,
            Elastic = (float)augmentation.Elastic,
            Seed = seed,
        };
        if (fused is null)
        {
            Begin(state, x, gathering);
        }
        else
        {
            BeginWithMoments(fused, state, x, gathering);
        }
    }

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

    private void BeginWithMoments(FusedTensors t, DeviceTensor state, DeviceTensor x, Gathering gathering)
    {
        const int BlocksOfMultiprocessor = 4;
        int blocks = Math.Min(n, BlocksOfMultiprocessor * session.Multiprocessors), samples = n;
        FusedLayer first = t.Layers[0];
        nint stateAt = state.Address, xAt = X(x), w1 = first.W.Holding(9L * first.Plan.Conv.OutChannels, DeviceType.Bf16), moments = t.Moments.Address;
        FusedBatchNorm norm1 = t.BatchNorm(first, n, (long)blocks * FusedTensors.MomentCount);
        void** parameters = stackalloc void*[] { &stateAt, &xAt, &gathering, &w1, &norm1, &moments, &samples };
        session.LaunchFused("gather_window_moments", blocks, parameters);
    }

    private nint X(DeviceTensor tensor) => tensor.Holding((long)n * DigitDataset.PixelCount, session.ActivationType);

    /// <summary>As gather_augment.cuh has it.</summary>
    private struct Gathering
    {
        public uint Trains;
        public float RotateRadians, ShiftPixels, Zoom, Elastic;
        public ulong Seed;
    }
}
