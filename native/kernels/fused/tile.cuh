// One image in shared memory, channels last, with the zero border that a 3×3 convolution with padding 1 reads, and how it gets there. A
// block of 256 threads works on one image at a time.
#pragma once

#include "coefficients.cuh"
#include "dependent_launch.cuh"

// Sixteen bytes a thread at a time, there after wait_for_copies and a barrier.
template <int Elements, int Threads> DEVICE_INLINE void fetch(bfloat16 *shared, const bfloat16 *global) {
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

template <int Threads = image_threads> DEVICE_INLINE void clear(bfloat16 *data, int elements) {
    for (int i = (int)threadIdx.x; i < elements / 8; i += Threads) {
        store_octet(data + 8 * i, {{0, 0, 0, 0}});
    }
}

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

    bfloat16 *data;

    // Row and column count from the border: the image begins at (1, 1).
    DEVICE_INLINE bfloat16 *at(int row, int column) const { return data + (row * columns + column) * pitch; }
    DEVICE_INLINE bfloat16 *at(int row, int column, int channel) const { return at(row, column) + channel; }
};

// (28, 28) bfloat16 with its border.
struct ImageTile {
    static constexpr int side = 28;
    static constexpr int columns = 38;                // so that the three rows of a window lie in different banks
    static constexpr int elements = 30 * columns + 4; // whole units of 16 bytes

    bfloat16 *data;

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

// f(element, pixel, octet) for the thread's share of the octets of an image.
template <int Threads, class T, class F> DEVICE_INLINE void for_octets(const F &f) {
    const int octet = (int)threadIdx.x % T::octets;
    unsigned i = threadIdx.x;
    for (Walk<T::side, Threads / T::octets> at(i / T::octets); i < T::side * T::side * T::octets; i += Threads, at.next()) {
        f(8 * i, at, octet);
    }
}

// An image in shared memory without a border, from which row and column count nevertheless. Its pixels lie as in global memory, or with so
// much room between them that what is read together lies in different banks: two neighbouring quads, or two that are every_second.
template <class T, class Element = const bfloat16, int Pitch = T::channels> struct Packed {
    static constexpr int side = T::side, channels = T::channels, octets = T::octets, pitch = Pitch;

    Element *data;

    DEVICE_INLINE Element *at(int row, int column, int channel) const { return data + ((row - 1) * side + column - 1) * pitch + channel; }
    DEVICE_INLINE static Place pooled(const Place &place) { return place; }
};
