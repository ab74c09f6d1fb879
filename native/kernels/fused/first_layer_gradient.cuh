// The whole backward pass of the first layer, at the end of the second's: du1 is never stored. y1 is linear in what the taps see, so that
// with the moments of the windows all follows from sums over all pixels.
#pragma once

#include "convolution.cuh"

struct FirstLayerGradient {
    float sums[2][4] = {}; // (16 channels, 16): du1 times what each tap sees, then du1

    // gradient: of what leaves the layer, channels g and g + 8 at pixels 2t and 2t + 1 of those whose windows lie so far from the given
    // ones. inside: all bits where the lane's two pixels are in the image, or none.
    DEVICE_INLINE void add(const FirstConvolution &first, const Windows &windows, int distance, unsigned inside,
                           const unsigned (&gradient)[2]) {
        unsigned b[2];
        float u[4];
        windows.load(distance, b);
        first.normalized(b, u);
        // u is above 0 where it is, rounded, as on the way forward. Row g of the left factor is a channel, its columns are pixels: just as
        // the sums lie. The right factor is the windows turned round, with a tenth tap that sees 1 everywhere.
        const unsigned a[2] = {gradient[0] & where_greater(pack(u[0], u[1]), 0) & inside,
                               gradient[1] & where_greater(pack(u[2], u[3]), 0) & inside};
        multiply_accumulate_k8(sums[0], a, transpose_matrix(b[0]));
        multiply_accumulate_k8(sums[1], a, transpose_matrix(b[1] | ((lane() & 3) == 0 ? 0x3F800000u : 0u)));
    }

    // Of strips of eight pixels from a column on: the width is even, so both of a lane's pixels are inside, or none.
    DEVICE_INLINE static unsigned inside(int column) { return column + 2 * (lane() & 3) < ImageTile::side ? ~0u : 0u; }

    // d_w1 and batch norm's gradients, in the last block. Warps have sixteen channels each in turn.
    template <int Threads>
    DEVICE_INLINE void finish(const bfloat16 *weights1, const SharedCoefficients &of_layer1, const BatchNorm &norm1, const double *moments,
                              float *d_w1) {
        // The tile's place is free for what follows: sums of warps first, then doubles.
        constexpr int count = 512, warps = Threads / 32;
        float(&of_warps)[warps][16][16] = *reinterpret_cast<float(*)[warps][16][16]>(dynamic_shared_memory);
        double *scratch = reinterpret_cast<double *>(dynamic_shared_memory), *totals = scratch + 4 * Threads, *of_windows = totals + count;
        BackwardCoefficients *of_y = reinterpret_cast<BackwardCoefficients *>(of_windows + Moments::count);
        const int g = lane() >> 2, t = lane() & 3;
        __syncthreads();
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            of_warps[warp()][channel_of(i >> 1, g)][2 * t + (i & 1)] = sums[0][i];
            of_warps[warp()][channel_of(i >> 1, g)][8 + 2 * t + (i & 1)] = sums[1][i];
        }
        __syncthreads();
        for (int i = (int)threadIdx.x; i < count; i += Threads) {
            const int channel = i / 16;
            float sum = 0;
            for (int w = channel / 16; w < warps; w += 2) {
                sum += of_warps[w][channel % 16][i % 16];
            }
            norm1.partial[(long long)blockIdx.x * count + i] = sum;
        }
        const double window = moments[threadIdx.x % Moments::count];
        const ForwardCoefficients forward = load_forward(norm1, (int)threadIdx.x % 32);
        if (!add_up_in_last_block<count, Threads>(norm1, totals, scratch)) {
            return;
        }
        if (threadIdx.x < Moments::count) {
            of_windows[threadIdx.x] = window;
        }
        if (threadIdx.x < 32) {
            const int c = (int)threadIdx.x;
            double du_y = 0;
#pragma unroll
            for (int k = 0; k < taps; ++k) {
                du_y += (double)to_float(weights1[c * taps + k]) * totals[16 * c + k];
            }
            of_y[c] = use_gradients(norm1, forward, totals[16 * c + taps], du_y, c);
        }
        __syncthreads();
        for (int i = (int)threadIdx.x; i < 32 * taps; i += Threads) {
            const int c = i / taps, k = i % taps;
            double y_window = 0; // the sum of y1 · p_k
#pragma unroll
            for (int j = 0; j < taps; ++j) {
                y_window += (double)to_float(weights1[c * taps + j]) * of_windows[Moments::at(j, k)];
            }
            d_w1[i] = (float)(of_layer1.of(scale, c) * totals[16 * c + k] + of_y[c].from_y * y_window +
                              of_y[c].constant * of_windows[Moments::at(taps, k)]);
        }
    }
};
