namespace CudnnDigits.Cuda.Fused;

// The parameters of the kernels in native/kernels/family, with the fields of the kernels' own structs. Addresses are nint.

/// <summary>The layer before a convolution; in fill.cuh.</summary>
internal readonly record struct PreviousLayer(nint Y, Affine Affine, float KeepScale, uint Drops);

/// <summary>A layer on the way back; in fill.cuh.</summary>
internal readonly record struct GradientLayer(
    nint Y, nint Du, Affine Affine, uint Pools, uint PairWidthFactor, uint PairsFactor);

internal readonly record struct TileForward(
    TileShape Shape, PreviousLayer Before, nint W, nint Y, nint Pooled, nint Gamma, ChannelNorm Norm);

internal readonly record struct TileBackwardData(
    TileShape Shape, GradientLayer Layer, nint Turned, nint Below, Affine AffineBelow, float KeepScale, nint DuBelow,
    ChannelNorm NormBelow);

internal readonly record struct TileBackwardWeights(TileShape Shape, GradientLayer Layer, PreviousLayer Before, nint Partial);

internal readonly record struct FirstForward(TileShape Shape, nint X, nint W, nint Y, ChannelNorm Norm);

internal readonly record struct FirstBackwardWeights(TileShape Shape, GradientLayer Layer, nint X, nint Partial);
