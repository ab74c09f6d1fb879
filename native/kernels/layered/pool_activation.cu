// Max-pooling of 2 by 2 (stride 2, what is left over is left out), bias, ReLU and dropout in one pass, forward and backward. Activations
// are (samples, height, width, channels); 256 is a multiple of channels / 4. A thread has the same four channels of one window after the
// other.
#include "../common/dropout.cuh"

template <typename T> struct PoolActivationForward {
    const StepState *state;
    const T *x;
    const float *bias;
    T *z;
    int samples, height, width, channels;
    Dropout dropout;
};

template <typename T> struct PoolActivationBackward {
    const T *x, *z, *dz;
    T *dx;
    float *sums;
    int samples, height, width, channels;
    float keep_scale;
};

constexpr unsigned pool_threads = 256;

// Which windows and channels are a thread's.
struct PoolThread {
    unsigned quads, quad, first, stride;

    DEVICE_INLINE static PoolThread of(int channels) {
        const unsigned quads = (unsigned)channels / 4, groups = pool_threads / quads;
        return {quads, threadIdx.x % quads, blockIdx.x * groups + threadIdx.x / quads, gridDim.x * groups};
    }
};

// NaN is greater than all, so that a run that diverged says so.
DEVICE_INLINE bool is_greater(float x, float greatest) { return !(x <= greatest) & (greatest == greatest); }

// z = dropout(relu(max(x) + bias)); the words are those of an activation of z's size.
template <typename T> DEVICE_INLINE void pool_activation_forward(const PoolActivationForward<T> &p) {
    const PoolThread mine = PoolThread::of(p.channels);
    const unsigned rows = (unsigned)p.height / 2, columns = (unsigned)p.width / 2, windows = rows * columns;
    float shift[4] = {};
    if (p.bias) {
        const Four<float> loaded = reinterpret_cast<const Four<float> *>(p.bias)[mine.quad];
        for (int k = 0; k < 4; ++k) {
            shift[k] = loaded.v[k];
        }
    }
    for (unsigned window = mine.first; window < (unsigned)p.samples * windows; window += mine.stride) {
        const unsigned n = window / windows, at = window % windows, row = at / columns, column = at % columns;
        const Four<T> *corner = reinterpret_cast<const Four<T> *>(p.x) +
                                ((unsigned long long)n * p.height * p.width + 2 * row * (unsigned)p.width + 2 * column) * mine.quads +
                                mine.quad;
        const Four<T> all[4] = {corner[0], corner[mine.quads], corner[p.width * mine.quads], corner[(p.width + 1) * mine.quads]};
        unsigned words[4];
        p.dropout.words(at * mine.quads + mine.quad, p.state, (int)n, words);
        Four<T> four;
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            float greatest = to_float(all[0].v[k]);
#pragma unroll
            for (int i = 1; i < 4; ++i) {
                const float other = to_float(all[i].v[k]);
                greatest = is_greater(other, greatest) ? other : greatest;
            }
            four.v[k] = from_float<T>(p.dropout.apply(relu(greatest + shift[k]), words[k]));
        }
        reinterpret_cast<Four<T> *>(p.z)[(unsigned long long)window * mine.quads + mine.quad] = four;
    }
}

// dZ to dX: what is above 0 was kept and active, so z is its mask; the first of the greatest in a window has the gradient, and all others
// 0, those in no window too. Where sums are asked for, also the sum of the masked dZ over the windows of a block, per channel: sums is
// (blocks, channels), added up by column_sums.
template <typename T> DEVICE_INLINE void pool_activation_backward(const PoolActivationBackward<T> &p) {
    __shared__ Four<float> partial[pool_threads];
    const PoolThread mine = PoolThread::of(p.channels);
    const unsigned rows = (unsigned)p.height / 2, columns = (unsigned)p.width / 2, all_rows = (unsigned)(p.height + 1) / 2,
                   all_columns = (unsigned)(p.width + 1) / 2, windows = all_rows * all_columns;
    const unsigned distances[4] = {0, mine.quads, (unsigned)p.width * mine.quads, (unsigned)(p.width + 1) * mine.quads};
    Four<float> sum = {};
    for (unsigned window = mine.first; window < (unsigned)p.samples * windows; window += mine.stride) {
        const unsigned n = window / windows, at = window % windows, row = at / all_columns, column = at % all_columns;
        const unsigned long long corner =
            ((unsigned long long)n * p.height * p.width + 2 * row * (unsigned)p.width + 2 * column) * mine.quads + mine.quad;
        Four<T> *to = reinterpret_cast<Four<T> *>(p.dx) + corner;
        if (row == rows || column == columns) { // in no window: no more than a column, or a row, of the image is there
            const Four<T> none = {};
            to[0] = none;
            if (row < rows) {
                to[distances[2]] = none;
            } else if (column < columns) {
                to[distances[1]] = none;
            }
            continue;
        }
        const Four<T> *from = reinterpret_cast<const Four<T> *>(p.x) + corner;
        const Four<T> all[4] = {from[0], from[distances[1]], from[distances[2]], from[distances[3]]};
        const unsigned long long pooled = (((unsigned long long)n * rows + row) * columns + column) * mine.quads + mine.quad;
        const Four<T> active = reinterpret_cast<const Four<T> *>(p.z)[pooled], gradient = reinterpret_cast<const Four<T> *>(p.dz)[pooled];
        Four<T> made[4];
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            // A factor, not a choice: the compiler would make dz's loads wait for z's.
            const float masked = to_float(gradient.v[k]) * (to_float(active.v[k]) > 0 ? p.keep_scale : 0.0f);
            sum.v[k] += masked;
            float greatest = to_float(all[0].v[k]);
            int which = 0;
#pragma unroll
            for (int i = 1; i < 4; ++i) {
                const float other = to_float(all[i].v[k]);
                const bool more = is_greater(other, greatest);
                greatest = more ? other : greatest;
                which = more ? i : which;
            }
            const T rounded = from_float<T>(masked), zero = {};
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                made[i].v[k] = which == i ? rounded : zero;
            }
        }
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            to[distances[i]] = made[i];
        }
    }
    if (!p.sums) {
        return;
    }
    partial[threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.x < (unsigned)p.channels) {
        float total = 0;
        for (unsigned group = 0; group < pool_threads / mine.quads; ++group) {
            total += partial[group * mine.quads + threadIdx.x / 4].v[threadIdx.x % 4];
        }
        p.sums[blockIdx.x * (unsigned)p.channels + threadIdx.x] = total;
    }
}

KERNELS(pool_activation_forward, PoolActivationForward, 256)
KERNELS(pool_activation_backward, PoolActivationBackward, 256)
