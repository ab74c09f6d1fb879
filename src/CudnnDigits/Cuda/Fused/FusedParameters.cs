using CudnnDigits.Cuda.Common;

namespace CudnnDigits.Cuda.Fused;

// The parameters of each fused kernel, with the fields of the kernel's own struct in native/kernels/fused. Addresses are nint.

/// <summary>One layer's batch norm at the end of the kernel that makes its values; BatchNorm in batch_norm.cuh.</summary>
internal readonly record struct FusedBatchNorm(
    nint Partial, nint Arrived, nint Coefficients, nint Gamma, nint Beta, nint RunningMean, nint RunningVariance, nint DGamma, nint DBeta,
    double Values);

internal readonly record struct Conv2Forward(nint X, nint W1, nint Coefficients1, nint W2, nint Y2, FusedBatchNorm Norm2, int Samples);

internal readonly record struct Conv3Forward(
    nint State, nint Y2, nint Coefficients2, nint W3, nint Pooled2, nint Y3, FusedBatchNorm Norm3, Dropout Dropout, int Samples);

internal readonly record struct Conv4Forward(nint Y3, nint Coefficients3, nint W4, nint Y4, FusedBatchNorm Norm4, int Samples);

internal readonly record struct Pool4Forward(
    nint State, nint Y4, nint Coefficients4, nint Pooled4, nint Z4, Dropout Dropout, int Samples);

internal readonly record struct ConvBackwardData(
    nint Y, nint Du, nint Coefficients, nint Turned, nint Below, nint DuBelow, FusedBatchNorm NormBelow, float KeepScale, int Samples);

internal readonly record struct Conv2BackwardData(
    nint Y2, nint Du2, nint Coefficients2, nint Turned2, nint X, nint W1, FusedBatchNorm Norm1, nint Moments, nint DW1, int Samples);

internal readonly record struct ConvBackwardWeights(
    nint Y, nint Du, nint Coefficients, nint Below, nint CoefficientsBelow, nint Partial, float KeepScale, int Samples);

internal readonly record struct Conv2BackwardWeights(
    nint Y2, nint Du2, nint Coefficients2, nint X, nint W1, nint Coefficients1, nint Partial, int Samples);

internal readonly record struct PredictFeatures(
    nint X, nint W1, nint Coefficients1, nint W2, nint Coefficients2, nint W3, nint Coefficients3, nint W4, nint Coefficients4, nint Z4,
    int Samples, int AtOnce);

internal readonly record struct BatchNormRunning(FusedBatchNorm Norm, int Channels);

internal readonly record struct HiddenForward(nint Z4, nint W, nint Y, int Samples, int Parts);

internal readonly record struct HiddenBackwardData(
    nint Dy, nint W, nint Pooled4, nint Du4, FusedBatchNorm Norm4, float KeepScale, int Samples);

internal readonly record struct HiddenBackwardWeights(nint Dy, nint Z4, nint Dw, int Samples);

internal readonly record struct GatherWindowMoments(
    nint State, nint X, Gathering Gathering, nint W1, FusedBatchNorm Norm1, nint Moments, int Samples);
