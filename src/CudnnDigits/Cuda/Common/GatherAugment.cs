using CudnnDigits.Cuda.Device;
using CudnnDigits.Data;

namespace CudnnDigits.Cuda.Common;

/// <summary>The beginning of a step of n samples: they become the network's input, (N, 28, 28, 1), pixel/255; its state moves on.</summary>
internal sealed class GatherAugment(CudaSession session, int n)
{
    /// <summary>The next samples of a resident dataset, augmented on the way.</summary>
    public void Training(DeviceTensor state, DeviceTensor x, in Gathering gathering) =>
        session.Launch("gather_augment", n, new GatherSamples(state.Address, X(x), gathering));

    /// <summary>The next samples of a resident dataset, as they are.</summary>
    public void Prediction(DeviceTensor state, DeviceTensor x) => Training(state, x, default);

    /// <summary>Images of a caller, as <see cref="StepState"/> describes them.</summary>
    public void Images(DeviceTensor state, DeviceTensor x) => session.Launch("gather_images", n, new GatherImages(state.Address, X(x)));

    private nint X(DeviceTensor tensor) => tensor.Holding((long)n * DigitDataset.PixelCount, session.ActivationType);
}

/// <summary>How a step gathers its samples; Gathering in native/kernels/common/gather_augment.cuh has the same fields.</summary>
internal readonly record struct Gathering(uint Trains, float RotateRadians, float ShiftPixels, float Zoom, float Elastic, ulong Seed)
{
    public static Gathering ForTraining(AugmentationSpec spec, ulong seed) => new(
        1, (float)spec.Rotate * (MathF.PI / 180), (float)spec.Shift * DigitDataset.Side, (float)spec.Zoom, (float)spec.Elastic, seed);
}

/// <summary>Parameters of native/kernels/common/gather.cu.</summary>
internal readonly record struct GatherSamples(nint State, nint X, Gathering Gathering);

/// <summary>Parameters of gather_images in native/kernels/common/gather.cu.</summary>
internal readonly record struct GatherImages(nint State, nint X);
