// Where pixels lie in shared memory while a convolution reads them. All images of a batch stand one below another, `padding` rows of zeros
// before each, which serve the image above as well: the tall image. A block has some of its rows, and of each row `padding` zeros and then
// the pixels: a pixel's place is its position. Sixteen bytes of channels of all positions are a plane, so that eight neighbouring pixels of
// a plane lie in different banks. Every tap of a window is a fixed distance from the first one.
#pragma once

#include "element.cuh"

constexpr int conv_threads = 128, conv_warps = 4;

// Divides what is below 2^32 / divisor² without an instruction for it.
struct Divisor {
    unsigned divisor, factor;

    DEVICE_INLINE explicit Divisor(int by) : divisor((unsigned)by), factor(0xFFFFFFFFu / (unsigned)by + 1) {}

    DEVICE_INLINE int quotient(int x) const {
        return divisor == 1 ? x : (int)((unsigned long long)(unsigned)x * factor >> 32); // the factor of 1 would be 2^32
    }
};

// A number of which the compiler does not know that it was the same before: what follows from it is computed where it is used, and not kept
// in a register from one tile to the next. Registers are for sums.
DEVICE_INLINE int here(int x) {
    asm volatile("" : "+r"(x));
    return x;
}

// A convolution as its kernel sees it, by value; ConvolutionShape in C# has the same fields. That of a gradient of data convolves dY.
struct Convolution {
    int samples;
    int height, width, channels;     // of what is convolved
    int out_height, out_width, outs; // of what comes out
    int side, padding;               // of the window; rows and columns of zeros about an image
    int rows, tiles;                 // rows of output that a block makes at a time, and how many times that is
    int slots, plane;                // rows of the tall image, and positions, for which a block has room
    int fragments;                   // sixteens of pixels of a warp
    int width_of_block;              // outputs of a block: 32 or 64

    DEVICE_INLINE int period() const { return height + padding; }
    DEVICE_INLINE int pitch() const { return width + padding; }
    DEVICE_INLINE int taps() const { return side * side; }
    DEVICE_INLINE unsigned plane_bytes() const { return (unsigned)plane * 16; }
};

// A pixel of the tall image on the way through those that a thread fills.
struct Cursor {
    int slot, column; // slot: row of the block's
    int image, row;   // row: of the image with the rows of zeros before it
};

// The pixels of rows of `width` pixels that are `step` apart, from the first one of this thread.
struct Walk {
    int width, period, down, right; // the step

    DEVICE_INLINE Walk(int columns, int rows_of_image, int step)
        : width(here(columns)), period(here(rows_of_image)), down(step / width), right(step % width) {}

    DEVICE_INLINE Cursor begin(int first_slot, int pixel) const {
        const int slot = pixel / width, row = first_slot + slot;
        return {slot, pixel % width, row / period, row % period};
    }

    DEVICE_INLINE void next(Cursor &at) const {
        int rows = down;
        at.column += right;
        if (at.column >= width) {
            at.column -= width;
            ++rows;
        }
        at.slot += rows;
        at.row += rows;
        while (at.row >= period) {
            at.row -= period;
            ++at.image;
        }
    }
};

// Which rows of output a tile has, and which rows of the tall image it reads.
struct TileRows {
    int first, count;      // of output, over all images
    int first_slot, slots; // of the tall image

    DEVICE_INLINE TileRows(const Convolution &c, const Divisor &by_height, int tile) {
        const int all = c.samples * c.out_height;
        first = tile * c.rows;
        count = smaller(c.rows, all - first);
        const int last = first + count - 1;
        first_slot = slot_of(c, by_height, first);
        slots = slot_of(c, by_height, last) + c.side - first_slot;
    }

    // Where the windows of a row of output begin.
    DEVICE_INLINE static int slot_of(const Convolution &c, const Divisor &by_height, int row) {
        const int image = by_height.quotient(row);
        return image * c.period() + row - image * c.out_height;
    }
};
