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
    int rows, tiles;                 // rows of output that a block makes at a time, and how many times that is
    int slots, plane;                // rows of the tall image, and positions, for which a block has room
    int fragments;                   // sixteens of pixels of a warp
    int width_of_block;              // outputs of a block: 32 or 64
    unsigned width_factor, period_factor, out_width_factor, out_height_factor; // of divisors

    DEVICE_INLINE int period() const { return height + padding; }
    DEVICE_INLINE int pitch() const { return width + padding; }
    DEVICE_INLINE int taps() const { return side * side; }
    DEVICE_INLINE Divisor by_width() const { return {width, width_factor}; }
    DEVICE_INLINE Divisor by_period() const { return {period(), period_factor}; }
    DEVICE_INLINE Divisor by_out_width() const { return {out_width, out_width_factor}; }
    DEVICE_INLINE Divisor by_out_height() const { return {out_height, out_height_factor}; }
    DEVICE_INLINE unsigned plane_bytes() const { return (unsigned)plane * 16; }
};

// A pixel of the tall image on the way through those that a thread fills.
struct Cursor {
    int slot, column; // slot: row of the block's
    int image, row;   // row: of the image with the rows of zeros before it
};

// The pixels of rows of an image that are `step` apart, from the first one of this thread.
struct Walk {
    Divisor by_width, by_period;
    int down, right; // the step

    DEVICE_INLINE Walk(const Divisor &width, const Divisor &period, int step)
        : by_width{here(width.divisor), width.factor}, by_period{here(period.divisor), period.factor}, down(by_width.quotient(step)),
          right(step - down * by_width.divisor) {}

    DEVICE_INLINE Cursor begin(int first_slot, int pixel) const {
        const int slot = by_width.quotient(pixel), row = first_slot + slot, image = by_period.quotient(row);
        return {slot, pixel - slot * by_width.divisor, image, row - image * by_period.divisor};
    }

    DEVICE_INLINE void next(Cursor &at) const {
        int rows = down;
        at.column += right;
        if (at.column >= by_width.divisor) {
            at.column -= by_width.divisor;
            ++rows;
        }
        at.slot += rows;
        at.row += rows;
        while (at.row >= by_period.divisor) {
            at.row -= by_period.divisor;
            ++at.image;
        }
    }
};

// Which rows of output a tile has, and which rows of the tall image it reads.
struct TileRows {
    int first, count;      // of output, over all images
    int first_slot, slots; // of the tall image

    DEVICE_INLINE TileRows(const Convolution &c, int tile) {
        const int all = c.samples * c.out_height;
        first = tile * c.rows;
        count = smaller(c.rows, all - first);
        const int last = first + count - 1;
        first_slot = slot_of(c, first);
        slots = slot_of(c, last) + c.side - first_slot;
    }

    // Where the windows of a row of output begin.
    DEVICE_INLINE static int slot_of(const Convolution &c, int row) {
        const int image = c.by_out_height().quotient(row);
        return image * c.period() + row - image * c.out_height;
    }
};
