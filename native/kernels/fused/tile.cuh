// One image in shared memory, channels last, with the zero border that a 3×3 convolution with padding 1 reads; and how
// it is filled from what the passes before have left. A block of 256 threads works on one image at a time.
#pragma once

#include "../dependent_launch.cuh"
#include "../philox.cuh"
#include "../step_state.cuh"
#include "../tensor_core.cuh"

constexpr int image_threads = 256, image_warps = 8, taps = 9;

// What batch norm comes to for one layer: f32, 64 places each. Forward, u = scale · y + shift; backward,
// dY = scale · du + from_y · y + constant.
enum Coefficient {
    scale = 0,
    shift = 64,
    mean = 128,
    inverse_deviation = 192,
    from_y = 256,
    constant = 320,
    coefficient_count = 384
};

// A kernel reads them out of shared memory: registers are for weights and sums.
DEVICE_INLINE void load_coefficients(float *shared, const float *coefficients) {
    for (int i = (int)threadIdx.x; i < coefficient_count; i += image_threads) {
        shared[i] = coefficients[i];
    }
}

// Sixteen bytes a thread at a time, there after wait_for_copies and a barrier.
DEVICE_INLINE void fetch(bfloat16 *shared, const bfloat16 *global, int elements) {
    for (int i = 8 * (int)threadIdx.x; i < elements; i += 8 * image_threads) {
        copy_async(shared + i, global + i);
    }
}

// In the place of a pooled value that dropout takes away. No arithmetic gives this NaN.
constexpr unsigned dropped = 0xFFFF;

struct Dropout {
    unsigned threshold; // a value goes where its random word is below: rate · 2^32
    float keep_scale;
    unsigned long long seed;
    unsigned layer;
};

// Eight neighbouring channels of a pixel: one load or store of 16 bytes.
struct alignas(16) Octet {
    unsigned w[4];
};

struct Eight {
    float v[8];
};

struct alignas(16) Four16 {
    float v[4];
};

DEVICE_INLINE Octet load_octet(const bfloat16 *from) { return *reinterpret_cast<const Octet *>(from); }
DEVICE_INLINE void store_octet(bfloat16 *to, const Octet &octet) { *reinterpret_cast<Octet *>(to) = octet; }

DEVICE_INLINE Eight load_eight(const float *from) {
    const Four16 first = reinterpret_cast<const Four16 *>(from)[0], second = reinterpret_cast<const Four16 *>(from)[1];
    return {{first.v[0], first.v[1], first.v[2], first.v[3], second.v[0], second.v[1], second.v[2], second.v[3]}};
}

DEVICE_INLINE float element(const Octet &octet, int i) {
    return i & 1 ? high_half(octet.w[i / 2]) : low_half(octet.w[i / 2]);
}

DEVICE_INLINE Octet narrow(const Eight &x) {
    return {{pack(x.v[0], x.v[1]), pack(x.v[2], x.v[3]), pack(x.v[4], x.v[5]), pack(x.v[6], x.v[7])}};
}

DEVICE_INLINE float relu(float u) { return u > 0 ? u : u != u ? u : 0.0f; } // NaN stays

template <int Side, int Channels> struct Tile {
    static constexpr int side = Side, channels = Channels, octets = Channels / 8;
    static constexpr int strips = (Side + 7) / 8;  // a warp takes eight pixels of a row at a time
    static constexpr int columns = 8 * strips + 2; // what lies right of the image is zero, too
    static constexpr int pitch = Channels + 8;     // so that eight neighbours lie in different banks
    static constexpr int elements = (Side + 2) * columns * pitch;

    bfloat16 *data;

    // Row and column count from the border: the image begins at (1, 1).
    DEVICE_INLINE bfloat16 *at(int row, int column) const { return data + (row * columns + column) * pitch; }

    DEVICE_INLINE void clear() const {
        for (int i = (int)threadIdx.x; i < elements / 8; i += image_threads) {
            store_octet(data + 8 * i, {{0, 0, 0, 0}});
        }
    }
};

// (28, 28) bfloat16 with its border.
struct ImageTile {
    static constexpr int side = 28, columns = 34, elements = 30 * columns + 4; // whole units of 16 bytes

    bfloat16 *data;

    DEVICE_INLINE void clear() const {
        for (int i = (int)threadIdx.x; i < elements; i += image_threads) {
            data[i] = {0};
        }
    }

    DEVICE_INLINE void fill(const bfloat16 *image) const {
        for (int i = (int)threadIdx.x; i < side * side; i += image_threads) {
            data[(i / side + 1) * columns + i % side + 1] = image[i];
        }
    }

    // What tap k of the window at (row, column) sees.
    DEVICE_INLINE unsigned tap(int k, int row, int column) const {
        return data[(row + k / 3) * columns + column + k % 3].bits;
    }
};

// relu(u) of a layer that is not pooled.
template <class T> DEVICE_INLINE void fill_activated(const T &tile, const bfloat16 *y, const float *coefficients) {
    const int octet = (int)threadIdx.x % T::octets;
    for (int i = (int)threadIdx.x; i < T::side * T::side * T::octets; i += image_threads) {
        const int pixel = i / T::octets;
        const Octet in = load_octet(y + 8 * i);
        const Eight a = load_eight(coefficients + scale + 8 * octet), b = load_eight(coefficients + shift + 8 * octet);
        Eight out;
#pragma unroll
        for (int c = 0; c < 8; ++c) {
            out.v[c] = relu(fused_multiply_add(element(in, c), a.v[c], b.v[c]));
        }
        store_octet(tile.at(pixel / T::side + 1, pixel % T::side + 1) + 8 * octet, narrow(out));
    }
}

// The four pixels that a pooled one is the maximum of, and which of them it is: the first maximum of u.
struct Quad {
    Octet y[4];

    template <class T> DEVICE_INLINE void load(const bfloat16 *image, int pooled, int octet) {
        constexpr int half = T::side / 2;
        const bfloat16 *from = image + ((pooled / half * 2) * T::side + pooled % half * 2) * T::channels + 8 * octet;
        y[0] = load_octet(from);
        y[1] = load_octet(from + T::channels);
        y[2] = load_octet(from + T::side * T::channels);
        y[3] = load_octet(from + (T::side + 1) * T::channels);
    }

    DEVICE_INLINE int best(int c, float a, float b) const {
        int at = 0;
        float most = fused_multiply_add(element(y[0], c), a, b);
#pragma unroll
        for (int i = 1; i < 4; ++i) {
            const float u = fused_multiply_add(element(y[i], c), a, b);
            at = u > most || u != u ? i : at;
            most = u > most || u != u ? u : most;
        }
        return at;
    }

    DEVICE_INLINE unsigned bits(int i, int c) const { return c & 1 ? y[i].w[c / 2] >> 16 : y[i].w[c / 2] & 0xFFFFu; }
};

// The pooled y of one octet: the y of the maximum, or `dropped`. T is the tile of the layer before pooling.
template <class T>
DEVICE_INLINE Octet pool_octet(const StepState *state, int n, const bfloat16 *image, int pooled, int octet,
                               const Eight &a, const Eight &b, const Dropout &dropout) {
    Quad quad;
    quad.load<T>(image, pooled, octet);
    unsigned words[8];
    if (dropout.threshold > 0) {
        const unsigned block = (unsigned)(pooled * T::channels + 8 * octet) / 4, row = (unsigned)dataset_row(state, n);
        constexpr unsigned dropout_purpose = 16;
        const PhiloxBlock first = philox_block(dropout.seed, block, row, state->epoch, dropout_purpose + dropout.layer);
        const PhiloxBlock second =
            philox_block(dropout.seed, block + 1, row, state->epoch, dropout_purpose + dropout.layer);
        words[0] = first.x, words[1] = first.y, words[2] = first.z, words[3] = first.w;
        words[4] = second.x, words[5] = second.y, words[6] = second.z, words[7] = second.w;
    }
    unsigned bits[8];
#pragma unroll
    for (int c = 0; c < 8; ++c) {
        const int at = quad.best(c, a.v[c], b.v[c]);
        const unsigned y0 = quad.bits(0, c), y1 = quad.bits(1, c), y2 = quad.bits(2, c), y3 = quad.bits(3, c);
        bits[c] = at == 0 ? y0 : at == 1 ? y1 : at == 2 ? y2 : y3;
        bits[c] = dropout.threshold > 0 && words[c] < dropout.threshold ? dropped : bits[c];
    }
    return {{bits[0] | bits[1] << 16, bits[2] | bits[3] << 16, bits[4] | bits[5] << 16, bits[6] | bits[7] << 16}};
}

// relu and dropout of a pooled octet.
DEVICE_INLINE Octet activate_pooled(const Octet &pooled, const Eight &a, const Eight &b, float keep_scale) {
    Eight out;
#pragma unroll
    for (int c = 0; c < 8; ++c) {
        const unsigned bits = c & 1 ? pooled.w[c / 2] >> 16 : pooled.w[c / 2] & 0xFFFFu;
        const float u = fused_multiply_add(element(pooled, c), a.v[c], b.v[c]);
        out.v[c] = bits == dropped ? 0.0f : relu(u) * keep_scale;
    }
    return narrow(out);
}

// The activation of a layer that is pooled, from its pooled y.
template <class T>
DEVICE_INLINE void fill_from_pooled(const T &tile, const bfloat16 *pooled, const float *coefficients,
                                    float keep_scale) {
    const int octet = (int)threadIdx.x % T::octets;
    for (int i = (int)threadIdx.x; i < T::side * T::side * T::octets; i += image_threads) {
        const int pixel = i / T::octets;
        const Eight a = load_eight(coefficients + scale + 8 * octet), b = load_eight(coefficients + shift + 8 * octet);
        store_octet(tile.at(pixel / T::side + 1, pixel % T::side + 1) + 8 * octet,
                    activate_pooled(load_octet(pooled + 8 * i), a, b, keep_scale));
    }
}

// dY of a layer that is not pooled, from the gradient of u.
template <class T>
DEVICE_INLINE void fill_gradient(const T &tile, const bfloat16 *y, const bfloat16 *du, const float *coefficients) {
    const int octet = (int)threadIdx.x % T::octets;
    for (int i = (int)threadIdx.x; i < T::side * T::side * T::octets; i += image_threads) {
        const int pixel = i / T::octets;
        const Octet in = load_octet(y + 8 * i), gradient = load_octet(du + 8 * i);
        const Eight a = load_eight(coefficients + scale + 8 * octet), b = load_eight(coefficients + from_y + 8 * octet),
                    c0 = load_eight(coefficients + constant + 8 * octet);
        Eight out;
#pragma unroll
        for (int c = 0; c < 8; ++c) {
            const float rest = fused_multiply_add(element(in, c), b.v[c], c0.v[c]);
            out.v[c] = fused_multiply_add(element(gradient, c), a.v[c], rest);
        }
        store_octet(tile.at(pixel / T::side + 1, pixel % T::side + 1) + 8 * octet, narrow(out));
    }
}

// dY of a layer that is pooled: the gradient goes to the first maximum, what batch norm adds goes everywhere.
template <class T>
DEVICE_INLINE void fill_pooled_gradient(const T &tile, const bfloat16 *y, const bfloat16 *du,
                                        const float *coefficients) {
    constexpr int half = T::side / 2;
    const int octet = (int)threadIdx.x % T::octets;
    for (int i = (int)threadIdx.x; i < half * half * T::octets; i += image_threads) {
        const int pooled = i / T::octets, row = pooled / half * 2 + 1, column = pooled % half * 2 + 1;
        Quad quad;
        quad.load<T>(y, pooled, octet);
        const Octet gradient = load_octet(du + 8 * i);
        Octet out[4];
#pragma unroll
        for (int pair = 0; pair < 4; ++pair) {
            float of_pair[4][2];
#pragma unroll
            for (int second = 0; second < 2; ++second) {
                const int c = 2 * pair + second;
                const float *of_channel = coefficients + 8 * octet + c;
                const float a = of_channel[scale], b = of_channel[from_y], c0 = of_channel[constant];
                const int at = quad.best(c, a, of_channel[shift]);
                const float to_best = element(gradient, c) * a;
#pragma unroll
                for (int k = 0; k < 4; ++k) {
                    const float rest = fused_multiply_add(element(quad.y[k], c), b, c0);
                    of_pair[k][second] = at == k ? rest + to_best : rest;
                }
            }
#pragma unroll
            for (int k = 0; k < 4; ++k) {
                out[k].w[pair] = pack(of_pair[k][0], of_pair[k][1]);
            }
        }
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            store_octet(tile.at(row + k / 2, column + k % 2) + 8 * octet, out[k]);
        }
    }
}
