using CudnnDigits.Data;

namespace CudnnDigits.Cuda;

/// <summary>The step's samples to the network's input, pixel/255, by our own kernels.</summary>
/// <param name="session">The device.</param>
/// <param name="n">Samples.</param>
internal sealed unsafe class GatherAugment(CudaSession session, int n)
{
    private const int Threads = 128;

    private readonly string _augment = "gather_augment" + session.KernelSuffix, _images = "gather_images" + session.KernelSuffix;

    /// <summary>Samples of a resident dataset, augmented on the way.</summary>
    /// <param name="state">Says which samples these are.</param>
    /// <param name="x">(N, 28, 28, 1), overwritten.</param>
    /// <param name="augmentation">Ranges; none leaves the pixels as they are.</param>
    /// <param name="seed">The run's seed.</param>
    public void Forward(DeviceTensor state, DeviceTensor x, AugmentationSpec augmentation, ulong seed)
    {
        nint stateAt = state.Address, xAt = X(x);
        float rotate = augmentation.RotateDegrees * (MathF.PI / 180), shift = augmentation.ShiftFraction * DigitDataset.Side, zoom = augmentation.ZoomFraction;
        void** parameters = stackalloc void*[] { &stateAt, &xAt, &seed, &rotate, &shift, &zoom };
        session.Launch(_augment, (n, 1), (Threads, 1), parameters);
    }

    /// <summary>Images of a caller, as <see cref="StepState"/> describes them.</summary>
    /// <param name="state">Says where they are.</param>
    /// <param name="x">(N, 28, 28, 1), overwritten.</param>
    public void Forward(DeviceTensor state, DeviceTensor x)
    {
        nint stateAt = state.Address, xAt = X(x);
        void** parameters = stackalloc void*[] { &stateAt, &xAt };
        session.Launch(_images, (n, 1), (Threads, 1), parameters);
    }

    private nint X(DeviceTensor tensor) => tensor.Holding((long)n * DigitDataset.PixelCount, session.ActivationType);
}
