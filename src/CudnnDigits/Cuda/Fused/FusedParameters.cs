using CudnnDigits.Cuda.Common;

namespace CudnnDigits.Cuda.Fused;

// The parameters of each fused kernel: the structs of native/kernels/fused/parameters.cuh, with the same fields in the same order.
// Addresses are nint.

/// <summary>What the last block of a kernel needs for one layer's batch norm; BatchNorm in native/kernels/fused/batch_norm.cuh.</summary>
internal struct FusedBatchNorm
{
    public nint Partial, Arrived, Coefficients, Gamma, Beta, RunningMean, RunningVariance, DGamma, DBeta;
    public double Values;
}

/// <summary>Parameters of conv2_forward.</summary>
internal struct Conv2Forward
{
    public nint X, W1, Coefficients1, W2, Y2;
    public FusedBatchNorm Norm2;
    public int Samples;
}

/// <summary>Parameters of conv3_forward.</summary>
internal struct Conv3Forward
{
    public nint State, Y2, Coefficients2, W3, Pooled2, Y3;
    public FusedBatchNorm Norm3;
    public int Samples;
    public uint Threshold;
    public float KeepScale;
    public ulong Seed;
    public uint Layer;
}

/// <summary>Parameters of conv4_forward.</summary>
internal struct Conv4Forward
{
    public nint Y3, Coefficients3, W4, Y4;
    public FusedBatchNorm Norm4;
    public int Samples;
}

/// <summary>Parameters of pool4_forward.</summary>
internal struct Pool4Forward
{
    public nint State, Y4, Coefficients4, Pooled4, Z4;
    public int Samples;
    public uint Threshold;
    public float KeepScale;
    public ulong Seed;
    public uint Layer;
}

/// <summary>Parameters of conv4_backward_data.</summary>
internal struct Conv4BackwardData
{
    public nint Y4, Du4, Coefficients4, Turned4, Y3, Du3;
    public FusedBatchNorm Norm3;
    public int Samples;
}

/// <summary>Parameters of conv3_backward_data.</summary>
internal struct Conv3BackwardData
{
    public nint Y3, Du3, Coefficients3, Turned3, Pooled2;
    public float KeepScale;
    public nint Du2;
    public FusedBatchNorm Norm2;
    public int Samples;
}

/// <summary>Parameters of conv2_backward_data.</summary>
internal struct Conv2BackwardData
{
    public nint Y2, Du2, Coefficients2, Turned2, X, W1;
    public FusedBatchNorm Norm1;
    public nint Moments, DW1;
    public int Samples;
}

/// <summary>Parameters of conv4_backward_weights.</summary>
internal struct Conv4BackwardWeights
{
    public nint Y4, Du4, Coefficients4, Y3, Coefficients3, Partial;
    public int Samples;
}

/// <summary>Parameters of conv3_backward_weights.</summary>
internal struct Conv3BackwardWeights
{
    public nint Y3, Du3, Coefficients3, Pooled2, Coefficients2;
    public float KeepScale;
    public nint Partial;
    public int Samples;
}

/// <summary>Parameters of conv2_backward_weights.</summary>
internal struct Conv2BackwardWeights
{
    public nint Y2, Du2, Coefficients2, X, W1, Coefficients1, Partial;
    public int Samples;
}

/// <summary>Parameters of predict_features.</summary>
internal struct PredictFeatures
{
    public nint X, W1, Coefficients1, W2, Coefficients2, W3, Coefficients3, W4, Coefficients4, Z4;
    public int Samples, AtOnce;
}

/// <summary>Parameters of batch_norm_running.</summary>
internal struct BatchNormRunning
{
    public FusedBatchNorm Norm;
    public int Channels;
}

/// <summary>Parameters of hidden_forward_32x64 and hidden_forward_64x128.</summary>
internal struct HiddenForward
{
    public nint Z4, W, Y;
    public int Samples, Parts;
}

/// <summary>Parameters of hidden_backward_data.</summary>
internal struct HiddenBackwardData
{
    public nint Dy, W, Pooled4;
    public float KeepScale;
    public nint Du4;
    public FusedBatchNorm Norm4;
    public int Samples;
}

/// <summary>Parameters of hidden_backward_weights.</summary>
internal struct HiddenBackwardWeights
{
    public nint Dy, Z4, Dw;
    public int Samples;
}

/// <summary>Parameters of gather_window_moments.</summary>
internal struct GatherWindowMoments
{
    public nint State, X;
    public Gathering Gathering;
    public nint W1;
    public FusedBatchNorm Norm1;
    public nint Moments;
    public int Samples;
}
