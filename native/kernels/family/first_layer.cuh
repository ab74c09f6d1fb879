// The first layer, as a convolution of what its windows see: one tap, and taps in the place of channels. Its input in shared memory; and
// sums over all pixels of what windows see, from which its weights' gradient follows.
#pragma once

#include "fill.cuh"

// By value. The shape is that of the windows, and of their output pixel by pixel; slots: those of x for which a block has room.
struct FirstInput {
    Convolution shape;
    const void *x; // none: the layer is another one
};

// The way of a thread through rows of which none has more than 32 pixels: a pair of neighbours, in so many rows at a time.
struct RowWalk {
    static constexpr int rows_at_once = conv_threads / 16;
    const int pair = here((int)threadIdx.x) & 15, row = here((int)threadIdx.x) >> 4;
};

// Rows of x in shared memory, as the tall image has them, elements side by side; a line has an even number of them, so that two are read
// together. Behind them, a window of zeros.
template <class Mode> struct WindowTile {
    using Element = typename Mode::Element;

    static constexpr int of_register = Mode::of_unit / 4; // elements
    static constexpr unsigned ones = of_register == 2 ? 0x3F803F80u : 0x3F800000u;

    Element *tile;

    // Elements from a row to the next, and bytes.
    DEVICE_INLINE static int line(const Convolution &c) { return (c.pitch() + 1) & ~1; }
    DEVICE_INLINE static int line_bytes(const Convolution &c) { return line(c) * (int)sizeof(Element); }

    // Where a window begins, and that of zeros.
    DEVICE_INLINE unsigned place(const Convolution &c, int slot, int column) const {
        return SHARED_ADDRESS(tile) + (unsigned)(slot * line(c) + column) * (unsigned)sizeof(Element);
    }
    DEVICE_INLINE unsigned zeros(const Convolution &c) const { return place(c, c.slots, 0); }

    // Once, before a barrier.
    DEVICE_INLINE void clear(const Convolution &c) const {
        for (int i = (int)threadIdx.x; i < (c.slots + c.side) * line(c); i += conv_threads) {
            tile[i] = {};
        }
    }

    DEVICE_INLINE void fill(const Convolution &c, const void *x, const TileRows &read, int samples) const {
        constexpr int at_once = 2; // loads that are on their way together
        const RowWalk walk;
        const int column = 2 * walk.pair, existing = column < c.width ? read.slots : 0;
        const bool has_right = column + 1 < c.width;
        Element *to = tile + c.padding + column;
#pragma unroll 1
        for (int first = walk.row; first < existing; first += at_once * walk.rows_at_once) {
            Element seen[at_once][2] = {};
#pragma unroll
            for (int k = 0; k < at_once; ++k) {
                const int slot = read.first_slot + first + k * walk.rows_at_once, image = c.by_period().quotient(slot);
                const bool in_rows = slot - image * c.period() >= c.padding, in_tile = first + k * walk.rows_at_once < read.slots;
                if (in_tile & in_rows & (image < samples)) {
                    const Element *from = static_cast<const Element *>(x) + ((slot - (image + 1) * c.padding) * c.width + column);
                    seen[k][0] = from[0];
                    if (has_right) {
                        seen[k][1] = from[1];
                    }
                }
            }
#pragma unroll
            for (int k = 0; k < at_once; ++k) {
                const int row = first + k * walk.rows_at_once;
                if (row < read.slots) {
                    to[row * line(c)] = rounded(seen[k][0]), to[row * line(c) + 1] = rounded(seen[k][1]);
                }
            }
        }
    }

    // What windows of rows of the first layer's output see; first: nothing of the tile is there yet. The rows of x.
    DEVICE_INLINE TileRows see(const FirstInput &layer, const TallRows &rows, bool first) const {
        const int end = rows.first_slot + rows.existing_slots(), first_row = number_of(rows, rows.first_slot, 0);
        const TileRows read(layer.shape, first_row, number_of(rows, end - 1, -1) + 1 - first_row);
        if (first) {
            fill(layer.shape, layer.x, read, rows.samples);
            __syncthreads();
        }
        return read;
    }

    // What two neighbouring windows see of which the first begins at an even position; in float32, a single one.
    template <int Side> struct Seen {
        static constexpr int taps = Side * Side, words_of_line = of_register == 2 ? (Side + 1) / 2 : Side;
        const unsigned from, line;
        unsigned words[Side][words_of_line]; // in float32, they are loaded where they are used

        DEVICE_INLINE Seen(const Convolution &c, unsigned from) : from(from), line((unsigned)line_bytes(c)) {
#pragma unroll
            for (int i = 0; of_register == 2 && i < Side * words_of_line; ++i) {
                words[i / words_of_line][i % words_of_line] = word(i / words_of_line, i % words_of_line);
            }
        }

        DEVICE_INLINE unsigned word(int y, int i) const { return *(SHARED_POINTER(const unsigned, from + (unsigned)y * line) + i); }

        // Sixteen bytes of taps as weights have them; behind the last one, the first bits of `last`. is_right: of the neighbour.
        DEVICE_INLINE Unit unit(int number, unsigned is_right, unsigned last) const {
            Unit out;
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int tap = number * Mode::of_unit + i * of_register, y = tap / Side, x = tap % Side;
                if (tap >= taps) {
                    out.w[i] = tap == taps ? last : 0;
                } else if constexpr (of_register == 1) {
                    out.w[i] = word(y, x);
                } else {
                    const bool ends = x + 1 == Side;
                    const unsigned second = !ends ? words[y][x / 2 + 1] : tap + 1 < taps ? words[y + 1][0] : last;
                    const unsigned chosen = ends ? 0x5410 : x % 2 ? 0x5432 : 0x3210; // bytes
                    asm("prmt.b32 %0, %1, %2, %3;" : "=r"(out.w[i]) : "r"(words[y][x / 2]), "r"(second), "r"(chosen + is_right * 0x2222));
                }
            }
            return out;
        }
    };

  private:
    // The number of a row over all images; of zeros before an image, that of the row below them or above.
    DEVICE_INLINE static int number_of(const TallRows &rows, int slot, int least) {
        const int image = rows.by_period.quotient(slot), row = slot - image * rows.by_period.divisor - rows.above;
        return image * rows.height + (row < least ? least : row);
    }

    // As an operand of products.
    DEVICE_INLINE static bfloat16 rounded(bfloat16 x) { return x; }
    DEVICE_INLINE static float rounded(float x) { return bits_float(Mode::operand(x)); }
};

// Units of taps as others are of channels.
template <class Mode> struct WindowInput {
    using Windows = WindowTile<Mode>;

    const FirstInput &layer;
    Windows windows;

    // rows: of the first layer's output; read: what their windows see.
    DEVICE_INLINE void fill(const TallRows &rows, const TileRows &read, int first_tap, int units, unsigned char *planes) const {
        const Convolution &c = layer.shape;
        const RowWalk walk;
        const int column = 2 * walk.pair, end = column < rows.width ? read.count : 0;
#pragma unroll 1
        for (int row = walk.row; row < end; row += walk.rows_at_once) {
            const int slot = rows.first_slot + row, image = rows.by_period.quotient(slot);
            const unsigned from = windows.place(c, slot + image * (c.period() - rows.by_period.divisor) - read.first_slot, column);
            unsigned char *to = planes + (unsigned)(row * rows.pitch + column) * 16;
            if (c.side == 3) {
                store<3>(rows, from, column, first_tap, units, to);
            } else {
                store<5>(rows, from, column, first_tap, units, to);
            }
        }
    }

  private:
    // Of two neighbours. Every other thread takes the right one first, so that what threads write together lies in different banks.
    template <int Side>
    DEVICE_INLINE void store(const TallRows &rows, unsigned from, int column, int first_tap, int units, unsigned char *to) const {
        using Seen = typename Windows::template Seen<Side>;
        constexpr int all = (Side * Side + Mode::of_unit - 1) / Mode::of_unit;
        const int first_unit = all <= units_of_chunk ? 0 : first_tap / Mode::of_unit;
        const auto store_of = [&](const Seen &seen, unsigned is_right) __attribute__((always_inline)) {
#pragma unroll
            for (int unit = 0; unit < all; ++unit) {
                if (column + (int)is_right < rows.width && (all <= units_of_chunk || (unsigned)(unit - first_unit) < (unsigned)units)) {
                    store_unit(to + ((unsigned)((unit - first_unit) * rows.plane) + is_right) * 16, seen.unit(unit, is_right, 0));
                }
            }
        };
        const unsigned first = (unsigned)column / 2 % 2;
        if constexpr (Windows::of_register == 2) {
            const Seen seen(layer.shape, from);
#pragma unroll Side == 3 ? 2 : 1
            for (unsigned i = Side == 3 ? 0 : (unsigned)here(0); i < 2; ++i) {
                store_of(seen, i ^ first);
            }
        } else {
#pragma unroll 1
            for (unsigned i = (unsigned)here(0); i < 2; ++i) {
                store_of(Seen(layer.shape, from + (i ^ first) * 4), i ^ first);
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
