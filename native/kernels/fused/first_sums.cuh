// Sums over all pixels of what windows of the first layer see, from which its weights' gradient follows.
#pragma once

#include "first_layer.cuh"

// What the kernel that makes the first layer's du leaves for the gradient of its weights. y is linear in what the taps see. So with
// dY = scale · du + from_y · y + constant, which is known only after all sums, all follows from sums over all pixels: of du times what each
// tap sees, and with batch norm the moments, of what two taps see, where a last tap sees 1 everywhere.
struct FirstGradient {
    FirstInput input; // rows as those of the tiles in which du is made
    float *partial;   // (gridDim.x, gridDim.y, sums)
    unsigned has_moments;
};

// Sums of a block lie in blocks of 16 taps by eight columns, as products leave them: (blocks, 32 lanes, 4). For each sixteen of taps there
// are 32 outputs, and the moments with the same sixteen; then those of the first sixteen with the second. Of several groups of outputs, the
// first one has the moments.
constexpr int blocks_of_taps = 6, blocks_of_outs = 4, bytes_of_block = 512;
PUBLISH(first_sum_blocks, blocks_of_taps)
PUBLISH(first_moment_blocks, blocks_of_taps - blocks_of_outs)
PUBLISH(first_block_bytes, bytes_of_block)

struct FirstBlocks {
    unsigned halves; // sixteens of taps, the last one included

    DEVICE_INLINE FirstBlocks(unsigned taps) : halves(taps / 16 + 1) {}
    DEVICE_INLINE unsigned count() const { return halves == 1 ? blocks_of_taps : 3 * blocks_of_taps - blocks_of_outs; }

    DEVICE_INLINE static unsigned element(unsigned block, unsigned row, unsigned column) {
        return block * 128 + (row % 8 * 4 + column % 8 / 2) * 4 + row / 8 * 2 + column % 2;
    }
    DEVICE_INLINE unsigned sum(unsigned out, unsigned tap) const {
        return out / 32 * count() * 128 + element(tap / 16 * blocks_of_taps + out % 32 / 8, tap % 16, out % 8);
    }
    DEVICE_INLINE unsigned moment(unsigned a, unsigned b) const {
        const unsigned row = a < b ? a : b, column = a + b - row;
        const unsigned first = row / 16 == column / 16 ? row / 16 * blocks_of_taps + blocks_of_outs : 2 * blocks_of_taps;
        return element(first + column % 16 / 8, row % 16, column % 16);
    }
};

// The sums of a block in shared memory, and how they are made. Each warp has scratch of so many bytes, for du of its pixels sixteen by
// sixteen and in bfloat16 for what windows see of them, and later for sums of its own; behind that of all warps lies `memory`. Scratch is
// free when a tile begins.
template <class Mode> struct FirstSums {
    using Windows = WindowTile<Mode>;
    static constexpr int units = 8 / Mode::of_unit; // of eight channels
    static constexpr int steps = units;             // of products, of sixteen pixels
    static constexpr int row_bytes = 64 * units;    // of du of a pixel

    const FirstGradient &p;
    unsigned char *all_scratch;
    unsigned scratch_bytes;
    unsigned char *memory;

    DEVICE_INLINE FirstBlocks blocks() const { return FirstBlocks((unsigned)p.input.shape.taps()); }
    DEVICE_INLINE Windows windows() const {
        return {reinterpret_cast<typename Mode::Element *>(memory + blocks().count() * bytes_of_block)};
    }
    DEVICE_INLINE Four<float> *totals() const { return reinterpret_cast<Four<float> *>(memory); }

    DEVICE_INLINE void clear() const {
        windows().clear(p.input.shape);
        for (int i = (int)threadIdx.x; i < (int)blocks().count() * 32; i += conv_threads) {
            totals()[i] = {};
        }
        __syncthreads();
    }

    // Those that windows see of rows of another convolution's tile.
    DEVICE_INLINE TileRows rows(const TileRows &of_tile) const { return {p.input.shape, of_tile.first, of_tile.count}; }

    // After a barrier behind `add`, and before one.
    DEVICE_INLINE void fill(const TileRows &rows, int samples) const { windows().fill(p.input.shape, p.input.x, rows, samples); }

    // Eight channels of du of a pixel of sixteen, from 8t on.
    DEVICE_INLINE void put(int sixteen, int row, int unit, const Unit &du) const {
        store_unit(scratch() + sixteen * 16 * row_bytes + place(row, lane() % 4 * units + unit), du);
    }

    // Adds what the pixels of a tile come to, whose du was put. c: the convolution that makes it.
    DEVICE_INLINE void add(const Convolution &c, const TileRows &rows) const {
        if (p.input.shape.side == 3) {
            add_of<3>(c, rows);
        } else {
            add_of<5>(c, rows);
        }
    }

    // After a barrier.
    DEVICE_INLINE void finish() const {
        const int count = (int)blocks().count() * 32;
        Four<float> *to = reinterpret_cast<Four<float> *>(p.partial) + ((int)blockIdx.x * (int)gridDim.y + (int)blockIdx.y) * count;
        for (int i = (int)threadIdx.x; i < count; i += conv_threads) {
            to[i] = totals()[i];
        }
    }

  private:
    DEVICE_INLINE unsigned char *scratch() const { return all_scratch + warp() * scratch_bytes; }

    // Of a unit of a pixel: those that are written and read together lie in different banks.
    DEVICE_INLINE static unsigned place(int row, int unit) {
        return (unsigned)(row * row_bytes + (unit ^ (steps == 1 ? row / 2 % 4 : row % 8)) * 16);
    }

    // A pixel for each lane: lane % 16 of the upper ones of a warp's pair or, from lane 16 on, of the lower ones.
    struct Pixel {
        unsigned window, one; // where its window begins, and what the tap behind the last one sees; of none, that of zeros

        Pixel() = default;
        DEVICE_INLINE Pixel(const Convolution &c, const Windows &windows, const TileRows &rows, int first) {
            const Divisor across = c.by_across(), down = c.by_down();
            const int number = first + lane() % 16, line = across.quotient(number), image = down.quotient(rows.first + line);
            const int column = number - line * across.divisor, row = 2 * (rows.first + line - image * down.divisor) + lane() / 16;
            const bool in_tile = line < rows.count, in_height = row < c.out_height, in_width = column < c.out_width,
                       exists = in_tile & in_height & in_width;
            window = exists ? windows.place(c, image * c.period() + row - rows.first_slot, column) : windows.zeros(c);
            one = exists ? Windows::ones : 0;
        }
    };

    template <int Side> DEVICE_INLINE void add_of(const Convolution &c, const TileRows &rows) const {
        constexpr int halves = Side * Side / 16 + 1, blocks = halves == 1 ? blocks_of_taps : 3 * blocks_of_taps - blocks_of_outs;
        const bool has_moments = p.has_moments && blockIdx.y == 0;
        const unsigned all_seen = SHARED_ADDRESS(scratch()) + (unsigned)c.fragments * 16 * row_bytes;
        constexpr unsigned of_sixteen = halves * 512;
        if constexpr (steps == 1) {
#pragma unroll 1
            for (int pair = 0; pair < c.fragments / 2; ++pair) {
                const Pixel pixel(p.input.shape, windows(), rows, TileColumns::first(c, pair));
                const unsigned to = all_seen + (unsigned)(2 * pair + lane() / 16) * of_sixteen + lane() % 16 * 16;
                const typename Windows::template Seen<Side> seen(p.input.shape, pixel.window & ~3u);
#pragma unroll
                for (int unit = 0; unit < 2 * halves; ++unit) {
                    store_unit(SHARED_POINTER(Unit, to + unit * 256), seen.unit(unit, pixel.window / 2 % 2, pixel.one));
                }
            }
        }
        __syncthreads();
        float sums[blocks][4] = {};
        Pixel pixel;
#pragma unroll 1
        for (int number = 0; number < c.fragments * steps; ++number) { // of steps
            unsigned seen[halves][4], of_du[blocks_of_outs][2];
            load(of_du, number / steps, number % steps);
#pragma unroll
            for (int half = 0; half < halves; ++half) {
                if constexpr (steps == 1) {
                    load_blocks_turned(seen[half], all_seen + number * of_sixteen + half * 512 + lane() / 8 % 2 * 256 +
                                                       (lane() / 16 * 8 + lane() % 8) * 16);
                } else {
                    if (half == 0 && number % (2 * steps) == 0) {
                        pixel = Pixel(p.input.shape, windows(), rows, TileColumns::first(c, number / (2 * steps)));
                    }
                    gather<Side>(seen[half], half, pixel, number % (2 * steps));
                }
            }
            Mode::with_products([&](auto how) __attribute__((always_inline)) {
                using Products = decltype(how);
#pragma unroll
                for (int half = 0; half < halves; ++half) {
                    typename Products::template Factor<4> left;
                    Products::prepare(left, seen[half]);
#pragma unroll
                    for (int tile = 0; tile < blocks_of_outs; ++tile) {
                        typename Products::template Factor<2> right;
                        Products::prepare(right, of_du[tile]);
                        Products::multiply(sums[half * blocks_of_taps + tile], left, right);
                    }
                    if (has_moments) {
                        multiply_by_taps<Products>(&sums[half * blocks_of_taps + blocks_of_outs], left, seen[half]);
                        if (half < halves - 1) {
                            multiply_by_taps<Products>(&sums[halves * blocks_of_taps], left, seen[halves - 1]);
                        }
                    }
                }
            });
        }
        add_up(sums);
    }

    // A left factor in float32: taps by eight pixels, first the even ones and then the odd ones. eight: of 32 pixels.
    template <int Side> DEVICE_INLINE void gather(unsigned (&to)[4], int half, const Pixel &pixel, int eight) const {
        const int pitch = Windows::line_bytes(p.input.shape);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const int tap = 16 * half + i % 2 * 8 + lane() / 4, of = eight * 8 + lane() % 4 * 2 + i / 2;
            const unsigned window = shuffle_from(pixel.window, of), one = shuffle_from(pixel.one, of);
            const int existing = smaller(tap, Side * Side - 1);
            const unsigned seen = load_word(window + (unsigned)(existing / Side * pitch + existing % Side * 4));
            to[i] = tap == Side * Side ? one : seen;
        }
    }

    // Right factors: the same pixels by eight outputs.
    DEVICE_INLINE void load(unsigned (&to)[blocks_of_outs][2], int sixteen, int step) const {
        const unsigned from = SHARED_ADDRESS(scratch()) + sixteen * 16 * row_bytes;
        if constexpr (steps == 1) {
#pragma unroll
            for (int tile = 0; tile < blocks_of_outs; tile += 2) {
                unsigned loaded[4];
                load_blocks_turned(loaded, from + place(lane() % 16, tile + lane() / 16));
                to[tile][0] = loaded[0], to[tile][1] = loaded[1], to[tile + 1][0] = loaded[2], to[tile + 1][1] = loaded[3];
            }
        } else {
#pragma unroll
            for (int tile = 0; tile < blocks_of_outs; ++tile) {
#pragma unroll
                for (int i = 0; i < 2; ++i) {
                    const int row = 8 * step + lane() % 4 * 2 + i, g = lane() / 4;
                    to[tile][i] = Mode::operand(bits_float(load_word(from + place(row, 2 * tile + g / 4) + g % 4 * 4)));
                }
            }
        }
    }

    // To two blocks. A left factor as it was gathered is a right one, too.
    template <class Products>
    DEVICE_INLINE static void multiply_by_taps(float (*to)[4], const typename Products::template Factor<4> &left,
                                               const unsigned (&gathered)[4]) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            typename Products::template Factor<2> right;
            Products::prepare(right, {gathered[i], gathered[i + 2]});
            Products::multiply(to[i], left, right);
        }
    }

    // What the warps have goes to the block's.
    template <int Blocks> DEVICE_INLINE void add_up(const float (&sums)[Blocks][4]) const {
        __syncthreads();
#pragma unroll
        for (int block = 0; block < Blocks; ++block) {
            reinterpret_cast<Four<float> *>(scratch())[block * 32 + lane()] = {sums[block][0], sums[block][1], sums[block][2],
                                                                               sums[block][3]};
        }
        __syncthreads();
        for (int i = (int)threadIdx.x; i < Blocks * 32; i += conv_threads) {
            Four<float> total = totals()[i];
#pragma unroll
            for (int w = 0; w < conv_warps; ++w) {
                const Four<float> of_warp = reinterpret_cast<const Four<float> *>(all_scratch + w * scratch_bytes)[i];
#pragma unroll
                for (int k = 0; k < 4; ++k) {
                    total.v[k] += of_warp.v[k];
                }
            }
            totals()[i] = total;
        }
    }
};
