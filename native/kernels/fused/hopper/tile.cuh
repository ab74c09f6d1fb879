// What products of warpgroups read: an image and a layer's weights in shared memory, in blocks of eight by eight.
#pragma once

#include "../masked_gradient.cuh"
#include "warpgroup.cuh"

// Which pooled pixel is made in whose place. Where eight threads make two of them, and so pixels that lie four apart, these lie in
// different banks if neighbouring octets of channels do: of four pooled pixels, the third is the second.
DEVICE_INLINE Place every_second(const Place &place) {
    const unsigned column = (unsigned)place.column;
    return {place.row, (int)(column < 12 ? (column & ~3u) + (column & 1) * 2 + (column >> 1 & 1) : column)};
}

// A convolution to 64 channels makes the rows of an image one by one: 64 is how many rows a left factor has. One to 32 makes two at a time,
// each its own 32 of them: from four rows of the input, the windows of both.
template <int Out> constexpr int rows_at_once = 64 / Out;

// What a convolution to Out channels reads: an image, channels in eights, for each eight a plane of pixels of sixteen bytes; where two rows
// are made at once, the even rows come before the odd ones, so that those which all pairs see alike follow each other. Eight neighbours of
// a row are one block of a product, from whichever pixel on: each view that the windows have of the image is an address. The border is
// zeros, left, above and below, and the columns right of the image; in the last ones a view shows the row below, and nobody asks for what
// is made of that.
template <int Side, int Channels, int Out, int Apart = Channels == 64 ? 3 : 2> struct Planes {
    static constexpr int side = Side, channels = Channels, octets = Channels / 8;
    static constexpr unsigned turn = rows_at_once<Out>;
    static constexpr int columns = (Side + 15) / 16 * 16;
    // Neighbouring planes begin in other banks: 48 bytes on for eight of them; for four, by what is written together: four pixels of which
    // a thread has four channels, two pixels, or two that are every_second.
    static constexpr int pixels = (Side + 2) * columns + Apart;
    static constexpr unsigned plane_bytes = 16 * pixels;
    static constexpr int elements = 8 * pixels * octets;

    bfloat16 *data;

    // Row and column count from the border: the image begins at (1, 1).
    DEVICE_INLINE static int pixel(unsigned row, int column) {
        return (int)(row % turn * ((Side + 2) / turn) + row / turn) * columns + column;
    }
    DEVICE_INLINE bfloat16 *at(int row, int column, int channel) const {
        return data + 8 * (channel / 8 * pixels + pixel((unsigned)row, column)) + channel % 8;
    }
    DEVICE_INLINE static Place pooled(const Place &place) { return octets == 4 ? every_second(place) : place; }

    // Eight pixels of a row, and of those that follow, as columns of the right factor; sixteen channels to be summed over. first_row: of
    // those that are made at once.
    DEVICE_INLINE MatrixDescriptor strips_by_channels(int first_row, int column) const {
        return MatrixDescriptor::of(data + 8 * (first_row * columns + column), plane_bytes, 16 * columns);
    }

    // Sixteen pixels, to be summed over, by all channels.
    DEVICE_INLINE MatrixDescriptor channels_by_pixels() const { return MatrixDescriptor::of(data, 128, plane_bytes); }
};

// The same for a gradient of 64 channels of which nothing but sums over pixels is wanted: it needs no border.
struct GradientPlanes {
    static constexpr int side = 14, channels = 64, octets = 8;
    static constexpr int columns = 16, pixels = side * columns + 1;
    static constexpr unsigned plane_bytes = 16 * pixels;
    static constexpr int elements = 8 * pixels * octets;

    bfloat16 *data;

    DEVICE_INLINE bfloat16 *at(int row, int column, int channel) const {
        return data + 8 * (channel / 8 * pixels + (row - 1) * columns + column - 1) + channel % 8;
    }
    DEVICE_INLINE static Place pooled(const Place &place) { return place; }

    DEVICE_INLINE MatrixDescriptor channels_by_pixels() const { return MatrixDescriptor::of(data, 128, plane_bytes); }
};

// Fourteen rows of an image of 28 by 28 and 32 channels, row by row: of each row the channels in eights. So the channels of rows that
// follow each other are the 64 rows of a left factor for two of them, or the columns of a right one for more.
template <bool Border, int Pad> struct RowPlanes {
    static constexpr int side = 28, channels = 32, octets = 4, border = Border ? 1 : 0;
    static constexpr int pixels = 32 + Pad; // of each eight channels of a row
    static constexpr unsigned octet_bytes = 16 * pixels, row_bytes = octets * octet_bytes;
    static constexpr int elements = (14 + 2 * border) * octets * pixels * 8;

    bfloat16 *data;
    int first_row; // which row of the image is the first that is not border

    // Row and column of the image count from 1, for it may have a border.
    DEVICE_INLINE bfloat16 *at(int row, int column, int channel) const {
        return data + 8 * (((row - 1 - first_row + border) * octets + channel / 8) * pixels + column - 1 + border) + channel % 8;
    }
    DEVICE_INLINE static Place pooled(const Place &place) { return every_second(place); }

    // Sixteen pixels of a row, to be summed over, by all channels of that and the following rows.
    DEVICE_INLINE MatrixDescriptor channels_by_pixels() const { return MatrixDescriptor::of(data, 128, octet_bytes); }
};

// Some of them: one is read while another is made.
template <class Tile, int Count = 2> struct Several {
    static constexpr int elements = Count * Tile::elements;

    bfloat16 *data;

    DEVICE_INLINE Tile of(int which) const { return {data + which * Tile::elements}; }
};

// Weights of a convolution as left factors of 64 by 16: for each row of the input that the rows made at once see, each of the window's
// columns and sixteen channels. Row r at once has the weights of the window's row y where the input's is r + y, and zeros elsewhere. What a
// lane has of a fragment (Weights, convolution.cuh) is what it has here, and channels of sums stand in the same order.
template <int In, int Out> struct SharedWeights {
    static constexpr int turn = rows_at_once<Out>, input_rows = 2 + turn, steps = In / 16;
    static constexpr int elements = input_rows * 3 * In * 64;
    static constexpr unsigned step_bytes = 64 * 16 * 2, half_bytes = step_bytes / 2;

    bfloat16 *data;

    template <int Threads> DEVICE_INLINE void load(const bfloat16 *fragments) const {
        constexpr int count = Out / 16 * of_group, whole = count / Threads, rest = count % Threads;
        const Fragment *from = reinterpret_cast<const Fragment *>(fragments) + threadIdx.x;
        Fragment loaded[whole]; // all on their way at once
#pragma unroll
        for (int k = 0; k < whole; ++k) {
            loaded[k] = from[k * Threads];
        }
#pragma unroll
        for (int k = 0; k < whole; ++k) {
            store((int)threadIdx.x + k * Threads, loaded[k]);
        }
        if ((int)threadIdx.x < rest) {
            store((int)threadIdx.x + whole * Threads, from[whole * Threads]);
        }
    }

    DEVICE_INLINE MatrixDescriptor first() const { return MatrixDescriptor::of(data, half_bytes, 128); }
    // How far the others are behind it.
    DEVICE_INLINE static constexpr unsigned offset(int input_row, int x, int step) {
        return (unsigned)((input_row * 3 + x) * steps + step) * step_bytes;
    }

  private:
    static constexpr int of_group = taps * steps * 32; // fragments of sixteen channels

    DEVICE_INLINE void store(int i, const Fragment &fragment) const {
        const int group = i / of_group, tap = i % of_group / (steps * 32), step = i / 32 % steps;
#pragma unroll
        for (int row = 0; row < turn; ++row) {
            store(tap / 3 + row, tap % 3, step, row * (Out / 16) + group, fragment);
            if (turn > 1 && tap < 3) { // the one row of the input that this row does not see
                store(row == 0 ? input_rows - 1 : 0, tap, step, row * (Out / 16) + group, {{0, 0, 0, 0}});
            }
        }
    }

    DEVICE_INLINE void store(int input_row, int x, int step, int sixteen, const Fragment &fragment) const {
        unsigned *to = reinterpret_cast<unsigned *>(data) + offset(input_row, x, step) / 4 + lane();
#pragma unroll
        for (int part = 0; part < 4; ++part) { // rows 0 … 7 of sixteen, then 8 … 15; then the same eight columns on
            to[(part / 2 * 8 + 2 * sixteen + part % 2) * 32] = fragment.a[part];
        }
    }
};

// Quads of rows of an image, each by the thread that fill_pooled_gradient or pool_octet gives it to, to where they lie in `to`. T is the
// tile that is made of it, or the one before pooling.
template <int Threads, class T, class To>
DEVICE_INLINE void fetch_quads(const bfloat16 *image, const To &to, const Rows &rows = {0, T::side}) {
    for_pooled<Threads, T>(rows, [&](const Place &pooled, int octet) {
        const int row = pooled.row * 2, column = pooled.column * 2;
        const bfloat16 *from = image + (row * T::side + column) * T::channels + 8 * octet;
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            copy_async(to.at(row + k / 2 + 1, column + k % 2 + 1, 8 * octet), from + (k / 2 * T::side + k % 2) * T::channels);
        }
    });
}

// Pooled octets that go with them.
template <int Threads, class T> DEVICE_INLINE void fetch_pooled(bfloat16 *shared, const bfloat16 *pooled, const Rows &rows = {0, T::side}) {
    for_pooled<Threads, T>(rows, [&](const Place &place, int octet) {
        const int at = pooled_element<T>(place, octet);
        copy_async(shared + at, pooled + at);
    });
}

// Where nothing is to be asked for in place.
struct Nothing {
    DEVICE_INLINE void operator()(int, int) const {}
};

// The samples of a block, one after another. While the tensor cores multiply one, threads use what came of the one before, and make the
// next: fetch(n) asks for what the thread will itself use of sample n, so that there is one barrier a sample; make(n, which) makes its
// tiles, one pair of two, from that and from what fetch_in_place(n, which) has asked for, which lies where they will be; begin(which)
// begins its products, take(n) waits for them, and use(n) uses them. To be called when a barrier has set the tiles free and the first
// sample is being fetched.
template <class Fetch, class Make, class Begin, class Take, class Use, class InPlace = Nothing>
DEVICE_INLINE void for_every_sample(int samples, const Fetch &fetch, const Make &make, const Begin &begin, const Take &take, const Use &use,
                                    int first = (int)blockIdx.x, int stride = (int)gridDim.x, const InPlace &fetch_in_place = {}) {
    const auto prepare = [&](int n, int which) {
        if (n < samples) {
            wait_for_copies();
            make(n, which);
            let_products_see_writes(); // before more copies are on their way, lest it wait for them
            if (n + stride < samples) {
                fetch(n + stride);
            }
        }
    };
    int n = first, which = 0;
    fetch_in_place(n, which);
    prepare(n, which);
    for (; n < samples; n += stride, which ^= 1) {
        __syncthreads();
        begin(which);
        if (n + stride < samples) {
            fetch_in_place(n + stride, which ^ 1);
        }
        if (n != first) {
            use(n - stride);
        }
        prepare(n + stride, which ^ 1);
        take(n);
    }
    use(n - stride);
}
