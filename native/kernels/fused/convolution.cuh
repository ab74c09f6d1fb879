// A 3×3 convolution of one image in shared memory on tensor cores. The matrix of weights is the left factor and stays in registers: a warp
// keeps sixteen output channels for all taps and input channels. The right factor is eight neighbouring pixels of a row, read once for each
// of the window's three columns and used for three rows of output.
#pragma once

#include "batch_norm.cuh"
#include "fill.cuh"

// Row i of sixteen is which channel: so that after transposition lane 4 g + t holds channels 4 t … 4 t + 3 of pixel g.
DEVICE_INLINE int channel_of(int half, int g) { return (g >> 1) * 4 + 2 * half + (g & 1); }

// A lane's part of sixteen rows by sixteen columns of the left factor.
struct alignas(16) Fragment {
    unsigned a[4];
};

template <int In, int Out> struct Weights {
    static constexpr int groups = Out / 16, steps = In / 16;

    Fragment of[taps][steps];

    DEVICE_INLINE static int first_channel() { return warp() % groups * 16; }

    // (groups, taps, steps, 32 lanes) of fragments: Adam leaves the weights as they are needed here (Fragments.cs says where), once for the
    // way forward and once turned round: the gradient of the data is a convolution of the gradient of the output with those.
    DEVICE_INLINE void load(const bfloat16 *fragments) {
        const Fragment *from = reinterpret_cast<const Fragment *>(fragments) + warp() % groups * (taps * steps * 32) + lane();
#pragma unroll
        for (int tap = 0; tap < taps; ++tap) {
#pragma unroll
            for (int k = 0; k < steps; ++k) {
                of[tap][k] = from[(tap * steps + k) * 32];
            }
        }
    }
};

// epilogue(first row, first column, sums) for strips of eight pixels, AtOnce rows of them: sums of channels g and g + 8 at pixels 2t and 2t
// + 1. Pixels right of the image are to be ignored. A product waits for the one before on the same sums, and there are three to turn to;
// with Apart, even and odd sixteens of channels are summed apart, so six.
template <int Out, int AtOnce, bool Apart, class T, class Epilogue>
DEVICE_INLINE void convolve(const T &tile, const Weights<T::channels, Out> &weights, const Epilogue &epilogue) {
    static_assert(T::side % AtOnce == 0, "no row is left over");
    constexpr int groups = Weights<T::channels, Out>::groups, parts = Apart ? 2 : 1;
    constexpr int places = T::strips * (T::side / AtOnce);
    for (int place = warp() / groups; place < places; place += image_warps / groups) {
        const int row = place / T::strips * AtOnce, column = place % T::strips * 8;
        const bfloat16 *from = tile.at(row, column + (lane() & 7)) + 8 * (lane() >> 3);
        float sums[parts][AtOnce][4] = {};
#pragma unroll
        for (int y = 0; y < AtOnce + 2; ++y) {
#pragma unroll
            for (int x = 0; x < 3; ++x) {
#pragma unroll
                for (int k = 0; k < T::channels / 32; ++k) {
                    unsigned pixels[4];
                    load_matrices(pixels, from + (y * T::columns + x) * T::pitch + 32 * k);
#pragma unroll
                    for (int half = 0; half < 2; ++half) {
                        const unsigned b[2] = {pixels[2 * half], pixels[2 * half + 1]};
#pragma unroll
                        for (int above = 0; above < 3; ++above) {
                            if (y - above >= 0 && y - above < AtOnce) {
                                multiply_accumulate_k16(sums[half % parts][y - above], weights.of[3 * above + x][2 * k + half].a, b);
                            }
                        }
                    }
                }
            }
        }
        if constexpr (Apart) {
#pragma unroll
            for (int y = 0; y < AtOnce; ++y) {
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    sums[0][y][i] += sums[1][y][i];
                }
            }
        }
        epilogue(row, column, sums[0]);
    }
}

// Four channels of a pixel, 4 t … 4 t + 3 of the warp's sixteen, in the hands of lane 4 g + t: pixel g.
struct alignas(8) FourChannels {
    unsigned w[2];
};

// One load of eight bytes: left to itself, the compiler makes several of parts.
DEVICE_INLINE FourChannels load_four(const bfloat16 *from) {
    const unsigned long long both = *reinterpret_cast<const unsigned long long *>(from);
    return {{(unsigned)both, (unsigned)(both >> 32)}};
}

DEVICE_INLINE FourChannels by_pixel(const float (&sums)[4]) {
    return {{transpose_matrix(pack(sums[0], sums[1])), transpose_matrix(pack(sums[2], sums[3]))}};
}

DEVICE_INLINE FourChannels relu_by_pixel(const float (&u)[4]) {
    return {{transpose_matrix(pack_relu(u[0], u[1])), transpose_matrix(pack_relu(u[2], u[3]))}};
}

DEVICE_INLINE float element(const float (&four)[4], int i) { return four[i]; }
DEVICE_INLINE float element(const FourChannels &four, int i) { return i & 1 ? high_half(four.w[i / 2]) : low_half(four.w[i / 2]); }

// Sums of sixteen output channels and eight input channels, as products leave them, to one tap of a gradient (Out, 3, 3, In).
template <int In> DEVICE_INLINE void store_tap(float *gradient, int first_out, int tap, int first_in, const float (&sums)[4]) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        const int out = first_out + (lane() >> 2) + 8 * i, in = first_in + 2 * (lane() & 3);
        *reinterpret_cast<Two *>(gradient + (out * taps + tap) * In + in) = {{sums[2 * i], sums[2 * i + 1]}};
    }
}

// Two sums per channel over all images of a block.
struct ChannelSums {
    float first[4] = {}, second[4] = {};

    // A pixel's y, as it is stored, and y².
    DEVICE_INLINE void add(const FourChannels &y) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const float value = element(y, i);
            first[i] += value;
            second[i] = fused_multiply_add(value, value, second[i]);
        }
    }

    // y and y²: the layer's statistics.
    template <int Channels, int Threads> DEVICE_INLINE void finish_statistics(const BatchNorm &norm) {
        __shared__ double totals[2 * Channels];
        const int c = (int)threadIdx.x;
        const Affine affine = load_affine(norm, c < Channels ? c : 0);
        if (add_up<Channels, Threads>(norm, totals) && c < Channels) {
            const double average = totals[c] / norm.values, square = totals[Channels + c] / norm.values;
            use_statistics(norm, affine, average, square - average * average, c);
        }
    }

    // du and du · y: its gradients.
    template <int Channels, int Threads = image_threads> DEVICE_INLINE void finish_gradients(const BatchNorm &norm) {
        __shared__ double totals[2 * Channels];
        const int c = (int)threadIdx.x;
        const ForwardCoefficients forward = load_forward(norm, c < Channels ? c : 0);
        if (add_up<Channels, Threads>(norm, totals) && c < Channels) {
            use_gradients(norm, forward, totals[c], totals[Channels + c], c);
        }
    }

  private:
    // This block's sums, always in the same order, then those of all. A warp holds sixteen channels, groups · 16 = Channels.
    template <int Channels, int Threads> DEVICE_INLINE bool add_up(const BatchNorm &norm, double *totals) {
        constexpr int groups = Channels / 16, warps = Threads / 32;
        __shared__ float of_warps[warps][2][16];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
#pragma unroll
            for (int mask = 4; mask < 32; mask *= 2) {
                first[i] += shuffle_xor(first[i], mask);
                second[i] += shuffle_xor(second[i], mask);
            }
            if (lane() < 4) {
                of_warps[warp()][0][4 * lane() + i] = first[i];
                of_warps[warp()][1][4 * lane() + i] = second[i];
            }
        }
        __syncthreads();
        const int i = (int)threadIdx.x, which = i / Channels, channel = i % Channels;
        if (i < 2 * Channels) {
            float sum = 0;
            for (int w = channel / 16; w < warps; w += groups) {
                sum += of_warps[w][which][channel % 16];
            }
            norm.partial[(long long)blockIdx.x * 2 * Channels + i] = sum;
        }
        // The tiles are no longer needed once all threads have come to the barrier in there.
        return add_up_in_last_block<2 * Channels, Threads>(norm, totals, reinterpret_cast<double *>(dynamic_shared_memory));
    }
};

// The windows of eight neighbouring pixels, as a right factor: for a lane, those taps of one window that it has. Other windows lie a
// distance from there that is the same for all lanes.
struct Windows {
    const bfloat16 *first, *second; // taps 2t and 2t + 1

    DEVICE_INLINE Windows(const ImageTile &image, int row, int column) {
        const int t = lane() & 3;
        const bfloat16 *window = image.window(row, column + (lane() >> 2));
        first = window + ImageTile::tap(2 * t);
        second = window + ImageTile::tap(2 * t + 1);
    }

    DEVICE_INLINE void load(int distance, unsigned (&b)[2]) const {
        b[0] = first[distance].bits | second[distance].bits << 16;
        b[1] = (lane() & 3) == 0 ? first[distance + ImageTile::tap(8)].bits : 0u; // first is tap 0 there
    }
};

// The first convolution, from one channel: its window is one product over sixteen taps of which nine exist.
struct FirstConvolution {
    unsigned a[4];
    float scale_of[2], shift_of[2]; // of channels g and g + 8 of the warp's sixteen

    // w (32, 3, 3); channels from `first` on.
    DEVICE_INLINE void load(const bfloat16 *w, const SharedCoefficients &coefficients, int first) {
        // One address for each kind, and distances: addresses of their own would be kept from image to image. Of the second half, the
        // channel is two further on, among the same eight.
        const int t = lane() & 3, channel = first + channel_of(0, lane() >> 2);
        const bfloat16 *of_channel = w + channel * taps;
        const float *scales = coefficients.at(scale, channel), *shifts = coefficients.at(shift, channel);
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const bfloat16 *row = of_channel + 2 * half * taps;
            a[half] = row[2 * t].bits | (unsigned)row[2 * t + 1].bits << 16;
            a[half + 2] = t == 0 ? row[8].bits : 0u;
            scale_of[half] = scales[2 * half];
            shift_of[half] = shifts[2 * half];
        }
    }

    // u = batch norm of the convolution: rows g and g + 8 at pixels 2t and 2t + 1.
    DEVICE_INLINE void normalized(const unsigned (&b)[2], float (&u)[4]) const {
        float sums[4] = {};
        multiply_accumulate_k16(sums, a, b);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            u[i] = fused_multiply_add(sums[i], scale_of[i >> 1], shift_of[i >> 1]);
        }
    }
};

// The first layer's weights into shared memory: fill_first_layer loads them for every image.
template <int Threads = image_threads> DEVICE_INLINE void copy_first_weights(bfloat16 *shared, const bfloat16 *w) {
    for (int i = (int)threadIdx.x; i < 32 * taps; i += Threads) {
        shared[i] = w[i];
    }
}

// relu(u) of the first layer, computed from the image; weights and coefficients lie in shared memory.
template <int Threads = image_threads, class T>
DEVICE_INLINE void fill_first_layer(const T &tile, const ImageTile &image, const bfloat16 *w, const SharedCoefficients &coefficients,
                                    const Rows &rows = {0, T::side}) {
    FirstConvolution first[2];
    first[0].load(w, coefficients, 0);
    first[1].load(w, coefficients, 16);
    const int g = lane() >> 2, t = lane() & 3;
    constexpr int pairs = (T::side + 15) / 16; // of strips, so that a warp need not wait for one of them
    static_assert(Threads / 32 % pairs == 0, "a warp stays in its columns");
    const int column = warp() % pairs * 16;
    for (int row = (int)rows.first + warp() / pairs; row < (int)rows.end; row += Threads / 32 / pairs) {
        const Windows windows(image, row, column);
        unsigned b[2][2];
        windows.load(0, b[0]);
        windows.load(8, b[1]);
#pragma unroll
        for (int half = 0; half < 2; ++half) {
#pragma unroll
            for (int strip = 0; strip < 2; ++strip) {
                float u[4];
                first[half].normalized(b[strip], u);
                const FourChannels out = relu_by_pixel(u);
                const int x = column + 8 * strip + g;
                if (x < T::side) {
                    *reinterpret_cast<FourChannels *>(tile.at(row + 1, x + 1, 16 * half + 4 * t)) = out;
                }
            }
        }
    }
}
