// The first layer, as a convolution of what its windows see: one tap, and taps in the place of channels. Its input in shared memory; and
// sums over all pixels of what windows see, from which its weights' gradient follows.
#pragma once

#include "fill.cuh"

// By value. The shape is that of the windows, and of their output pixel by pixel; slots: those of x for which a block has room.
struct FirstInput {
    Convolution shape;
    const void *x; // none: the layer is another one
};

// Rows of x in shared memory, as the tall image has them, elements side by side. Behind them, a window of zeros.
template <class Mode> struct WindowTile {
    using Element = typename Mode::Element;

    static constexpr int of_register = Mode::of_unit / 4; // elements
    static constexpr unsigned one = of_register == 2 ? 0x3F80u : 0x3F800000u;

    Element *tile;

    // Where the window of zeros begins.
    DEVICE_INLINE static int zeros(const Convolution &c) { return c.slots * c.pitch() + c.padding; }

    // Once, before a barrier.
    DEVICE_INLINE void clear(const Convolution &c) const {
        for (int i = (int)threadIdx.x; i < zeros(c) + (c.side - 1) * c.pitch() + c.side; i += conv_threads) {
            tile[i] = {};
        }
    }

    DEVICE_INLINE void fill(const Convolution &c, const void *x, const TileRows &read, int samples) const {
        constexpr int at_once = 4; // loads that are on their way together
        for (int column = lane(); column < c.width; column += 32) {
            for (int first = warp(); first < read.slots; first += at_once * conv_warps) {
                Element seen[at_once] = {};
#pragma unroll
                for (int k = 0; k < at_once; ++k) {
                    const int slot = read.first_slot + first + k * conv_warps, image = c.by_period().quotient(slot),
                              row = slot - image * c.period() - c.padding;
                    if (image < samples && row >= 0) {
                        seen[k] = static_cast<const Element *>(x)[(image * c.height + row) * c.width + column];
                    }
                }
#pragma unroll
                for (int k = 0; k < at_once; ++k) {
                    if (first + k * conv_warps < read.slots) {
                        tile[(first + k * conv_warps) * c.pitch() + c.padding + column] = rounded(seen[k]);
                    }
                }
            }
        }
    }

    // As an operand of products.
    DEVICE_INLINE static bfloat16 rounded(bfloat16 x) { return x; }
    DEVICE_INLINE static float rounded(float x) { return bits_float(Mode::operand(x)); }

    // How far from the window's first pixel a tap's is.
    DEVICE_INLINE static int offset(const Convolution &c, int tap) { return tap < c.taps() ? tap / c.side * c.pitch() + tap % c.side : 0; }

    DEVICE_INLINE static unsigned bits(bfloat16 x) { return x.bits; }
    DEVICE_INLINE static unsigned bits(float x) { return float_bits(x); }

    // A register of a factor from the bits of its elements.
    template <class F> DEVICE_INLINE static unsigned gathered(const F &of) {
        if constexpr (of_register == 2) {
            return of(0) | of(1) << 16;
        } else {
            return of(0);
        }
    }
};

// Units of taps as others are of channels.
template <class Mode> struct WindowInput {
    const FirstInput &layer;
    WindowTile<Mode> windows;

    // rows: of the first layer's output.
    DEVICE_INLINE void fill(const TallRows &rows, int first_tap, int units, unsigned char *planes) const {
        using Element = typename Mode::Element;
        const Convolution &c = layer.shape;
        const int count = rows.existing_slots();
        const TileRows read(c, rows.first_slot, count);
        if (first_tap == 0) {
            windows.fill(c, layer.x, read, rows.samples);
            __syncthreads();
        }
        const int used = rows.channels - first_tap > units / 2 * Mode::of_unit ? units : units / 2; // a power of two
        const int shift = used == 8 ? 2 : used == 4 ? 3 : 4;
        const int unit = lane() >> shift, columns = 1 << shift, tap = first_tap + unit * Mode::of_unit;
        const int of_side = c.side == 3 ? 86 : 52; // parts of 256
        long long offsets[Mode::of_unit];
#pragma unroll
        for (int i = 0; i < Mode::of_unit; ++i) {
            const int existing = smaller(tap + i, c.taps() - 1), line = existing * of_side >> 8; // an existing one: others have no weights
            offsets[i] = line * (c.pitch() - c.side) + existing;
        }
        for (int row = warp(); row < count; row += conv_warps) {
            const int image = rows.by_period.quotient(rows.first_slot + row),
                      slot = rows.first_slot + row + image * (c.period() - rows.by_period.divisor) - read.first_slot;
            for (int column = lane() & (columns - 1); column < rows.width; column += columns) {
                const Element *window = windows.tile + slot * c.pitch() + column;
                Unit seen;
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    seen.w[i] = windows.gathered([&](int part) { return windows.bits(window[offsets[i * windows.of_register + part]]); });
                }
                store_unit(planes + (unsigned)(unit * rows.plane + row * rows.pitch + column) * 16, seen);
            }
        }
    }
};

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
PUBLISH(first_scratch_bytes, blocks_of_taps *bytes_of_block)

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

// The sums of a block in shared memory, and how they are made. Each warp has scratch of so many bytes for du of its pixels, sixteen by
// sixteen, and at its end for sums of its own; behind that of all warps lies `memory`. Scratch is free when a tile begins.
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
    DEVICE_INLINE bool makes_moments() const { return p.has_moments && blockIdx.y == 0; }

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

    // Adds what pixels of a tile come to. each(visit) calls visit(first, k, sixteen) for sixteen columns of a warp, of the upper pixels or
    // of the lower ones (k), whose du was put before a barrier.
    template <class Each> DEVICE_INLINE void add(const TileRows &rows, const Each &each) const {
        const bool has_moments = makes_moments();
#pragma unroll 1
        for (int half = 0; half < (int)blocks().halves; ++half) {
            const Taps taps(p.input.shape, half);
            float sums[blocks_of_taps][4] = {};
            each([&](int first, int k, int sixteen) __attribute__((always_inline)) {
                const Places places(p.input.shape, rows, first, k);
#pragma unroll
                for (int step = 0; step < steps; ++step) {
                    unsigned seen[4], of_du[blocks_of_outs][2];
                    gather(seen, taps, places, step);
                    load(of_du, sixteen, step);
                    Mode::with_products([&](auto how) __attribute__((always_inline)) {
                        using Products = decltype(how);
                        typename Products::template Factor<4> left;
                        Products::prepare(left, seen);
#pragma unroll
                        for (int tile = 0; tile < blocks_of_outs; ++tile) {
                            typename Products::template Factor<2> right;
                            Products::prepare(right, of_du[tile]);
                            Products::multiply(sums[tile], left, right);
                        }
                        if (has_moments) {
                            multiply_by_taps<Products>(sums[blocks_of_outs], sums[blocks_of_outs + 1], left, seen);
                        }
                    });
                }
            });
            add_up(sums, half * blocks_of_taps);
        }
        if (has_moments && blocks().halves > 1) {
            add_moments_of_halves(rows);
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

    // A lane's taps, g and g + 8 of sixteen.
    struct Taps {
        int offsets[2];
        bool see_one[2];

        DEVICE_INLINE Taps(const Convolution &c, int half) {
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                const int tap = 16 * half + 8 * i + lane() / 4;
                offsets[i] = Windows::offset(c, tap), see_one[i] = tap == c.taps();
            }
        }
    };

    // Where the windows begin of pixels 2t, 2t + 1, 2t + 8 and 2t + 9 of sixteen; for those that do not exist, that of zeros.
    struct Places {
        int of[4], zeros;

        DEVICE_INLINE Places(const Convolution &c, const TileRows &rows, int first, int k) : zeros(Windows::zeros(c)) {
            const Divisor across = c.by_across(), down = c.by_down();
            const int number = first + lane() % 16, line = across.quotient(number), image = down.quotient(rows.first + line);
            const int column = number - line * across.divisor, row = 2 * (rows.first + line - image * down.divisor) + k;
            const bool in_tile = line < rows.count, in_height = row < c.out_height, in_width = column < c.out_width,
                       exists = in_tile & in_height & in_width;
            const int place = exists ? (image * c.period() + row - rows.first_slot) * c.pitch() + column : zeros;
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                of[i] = (int)shuffle_from((unsigned)place, lane() % 4 * 2 + i / 2 * 8 + i % 2);
            }
        }
    };

    // A left factor: taps by pixels, in float32 first the even ones and then the odd ones of eight.
    DEVICE_INLINE void gather(unsigned (&to)[4], const Taps &taps, const Places &places, int step) const {
        const Windows all = windows();
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const auto place = [&](int part) { return places.of[steps == 1 ? i / 2 * 2 + part : 2 * step + i / 2]; };
            const unsigned seen = all.gathered([&](int part) { return all.bits(all.tile[place(part) + taps.offsets[i % 2]]); }),
                           ones = all.gathered([&](int part) { return place(part) != places.zeros ? Windows::one : 0u; });
            to[i] = taps.see_one[i % 2] ? ones : seen;
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

    // A left factor as it was gathered is a right one, too.
    template <class Products>
    DEVICE_INLINE static void multiply_by_taps(float (&first)[4], float (&second)[4], const typename Products::template Factor<4> &left,
                                               const unsigned (&gathered)[4]) {
        typename Products::template Factor<2> right;
        Products::prepare(right, {gathered[0], gathered[2]});
        Products::multiply(first, left, right);
        Products::prepare(right, {gathered[1], gathered[3]});
        Products::multiply(second, left, right);
    }

    // The moments of the first sixteen taps with the second.
    DEVICE_INLINE void add_moments_of_halves(const TileRows &rows) const {
        const Taps taps(p.input.shape, 0), others(p.input.shape, 1);
        const int count = rows.count * p.input.shape.by_across().divisor;
        float sums[blocks_of_taps - blocks_of_outs][4] = {};
#pragma unroll 1
        for (int first = warp() * 16; first < count; first += conv_warps * 16) {
#pragma unroll 1
            for (int k = 0; k <= p.input.shape.pairs; ++k) {
                const Places places(p.input.shape, rows, first, k);
#pragma unroll
                for (int step = 0; step < steps; ++step) {
                    unsigned seen[4], of_others[4];
                    gather(seen, taps, places, step);
                    gather(of_others, others, places, step);
                    Mode::with_products([&](auto how) __attribute__((always_inline)) {
                        typename decltype(how)::template Factor<4> left;
                        how.prepare(left, seen);
                        multiply_by_taps<decltype(how)>(sums[0], sums[1], left, of_others);
                    });
                }
            }
        }
        add_up(sums, 2 * blocks_of_taps);
    }

    // What the warps have goes to the block's, from one of its blocks on.
    template <int Blocks> DEVICE_INLINE void add_up(const float (&sums)[Blocks][4], int first) const {
        const unsigned at = scratch_bytes - blocks_of_taps * bytes_of_block; // of a warp's
        __syncthreads();
#pragma unroll
        for (int block = 0; block < Blocks; ++block) {
            reinterpret_cast<Four<float> *>(scratch() + at)[block * 32 + lane()] = {sums[block][0], sums[block][1], sums[block][2],
                                                                                    sums[block][3]};
        }
        __syncthreads();
        for (int i = (int)threadIdx.x; i < Blocks * 32; i += conv_threads) {
            Four<float> total = totals()[first * 32 + i];
#pragma unroll
            for (int w = 0; w < conv_warps; ++w) {
                const Four<float> of_warp = reinterpret_cast<const Four<float> *>(all_scratch + w * scratch_bytes + at)[i];
#pragma unroll
                for (int k = 0; k < 4; ++k) {
                    total.v[k] += of_warp.v[k];
                }
            }
            totals()[first * 32 + i] = total;
        }
    }
};
