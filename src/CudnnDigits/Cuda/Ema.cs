using CudnnDigits.Cuda.Device;
using CudnnDigits.Training;

namespace CudnnDigits.Cuda;

/// <summary>The step of <see cref="TrainingOptions.Ema"/> by our own kernel.</summary>
internal sealed class Ema(CudaSession session, double decay)
{
    /// <summary>Updates an average of the weights after the step of the optimizer.</summary>
    public void Update(DeviceTensor state, DeviceTensor weights, DeviceTensor average) =>
        session.Launch("average_weights", KernelSource.Common.Blocks("average_weights", weights.Count), new WeightAverage(
            state.Address, weights.Address, average.Address, (int)weights.Count, (float)(1 - decay)));
}

/// <summary>Parameters of average_weights in native/kernels/common/ema.cu.</summary>
internal readonly record struct WeightAverage(nint State, nint W, nint Average, int Count, float LeastShare);
