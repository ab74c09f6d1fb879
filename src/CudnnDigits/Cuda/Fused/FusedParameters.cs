using CudnnDigits.Cuda.Common;

namespace CudnnDigits.Cuda.Fused;

// The parameters of the kernels in native/kernels/fused, with the fields of the kernels' own structs. Addresses are nint.

/// <summary>What of a launch is not the layer's; in tall.cuh.</summary>
internal readonly record struct Batch(int Samples, int Tiles)
{
    /// <summary>Blocks of which each makes one of some groups, tile after tile: so many in all, which run at once.</summary>
    public (int X, int Y) Grid(int blocks, int groups) => (Math.Clamp(blocks / groups, 1, Tiles), groups);
}

/// <summary>The layer before a convolution; in fill.cuh.</summary>
internal readonly record struct PreviousLayer(nint Y, Affine Affine, float KeepScale, uint Drops);

/// <summary>A layer on the way back; in fill.cuh.</summary>
internal readonly record struct GradientLayer(
    nint Y, nint Du, Affine Affine, uint Pools, uint PairsFactor);

internal readonly record struct ConvForward(
    Batch Batch, TileShape Shape, PreviousLayer Before, nint W, nint Y, nint Pooled, nint State, Dropout Dropout, nint Gamma,
    Affine Activation, ChannelNorm Norm, FirstInput First, nint FirstW);

internal readonly record struct ConvBackwardData(
    Batch Batch, TileShape Shape, GradientLayer Layer, nint Turned, nint Below, Affine AffineBelow, float KeepScale, nint DuBelow,
    ChannelNorm NormBelow, FirstGradient First);

internal readonly record struct ConvBackwardWeights(
    Batch Batch, TileShape Shape, GradientLayer Layer, PreviousLayer Before, nint Partial, FirstInput First,
    nint FirstW);

/// <summary>What windows of the first layer see, or none; in first_layer.cuh.</summary>
internal readonly record struct FirstInput(TileShape Shape, nint X);

/// <summary>Sums for the gradients of the first layer's parameters; in first_sums.cuh.</summary>
internal readonly record struct FirstGradient(FirstInput Input, nint W, nint Partial, uint HasMoments);

internal readonly record struct FirstWeights(
    nint Partial, nint Sums, nint Arrived, nint W, ChannelNorm Norm, nint Dw, int Rows, int Columns, int Outs);
