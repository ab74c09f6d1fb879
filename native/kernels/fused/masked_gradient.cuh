// The way back through ReLU and dropout of a layer with batch norm: what arrives behind them becomes du, and du leaves its sums for the
// gradients of batch norm.
#pragma once

#include "convolution.cuh"

// A warp has sixteen channels, the same ones all along, and a lane four of them.
template <int Channels> struct MaskedGradient {
    ChannelSums sums;          // of du and du · y
    Four16 scale_of, shift_of; // of the lane's channels

    DEVICE_INLINE static int first_channel() { return warp() % (Channels / 16) * 16 + 4 * (lane() & 3); }

    DEVICE_INLINE void load(const BatchNorm &norm) {
        const float *coefficients = norm.coefficients + first_channel();
        scale_of = *reinterpret_cast<const Four16 *>(coefficients + scale);
        shift_of = *reinterpret_cast<const Four16 *>(coefficients + shift);
    }

    // du of four channels of a pixel, where y is the layer's; pooled, where it is pooled.
    template <class Gradient> DEVICE_INLINE FourChannels apply(const Gradient &gradient, const FourChannels &y, float keep_scale) {
        float du[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) { // what was dropped is NaN, and no u above 0
            const float u = fused_multiply_add(element(y, i), scale_of.v[i], shift_of.v[i]);
            du[i] = u > 0 ? element(gradient, i) * keep_scale : 0.0f;
        }
        const FourChannels out = {{pack(du[0], du[1]), pack(du[2], du[3])}};
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const float kept = element(out, i); // 0 where y may be no number
            sums.first[i] += kept;
            sums.second[i] = kept != 0 ? fused_multiply_add(kept, element(y, i), sums.second[i]) : sums.second[i];
        }
        return out;
    }
};
