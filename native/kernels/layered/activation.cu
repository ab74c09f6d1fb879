// Bias, ReLU and dropout in one pass, forward and backward. Activations are (samples, size), channels last.
#include "../common/dropout.cuh"
#include "../common/warp.cuh"

template <typename T> struct ActivationForward {
    const StepState *state;
    const T *y;
    const float *bias;
    T *z;
    int samples, size, channels;
    Dropout dropout;
};

template <typename T> struct ActivationBackward {
    const T *z;
    T *dz;
    float *sums;
    int rows, channels;
    float keep_scale;
};

template <typename T> struct ColumnSums {
    const float *x;
    T *sums;
    int rows, channels;
};

constexpr int lanes = 32, groups = 8; // a block of column sums: 32 channels × 8 groups of rows; a warp is a group

// In the first group, the sum of those of all groups.
template <typename Sum> DEVICE_INLINE Sum sum_of_groups(Sum sum) {
    __shared__ Sum partial[groups][lanes];
    partial[warp()][lane()] = sum;
    __syncthreads();
    for (int group = 1; warp() == 0 && group < groups; ++group) {
        sum += partial[group][lane()];
    }
    return sum;
}

// z = dropout(relu(y + bias)). A thread makes the four elements that one Philox block decides on.
template <typename T> DEVICE_INLINE void activation_forward(const ActivationForward<T> &p) {
    const int quads = (p.size + 3) / 4;
    const long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= (long long)p.samples * quads) {
        return;
    }
    const int n = (int)(at / quads), quad = (int)(at % quads), count = p.size - 4 * quad < 4 ? p.size - 4 * quad : 4;
    const long long offset = (long long)n * p.size + 4 * quad;
    unsigned words[4];
    p.dropout.words((unsigned)quad, p.state, n, words);

    Four<T> four = {};
    const bool whole = (p.size & 3) == 0; // then every sample begins where four elements can be loaded at once
    if (whole) {
        four = *reinterpret_cast<const Four<T> *>(p.y + offset);
    }
    for (int i = 0; i < 4; ++i) {
        if (i < count) {
            float value = to_float(whole ? four.v[i] : p.y[offset + i]);
            value += p.bias ? p.bias[(4 * quad + i) % p.channels] : 0.0f;
            four.v[i] = from_float<T>(p.dropout.apply(relu(value), words[i]));
        }
    }
    if (whole) {
        *reinterpret_cast<Four<T> *>(p.z + offset) = four;
        return;
    }
    for (int i = 0; i < 4; ++i) {
        if (i < count) {
            p.z[offset + i] = four.v[i];
        }
    }
}

// dZ to dY in place: what is above 0 was kept and active, so z is its own mask. Where sums are asked for, also the sum of dY over a stretch
// of rows, per channel: sums is (gridDim.y, channels), added up by column_sums.
template <typename T> DEVICE_INLINE void activation_backward(const ActivationBackward<T> &p) {
    const long long count = (long long)p.rows * p.channels;
    if (!p.sums && count % 4 == 0) { // nothing depends on the channel: four neighbours a thread
        constexpr int threads = lanes * groups;
        const long long threads_of_grid = (long long)gridDim.x * gridDim.y * threads;
        for (long long i = (blockIdx.y * gridDim.x + blockIdx.x) * threads + threadIdx.x; i < count / 4; i += threads_of_grid) {
            const Four<T> active = reinterpret_cast<const Four<T> *>(p.z)[i];
            Four<T> gradient = reinterpret_cast<Four<T> *>(p.dz)[i];
#pragma unroll
            for (int k = 0; k < 4; ++k) {
                gradient.v[k] = from_float<T>(to_float(active.v[k]) > 0 ? to_float(gradient.v[k]) * p.keep_scale : 0.0f);
            }
            reinterpret_cast<Four<T> *>(p.dz)[i] = gradient;
        }
        return;
    }
    const int c = (int)(blockIdx.x * lanes + lane()), stride = (int)(gridDim.y * groups);
    float sum = 0;
    if (c < p.channels) {
        for (int row = (int)(blockIdx.y * groups + warp()); row < p.rows; row += stride) {
            const long long at = (long long)row * p.channels + c;
            const float gradient = to_float(p.z[at]) > 0 ? to_float(p.dz[at]) * p.keep_scale : 0.0f;
            p.dz[at] = from_float<T>(gradient);
            sum += gradient;
        }
    }
    if (!p.sums) {
        return;
    }
    sum = sum_of_groups(sum);
    if (warp() == 0 && c < p.channels) {
        p.sums[(long long)blockIdx.y * p.channels + c] = sum;
    }
}

// Adds up the rows of (rows, channels), always in the same order. Blocks of 32 channels × 8 groups of rows.
template <typename T> DEVICE_INLINE void column_sums(const ColumnSums<T> &p) {
    const int c = (int)(blockIdx.x * lanes + lane());
    constexpr int at_once = 17; // rows that are on their way before the first is waited for: for that is the barrier
    double sum = 0;
    for (int first = 0; first < p.rows; first += at_once * groups) {
        float values[at_once];
#pragma unroll
        for (int k = 0; k < at_once; ++k) { // none on a condition, which would part them
            const int row = smaller(first + warp() + k * groups, p.rows - 1), column = smaller(c, p.channels - 1);
            values[k] = p.x[(unsigned)row * (unsigned)p.channels + (unsigned)column];
        }
        __syncthreads();
#pragma unroll
        for (int k = 0; k < at_once; ++k) {
            sum += first + warp() + k * groups < p.rows ? values[k] : 0.0f;
        }
    }
    sum = sum_of_groups(sum);
    if (warp() == 0 && c < p.channels) {
        p.sums[c] = from_float<T>((float)sum);
    }
}

KERNELS(activation_forward, ActivationForward, 256)
KERNELS(activation_backward, ActivationBackward, 256)
KERNELS(column_sums, ColumnSums, 256)
