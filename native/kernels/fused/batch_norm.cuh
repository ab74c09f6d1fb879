// Batch norm over N, H, W at the end of the kernel that makes the values: every block leaves its sums, and the last one turns them all into
// coefficients, or into gradients. In double, so that differences of large sums keep their digits.
#pragma once

#include "../common/last_block.cuh"
#include "coefficients.cuh"

constexpr double epsilon = 1e-5, momentum = 0.1; // PyTorch's

// One layer's, by value. FusedBatchNorm in C# has the same fields in the same order.
struct BatchNorm {
    float *partial;    // (blocks, sums)
    unsigned *arrived; // blocks that have left their sums: 0 before a launch and after it
    float *coefficients;
    const float *gamma, *beta; // (channels), and so are the next four
    float *running_mean, *running_variance, *d_gamma, *d_beta;
    double values; // of one channel
};

// Where the sum of p_j · p_k over all windows of the input stands: p_0 … p_8 are what the taps see, p_9 is 1.
struct Moments {
    static constexpr int rows = taps + 1, columns = 12, count = 128; // the last eight are 0

    DEVICE_INLINE static constexpr int at(int j, int k) { return columns * j + k; }
};

// totals[i] = sum over rows of partial (rows, Count), always in the same order. All other blocks have ended, and nothing hides what a load
// takes but other loads: seventeen rows are on their way before the first is waited for, which is what the barrier is for. None is loaded
// on a condition, which would part them. of_groups: room for four of each thread.
template <int Count, int Threads = image_threads>
DEVICE_INLINE void add_rows(const float *partial, int rows, double *totals, double *of_groups) {
    constexpr int quads = Count / 4, groups = Threads / quads, at_once = 17; // 264 rows in sixteen groups
    const int quad = (int)threadIdx.x % quads, group = (int)threadIdx.x / quads;
    double sums[4] = {};
    for (int first = 0; first < rows; first += at_once * groups) {
        Four16 of_rows[at_once];
#pragma unroll
        for (int k = 0; k < at_once; ++k) {
            const unsigned row = (unsigned)smaller(first + group + k * groups, rows - 1);
            of_rows[k] = reinterpret_cast<const Four16 *>(partial)[row * quads + (unsigned)quad];
        }
        __syncthreads();
#pragma unroll
        for (int k = 0; k < at_once; ++k) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                sums[i] += first + group + k * groups < rows ? of_rows[k].v[i] : 0.0f;
            }
        }
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        of_groups[group * Count + 4 * quad + i] = sums[i];
    }
    __syncthreads();
    for (int i = (int)threadIdx.x; i < Count; i += Threads) {
        double sum = 0;
        for (int other = 0; other < groups; ++other) {
            sum += of_groups[other * Count + i];
        }
        totals[i] = sum;
    }
    __syncthreads();
}

// In the last block, totals (Count) of what every block left in its row of partial; false in all others. scratch: room for four of each
// thread, which a barrier has set free.
template <int Count, int Threads = image_threads>
DEVICE_INLINE bool add_up_in_last_block(const BatchNorm &norm, double *totals, double *scratch) {
    if (!is_last_block(norm.arrived)) {
        return false;
    }
    add_rows<Count, Threads>(norm.partial, (int)gridDim.x, totals, scratch);
    return true;
}

// What the end of a kernel needs to know of a channel. It is loaded before the block learns whether it is the last one, and is there then:
// nothing else would hide what that takes.
struct Affine {
    float gamma, beta, running_mean, running_variance;
};

struct ForwardCoefficients {
    float scale, mean, inverse_deviation;
};

DEVICE_INLINE Affine load_affine(const BatchNorm &norm, int channel) {
    return {norm.gamma[channel], norm.beta[channel], norm.running_mean[channel], norm.running_variance[channel]};
}

DEVICE_INLINE ForwardCoefficients load_forward(const BatchNorm &norm, int channel) {
    const float *coefficients = norm.coefficients + channel;
    return {coefficients[scale], coefficients[mean], coefficients[inverse_deviation]};
}

// The batch's mean and variance of one channel to coefficients, and into the running ones.
DEVICE_INLINE void use_statistics(const BatchNorm &norm, const Affine &affine, double average, double variance, int channel) {
    float *coefficients = norm.coefficients + channel;
    variance = variance > 0 ? variance : variance != variance ? variance : 0;
    const double inverse = 1 / square_root(variance + epsilon);
    const double a = affine.gamma * inverse;
    coefficients[scale] = (float)a;
    coefficients[shift] = (float)(affine.beta - a * average);
    coefficients[mean] = (float)average;
    coefficients[inverse_deviation] = (float)inverse;
    norm.running_mean[channel] = (float)((1 - momentum) * affine.running_mean + momentum * average);
    norm.running_variance[channel] =
        (float)((1 - momentum) * affine.running_variance + momentum * variance * (norm.values / (norm.values - 1)));
}

// What dY takes from y, and the constant in it.
struct BackwardCoefficients {
    float from_y, constant;
};

// dγ, dβ and what dY takes from y, given the sums of du and of du · y of one channel.
DEVICE_INLINE BackwardCoefficients use_gradients(const BatchNorm &norm, const ForwardCoefficients &forward, double du, double du_y,
                                                 int channel) {
    float *coefficients = norm.coefficients + channel;
    const double a = forward.scale, average = forward.mean, inverse = forward.inverse_deviation;
    const double d_gamma = inverse * (du_y - average * du), b = -a * inverse * d_gamma / norm.values;
    const BackwardCoefficients backward = {(float)b, (float)(-a * du / norm.values - b * average)};
    norm.d_beta[channel] = (float)du;
    norm.d_gamma[channel] = (float)d_gamma;
    coefficients[from_y] = backward.from_y;
    coefficients[constant] = backward.constant;
    return backward;
}
