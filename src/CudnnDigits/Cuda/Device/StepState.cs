namespace CudnnDigits.Cuda.Device;

/// <summary>
/// What a captured step reads and advances, in device memory. native/kernels/common/step_state.cuh has the same fields in the same
/// order and says what each is.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal struct StepState
{
    public long Pixels;
    public long Labels;
    public long Order;
    public long LearningRates;
    public long Predictions;
    public long Stride;
    public long AdamStep;
    public double Loss;
    public long Correct;
    public long Samples;
    public uint Rows;
    public uint Step;
    public uint Next;
    public uint First;
    public uint Epoch;
    public float StepSize;
    public float RootScale;
    public uint FloatPixels;
    public float WeightScale;
    public uint Arrived;
    public float LabelSmoothing;
}
