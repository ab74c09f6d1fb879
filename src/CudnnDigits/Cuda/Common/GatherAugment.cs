using CudnnDigits.Cuda.Device;
using CudnnDigits.Data;

namespace CudnnDigits.Cuda.Common;

/// <summary>The beginning of a step: its samples to the network's input, pixel/255, by our own kernels, and its state moves on.</summary>
/// <param name="session">The device.</param>
/// <param name="n">Samples.</param>
internal sealed class GatherAugment(CudaSession session, int n)
{
    private readonly string _augment = "gather_augment" + session.KernelSuffix, _images = "gather_images" + session.KernelSuffix;

    /// <summary>The next samples of a resident dataset, augmented on the way.</summary>
    /// <param name="state">Says which samples are next.</param>
    /// <param name="x">(N, 28, 28, 1), overwritten.</param>
    /// <param name="gathering">How samples are augmented.</param>
    public void Training(DeviceTensor state, DeviceTensor x, in Gathering gathering) => Begin(state, x, gathering);

    /// <summary>The next samples of a resident dataset, as they are.</summary>
    /// <param name="state">Says which samples are next.</param>
    /// <param name="x">(N, 28, 28, 1), overwritten.</param>
    public void Prediction(DeviceTensor state, DeviceTensor x) => Begin(state, x, default);

    /// <summary>Images of a caller, as <see cref="StepState"/> describes them.</summary>
    /// <param name="state">Says where they are.</param>
    /// <param name="x">(N, 28, 28, 1), overwritten.</param>
    public void Images(DeviceTensor state, DeviceTensor x)
    {
        session.Launch(_images, n, new GatherImages { State = state.Address, X = X(x) });
    }

    private void Begin(DeviceTensor state, DeviceTensor x, Gathering gathering) =>
        session.Launch(_augment, n, new GatherSamples { State = state.Address, X = X(x), Gathering = gathering });

    private nint X(DeviceTensor tensor) => tensor.Holding((long)n * DigitDataset.PixelCount, session.ActivationType);
}

/// <summary>How a step gathers its samples; Gathering in native/kernels/common/gather_augment.cuh has the same fields.</summary>
internal struct Gathering
{
    public uint Trains;
    public float RotateRadians, ShiftPixels, Zoom, Elastic;
    public ulong Seed;

    /// <summary>For training.</summary>
    public static Gathering ForTraining(AugmentationSpec augmentation, ulong seed) => new()
    {
        Trains = 1,
        RotateRadians = (float)augmentation.Rotate * (MathF.PI / 180),
        ShiftPixels = (float)augmentation.Shift * DigitDataset.Side,
        Zoom = (float)augmentation.Zoom,
        Elastic = (float)augmentation.Elastic,
        Seed = seed,
    };
}

/// <summary>Parameters of native/kernels/common/gather_augment.cu.</summary>
internal struct GatherSamples
{
    public nint State, X;
    public Gathering Gathering;
}

/// <summary>Parameters of gather_images in native/kernels/common/gather_images.cu.</summary>
internal struct GatherImages
{
    public nint State, X;
}
