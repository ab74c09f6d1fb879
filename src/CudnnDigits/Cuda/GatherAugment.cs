using CudnnDigits.Data;

namespace CudnnDigits.Cuda;

/// <summary>uint8 pixels of the step's samples to the network's input, pixel/255, augmented on the way, by our own kernel.</summary>
/// <param name="session">The device.</param>
/// <param name="n">Samples.</param>
internal sealed unsafe class GatherAugment(CudaSession session, int n)
{
    private const int Threads = 128;

    /// <param name="state">Says which samples these are.</param>
    /// <param name="x">(N, 28, 28, 1), overwritten.</param>
    /// <param name="augmentation">Ranges; none leaves the pixels as they are.</param>
    /// <param name="seed">The run's seed.</param>
    public void Forward(DeviceTensor state, DeviceTensor x, AugmentationSpec augmentation, ulong seed)
    {
        nint stateAt = state.Address, xAt = x.Holding((long)n * DigitDataset.PixelCount, session.ActivationType);
        float rotate = augmentation.RotateDegrees * (MathF.PI / 180), shift = augmentation.ShiftFraction * DigitDataset.Side, zoom = augmentation.ZoomFraction;
        void** parameters = stackalloc void*[] { &stateAt, &xAt, &seed, &rotate, &shift, &zoom };
        session.Kernels.Launch(session.Stream, "gather_augment" + session.KernelSuffix, (n, 1), (Threads, 1), parameters);
    }
}
