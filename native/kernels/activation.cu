// Bias, ReLU and dropout in one pass, forward and backward. Activations are (samples, size), channels last.
#include "activation.cuh"

namespace {

constexpr int lanes = 32, groups = 8; // a block of column sums: 32 channels × 8 groups of rows

// z = dropout(relu(y + bias)). A thread makes the four elements that one Philox block decides on.
template <typename T>
DEVICE_INLINE void activation_forward(const StepState *state, const T *y, const float *bias, T *z, int samples,
                                      int size, int channels, unsigned threshold, float keep_scale,
                                      unsigned long long seed, unsigned layer) {
    const int quads = (size + 3) / 4;
    const long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= (long long)samples * quads) {
        return;
    }
    const int n = (int)(at / quads), quad = (int)(at % quads), count = size - 4 * quad < 4 ? size - 4 * quad : 4;
    const long long offset = (long long)n * size + 4 * quad;
    const ReluDropout activation = {threshold, layer, keep_scale, seed};
    unsigned words[4];
    activation.words(state, n, (unsigned)quad, words);

    Four<T> four = {};
    const bool whole = (size & 3) == 0; // then every sample begins where four elements can be loaded at once
    if (whole) {
        four = *reinterpret_cast<const Four<T> *>(y + offset);
    }
    for (int i = 0; i < 4; ++i) {
        if (i < count) {
            float value = to_float(whole ? four.v[i] : y[offset + i]);
            value += bias ? bias[(4 * quad + i) % channels] : 0.0f;
            four.v[i] = from_float<T>(activation.apply(value, words[i]));
        }
    }
    if (whole) {
        *reinterpret_cast<Four<T> *>(z + offset) = four;
        return;
    }
    for (int i = 0; i < 4; ++i) {
        if (i < count) {
            z[offset + i] = four.v[i];
        }
    }
}

// dZ to dY in place: what is above 0 was kept and active, so z is its own mask. Where sums are asked for, also the sum
// of dY over a stretch of rows, per channel: sums is (gridDim.y, channels), added up by column_sums.
template <typename T>
DEVICE_INLINE void activation_backward(const T *z, T *dz, float *sums, int rows, int channels, float keep_scale) {
    __shared__ float partial[groups][lanes];
    const long long count = (long long)rows * channels;
    if (!sums && count % 4 == 0) { // nothing depends on the channel: four neighbours a thread
        constexpr int threads = lanes * groups;
        const long long threads_of_grid = (long long)gridDim.x * gridDim.y * threads;
        for (long long i = (blockIdx.y * gridDim.x + blockIdx.x) * threads + threadIdx.y * lanes + threadIdx.x;
             i < count / 4; i += threads_of_grid) {
            const Four<T> active = reinterpret_cast<const Four<T> *>(z)[i];
            Four<T> gradient = reinterpret_cast<Four<T> *>(dz)[i];
#pragma unroll
            for (int k = 0; k < 4; ++k) {
                gradient.v[k] = from_float<T>(to_float(active.v[k]) > 0 ? to_float(gradient.v[k]) * keep_scale : 0.0f);
            }
            reinterpret_cast<Four<T> *>(dz)[i] = gradient;
        }
        return;
    }
    const int c = (int)(blockIdx.x * lanes + threadIdx.x), stride = (int)(gridDim.y * groups);
    float sum = 0;
    if (c < channels) {
        for (int row = (int)(blockIdx.y * groups + threadIdx.y); row < rows; row += stride) {
            const long long at = (long long)row * channels + c;
            const float gradient = to_float(z[at]) > 0 ? to_float(dz[at]) * keep_scale : 0.0f;
            dz[at] = from_float<T>(gradient);
            sum += gradient;
        }
    }
    if (!sums) {
        return;
    }
    partial[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && c < channels) {
        for (int group = 1; group < groups; ++group) {
            sum += partial[group][threadIdx.x];
        }
        sums[(long long)blockIdx.y * channels + c] = sum;
    }
}

// Adds up the rows of (rows, channels), always in the same order. Blocks of 32 channels × 8 groups of rows.
template <typename T> DEVICE_INLINE void column_sums(const float *x, T *sums, int rows, int channels) {
    __shared__ double partial[groups][lanes];
    const int c = (int)(blockIdx.x * lanes + threadIdx.x);
    constexpr int at_once = 17; // rows that are on their way before the first is waited for: for that is the barrier
    double sum = 0;
    for (int first = 0; first < rows; first += at_once * groups) {
        float values[at_once];
#pragma unroll
        for (int k = 0; k < at_once; ++k) { // none on a condition, which would part them
            const int row = smaller(first + (int)threadIdx.y + k * groups, rows - 1), column = smaller(c, channels - 1);
            values[k] = x[(unsigned)row * (unsigned)channels + (unsigned)column];
        }
        __syncthreads();
#pragma unroll
        for (int k = 0; k < at_once; ++k) {
            sum += first + (int)threadIdx.y + k * groups < rows ? values[k] : 0.0f;
        }
    }
    partial[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && c < channels) {
        for (int group = 1; group < groups; ++group) {
            sum += partial[group][threadIdx.x];
        }
        sums[c] = from_float<T>((float)sum);
    }
}

} // namespace

KERNEL(256)
activation_forward_f32(const StepState *state, const float *y, const float *bias, float *z, int samples, int size,
                       int channels, unsigned threshold, float keep_scale, unsigned long long seed, unsigned layer) {
    activation_forward(state, y, bias, z, samples, size, channels, threshold, keep_scale, seed, layer);
}

KERNEL(256)
activation_forward_bf16(const StepState *state, const bfloat16 *y, const float *bias, bfloat16 *z, int samples,
                        int size, int channels, unsigned threshold, float keep_scale, unsigned long long seed,
                        unsigned layer) {
    activation_forward(state, y, bias, z, samples, size, channels, threshold, keep_scale, seed, layer);
}

KERNEL(256) activation_backward_f32(const float *z, float *dz, float *sums, int rows, int channels, float keep_scale) {
    activation_backward(z, dz, sums, rows, channels, keep_scale);
}

KERNEL(256)
activation_backward_bf16(const bfloat16 *z, bfloat16 *dz, float *sums, int rows, int channels, float keep_scale) {
    activation_backward(z, dz, sums, rows, channels, keep_scale);
}

KERNEL(256) column_sums_f32(const float *x, float *sums, int rows, int channels) {
    column_sums(x, sums, rows, channels);
}

KERNEL(256) column_sums_bf16(const float *x, bfloat16 *sums, int rows, int channels) {
    column_sums(x, sums, rows, channels);
}
