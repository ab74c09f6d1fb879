// One image in shared memory, channels last, with the zero border that a 3×3 convolution with padding 1 reads; and how it is filled from
// what the passes before have left. A block of 256 threads works on one image at a time.
#pragma once

#include "../common/dropout.cuh"
#include "dependent_launch.cuh"
#include "tensor_core.cuh"

constexpr int image_threads = 256, image_warps = 8, taps = 9;

// What batch norm comes to for one layer: f32, 64 places each. Forward, u = scale · y + shift; backward, dY = scale · du + from_y · y +
// constant.
enum Coefficient {
    scale = 0,
    shift = 64,
    from_y = 128,
    constant = 192,
    shared_count = 256, // those that kernels keep in shared memory
    mean = 256,
    inverse_deviation = 320
};

// Sixteen bytes a thread at a time, there after wait_for_copies and a barrier.
template <int Elements, int Threads = image_threads> DEVICE_INLINE void fetch(bfloat16 *shared, const bfloat16 *global) {
    constexpr int at_once = 8 * Threads, rest = Elements % at_once;
    const int i = 8 * (int)threadIdx.x;
#pragma unroll
    for (int first = 0; first + at_once <= Elements; first += at_once) {
        copy_async(shared + first + i, global + first + i);
    }
    if (i < rest) {
        copy_async(shared + Elements - rest + i, global + Elements - rest + i);
    }
}

// In the place of a pooled value that dropout takes away. No arithmetic gives this NaN: it has a sign.
constexpr unsigned dropped = 0xFFFF;

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

template <typename T> DEVICE_INLINE Octet load_octet(const T *from) { return *reinterpret_cast<const Octet *>(from); }
DEVICE_INLINE void store_octet(bfloat16 *to, const Octet &octet) { *reinterpret_cast<Octet *>(to) = octet; }

DEVICE_INLINE Eight load_eight(const float *from) {
    const Four16 first = reinterpret_cast<const Four16 *>(from)[0], second = reinterpret_cast<const Four16 *>(from)[1];
    return {{first.v[0], first.v[1], first.v[2], first.v[3], second.v[0], second.v[1], second.v[2], second.v[3]}};
}

struct alignas(8) Two {
    float v[2];
};

DEVICE_INLINE Two load_two(const float *from) { return *reinterpret_cast<const Two *>(from); }

DEVICE_INLINE float element(const Octet &octet, int i) { return i & 1 ? high_half(octet.w[i / 2]) : low_half(octet.w[i / 2]); }

DEVICE_INLINE Octet narrow(const Eight &x) {
    return {{pack(x.v[0], x.v[1]), pack(x.v[2], x.v[3]), pack(x.v[4], x.v[5]), pack(x.v[6], x.v[7])}};
}

DEVICE_INLINE Octet narrow_relu(const Eight &x) {
    return {{pack_relu(x.v[0], x.v[1]), pack_relu(x.v[2], x.v[3]), pack_relu(x.v[4], x.v[5]), pack_relu(x.v[6], x.v[7])}};
}

// The sign bits of two scales, as of a pair; NaN has none.
DEVICE_INLINE unsigned signs_of(float first, float second) { return (first < 0 ? 0x8000u : 0u) | (second < 0 ? 0x80000000u : 0u); }

DEVICE_INLINE Octet signs_of(const Eight &scales) {
    Octet out;
#pragma unroll
    for (int pair = 0; pair < 4; ++pair) {
        out.w[pair] = signs_of(scales.v[2 * pair], scales.v[2 * pair + 1]);
    }
    return out;
}

// A kernel reads them out of shared memory: registers are for weights and sums. Four places lie between eight channels and the next, so
// that threads which read the same of each find it in different banks.
struct alignas(16) SharedCoefficients {
    static constexpr int apart = 8 + 4;

    float values[shared_count / 8 * apart];
    unsigned signs[32]; // of the scales, as pairs

    DEVICE_INLINE static int place(int which, int channel) {
        return (which / 8 + channel / 8) * apart + channel % 8; // which: a whole number of eights
    }

    template <int Threads = image_threads> DEVICE_INLINE void load(const float *coefficients) {
        for (int i = (int)threadIdx.x; i < shared_count; i += Threads) {
            values[place(0, i)] = coefficients[i];
        }
        if (threadIdx.x < 32) {
            const float *of_pair = coefficients + scale + 2 * threadIdx.x;
            signs[threadIdx.x] = signs_of(of_pair[0], of_pair[1]);
        }
    }

    DEVICE_INLINE const float *at(Coefficient which, int channel) const { return values + place(which, channel); }
    DEVICE_INLINE float of(Coefficient which, int channel) const { return *at(which, channel); }
    DEVICE_INLINE Two of_two(Coefficient which, int channel) const { return load_two(at(which, channel)); }
    DEVICE_INLINE Eight of_octet(Coefficient which, int octet) const { return load_eight(at(which, 8 * octet)); }
    DEVICE_INLINE Octet signs_of_octet(int octet) const { return load_octet(signs + 4 * octet); }
};

// Rows of an image, first … end - 1.
struct Rows {
    unsigned first, end;
};

struct Place {
    int row, column;
};

// Every so many pixels of an image that is Width wide, row by row: what a thread fills. To add is cheaper than to divide, and little is
// done for a pixel.
template <int Width, int Step> struct Walk : Place {
    DEVICE_INLINE explicit Walk(unsigned pixel) : Place{(int)(pixel / Width), (int)(pixel % Width)} {}

    DEVICE_INLINE void next() {
        row += Step / Width;
        column += Step % Width;
        if (column >= Width) {
            column -= Width;
            ++row;
        }
    }
};

template <int Side, int Channels> struct Tile {
    static constexpr int side = Side, channels = Channels, octets = Channels / 8;
    static constexpr int strips = (Side + 7) / 8;  // a warp takes eight pixels of a row at a time
    static constexpr int columns = 8 * strips + 2; // what lies right of the image is zero, too
    static constexpr int pitch = Channels + 8;     // so that eight neighbours lie in different banks
    static constexpr int elements = (Side + 2) * columns * pitch;
    static constexpr int at_once = Side % 4 == 0 ? 4 : 7; // rows of a strip: few registers, few rows read twice
    // Rows of pooled pixels that are made in turn: where eight threads make two pixels, these lie in different banks then.
    static constexpr int in_turn = octets == 4 ? 2 : 1;

    bfloat16 *data;

    // Which pooled pixel is made in whose place, of rows in_turn times as wide.
    DEVICE_INLINE static Place pooled(const Place &place) { return {place.row * in_turn + place.column % in_turn, place.column / in_turn}; }

    DEVICE_INLINE static Rows all() { return {0, Side}; }

    // Row and column count from the border: the image begins at (1, 1).
    DEVICE_INLINE bfloat16 *at(int row, int column) const { return data + (row * columns + column) * pitch; }
    DEVICE_INLINE bfloat16 *at(int row, int column, int channel) const { return at(row, column) + channel; }

    DEVICE_INLINE void clear() const {
        for (int i = (int)threadIdx.x; i < elements / 8; i += image_threads) {
            store_octet(data + 8 * i, {{0, 0, 0, 0}});
        }
    }
};

// Which images a block of a grid takes, one after another, and which of their rows it makes: all; or half of them where the grid is twice
// as many blocks as there are images, because more would fit on the device.
struct Share {
    int image, stride;
    Rows made, read; // read: with those beside, which the windows see
};

template <class T> DEVICE_INLINE Share share_of(int samples) {
    const unsigned parts = (int)gridDim.x > samples ? 2 : 1, part = blockIdx.x % parts;
    constexpr unsigned groups = T::side / T::at_once; // of rows that a warp makes at once: those are not parted
    const unsigned first = (groups * part + parts - 1) / parts * T::at_once, end = (groups * (part + 1) + parts - 1) / parts * T::at_once;
    return {
        (int)(blockIdx.x / parts), (int)(gridDim.x / parts), {first, end}, {first > 0 ? first - 1 : 0, end < T::side ? end + 1 : T::side}};
}

// (28, 28) bfloat16 with its border.
struct ImageTile {
    static constexpr int side = 28;
    static constexpr int columns = 38;                // so that the three rows of a window lie in different banks
    static constexpr int elements = 30 * columns + 4; // whole units of 16 bytes

    bfloat16 *data;

    template <int Threads = image_threads> DEVICE_INLINE void clear() const {
        for (int i = (int)threadIdx.x; i < elements; i += Threads) {
            data[i] = {0};
        }
    }

    DEVICE_INLINE void set(int row, int column, bfloat16 value) const { data[(row + 1) * columns + column + 1] = value; }

    // Four neighbours of a row, for a thread: they can be loaded long before there is room for them.
    struct Piece {
        unsigned long long four;
    };

    static constexpr int pieces = side * side / 4;

    DEVICE_INLINE static Piece load(const bfloat16 *image) {
        return {threadIdx.x < pieces ? reinterpret_cast<const unsigned long long *>(image)[threadIdx.x] : 0};
    }

    DEVICE_INLINE void fill(const Piece &piece) const {
        if (threadIdx.x < pieces) {
            const int row = (int)threadIdx.x / (side / 4), column = (int)threadIdx.x % (side / 4) * 4;
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                set(row, column + i, {(unsigned short)(piece.four >> (16 * i))});
            }
        }
    }

    // The window at (row, column), and how far from there what its tap k sees.
    DEVICE_INLINE const bfloat16 *window(int row, int column) const { return data + row * columns + column; }
    DEVICE_INLINE static constexpr int tap(int k) { return k / 3 * columns + k % 3; }
};

// f(element, pixel, octet) for the thread's share of the octets of an image's rows.
template <int Threads, class T, class F> DEVICE_INLINE void for_octets(const Rows &rows, const F &f) {
    const int octet = (int)threadIdx.x % T::octets;
    unsigned i = rows.first * T::side * T::octets + threadIdx.x;
    for (Walk<T::side, Threads / T::octets> at(i / T::octets); i < rows.end * T::side * T::octets; i += Threads, at.next()) {
        f(8 * i, at, octet);
    }
}

// The same for rows of an image.
template <class T> DEVICE_INLINE void fetch_rows(bfloat16 *shared, const bfloat16 *global, const Rows &rows) {
    constexpr unsigned row = T::side * T::channels;
    for (unsigned i = rows.first * row + 8 * threadIdx.x; i < rows.end * row; i += 8 * image_threads) {
        copy_async(shared + i, global + i);
    }
}

// Rows of an image straight to where its pixels lie in the tile: what they are to become is made in place, all of them being on their way
// at once. There after wait_for_copies and a barrier.
template <class T> DEVICE_INLINE void fetch_in_place(const T &tile, const bfloat16 *image, const Rows &rows) {
    const int octet = (int)threadIdx.x % T::octets;
    for (unsigned i = rows.first * T::side * T::octets + threadIdx.x; i < rows.end * T::side * T::octets; i += image_threads) {
        const int pixel = (int)(i / T::octets);
        copy_async(tile.at(pixel / T::side + 1, pixel % T::side + 1) + 8 * octet, image + 8 * i);
    }
}

// An image in shared memory as it lies in global memory; row and column count from the border that it does not have.
template <class T, class Element = const bfloat16> struct Packed {
    Element *data;

    DEVICE_INLINE Element *at(int row, int column, int channel) const {
        return data + ((row - 1) * T::side + column - 1) * T::channels + channel;
    }
};

// An image with room between its pixels: what four lanes read of each of four pixels lies in different banks.
template <class T> struct Spread {
    static constexpr int pitch = T::channels + 16, elements = T::side * T::side * pitch;

    bfloat16 *data;

    DEVICE_INLINE const bfloat16 *at(int row, int column) const { return data + (row * T::side + column) * pitch; }

    DEVICE_INLINE void fetch(const bfloat16 *image, const Rows &rows) const {
        const int octet = (int)threadIdx.x % T::octets;
        for (unsigned i = rows.first * T::side * T::octets + threadIdx.x; i < rows.end * T::side * T::octets; i += image_threads) {
            copy_async(data + (int)(i / T::octets) * pitch + 8 * octet, image + 8 * i);
        }
    }
};

// relu(u) of a layer that is not pooled.
template <int Threads = image_threads, class T>
DEVICE_INLINE void fill_activated(const T &tile, const bfloat16 *y, const SharedCoefficients &coefficients, const Rows &rows) {
    for_octets<Threads, T>(rows, [&](unsigned i, const Place &at, int octet) {
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

// The activation of a layer that is pooled, from its pooled y: that of an image in shared memory, or what the tile has.
template <int Threads = image_threads, class T>
DEVICE_INLINE void fill_activated_pooled(const T &tile, const bfloat16 *image, const SharedCoefficients &coefficients, float keep_scale) {
    for_octets<Threads, T>({0, T::side}, [&](unsigned i, const Place &at, int octet) {
        const Eight a = coefficients.of_octet(scale, octet), b = coefficients.of_octet(shift, octet);
        bfloat16 *place = tile.at(at.row + 1, at.column + 1, 8 * octet);
        store_octet(place, activate_pooled(load_octet(image ? image + i : place), a, b, keep_scale));
    });
}

// dY of a layer that is not pooled, from the gradient of u; y is an image in shared memory, or the tile itself.
template <int Threads = image_threads, class T, class Source>
DEVICE_INLINE void fill_gradient(const T &tile, const Source &y, const bfloat16 *du, const SharedCoefficients &coefficients,
                                 const Rows &rows) {
    for_octets<Threads, T>(rows, [&](unsigned i, const Place &at, int octet) {
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

// The rows that fill_pooled_gradient makes where some are asked for: whole turns.
template <class T> DEVICE_INLINE Rows whole_turns(const Rows &rows) {
    constexpr unsigned height = 2 * T::in_turn;
    return {rows.first / height * height, (rows.end + height - 1) / height * height};
}

// f(pooled pixel, octet) for the thread's share of those of an image's rows, in whole turns.
template <int Threads, class T, class F> DEVICE_INLINE void for_pooled(const Rows &rows, const F &f) {
    constexpr unsigned height = 2 * T::in_turn, width = T::in_turn * T::side / 2;
    const Rows whole = whole_turns<T>(rows);
    const int octet = (int)threadIdx.x % T::octets, end = (int)(whole.end / height);
    for (Walk<width, Threads / T::octets> at(whole.first / height * width + threadIdx.x / T::octets); at.row < end; at.next()) {
        f(T::pooled(at), octet);
    }
}

// dY of a layer that is pooled: the gradient goes to the first maximum, what batch norm adds goes everywhere. y is an image in shared
// memory, or the tile itself.
template <int Threads = image_threads, class T, class Source>
DEVICE_INLINE void fill_pooled_gradient(const T &tile, const Source &y, const bfloat16 *du, const SharedCoefficients &coefficients,
                                        const Rows &rows) {
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
