namespace CudnnDigits.Cuda.Fused;

// What kernels of native/kernels/fused know of a layer's batch norm or bias, with the fields of their structs. Addresses are nint.

/// <summary>A layer's batch norm, or bias, at the end of the kernel that makes its values; ChannelNorm in fused/batch_norm.cuh.</summary>
internal readonly record struct ChannelNorm(
    nint Partial, nint Arrived, nint Coefficients, nint Gamma, nint Beta, nint RunningMean, nint RunningVariance, nint DGamma, nint DBeta,
    double Values, int Channels);

/// <summary>What batch norm or a bias comes to for each channel; Affine in fused/batch_norm.cuh.</summary>
internal readonly record struct Affine(nint Scale, nint Shift, nint FromY, nint Constant);
