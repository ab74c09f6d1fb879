// The first layer, as a convolution of what its windows see: one tap, and taps in the place of channels. Its input in shared memory.
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

    // A word of elements as operands.
    DEVICE_INLINE static unsigned packed(const float (&x)[of_register]) {
        if constexpr (of_register == 2) {
            return Bf16::pack(x[0], x[1]);
        } else {
            return Mode::operand(x[0]);
        }
    }

    // Elements from a row to the next, and bytes.
    DEVICE_INLINE static int line(const Convolution &c) { return (c.pitch + 1) & ~1; }
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
    // Of two neighbours. Of eight threads, four take the right one first, so that what threads write together lies in different banks.
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
        const unsigned first = (unsigned)column / 8 % 2;
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
