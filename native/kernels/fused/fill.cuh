// How what a convolution reads is made in shared memory from what the passes before have left: activations, and gradients.
#pragma once

#include "activation.cuh"
#include "batch_norm.cuh"
#include "convolution.cuh"

// The layer before a convolution, by value: y (N, H, W, C), or `marked` of a layer that is pooled or drops. Without a shift, y is what the
// layer gives.
struct PreviousLayer {
    const void *y;
    Affine affine;
    float keep_scale; // of its dropout, or 1
    unsigned drops;
};

// A layer on the way back, by value: y and the gradient of u, (N, H, W, C), or (N, H/2, W/2, C) of a layer that is pooled. The factor is
// that of a divisor by half of H, rounded up.
struct GradientLayer {
    const void *y, *du;
    Affine affine;
    unsigned pools, pairs_factor;
};

// Which pair of pixels a thread has of those that threads go along: of each four, the inner two are exchanged. Eight threads store
// together, four units of two pairs. Units lie one position apart (TileShape), and with a pair between those two, all are in different
// banks.
DEVICE_INLINE int spread(int pair) { return (pair & ~3) | (pair & 1) << 1 | (pair >> 1 & 1); }

// A thread's part of so many channels, a power of two of units: one unit of some pairs of pixels.
template <class Mode> struct UnitOfThread {
    int number, channel, first_pair, pairs_at_once;
    bool has_more; // than one pair of a row

    DEVICE_INLINE UnitOfThread(int first_channel, int units) {
        const int thread = here((int)threadIdx.x), first_of = (units - 1) & thread;
        number = first_of;
        channel = first_channel + number * Mode::of_unit;
        const int shift = units >= 16 ? 4 : units == 8 ? 3 : 2;
        first_pair = spread(thread >> shift);
        pairs_at_once = conv_threads >> shift;
        has_more = units >= 16; // else 16 or more threads share a row, and no image is wider than 32
    }

    // Bytes from the planes of the units to the thread's first pixel.
    DEVICE_INLINE int place(const TallRows &rows) const { return (number * rows.plane + rows.left) * 16; }

    // The pair after one in the same row, or one that does not exist.
    DEVICE_INLINE int next(int pair) const { return has_more ? pair + pairs_at_once : 1 << 30; }

    // A channel that exists.
    DEVICE_INLINE int existing(const TallRows &rows) const { return channel < rows.channels ? channel : 0; }
};

// Images in memory, counted in units.
template <class Mode> struct UnitsOf {
    int of_pixel, of_row, of_image;

    DEVICE_INLINE UnitsOf(int channels, int width, int height)
        : of_pixel(here((int)((unsigned)channels / Mode::of_unit))), of_row(width * of_pixel), of_image(height * of_row) {}

    // The thread's unit of a pixel.
    DEVICE_INLINE const Unit *of(const void *images, int image, int row, int column, const UnitOfThread<Mode> &unit) const {
        const unsigned char *first = static_cast<const unsigned char *>(images) + (unsigned long long)(unsigned)image * (of_image * 16u);
        return reinterpret_cast<const Unit *>(first) + (row * of_row + column * of_pixel + (int)((unsigned)unit.channel / Mode::of_unit));
    }
};

// The pixels of rows by pairs of neighbours: those that lie before, between and behind images are zeros. Of the others, make(loaded, made)
// makes the thread's units from those of some images; a pair with but one pixel takes it twice.
template <class Mode, int Count, class Make>
DEVICE_INLINE void fill_pairs(const TallRows &rows, const UnitOfThread<Mode> &unit, const void *const (&images)[Count],
                              unsigned char *planes, const Make &make) {
    constexpr int at_once = 2 / Count; // pairs whose loads are on the way together: four loads
    const Walk walk(rows.by_pairs, rows.by_period.divisor, unit.first_pair, unit.pairs_at_once);
    const UnitsOf<Mode> units(rows.channels, rows.width, rows.height);
    const int height = rows.height, period = rows.by_period.divisor, between = period - height, row_place = rows.pitch * 16;
    for (int pair = walk.column; pair < rows.by_pairs.divisor; pair = unit.next(pair)) {
        const bool has_both = 2 * pair + 1 < rows.width;
        const int column = 2 * pair, to_other = has_both ? 1 : 0;
        const int slot = rows.first_slot + walk.first_row + between - rows.above, image = rows.by_period.quotient(slot);
        int row = slot - image * period - between; // below 0: between images
        const Unit *first[Count];
#pragma unroll
        for (int i = 0; i < Count; ++i) {
            first[i] = units.of(images[i], image, row, column, unit);
        }
        const int first_place = unit.place(rows) + column * 16, end = first_place + rows.slots * row_place,
                  end_of_existing = unit.channel < rows.channels ? first_place + rows.existing_slots() * row_place : 0;
        int from = 0, place = first_place + walk.first_row * row_place;
        const auto put = [&](int place, bool is_there, const Unit(&loaded)[2][Count]) __attribute__((always_inline)) {
            if (place < end) {
                Unit made[2] = {};
                if (is_there) {
                    make(loaded, made);
                }
                store_unit(planes + (unsigned)place, made[0]);
                store_unit(planes + (unsigned)(place + to_other * 16), made[1]);
            }
        };
#pragma unroll 1
        while (place < end) {
            int places[at_once];
            bool is_there[at_once];
            Unit loaded[at_once][2][Count];
#pragma unroll
            for (int k = 0; k < at_once; ++k) {
                places[k] = place;
                is_there[k] = row >= 0 && place < end_of_existing;
                if (is_there[k]) {
#pragma unroll
                    for (int i = 0; i < Count; ++i) {
                        loaded[k][0][i] = first[i][from];
                        loaded[k][1][i] = first[i][from + to_other * units.of_pixel];
                    }
                }
                row += walk.rows_at_once, from += walk.rows_at_once * units.of_row, place += walk.rows_at_once * row_place;
                if (row >= height) {
                    row -= period, from -= between * units.of_row;
                }
            }
#pragma unroll
            for (int k = 0; k < at_once; ++k) {
                put(places[k], is_there[k], loaded[k]);
            }
        }
    }
}

// Rows of zeros before, between and after images, of which rows so many exist; all rows, where it is below 0.
template <class Mode>
DEVICE_INLINE void fill_zeros(const TallRows &rows, const UnitOfThread<Mode> &unit, int existing, unsigned char *planes) {
    const int period = rows.by_period.divisor, between = period - rows.height;
    const int first_row = rows.first_slot - rows.by_period.quotient(rows.first_slot) * period - rows.above;
#pragma unroll 1
    for (int first = existing < 0 ? -between : -first_row - between; first < rows.slots; first += period) {
        const int end = first + between < existing ? first + between : rows.slots;
#pragma unroll 1
        for (int slot = first < 0 ? 0 : first; slot < end; ++slot) {
#pragma unroll 1
            for (int column = unit.first_pair; column < rows.width; column += unit.pairs_at_once) {
                store_unit(planes + (unsigned)(unit.place(rows) + (slot * rows.pitch + column) * 16), zero_unit());
            }
        }
    }
}

// The activation of the layer before.
template <class Mode> struct ActivatedInput {
    const PreviousLayer &layer;

    DEVICE_INLINE void fill(const TallRows &rows, int first_channel, int units, unsigned char *planes) const {
        const UnitOfThread<Mode> unit(first_channel, units);
        const int channel = unit.existing(rows);
        Values<Mode::of_unit> scale = layer.affine.scales<Mode::of_unit>(channel),
                              shift = Affine::of<Mode::of_unit>(layer.affine.shift, channel, 0);
        if (layer.keep_scale != 1) {
            scale = scale.times(layer.keep_scale), shift = shift.times(layer.keep_scale);
        }
        fill_pairs<Mode, 1>(rows, unit, {layer.y}, planes, [&](const Unit(&marked)[2][1], Unit(&made)[2]) {
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                made[i] = layer.affine.shift ? activate<Mode>(Mode::widen(marked[i][0]), scale, shift) : marked[i][0];
            }
            if (layer.drops) {
#pragma unroll
                for (int i = 0; i < 2; ++i) {
                    made[i] = where_kept<Mode>(made[i], marked[i][0]);
                }
            }
        });
    }
};

// dY of a layer on the way back.
template <class Mode> struct GradientInput {
    const GradientLayer &layer;

    DEVICE_INLINE void fill(const TallRows &rows, int first_channel, int units, bool, unsigned char *planes) const {
        const UnitOf unit(first_channel, units);
        const int channel = unit.existing(rows);
        Factors of = {layer.affine.scales<Mode::of_unit>(channel), load_values<Mode::of_unit>(layer.affine.from_y + channel),
                      load_values<Mode::of_unit>(layer.affine.constant + channel)};
        if (layer.pools) {
            pooled(rows, unit, of, planes);
        } else {
            fill_pairs<Mode, 2>(rows, unit, {layer.y, layer.du}, planes, [&](const Unit(&loaded)[2][2], Unit(&made)[2]) {
#pragma unroll
                for (int i = 0; i < 2; ++i) {
#pragma unroll
                    for (int word = 0; word < 4; ++word) {
                        made[i].w[word] = of.word(loaded[i][0].w[word], loaded[i][1].w[word], word);
                    }
                }
            });
        }
    }

  private:
    using Channels = Values<Mode::of_unit>;
    using UnitOf = UnitOfThread<Mode>;

    // dY = scale · du + from_y · y + constant, a word of one channel or two.
    struct Factors {
        Channels scale, from_y, constant;

        DEVICE_INLINE float of(unsigned y, int c) const { return fused_multiply_add(bits_float(y), from_y.v[c], constant.v[c]); }
        DEVICE_INLINE float of(unsigned y, unsigned du, int c) const { return fused_multiply_add(bits_float(du), scale.v[c], of(y, c)); }

        // Where du is 0.
        DEVICE_INLINE unsigned word(unsigned y, int word) const {
            if constexpr (in_pairs<Mode>) {
                return Bf16::pack(of(y << 16, 2 * word), of(y & 0xFFFF0000u, 2 * word + 1));
            } else {
                return F32::operand(of(y, word));
            }
        }

        DEVICE_INLINE unsigned word(unsigned y, unsigned du, int word) const {
            if constexpr (in_pairs<Mode>) {
                return Bf16::pack(of(y << 16, du << 16, 2 * word), of(y & 0xFFFF0000u, du & 0xFFFF0000u, 2 * word + 1));
            } else {
                return F32::operand(of(y, du, word));
            }
        }
    };

    // Two rows of two pixels at a time; the gradient goes to the first maximum, what batch norm adds goes everywhere. Of an odd size, the
    // last row and column have no pooled pixel; there, pixels are taken twice.
    DEVICE_INLINE void pooled(const TallRows &rows, const UnitOf &unit, Factors &of, unsigned char *planes) const {
        const int pairs = (rows.height + 1) / 2, period = rows.by_period.divisor, row_place = rows.pitch * 16;
        const int first_image = rows.by_period.quotient(rows.first_slot), first_row = rows.first_slot - first_image * period - rows.above;
        const Walk walk(rows.by_pairs, pairs, unit.first_pair, unit.pairs_at_once);
        const UnitsOf<Mode> of_y(rows.channels, rows.width, rows.height), of_du(rows.channels, rows.width / 2, rows.height / 2);
        const bool exists = unit.channel < rows.channels;
        const int existing = exists ? smaller(rows.slots, rows.existing_slots()) : -1, end = existing * row_place;
        const bool falls = where_falling(of);
        if (falls) { // from_y · y is the same where both have the other sign
#pragma unroll
            for (int c = 0; c < Mode::of_unit; ++c) {
                of.from_y.v[c] = bits_float(float_bits(of.from_y.v[c]) ^ (float_bits(of.scale.v[c]) & 0x80000000u));
            }
        }
        for (int pair = walk.column; pair < rows.by_pairs.divisor; pair = unit.next(pair)) {
            const Divisor by_rows = {pairs, layer.pairs_factor};
            const int begin = (first_row < 0 ? 0 : smaller(first_row / 2, pairs)) + walk.first_row, images = by_rows.quotient(begin);
            int row = begin - images * pairs, place = (images * period + 2 * row - first_row) * row_place, from_y = 0, from_du = 0;
            const Unit *y = of_y.of(layer.y, first_image + images, 2 * row, 2 * pair, unit),
                       *du = of_du.of(layer.du, first_image + images, row, pair, unit);
            const bool has_right = 2 * pair + 1 < rows.width;
            const int right = has_right ? of_y.of_pixel : 0;
            unsigned char *left_to = planes + (unsigned)(unit.place(rows) + pair * 32), *right_to = left_to + (has_right ? 16u : 0u);
#pragma unroll 1
            while (place < end) {
                const bool has_below = row < rows.height / 2;
                const int below = has_below ? of_y.of_row : 0, place_below = place + (has_below ? row_place : 0);
                Unit quad[4] = {load_whole(y + from_y), load_whole(y + from_y + right), load_whole(y + from_y + below),
                                load_whole(y + from_y + below + right)},
                     given = {};
                if (has_right && has_below) {
                    given = du[from_du];
                }
                if (falls) {
#pragma unroll
                    for (int word = 0; word < 4; ++word) {
                        const unsigned sign = signs_of<Mode>(of.scale, word);
#pragma unroll
                        for (int k = 0; k < 4; ++k) {
                            quad[k].w[word] ^= sign;
                        }
                    }
                }
#pragma unroll
                for (int word = 0; word < 4; ++word) {
                    const FirstGreatest<Mode> greatest(quad, word);
                    const unsigned there = of.word(greatest.of, given.w[word], word);
#pragma unroll
                    for (int k = 0; k < 4; ++k) {
                        const unsigned elsewhere = of.word(quad[k].w[word], word);
                        quad[k].w[word] = elsewhere ^ ((elsewhere ^ there) & greatest.is[k]);
                    }
                }
                if ((unsigned)place < (unsigned)end) {
                    store_unit(left_to + place, quad[0]);
                    store_unit(right_to + place, quad[1]);
                }
                if ((unsigned)place_below < (unsigned)end) {
                    store_unit(left_to + place_below, quad[2]);
                    store_unit(right_to + place_below, quad[3]);
                }
                row += walk.rows_at_once, from_y += walk.rows_at_once * 2 * of_y.of_row, from_du += walk.rows_at_once * of_du.of_row,
                    place += walk.rows_at_once * 2 * row_place;
                if (row >= pairs) {
                    row -= pairs, from_y += of_y.of_image - pairs * 2 * of_y.of_row, from_du += of_du.of_image - pairs * of_du.of_row,
                        place += (period - 2 * pairs) * row_place;
                }
            }
        }
        fill_zeros(rows, unit, existing, planes);
    }

    // Whether u of any of the channels falls with y.
    DEVICE_INLINE static bool where_falling(const Factors &of) {
        unsigned any = 0;
#pragma unroll
        for (int c = 0; c < Mode::of_unit; ++c) {
            any |= float_bits(of.scale.v[c]);
        }
        return (int)any < 0;
    }
};
