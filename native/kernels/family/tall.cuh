// Where pixels lie in shared memory while a convolution reads them. All images of a batch stand one below another, `padding` rows of zeros
// before each, which serve the image above as well: the tall image. A block has some of its rows, and of each row `padding` zeros and then
// the pixels: a pixel's place is its position. Sixteen bytes of channels of all positions are a plane, so that eight neighbouring pixels of
// a plane lie in different banks. Every tap of a window is a fixed distance from the first one.
#pragma once

#include "element.cuh"

constexpr int conv_threads = 128, conv_warps = conv_threads / 32;
PUBLISH(warps_of_convolution, conv_warps)

// Divides what is below 2^32 / divisor² without an instruction for it. The factor is 2^32 / divisor, rounded up; that of 1 would be 2^32,
// and is 0.
struct Divisor {
    int divisor;
    unsigned factor;

    DEVICE_INLINE int quotient(int x) const { return factor == 0 ? x : (int)((unsigned long long)(unsigned)x * factor >> 32); }
};

// A number of which the compiler does not know that it was the same before: what follows from it is computed where it is used, and not kept
// in a register from one tile to the next. Registers are for sums.
DEVICE_INLINE int here(int x) {
    asm volatile("" : "+r"(x));
    return x;
}

// A convolution as its kernel sees it, by value; TileShape in C# has the same fields. That of a gradient of data convolves dY.
struct Convolution {
    int samples;
    int height, width, channels;     // of what is convolved
    int out_height, out_width, outs; // of what comes out
    int side, padding;               // of the window; rows and columns of zeros about an image
    int pools, pairs;                // 1: output is made in two columns at a time, in two rows at a time; 0: in one
    int rows, tiles;                 // rows, or pairs of them, that a block makes at a time, and how many times that is
    int slots, plane;                // rows of the tall image, and positions, for which a block has room
    int fragments;                   // sixteens of pixels of a warp
    int width_of_block;              // outputs of a block: 32 or 64
    unsigned width_factor, period_factor, across_factor, down_factor; // of divisors

    DEVICE_INLINE int period() const { return height + padding; }
    DEVICE_INLINE int pitch() const { return width + padding; }
    DEVICE_INLINE int taps() const { return side * side; }
    DEVICE_INLINE Divisor by_width() const { return {width, width_factor}; }
    DEVICE_INLINE Divisor by_period() const { return {period(), period_factor}; }
    // Columns of an image, or pairs of them, and rows, or pairs of them. Those of odd sizes reach beyond it.
    DEVICE_INLINE Divisor by_across() const { return {(out_width + pools) >> pools, across_factor}; }
    DEVICE_INLINE Divisor by_down() const { return {(out_height + pairs) >> pairs, down_factor}; }
    // Stages of weights in shared memory: a column of a window of 5 is long enough to wait for the next.
    DEVICE_INLINE int ring_slots() const { return side > 3 ? 2 : 3; }
    DEVICE_INLINE unsigned plane_bytes() const { return (unsigned)plane * 16; }
};

// Rows of a tall image that a block fills. Pixels of an image begin `above` rows after its first one, and `left` positions after the first
// position of a row.
struct TallRows {
    int samples, height, width, channels, above, left, pitch, plane;
    Divisor by_width, by_period;
    int first_slot, slots;

    // Bytes of a plane from the first pixel of these rows to the end of so many slots.
    DEVICE_INLINE int end_of(int slots) const { return slots * pitch * 16; }
    DEVICE_INLINE int existing_slots() const { return smaller(slots, samples * by_period.divisor - first_slot); }
};

// How far it is, in bytes of something, to the next column, row and image.
struct Distances {
    int column, row, image;
};

// The way of a thread through images of rows of columns, some columns at a time: no division once it has begun.
struct Walk {
    Divisor by_width, by_height;
    int right, down, images; // a step

    DEVICE_INLINE Walk(const Divisor &width, const Divisor &height, int step)
        : by_width{here(width.divisor), width.factor}, by_height{here(height.divisor), height.factor} {
        const int rows = by_width.quotient(step);
        right = step - rows * by_width.divisor, images = by_height.quotient(rows), down = rows - images * by_height.divisor;
    }

    struct Place {
        int image, row, column;

        DEVICE_INLINE int bytes(const Distances &to) const { return image * to.image + row * to.row + column * to.column; }
    };

    // After so many columns in so many rows.
    DEVICE_INLINE Place begin(int rows, int columns) const {
        const int further = by_width.quotient(columns), row = rows + further, image = by_height.quotient(row);
        return {image, row - image * by_height.divisor, columns - further * by_width.divisor};
    }

    // What a step adds: always, where a row ends, where an image ends.
    struct Stride {
        int step, end_of_row, end_of_image;
    };

    DEVICE_INLINE Stride stride(const Distances &to) const {
        return {Place{images, down, right}.bytes(to), to.row - by_width.divisor * to.column, to.image - by_height.divisor * to.row};
    }

    struct Ends {
        bool of_row, of_image;

        DEVICE_INLINE void add(int &at, const Stride &stride) const {
            at += of_row ? stride.step + stride.end_of_row : stride.step;
            at += of_image ? stride.end_of_image : 0;
        }
    };

    DEVICE_INLINE Ends next(int &row, int &column) const {
        Ends ends;
        column += right;
        ends.of_row = column >= by_width.divisor;
        column -= ends.of_row ? by_width.divisor : 0;
        row += ends.of_row ? down + 1 : down;
        ends.of_image = row >= by_height.divisor;
        row -= ends.of_image ? by_height.divisor : 0;
        return ends;
    }
};

// Which rows of output a tile has, and which rows of the tall image it reads.
struct TileRows {
    int first, count;      // of output, over all images
    int first_slot, slots; // of the tall image

    DEVICE_INLINE TileRows(const Convolution &c, int tile)
        : TileRows(c, tile * c.rows, smaller(c.rows, c.samples * c.by_down().divisor - tile * c.rows)) {}

    DEVICE_INLINE TileRows(const Convolution &c, int first, int count) : first(first), count(count) {
        const int last = first + count - 1;
        first_slot = slot_of(c, first);
        slots = slot_of(c, last) + c.pairs + c.side - first_slot;
    }

    // Where the windows of a row of output begin.
    DEVICE_INLINE static int slot_of(const Convolution &c, int row) {
        const int image = c.by_down().quotient(row);
        return image * c.period() + ((row - image * c.by_down().divisor) << c.pairs);
    }
};
