namespace CudnnDigits.Cuda.Device;

/// <summary>What a captured step reads and advances; native/kernels/common/step_state.cuh describes its fields.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct StepState
{
    public long Pixels, Labels, Order, LearningRates, Predictions, Stride, AdamStep;
    public double Loss;
    public long Correct, Samples;
    public uint Rows, Step, Next, First, Epoch;
    public float StepSize, RootScale;
    public uint FloatPixels;
    public float WeightScale;
    public uint Arrived;
    public float LabelSmoothing;
}
