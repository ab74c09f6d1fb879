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

// What of a launch is not the layer's, and the first field of the parameters. All 32-bit fields behind it are numbers in the code of a
// layer's kernel: LayerKernels.cs puts them in the place of loads, as it does with addresses that are null.
struct Batch {
    int samples;
    int tiles; // of rows, as blocks take them
};
PUBLISH(bytes_of_batch, sizeof(Batch))

// A convolution as its kernel sees it, by value; TileShape in C# has the same fields. That of a gradient of data convolves dY.
struct Convolution {
    int height, width, channels;     // of what is convolved
    int out_height, out_width, outs; // of what comes out
    int side, padding;               // of the window; rows and columns of zeros about an image
    int pools, pairs;                // 1: output is made in two columns at a time, in two rows at a time; 0: in one
    int rows;                        // rows, or pairs of them, that a block makes at a time
    int slots, plane;                // rows of the tall image, and positions, for which a block has room
    int pitch;                       // positions from a row to the next: at least a row and the zeros beside it
    int fragments, parts;            // sixteens of pixels of a warp at a time, and how many times a tile has those of all warps
    int width_of_block;              // outputs of a block: 32 or 64
    int ring;                        // stages of weights for which it has room: 2, 3, or all
    unsigned width_factor, period_factor, across_factor, down_factor; // of divisors

    DEVICE_INLINE int period() const { return height + padding; }
    DEVICE_INLINE int taps() const { return side * side; }
    DEVICE_INLINE Divisor by_pairs() const { return {(width + 1) / 2, width_factor}; } // of columns of the input
    DEVICE_INLINE Divisor by_period() const { return {period(), period_factor}; }
    // Columns of an image, or pairs of them, and rows, or pairs of them. Those of odd sizes reach beyond it.
    DEVICE_INLINE Divisor by_across() const { return {(out_width + pools) >> pools, across_factor}; }
    DEVICE_INLINE Divisor by_down() const { return {(out_height + pairs) >> pairs, down_factor}; }
    DEVICE_INLINE unsigned plane_bytes() const { return (unsigned)plane * 16; }
};

// Rows of a tall image that a block fills. Pixels of an image begin `above` rows after its first one, and `left` positions after the first
// position of a row.
struct TallRows {
    int samples, height, width, channels, above, left, pitch, plane;
    Divisor by_pairs, by_period; // pairs of columns, and rows from one image to the next
    int first_slot, slots;

    // Bytes of a plane from the first pixel of these rows to the end of so many slots.
    DEVICE_INLINE int end_of(int slots) const { return slots * pitch * 16; }
    DEVICE_INLINE int existing_slots() const { return smaller(slots, samples * by_period.divisor - first_slot); }
};

// Where a thread begins: threads stand beside each other in as many rows as they fill, and go down, always in the same columns.
struct Walk {
    int first_row, column, rows_at_once; // a thread without work has no column

    DEVICE_INLINE Walk(const Divisor &by_columns, int rows, int lane, int lanes) {
        const int beside = by_columns.quotient(lanes);
        rows_at_once = here(beside == 0 ? 1 : smaller(beside, rows));
        first_row = by_columns.quotient(lane);
        column = first_row < rows_at_once ? lane - first_row * by_columns.divisor : by_columns.divisor;
    }
};

// Which rows of output a tile has, and which rows of the tall image it reads.
struct TileRows {
    int first, count;      // of output, over all images
    int first_slot, slots; // of the tall image

    DEVICE_INLINE TileRows(const Convolution &c, const Batch &batch, int tile)
        : TileRows(c, tile * c.rows, smaller(c.rows, batch.samples * c.by_down().divisor - tile * c.rows)) {}

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
