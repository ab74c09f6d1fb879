// A convolution of images in shared memory on tensor cores. Pixels are rows of the left factor, a lane points at its own, wherever they
// lie; outputs are columns of the right one. Weights come from the second-level cache, a column of the window at a time, or stay in shared
// memory.
#pragma once

#include "tall.cuh"

constexpr int units_of_chunk = 4; // a chunk of channels is 64 bytes

template <class Mode> constexpr int chunk_channels = units_of_chunk * Mode::of_unit;

// Weights lie as StageOrder says, in C#: (32 outputs at a time, chunks of input channels, columns of the window, 2 steps, its
// rows, 4 tiles of eight outputs, 2 halves of a step, 8 outputs, 16 bytes of input channels). Output 8 i + 2 j + k of 32 is number 2 i + k
// of tile j: so a lane's sums are those of eight neighbours. One step (32 bytes of channels) of one tap is a piece; one step of a column of
// the window is a stage.
constexpr unsigned piece_bytes = 1024;
PUBLISH(piece_bytes_of_weights, piece_bytes)

// The stages of a block's outputs again and again, some of them on the way; or all of them, where the ring has room: then they stay. In the
// ring, the groups of outputs of a piece follow each other.
template <int Groups> struct WeightStream {
    const unsigned char *const first, *from; // what the thread copies of a stage: of the first one, of the next to be asked for
    const unsigned ring, stage_bytes;
    const int stages, slots;
    const bool stay;
    int next = 0, slot = 0; // the number of the next, and into which part of the ring it goes; where they stay, which is taken next

    DEVICE_INLINE WeightStream(const Convolution &c, const void *weights, int chunks, unsigned memory)
        : first(static_cast<const unsigned char *>(weights) + threadIdx.x % (conv_threads / Groups) * 16 +
                ((long long)blockIdx.y * Groups + threadIdx.x / (conv_threads / Groups)) * (chunks * 2) *
                    (c.side * c.side * (int)piece_bytes)),
          from(first), ring(memory), stage_bytes((unsigned)c.side * piece_bytes), stages(chunks * 2 * c.side), slots(c.ring),
          stay(slots == stages) {
#pragma unroll 1
        for (int i = stay ? 0 : 1; i < slots; ++i) {
            ask();
        }
    }

    // Where the next stage is, by all threads. The last one is no longer needed. After threads wrote what is multiplied, there is a
    // barrier.
    DEVICE_INLINE unsigned take(bool wrote) {
        if (!stay || wrote) {
            if (slots == 3) {
                wait_for_copies<1>();
            } else {
                wait_for_copies<0>();
            }
            let_products_see_writes();
            __syncthreads();
        }
        const int following = slot + 1 == slots ? 0 : slot + 1;
        const unsigned taken = place(stay ? slot : following);
        if (stay) {
            slot = following;
        } else {
            ask();
        }
        return taken;
    }

  private:
    DEVICE_INLINE unsigned place(int of_slot) const { return ring + (unsigned)of_slot * (Groups * stage_bytes); }

    // A round of all threads copies two pieces of a group, or one of two.
    DEVICE_INLINE void ask() {
        const unsigned to = place(slot) + threadIdx.x * 16;
#pragma unroll
        for (int i = 0; i < 5 * Groups / 2 + 1; ++i) {
            if (threadIdx.x * 16 + i * 2 * piece_bytes < Groups * stage_bytes) {
                copy_unit(to + i * 2 * piece_bytes, from + i * 2 * piece_bytes / Groups);
            }
        }
        close_copies();
        from += stage_bytes;
        slot = slot + 1 == slots ? 0 : slot + 1;
        if (++next == stages) {
            next = 0, from = first;
        }
    }
};

// A warp has sixteen columns of a pair of rows, the upper pixels in one fragment and the lower ones in the next, twice.
constexpr int most_pairs = 2, most_fragments = 2 * most_pairs;
PUBLISH(most_fragments_of_warp, most_fragments)

// Eight neighbouring outputs of a pixel of a fragment: of a group of 32 those from 8 t on, of pixel g or g + 8.
template <int Tiles> DEVICE_INLINE Eight eight_of(const float (&fragment)[Tiles][4], int half, int group = 0) {
    Eight out;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        out.v[i] = fragment[4 * group + i / 2][2 * half + i % 2];
    }
    return out;
}

// Sums of a warp's pixels and a block's outputs.
template <int Groups> struct Sums {
    float of[most_fragments][4 * Groups][4];

    DEVICE_INLINE Eight eight(int fragment, int half, int group) const { return eight_of(of[fragment], half, group); }
};

// A step of two tiles of outputs, whose right factors lie side by side.
template <class Products>
DEVICE_INLINE void multiply_two(float (*tiles)[4], const typename Products::template Factor<4> &left, const Unit &right) {
    typename Products::template Factor<2> first, second;
    Products::prepare(first, {right.w[0], right.w[1]});
    Products::prepare(second, {right.w[2], right.w[3]});
    Products::multiply(tiles[0], left, first);
    Products::multiply(tiles[1], left, second);
}

// What a tap sees in a row of input, for sixteen columns of each pair: a left factor as it was loaded.
using SeenRow = unsigned[most_pairs][4];

// next: where the lane's row of each pair begins, and then the one below.
DEVICE_INLINE void load_row(SeenRow &to, unsigned (&next)[most_pairs], unsigned row_bytes) {
#pragma unroll
    for (int pair = 0; pair < most_pairs; ++pair) {
        load_blocks(to[pair], next[pair]);
        next[pair] += row_bytes;
    }
}

// One piece: 32 bytes of channels of what a tap sees, in the rows of the upper and of the lower pixels.
template <class Products, int Groups>
DEVICE_INLINE void multiply_piece(Sums<Groups> &sums, const SeenRow &upper, const SeenRow &lower, int pairs, unsigned weights) {
    typename Products::template Factor<2> right[4 * Groups];
#pragma unroll
    for (int pair = 0; pair < 2 * Groups; ++pair) {
        unsigned loaded[4];
        load_blocks(loaded, weights + pair * 512 + lane() * 16);
        Products::prepare(right[2 * pair], {loaded[0], loaded[1]});
        Products::prepare(right[2 * pair + 1], {loaded[2], loaded[3]});
    }
    const auto multiply = [&](float(&to)[4 * Groups][4], const unsigned(&seen)[4]) __attribute__((always_inline)) {
        typename Products::template Factor<4> left;
        Products::prepare(left, seen);
#pragma unroll
        for (int tile = 0; tile < 4 * Groups; ++tile) {
            Products::multiply(to[tile], left, right[tile]);
        }
    };
#pragma unroll
    for (int pair = 0; pair < most_pairs; ++pair) {
        if (pair < pairs) {
            multiply(sums.of[2 * pair], upper[pair]);
            multiply(sums.of[2 * pair + 1], lower[pair]);
        }
    }
}

// The products of some taps below each other by warpgroups, a fragment of each warp at a time: of rows that were loaded, in so many pairs.
template <class Mode, int Pairs, int Taps, int Groups>
DEVICE_INLINE void multiply_rows(Sums<Groups> &sums, const SeenRow (&rows)[Taps + 1], const unsigned long long (&right)[Taps]) {
    begin_products();
#pragma unroll
    for (int y = 0; y < Taps; ++y) {
#pragma unroll
        for (int pair = 0; pair < Pairs; ++pair) {
            Mode::begin(sums.of[2 * pair], rows[y][pair], right[y]);
            Mode::begin(sums.of[2 * pair + 1], rows[y + 1][pair], right[y]);
        }
    }
    end_products();
#pragma unroll
    for (int m = 0; m < most_fragments; ++m) {
        settle(sums.of[m]);
    }
}

// seen: where the lane's rows of what the first tap sees begin. Between the beginning and the end of products is no branch, at which the
// assembler would wait.
template <class Mode, int Taps, int Groups>
DEVICE_INLINE void multiply_by_warpgroups(Sums<Groups> &sums, const unsigned (&seen)[most_pairs], unsigned row_bytes, int pairs,
                                          unsigned weights) {
    SeenRow rows[Taps + 1];
    unsigned next[most_pairs] = {seen[0], seen[1]};
#pragma unroll
    for (SeenRow &row : rows) {
        load_row(row, next, row_bytes);
    }
    unsigned long long right[Taps];
#pragma unroll
    for (int y = 0; y < Taps; ++y) {
        right[y] = right_factor(weights + y * Groups * piece_bytes, 128, 256);
    }
    if (pairs > 1) {
        multiply_rows<Mode, 2>(sums, rows, right);
    } else {
        multiply_rows<Mode, 1>(sums, rows, right);
    }
}

// The products of a column of the window, 32 bytes of channels of each tap.
template <class Mode, int Groups>
DEVICE_INLINE void multiply_column(Sums<Groups> &sums, const unsigned (&seen)[most_pairs], unsigned row_bytes, int side, int pairs,
                                   unsigned weights) {
    if (Mode::by_warpgroups()) {
        if (side == 1) {
            multiply_by_warpgroups<Mode, 1>(sums, seen, row_bytes, pairs, weights);
        } else {
            multiply_by_warpgroups<Mode, 3>(sums, seen, row_bytes, pairs, weights);
            if (side == 5) {
                const unsigned last[most_pairs] = {seen[0] + 3 * row_bytes, seen[1] + 3 * row_bytes};
                multiply_by_warpgroups<Mode, 2>(sums, last, row_bytes, pairs, weights + 3 * Groups * piece_bytes);
            }
        }
        return;
    }
    // Each row is the lower one of two pixels, then the upper one.
    SeenRow even, odd;
    unsigned next[most_pairs] = {seen[0], seen[1]};
    const auto multiply = [&](const SeenRow &upper, const SeenRow &lower) __attribute__((always_inline)) {
        Mode::with_products([&](auto how)
                                __attribute__((always_inline)) { multiply_piece<decltype(how)>(sums, upper, lower, pairs, weights); });
        weights += Groups * piece_bytes;
    };
    load_row(even, next, row_bytes);
#pragma unroll 1
    for (int y = 0; y < side; y += 2) {
        load_row(odd, next, row_bytes);
        multiply(even, odd);
        if (y + 1 < side) {
            load_row(even, next, row_bytes);
            multiply(odd, even);
        }
    }
}

// Where output is made in windows of two by two pixels, eight of them side by side are the sixteen columns: as g and g + 8, half of them
// have the left and the right one, the other half the right and the left one, so that those with one g lie in different banks.
DEVICE_INLINE int right_of(int half, int g) { return half ^ (g >> 2 & 1); }

// The columns that a lane points at, one of each pair of fragments: lane % 16 of sixteen.
struct TileColumns {
    unsigned place[most_pairs];  // bytes of a plane from the first position of the tile to where the window of the upper pixel begins
    unsigned pixels[most_pairs]; // 4 · the number of the upper pixel in (N, H, W), and how many of the two exist

    TileColumns() = default;
    DEVICE_INLINE TileColumns(const Convolution &c, const TileRows &rows, int part) {
        const Divisor across = c.by_across(), down = c.by_down();
#pragma unroll
        for (int pair = 0; pair < most_pairs; ++pair) {
            const int row = lane() % 16, number = c.pools ? first(c, pair, part) / 2 + row % 8 : first(c, pair, part) + row;
            const int last = rows.count * across.divisor - 1, existing = smaller(number, last), line = across.quotient(existing);
            const int image = down.quotient(rows.first + line), upper = 2 * (rows.first + line - image * down.divisor);
            const int window = existing - line * across.divisor, wanted = c.pools ? 2 * window + right_of(row / 8, row % 8) : window;
            const int column = smaller(wanted, c.out_width - 1);
            const bool in_tile = number <= last, in_width = wanted < c.out_width, in_warp = 2 * pair < c.fragments,
                       exists = in_tile & in_width & in_warp;
            place[pair] = (unsigned)((image * c.period() + upper - rows.first_slot) * c.pitch + column) * 16;
            pixels[pair] = (unsigned)((image * c.out_height + upper) * c.out_width + column) * 4 +
                           (exists ? (unsigned)smaller(2, c.out_height - upper) : 0u);
        }
    }

    // The number of the first column of a warp's pair in a part of the tile.
    DEVICE_INLINE static int first(const Convolution &c, int pair, int part = 0) {
        return ((part * conv_warps + warp()) * (c.fragments / 2) + pair) * 16;
    }
};

// The two pixels of a column that a lane has as g or g + 8.
struct TwoPixels {
    int upper, count;

    DEVICE_INLINE TwoPixels(const TileColumns &columns, int pair, int half) {
        const unsigned both = shuffle_from(columns.pixels[pair], lane() / 4 + 8 * half);
        upper = (int)(both / 4), count = (int)(both % 4);
    }
};

// Some channels of the pixels of images, (N, H, W, C).
template <class Mode> struct Pixels {
    using Element = typename Mode::Element;

    Element *first;
    unsigned bytes; // from one pixel to the next

    DEVICE_INLINE Pixels(const void *images, int channels, int channel)
        : first(static_cast<Element *>(const_cast<void *>(images)) + channel), bytes((unsigned)channels * (unsigned)sizeof(Element)) {}

    DEVICE_INLINE Element *at(int pixel) const {
        return reinterpret_cast<Element *>(reinterpret_cast<unsigned char *>(first) + (unsigned long long)(unsigned)pixel * bytes);
    }
};

// Tile after tile: input.fill(rows, first channel, units, first of tile, planes) makes a chunk of channels of the rows that a tile reads;
// output.begin(shape, rows) may fill memory of its own, and output.take(shape, rows, columns, part, sums) gets the sums of a part.
template <class Mode, int Groups, class Input, class Output>
DEVICE_INLINE void convolve(const Batch &batch, const Convolution &c, const void *weights, const Input &input, Output &output) {
    unsigned char *planes = dynamic_shared_memory;
    const unsigned plane = c.plane_bytes(), first_byte = SHARED_ADDRESS(planes);
    const int chunks = (c.channels + chunk_channels<Mode> - 1) / chunk_channels<Mode>, pairs = c.fragments / 2, side = c.side;
    const unsigned row_bytes = (unsigned)c.pitch * 16;
    WeightStream<Groups> stream(c, weights, chunks, first_byte + units_of_chunk * plane);
    for (unsigned i = threadIdx.x; i < units_of_chunk * (unsigned)c.plane; i += conv_threads) {
        store_unit(planes + i * 16, zero_unit());
    }
    output.clear();
    wait_for_kernel_before();
    for (int tile = (int)blockIdx.x; tile < batch.tiles; tile += (int)gridDim.x) {
        const TileRows rows(c, batch, tile);
        const TallRows read = {batch.samples, c.height, c.width,      c.channels,    c.padding,       c.padding,
                               c.pitch,       c.plane,  c.by_pairs(), c.by_period(), rows.first_slot, rows.slots};
        TileColumns columns;
        Sums<Groups> sums;
        int chunk = 0;
        do {
            __syncthreads();
            if (chunk == 0) {
                output.begin(c, rows);
            }
            input.fill(read, chunk * chunk_channels<Mode>, units_of_chunk, chunk == 0, planes);
            const int steps = c.channels - chunk * chunk_channels<Mode> > chunk_channels<Mode> / 2 ? 2 : 1;
#pragma unroll 1
            for (int part = 0; part < c.parts; ++part) { // one, if there are more chunks
                if (chunk == 0) {
                    columns = TileColumns(c, rows, part);
                    sums = {};
                }
                unsigned first = first_byte + lane() / 16 * plane;
#pragma unroll 1
                for (int stage = 0; stage < 2 * side; ++stage) {
                    const unsigned weights = stream.take(stage == 0 && part == 0);
                    if (stage % 2 < steps) {
                        const unsigned seen[most_pairs] = {first + columns.place[0], first + columns.place[1]};
                        multiply_column<Mode>(sums, seen, row_bytes, side, pairs, weights);
                    }
                    first += stage % 2 == 0 ? 2 * plane : 16 - 2 * plane;
                }
                if (chunk + 1 == chunks) {
                    output.take(c, rows, columns, part, sums);
                }
            }
        } while (++chunk < chunks);
    }
    let_next_kernel_begin();
    wait_for_copies<0>();
    output.finish(c);
}

// Two sums per channel over a thread's pixels of a tile, of the eight channels of one group.
struct ChannelSums {
    float of[16] = {}; // the first of each channel, then the second

    DEVICE_INLINE void add(const Eight &a, const Eight &b) {
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            of[i] += a.v[i];
            of[8 + i] = fused_multiply_add(a.v[i], b.v[i], of[8 + i]);
        }
    }
};

// The same over a warp's pixels of all tiles. Lanes share them: what eight lanes have of sixteen sums, they add up and keep two each.
template <int Groups> struct WarpSums {
    float of[Groups][2] = {};

    DEVICE_INLINE void add(int group, ChannelSums &sums) {
        share<8>(sums);
        share<4>(sums);
        share<2>(sums);
        of[group][0] += sums.of[0];
        of[group][1] += sums.of[1];
    }

    // As the block's sums_at_end, a row of each warp.
    DEVICE_INLINE void leave() const {
        constexpr int width = 32 * Groups;
        static_assert(rows_at_end == conv_warps, "a row of each");
        __syncthreads();
#pragma unroll
        for (int group = 0; group < Groups; ++group) {
#pragma unroll
            for (int k = 0; k < 2; ++k) {
                const int kept = (lane() & 16) / 2 + (lane() & 8) / 2 + (lane() & 4) / 2 + k; // of sixteen
                sums_at_end()[(2 * warp() + kept / 8) * width + 32 * group + lane() % 4 * 8 + kept % 8] = of[group][k];
            }
        }
    }

  private:
    // Of twice as many sums, a lane keeps one half, and the lane 2 · Kept from it the other.
    template <int Kept> DEVICE_INLINE static void share(ChannelSums &sums) {
        const bool upper = lane() & 2 * Kept;
#pragma unroll
        for (int i = 0; i < Kept; ++i) {
            const float first = sums.of[i], second = sums.of[Kept + i]; // not their addresses: those would be in memory
            sums.of[i] = (upper ? second : first) + shuffle_xor(upper ? first : second, 2 * Kept);
        }
    }
};

// Kernels for 32 outputs a block; in bf16, whose products take least time, also for 64, for which input is made once.
#define CONVOLUTIONS(name, Parameters)                                                                                                     \
    KERNEL(conv_threads, 3) name##_32_bf16(Parameters p) { name<Bf16, 1>(p); }                                                             \
    KERNEL(conv_threads, 2) name##_64_bf16(Parameters p) { name<Bf16, 2>(p); }                                                             \
    KERNEL(conv_threads, 3) name##_32_f32(Parameters p) { name<F32, 1>(p); }
