// The first convolution: 3 by 3, one input channel, stride 1, forward and the gradient of its weights. There is so little to multiply that
// what counts is how its large side is read and written: a thread has four output channels of four neighbours in a row, and keeps its
// weights, or their gradients, in registers from one such run to the next. x is (samples, height, width), y (samples, height + 2 padding -
// 2, width + 2 padding - 2, channels), weights (channels, 3, 3); 256 is a multiple of channels / 4.
#include "../common/numbers.cuh"

template <typename T> struct FirstConvolutionForward {
    const T *x, *w;
    T *y;
    int samples, height, width, padding, channels;
};

template <typename T> struct FirstConvolutionBackwardWeights {
    const T *x, *dy;
    float *sums;
    int samples, height, width, padding, channels;
};

constexpr unsigned first_threads = 256;
constexpr int run = 4, side = 3; // pixels that a thread makes at once, and the window's

// Which runs and channels are a thread's.
struct FirstThread {
    unsigned quads, quad, first, stride, rows, columns, runs;

    DEVICE_INLINE static FirstThread of(int height, int width, int padding, int channels) {
        const unsigned quads = (unsigned)channels / 4, groups = first_threads / quads, columns = (unsigned)(width + 2 * padding - 2);
        return {quads,
                threadIdx.x % quads,
                blockIdx.x * groups + threadIdx.x / quads,
                gridDim.x * groups,
                (unsigned)(height + 2 * padding - 2),
                columns,
                (columns + run - 1) / run};
    }
};

// What the windows of a run see: three rows of six pixels, 0 outside the image. All are loaded, from the nearest place inside: a load on a
// condition would wait for the one before.
template <typename T> struct Seen {
    float pixels[side][run + side - 1];

    DEVICE_INLINE Seen(const T *x, unsigned n, unsigned row, unsigned column, int height, int width, int padding) {
        const T *rows[side];
        unsigned row_is_inside[side], columns[run + side - 1], column_is_inside[run + side - 1]; // all bits, or none
        T loaded[side][run + side - 1];
#pragma unroll
        for (int r = 0; r < side; ++r) {
            const int from = (int)row + r - padding, nearest = smaller(from < 0 ? 0 : from, height - 1);
            row_is_inside[r] = from == nearest ? ~0u : 0;
            rows[r] = x + (n * (unsigned)height + (unsigned)nearest) * (unsigned)width;
        }
#pragma unroll
        for (int c = 0; c < run + side - 1; ++c) {
            const int from = (int)column + c - padding, nearest = smaller(from < 0 ? 0 : from, width - 1);
            column_is_inside[c] = from == nearest ? ~0u : 0;
            columns[c] = (unsigned)nearest;
        }
#pragma unroll
        for (int r = 0; r < side; ++r) {
#pragma unroll
            for (int c = 0; c < run + side - 1; ++c) {
                loaded[r][c] = rows[r][columns[c]];
            }
        }
#pragma unroll
        for (int r = 0; r < side; ++r) {
#pragma unroll
            for (int c = 0; c < run + side - 1; ++c) {
                pixels[r][c] = bits_float(float_bits(to_float(loaded[r][c])) & row_is_inside[r] & column_is_inside[c]);
            }
        }
    }
};

template <typename T> DEVICE_INLINE void first_convolution_forward(const FirstConvolutionForward<T> &p) {
    const FirstThread mine = FirstThread::of(p.height, p.width, p.padding, p.channels);
    float weights[side][side][4];
#pragma unroll
    for (int i = 0; i < side * side; ++i) { // those of a thread's channels follow each other
        const Four<T> four = reinterpret_cast<const Four<T> *>(p.w)[mine.quad * (side * side) + i];
#pragma unroll
        for (int part = 0; part < 4; ++part) {
            const int k = (4 * i + part) / (side * side), tap = (4 * i + part) % (side * side);
            weights[tap / side][tap % side][k] = to_float(four.v[part]);
        }
    }
    for (unsigned i = mine.first; i < (unsigned)p.samples * mine.rows * mine.runs; i += mine.stride) {
        const unsigned line = i / mine.runs, n = line / mine.rows, column = i % mine.runs * run;
        const Seen<T> seen(p.x, n, line % mine.rows, column, p.height, p.width, p.padding);
        Four<T> *to = reinterpret_cast<Four<T> *>(p.y) + ((unsigned long long)line * mine.columns + column) * mine.quads + mine.quad;
#pragma unroll
        for (int j = 0; j < run; ++j) {
            Four<T> four;
#pragma unroll
            for (int k = 0; k < 4; ++k) {
                float sum = 0;
#pragma unroll
                for (int r = 0; r < side; ++r) {
#pragma unroll
                    for (int c = 0; c < side; ++c) {
                        sum = fused_multiply_add(weights[r][c][k], seen.pixels[r][c + j], sum);
                    }
                }
                four.v[k] = from_float<T>(sum);
            }
            if (column + j < mine.columns) {
                to[j * mine.quads] = four;
            }
        }
    }
}

// Sums of a block: (blocks, channels, 3, 3), added up by column_sums.
template <typename T> DEVICE_INLINE void first_convolution_backward_weights(const FirstConvolutionBackwardWeights<T> &p) {
    constexpr unsigned rows = 4 * side * side;
    __shared__ float partial[rows][first_threads + 8]; // with eight quads, four rows lie in different banks
    const FirstThread mine = FirstThread::of(p.height, p.width, p.padding, p.channels);
    float gradient[side][side][4] = {};
    for (unsigned i = mine.first; i < (unsigned)p.samples * mine.rows * mine.runs; i += mine.stride) {
        const unsigned line = i / mine.runs, n = line / mine.rows, column = i % mine.runs * run;
        const Four<T> *from = reinterpret_cast<const Four<T> *>(p.dy) + (unsigned long long)line * mine.columns * mine.quads + mine.quad;
        Four<T> loaded[run];
#pragma unroll
        for (int j = 0; j < run; ++j) {
            const unsigned at = column + j;
            loaded[j] = from[(at < mine.columns ? at : mine.columns - 1) * mine.quads];
        }
        const Seen<T> seen(p.x, n, line % mine.rows, column, p.height, p.width, p.padding);
#pragma unroll
        for (int j = 0; j < run; ++j) {
#pragma unroll
            for (int k = 0; k < 4; ++k) {
                const float of_pixel = column + j < mine.columns ? to_float(loaded[j].v[k]) : 0.0f;
#pragma unroll
                for (int r = 0; r < side; ++r) {
#pragma unroll
                    for (int c = 0; c < side; ++c) {
                        gradient[r][c][k] = fused_multiply_add(of_pixel, seen.pixels[r][c + j], gradient[r][c][k]);
                    }
                }
            }
        }
    }
#pragma unroll
    for (unsigned row = 0; row < rows; ++row) {
        partial[row][threadIdx.x] = gradient[row / 4 / side][row / 4 % side][row % 4];
    }
    __syncthreads();
    for (unsigned i = threadIdx.x; i < rows * mine.quads; i += first_threads) {
        const unsigned row = i / mine.quads, quad = i % mine.quads;
        float total = 0;
#pragma unroll 8
        for (unsigned group = 0; group < first_threads / mine.quads; ++group) {
            total += partial[row][group * mine.quads + quad];
        }
        p.sums[(blockIdx.x * (unsigned)p.channels + 4 * quad + row % 4) * (side * side) + row / 4] = total;
    }
}

PUBLISH(first_convolution_run, run)

KERNELS(first_convolution_forward, FirstConvolutionForward, 256, 2)
KERNELS(first_convolution_backward_weights, FirstConvolutionBackwardWeights, 256, 2)
