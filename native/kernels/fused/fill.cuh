// How the image in shared memory is made from what the passes before have left: activations, and gradients of them.
#pragma once

#include "../common/dropout.cuh"
#include "tile.cuh"

// In the place of a pooled value that dropout takes away. No arithmetic gives this NaN: it has a sign.
constexpr unsigned dropped = 0xFFFF;

// relu(u) of a layer that is not pooled.
template <int Threads, class T>
DEVICE_INLINE void fill_activated(const T &tile, const bfloat16 *y, const SharedCoefficients &coefficients) {
    for_octets<Threads, T>([&](unsigned i, const Place &at, int octet) {
        const Octet in = load_octet(y + i);
        const Eight a = coefficients.of_octet(scale, octet), b = coefficients.of_octet(shift, octet);
        Eight out;
#pragma unroll
        for (int c = 0; c < 8; ++c) {
            out.v[c] = fused_multiply_add(element(in, c), a.v[c], b.v[c]);
        }
        store_octet(tile.at(at.row + 1, at.column + 1, 8 * octet), narrow_relu(out));
    });
}

// The four pixels that a pooled one is the maximum of. u rises with y, or falls where the scale is negative: with the scale's sign on all
// of them, the greatest u is the greatest y.
struct Quad {
    Octet y[4];

    // The first at (row, column), from the border.
    template <class Source> DEVICE_INLINE void load(const Source &source, int row, int column, int octet) {
        y[0] = load_octet(source.at(row, column, 8 * octet));
        y[1] = load_octet(source.at(row, column + 1, 8 * octet));
        y[2] = load_octet(source.at(row + 1, column, 8 * octet));
        y[3] = load_octet(source.at(row + 1, column + 1, 8 * octet));
    }

    // The y of two channels where their u is greatest.
    DEVICE_INLINE unsigned best(int pair, unsigned sign) const {
        return greatest(greatest(y[0].w[pair] ^ sign, y[1].w[pair] ^ sign), greatest(y[2].w[pair] ^ sign, y[3].w[pair] ^ sign)) ^ sign;
    }

    // What is given, for each pixel, where it is the first of these, and 0 elsewhere.
    DEVICE_INLINE void give_to_best(int pair, unsigned sign, unsigned given, unsigned (&to)[4]) const {
        const unsigned y0 = y[0].w[pair] ^ sign, y1 = y[1].w[pair] ^ sign, y2 = y[2].w[pair] ^ sign, y3 = y[3].w[pair] ^ sign;
        const unsigned right = where_greater(y1, y0), right_below = where_greater(y3, y2),
                       below = where_greater(greatest(y2, y3), greatest(y0, y1));
        to[0] = given & ~below & ~right;
        to[1] = given & ~below & right;
        to[2] = given & below & ~right_below;
        to[3] = given & below & right_below;
    }
};

// Which digit an image is, for dropout.
struct Digit {
    unsigned row, epoch;
};

// Those of a step: where their rows stand is loaded once, so that nothing waits for it again.
struct Digits {
    const int *order;
    unsigned first, rows, epoch;

    DEVICE_INLINE explicit Digits(const StepState *state)
        : order(device_pointer<const int>(state->order)), first(state->first), rows(state->rows), epoch(state->epoch) {}

    DEVICE_INLINE Digit of(int n) const { return {(unsigned)dataset_row(order, rows, first + (unsigned)n), epoch}; }
};

// Where eight channels of a pooled pixel begin. T is the tile of the layer before pooling.
template <class T> DEVICE_INLINE int pooled_element(const Place &pooled, int octet) {
    return (pooled.row * (T::side / 2) + pooled.column) * T::channels + 8 * octet;
}

// The pooled y of one octet: the y of the maximum, or `dropped`. T is the tile of the layer before pooling.
template <class T, class Source>
DEVICE_INLINE Octet pool_octet(const Digit &digit, const Source &y, const Place &pooled, int octet, const Octet &sign,
                               const Dropout &dropout) {
    Quad quad;
    quad.load(y, pooled.row * 2 + 1, pooled.column * 2 + 1, octet);
    Octet out = {{quad.best(0, sign.w[0]), quad.best(1, sign.w[1]), quad.best(2, sign.w[2]), quad.best(3, sign.w[3])}};
    if (dropout.threshold > 0) {
        const unsigned block = (unsigned)pooled_element<T>(pooled, octet) / 4;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            unsigned words[4];
            dropout.words(block + half, digit.row, digit.epoch, words);
#pragma unroll
            for (int pair = 0; pair < 2; ++pair) {
                out.w[2 * half + pair] |=
                    (words[2 * pair] < dropout.threshold ? dropped : 0u) | (words[2 * pair + 1] < dropout.threshold ? dropped << 16 : 0u);
            }
        }
    }
    return out;
}

// relu and dropout of a pooled octet. What was dropped is a NaN with a sign; those that arithmetic makes have none, and stay, so that a run
// that diverged says so.
DEVICE_INLINE Octet activate_pooled(const Octet &pooled, const Eight &a, const Eight &b, float keep_scale) {
    Eight u;
#pragma unroll
    for (int c = 0; c < 8; ++c) {
        u.v[c] = fused_multiply_add(element(pooled, c), a.v[c], b.v[c]) * keep_scale;
    }
    Octet out = narrow_relu(u);
#pragma unroll
    for (int pair = 0; pair < 4; ++pair) {
        out.w[pair] &= ~(where_nan(pooled.w[pair]) & where_signed(pooled.w[pair]));
    }
    return out;
}

// The activation of a layer that is pooled, from its pooled y.
template <int Threads, class T>
DEVICE_INLINE void fill_activated_pooled(const T &tile, const bfloat16 *image, const SharedCoefficients &coefficients, float keep_scale) {
    for_octets<Threads, T>([&](unsigned i, const Place &at, int octet) {
        const Eight a = coefficients.of_octet(scale, octet), b = coefficients.of_octet(shift, octet);
        store_octet(tile.at(at.row + 1, at.column + 1, 8 * octet), activate_pooled(load_octet(image + i), a, b, keep_scale));
    });
}

// dY of a layer that is not pooled, from the gradient of u.
template <int Threads, class T, class Source>
DEVICE_INLINE void fill_gradient(const T &tile, const Source &y, const bfloat16 *du, const SharedCoefficients &coefficients) {
    for_octets<Threads, T>([&](unsigned i, const Place &at, int octet) {
        const int row = at.row + 1, column = at.column + 1;
        const Octet in = load_octet(y.at(row, column, 8 * octet)), gradient = load_octet(du + i);
        Octet out;
#pragma unroll
        for (int pair = 0; pair < 4; ++pair) { // of coefficients, two at a time: registers hold sums
            const int channel = 8 * octet + 2 * pair;
            const Two a = coefficients.of_two(scale, channel), b = coefficients.of_two(from_y, channel),
                      c0 = coefficients.of_two(constant, channel);
            const float first = fused_multiply_add(low_half(in.w[pair]), b.v[0], c0.v[0]),
                        second = fused_multiply_add(high_half(in.w[pair]), b.v[1], c0.v[1]);
            out.w[pair] = pack(fused_multiply_add(low_half(gradient.w[pair]), a.v[0], first),
                               fused_multiply_add(high_half(gradient.w[pair]), a.v[1], second));
        }
        store_octet(tile.at(row, column, 8 * octet), out);
    });
}

// f(pooled pixel, octet) for the thread's share of those of an image's rows, of which there is an even number.
template <int Threads, class T, class F> DEVICE_INLINE void for_pooled(const Rows &rows, const F &f) {
    constexpr unsigned width = T::side / 2;
    const int octet = (int)threadIdx.x % T::octets, end = (int)(rows.end / 2);
    for (Walk<width, Threads / T::octets> at(rows.first / 2 * width + threadIdx.x / T::octets); at.row < end; at.next()) {
        f(T::pooled(at), octet);
    }
}

// dY of a layer that is pooled: the gradient goes to the first maximum, what batch norm adds goes everywhere. y is an image in shared
// memory, or the tile itself.
template <int Threads, class T, class Source>
DEVICE_INLINE void fill_pooled_gradient(const T &tile, const Source &y, const bfloat16 *du, const SharedCoefficients &coefficients,
                                        const Rows &rows = {0, T::side}) {
    for_pooled<Threads, T>(rows, [&](const Place &pooled, int octet) {
        const int row = pooled.row * 2 + 1, column = pooled.column * 2 + 1;
        Quad quad;
        quad.load(y, row, column, octet);
        const Octet gradient = load_octet(du + pooled_element<T>(pooled, octet)), sign = coefficients.signs_of_octet(octet);
        Octet out[4];
#pragma unroll
        for (int pair = 0; pair < 4; ++pair) {
            unsigned to_best[4];
            quad.give_to_best(pair, sign.w[pair], gradient.w[pair], to_best);
            const int channel = 8 * octet + 2 * pair;
            const Two a = coefficients.of_two(scale, channel), b = coefficients.of_two(from_y, channel),
                      c0 = coefficients.of_two(constant, channel);
#pragma unroll
            for (int k = 0; k < 4; ++k) {
                const float first = fused_multiply_add(low_half(quad.y[k].w[pair]), b.v[0], c0.v[0]),
                            second = fused_multiply_add(high_half(quad.y[k].w[pair]), b.v[1], c0.v[1]);
                out[k].w[pair] = pack(fused_multiply_add(low_half(to_best[k]), a.v[0], first),
                                      fused_multiply_add(high_half(to_best[k]), a.v[1], second));
            }
        }
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            store_octet(tile.at(row + k / 2, column + k % 2, 8 * octet), out[k]);
        }
    });
}
