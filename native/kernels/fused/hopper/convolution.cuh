// A 3×3 convolution of an image by warpgroups, each a share of its pixels.
#pragma once

#include "tile.cuh"

constexpr int convolution_threads = 4 * warpgroup_threads;

template <class T, int Out> struct WarpgroupConvolution {
    static constexpr int Side = T::side, In = T::channels;

    // A warpgroup takes one strip of eight columns, of all rows that are made (or pairs of them), or of half. Where that is too little for
    // four, two do nothing.
    static constexpr int across = T::columns / 8, rows = Side / T::turn, groups = rows * across % 28 == 0 ? 4 : 2,
                         strips = rows * across / groups;

    float sums[strips][4]; // while products are on their way
    struct {
        unsigned w[2];
    } made[strips]; // channels g and g + 8 at pixels 2t and 2t + 1 of each strip, rounded; half as many registers

    DEVICE_INLINE static bool multiplies() { return groups == 4 || warpgroup() < groups; }

    DEVICE_INLINE void begin(const T &tile, const SharedWeights<In, Out> &weights) {
        if (!multiplies()) {
            return;
        }
        begin_products();
        const MatrixDescriptor pixels = tile.strips_by_channels(first_row(), column()).here(), first = weights.first().here();
#pragma unroll
        for (int row = 0; row < SharedWeights<In, Out>::input_rows; ++row) {
#pragma unroll
            for (int x = 0; x < 3; ++x) {
#pragma unroll
                for (int step = 0; step < SharedWeights<In, Out>::steps; ++step) {
                    multiply_async(sums, first.plus(weights.offset(row, x, step)),
                                   pixels.plus(16 * (unsigned)T::pixel(row, x) + 2 * step * T::plane_bytes), row + x + step > 0);
                }
            }
        }
        end_products();
    }

    // By all, also those that do not multiply: where some wait and others do not, ptxas of CUDA 13 has each product wait for the one
    // before.
    DEVICE_INLINE void take() {
        wait_for_products();
        settle(sums);
#pragma unroll
        for (int strip = 0; strip < strips; ++strip) {
            made[strip] = {{pack(sums[strip][0], sums[strip][1]), pack(sums[strip][2], sums[strip][3])}};
        }
    }

    // Four channels of the lane's pixel.
    DEVICE_INLINE FourChannels by_pixel(int strip) const {
        return {{transpose_matrix(made[strip].w[0]), transpose_matrix(made[strip].w[1])}};
    }

    DEVICE_INLINE static int first_row() { return warpgroup() / across * strips; } // of the rows, or pairs
    DEVICE_INLINE static int row(int strip) { return (first_row() + strip) * T::turn + warp() % 4 / (4 / T::turn); }
    DEVICE_INLINE static int column() { return warpgroup() % across * 8; }

    // A lane's pixel and its four channels of an image (Side, Side, Out), once sums are by_pixel: of the first strip. The next ones are a
    // distance apart, which costs no register.
    static constexpr int distance = T::turn * Side * Out;
    DEVICE_INLINE static int pixel() { return column() + (lane() >> 2); }
    DEVICE_INLINE static int place(int pixel) { return (row(0) * Side + pixel) * Out + warp() % (Out / 16) * 16 + 4 * (lane() & 3); }
};

// y of the layer, and what it adds to the layer's statistics.
template <class T, int Out>
DEVICE_INLINE void store_output(const WarpgroupConvolution<T, Out> &conv, bfloat16 *y, ChannelSums &statistics) {
    constexpr int strips = WarpgroupConvolution<T, Out>::strips;
    if (!conv.multiplies()) {
        return;
    }
    FourChannels out[strips];
#pragma unroll
    for (int strip = 0; strip < strips; ++strip) {
        out[strip] = conv.by_pixel(strip);
    }
    if (conv.pixel() < T::side) {
        bfloat16 *to = y + conv.place(conv.pixel());
#pragma unroll
        for (int strip = 0; strip < strips; ++strip) {
            *reinterpret_cast<FourChannels *>(to + strip * conv.distance) = out[strip];
            statistics.add(out[strip]);
        }
    }
}

// du of the layer below, through its ReLU and dropout.
template <class T, int Out> struct GradientBelow {
    using Convolution = WarpgroupConvolution<T, Out>;

    FourChannels y[Convolution::strips]; // of the layer below; pooled, where it is pooled
    MaskedGradient<Out> masking;

    // To be called while products are on their way: it takes as long to come.
    DEVICE_INLINE void load(const bfloat16 *below) {
        if (!Convolution::multiplies()) {
            return;
        }
        // So that no lane loads on a condition.
        const bfloat16 *from = below + Convolution::place(smaller(Convolution::pixel(), T::side - 1));
#pragma unroll
        for (int strip = 0; strip < Convolution::strips; ++strip) {
            y[strip] = load_four(from + strip * Convolution::distance);
        }
    }

    DEVICE_INLINE void store(const Convolution &conv, float keep_scale, bfloat16 *du, const BatchNorm &norm) {
        if (!conv.multiplies()) {
            return;
        }
        masking.load(norm); // for every image: in registers they would lie while the next one is made
        FourChannels turned[Convolution::strips];
#pragma unroll
        for (int strip = 0; strip < Convolution::strips; ++strip) {
            turned[strip] = conv.by_pixel(strip);
        }
        if (conv.pixel() < T::side) {
            bfloat16 *to = du + conv.place(conv.pixel());
#pragma unroll
            for (int strip = 0; strip < Convolution::strips; ++strip) {
                *reinterpret_cast<FourChannels *>(to + strip * conv.distance) = masking.apply(turned[strip], y[strip], keep_scale);
            }
        }
    }
};
