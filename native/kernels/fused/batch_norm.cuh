// Batch norm over N, H, W at the end of the kernel that makes the values: every block leaves its sums, and the last one turns them all into
// coefficients, or into gradients. In double, so that differences of large sums keep their digits. A layer with a bias has a sum, too.
#pragma once

#include "../common/last_block.cuh"
#include "element.cuh"

constexpr double epsilon = 1e-5, momentum = 0.1; // PyTorch's

// What batch norm or a bias comes to for each channel. Forward, u = scale · y + shift; backward, dY = scale · du + from_y · y + constant.
// With a bias, there is no scale, and of the last two there are zeros.
struct Affine {
    const float *scale, *shift, *from_y, *constant;

    // So many channels of one of these, from one on.
    template <int Count> DEVICE_INLINE static Values<Count> of(const float *all, int channel, float otherwise) {
        if (all) {
            return load_values<Count>(all + channel);
        }
        Values<Count> out;
#pragma unroll
        for (int i = 0; i < Count; ++i) {
            out.v[i] = otherwise;
        }
        return out;
    }

    template <int Count> DEVICE_INLINE Values<Count> scales(int channel) const { return of<Count>(scale, channel, 1); }
    template <int Count> DEVICE_INLINE Values<Count> shifts(int channel) const { return load_values<Count>(shift + channel); }
};

// Rows of a layer's coefficients, f32, one of `channels` each. FusedTensors.cs has them in the same order.
enum Coefficient { scale, shift, from_y, constant, mean, inverse_deviation, coefficient_count };
PUBLISH(rows_of_coefficients, coefficient_count)

// One layer's, by value. ChannelNorm in C# has the same fields in the same order. Without gamma it is a layer with a bias: of that, only
// d_beta is used, the bias's gradient. Without partial, sums are not asked for.
struct ChannelNorm {
    float *partial;    // (groups of channels, blocks, 2, channels of a group)
    unsigned *arrived; // (groups of channels): blocks that have left their sums, 0 before a launch and after it
    float *coefficients;
    const float *gamma, *beta; // (channels), and so are the next four
    float *running_mean, *running_variance, *d_gamma, *d_beta;
    double values; // of one channel
    int channels;

    DEVICE_INLINE float *of(Coefficient which, int channel) const { return coefficients + which * channels + channel; }
};

// The batch's mean and variance of one channel to coefficients, and into the running ones.
DEVICE_INLINE void use_statistics(const ChannelNorm &norm, double average, double variance, int channel) {
    variance = variance > 0 ? variance : variance != variance ? variance : 0;
    const double inverse = 1 / square_root(variance + epsilon), a = norm.gamma[channel] * inverse;
    *norm.of(scale, channel) = (float)a;
    *norm.of(shift, channel) = (float)(norm.beta[channel] - a * average);
    *norm.of(mean, channel) = (float)average;
    *norm.of(inverse_deviation, channel) = (float)inverse;
    norm.running_mean[channel] = (float)((1 - momentum) * norm.running_mean[channel] + momentum * average);
    norm.running_variance[channel] =
        (float)((1 - momentum) * norm.running_variance[channel] + momentum * variance * (norm.values / (norm.values - 1)));
}

// The gradients of one channel's parameters, what dY takes from y, and the constant in it. With a bias, only the first is not 0.
struct NormGradients {
    float d_beta, d_gamma, from_y, constant;

    DEVICE_INLINE void store(const ChannelNorm &norm, int channel) const {
        norm.d_beta[channel] = d_beta;
        if (norm.gamma) {
            norm.d_gamma[channel] = d_gamma;
            *norm.of(Coefficient::from_y, channel) = from_y;
            *norm.of(Coefficient::constant, channel) = constant;
        }
    }
};

// Given the sums of du and of du · y.
DEVICE_INLINE NormGradients gradients_of(const ChannelNorm &norm, double du, double du_y, int channel) {
    if (!norm.gamma) {
        return {(float)du, 0, 0, 0};
    }
    const double a = *norm.of(scale, channel), average = *norm.of(mean, channel), inverse = *norm.of(inverse_deviation, channel);
    const double d_gamma = inverse * (du_y - average * du), b = -a * inverse * d_gamma / norm.values;
    return {(float)du, (float)d_gamma, (float)b, (float)(-a * du / norm.values - b * average)};
}

constexpr int rows_at_end = 4; // of sums that a block has when it ends, at the start of its dynamic shared memory

DEVICE_INLINE float *sums_at_end() { return reinterpret_cast<float *>(dynamic_shared_memory); }

__shared__ double totals[2 * 64]; // of all blocks' sums, a pair for each channel that a block has

// totals[i] = sum over rows of partial (rows, count), always in the same order, by a whole block. A multiple of four of columns, at most
// as many as threads. In dynamic shared memory it needs room for four doubles of each thread.
DEVICE_INLINE void add_rows(const float *partial, int rows, int count) {
    constexpr int at_once = 8; // loads that are on their way together: nothing else hides what they take
    double *scratch = reinterpret_cast<double *>(dynamic_shared_memory);
    const int thread = (int)threadIdx.x, quads = count / 4, groups = (int)blockDim.x / quads, group = thread / quads, quad = thread % quads;
    if (group < groups) {
        double sums[4] = {};
        for (int first = group; first < rows; first += at_once * groups) {
            Four<float> of_rows[at_once];
#pragma unroll
            for (int k = 0; k < at_once; ++k) {
                of_rows[k] = reinterpret_cast<const Four<float> *>(partial)[smaller(first + k * groups, rows - 1) * quads + quad];
            }
#pragma unroll
            for (int k = 0; k < at_once; ++k) {
                const double exists = first + k * groups < rows ? 1 : 0; // else it is the last row once more
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    sums[i] = fused_multiply_add((double)of_rows[k].v[i], exists, sums[i]);
                }
            }
        }
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            scratch[group * count + 4 * quad + i] = sums[i];
        }
    }
    __syncthreads();
    if (thread < count) {
        double sum = 0;
#pragma unroll 8
        for (int other = 0; other < groups; ++other) {
            sum += scratch[other * count + thread];
        }
        totals[thread] = sum;
    }
    __syncthreads();
}

// In the last of the blocks with one blockIdx.y, totals of the sums_at_end (rows_at_end, count) of each of them; all others end here. Not
// inlined: most kernels end so, and by then have nothing left in registers.
DEVICE_CALLED void add_up_in_last_block(float *partial, unsigned *arrived, int count) {
    float *rows = partial + (long long)blockIdx.y * gridDim.x * count;
    const int thread = (int)threadIdx.x;
    __syncthreads();
    if (thread < count) {
        float sum = 0;
        for (int row = 0; row < rows_at_end; ++row) {
            sum += sums_at_end()[row * count + thread];
        }
        rows[(long long)blockIdx.x * count + thread] = sum;
    }
    if (!is_last_block(arrived + blockIdx.y)) {
        asm volatile("exit;");
        __builtin_unreachable();
    }
    add_rows(rows, (int)gridDim.x, count);
}

// The end of a kernel that makes y, or du, of `width` channels from first_channel on: sums_at_end (rows_at_end, 2, width), of y and
// y², or of du and du · y.
template <bool Gradients> DEVICE_INLINE void finish(const ChannelNorm &norm, int first_channel, int width) {
    add_up_in_last_block(norm.partial, norm.arrived, 2 * width);
    const int c = (int)threadIdx.x;
    if (c < width && first_channel + c < norm.channels) {
        if constexpr (Gradients) {
            gradients_of(norm, totals[c], totals[width + c], first_channel + c).store(norm, first_channel + c);
        } else {
            const double average = totals[c] / norm.values, square = totals[width + c] / norm.values;
            use_statistics(norm, average, square - average * average, first_channel + c);
        }
    }
}
