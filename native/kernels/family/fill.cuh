// How what a convolution reads is made in shared memory from what the passes before have left: activations, and gradients.
#pragma once

#include "activation.cuh"
#include "batch_norm.cuh"
#include "convolution.cuh"

// The layer before a convolution, by value: y (N, H, W, C), or `marked` of a layer that is pooled or drops.
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

// A thread's part of so many channels, a power of two of units: one unit of some pairs of pixels.
template <class Mode> struct UnitOfThread {
    int number, channel, first_pair, pairs_at_once;

    DEVICE_INLINE UnitOfThread(int first_channel, int units) {
        const int thread = here((int)threadIdx.x), first_of = (units - 1) & thread;
        number = first_of;
        channel = first_channel + number * Mode::of_unit;
        const int shift = units >= 16 ? 4 : units == 8 ? 3 : 2;
        first_pair = thread >> shift;
        pairs_at_once = conv_threads >> shift;
    }

    // Bytes from the planes of the units to the thread's first pixel.
    DEVICE_INLINE unsigned place(const TallRows &rows) const { return (unsigned)(number * rows.plane + rows.left) * 16; }
};

// The pixels of rows by pairs of neighbours, each pixel of `bytes` in memory: those that lie before, between and behind images are not
// there. Every other thread takes the right one first, so that what threads write together lies in different banks.
struct PairWalk {
    Walk walk;
    const TallRows &rows;
    const int bytes, first_image;

    DEVICE_INLINE PairWalk(const TallRows &rows, int bytes, int lane, int lanes)
        : walk(rows.by_pairs, rows.by_period, lane, lanes), rows(rows), bytes(bytes),
          first_image(rows.by_period.quotient(rows.first_slot)) {}

    // store(place, is there, load(from)) of every pixel, loads of so many pairs on the way together. From the first pixel of the first
    // image.
    template <int AtOnce, class Load, class Store> DEVICE_INLINE void all(bool exists, const Load &load, const Store &store) {
        const int width = rows.width, height = rows.height, above = rows.above, row_bytes = width * bytes, row_place = rows.pitch * 16;
        const int end = rows.end_of(rows.slots), end_of_existing = exists ? rows.end_of(rows.existing_slots()) : 0;
        for (int pair = walk.column; pair < walk.columns; pair += walk.lanes) {
            const int right[2] = {pair & 1, 1 - (pair & 1)};
            const bool has_right = 2 * pair + 1 < width;
            const int end_of[2] = {has_right || right[0] == 0 ? end : 0, has_right || right[1] == 0 ? end : 0},
                      existing[2] = {smaller(end_of[0], end_of_existing), smaller(end_of[1], end_of_existing)};
            const int image = walk.begin(rows.first_slot) - first_image;
            int place = walk.first_row * row_place + pair * 32;
            Walk::Bytes from = walk.bytes(image, row_bytes, height * row_bytes);
            from.at += 2 * pair * bytes - above * row_bytes;
#pragma unroll 1
            while (place < end) {
                int places[AtOnce], place_in_image[AtOnce]; // or beyond all places
                decltype(load(0)) loaded[AtOnce][2];
#pragma unroll
                for (int k = 0; k < AtOnce; ++k) {
                    places[k] = place;
                    place_in_image[k] = (unsigned)(walk.row - above) < (unsigned)height ? place : 1 << 30;
#pragma unroll
                    for (int i = 0; i < 2; ++i) {
                        if (place_in_image[k] < existing[i]) {
                            loaded[k][i] = load(from.at + right[i] * bytes);
                        }
                    }
                    from.next(walk.next());
                    place += walk.rows_at_once * row_place;
                }
#pragma unroll
                for (int k = 0; k < AtOnce; ++k) {
#pragma unroll
                    for (int i = 0; i < 2; ++i) {
                        if (places[k] < end_of[i]) {
                            store((unsigned)(places[k] + right[i] * 16), place_in_image[k] < existing[i], loaded[k][i]);
                        }
                    }
                }
            }
        }
    }
};

// Where the thread's unit of the first pixel of an image lies.
template <class Mode>
DEVICE_INLINE const unsigned char *first_pixel_of(const void *images, int image, int pixels, int channels, int channel) {
    return static_cast<const unsigned char *>(images) +
           ((long long)image * (pixels * channels) + channel) * (int)sizeof(typename Mode::Element);
}

// The activation of the layer before.
template <class Mode> struct ActivatedInput {
    const PreviousLayer &layer;

    DEVICE_INLINE void fill(const TallRows &rows, int first_channel, int units, unsigned char *planes) const {
        const UnitOfThread<Mode> unit(first_channel, units);
        const bool exists = unit.channel < rows.channels;
        Values<Mode::of_unit> scale = {}, shift = {};
        if (exists) {
            scale = layer.affine.scales<Mode::of_unit>(unit.channel).times(layer.keep_scale);
            shift = layer.affine.shifts<Mode::of_unit>(unit.channel).times(layer.keep_scale);
        }
        PairWalk walk(rows, rows.channels * (int)sizeof(typename Mode::Element), unit.first_pair, unit.pairs_at_once);
        const unsigned char *y = first_pixel_of<Mode>(layer.y, walk.first_image, rows.height * rows.width, rows.channels, unit.channel);
        unsigned char *to = planes + unit.place(rows);
        walk.template all<2>(
            exists, [&](int from) { return load_unit(y + from); },
            [&](unsigned place, bool is_there, const Unit &marked) {
                store_unit(to + place, activate<Mode>(marked, scale, shift, layer.drops).where(is_there));
            });
    }
};

// dY of a layer on the way back.
template <class Mode> struct GradientInput {
    const GradientLayer &layer;

    DEVICE_INLINE void fill(const TallRows &rows, int first_channel, int units, unsigned char *planes) const {
        const UnitOf unit(first_channel, units);
        Channels a = {}, b = {}, constant = {};
        if (unit.channel < rows.channels) {
            a = layer.affine.scales<Mode::of_unit>(unit.channel);
            b = Affine::of<Mode::of_unit>(layer.affine.from_y, unit.channel, 0);
            constant = Affine::of<Mode::of_unit>(layer.affine.constant, unit.channel, 0);
        }
        unsigned char *to = planes + unit.place(rows);
        if (layer.pools) {
            pooled(rows, unit, a, b, constant, to);
        } else {
            PairWalk walk(rows, rows.channels * (int)sizeof(Element), unit.first_pair, unit.pairs_at_once);
            const int pixels = rows.height * rows.width;
            const unsigned char *y = first_pixel_of<Mode>(layer.y, walk.first_image, pixels, rows.channels, unit.channel),
                                *du = first_pixel_of<Mode>(layer.du, walk.first_image, pixels, rows.channels, unit.channel);
            walk.template all<2>(
                unit.channel < rows.channels, [&](int from) { return Pair{load_unit(y + from), load_unit(du + from)}; },
                [&](unsigned place, bool is_there, const Pair &pair) {
                    Unit out;
#pragma unroll
                    for (int word = 0; word < 4; ++word) {
                        out.w[word] = gradient(pair.y.w[word], pair.du.w[word], word, a, b, constant);
                    }
                    store_unit(to + place, out.where(is_there));
                });
        }
    }

  private:
    using Element = typename Mode::Element;
    using Channels = Values<Mode::of_unit>;
    using UnitOf = UnitOfThread<Mode>;

    struct Pair {
        Unit y, du;
    };

    // A word of it, of one channel or two.
    DEVICE_INLINE static unsigned gradient(unsigned y, unsigned du, int word, const Channels &a, const Channels &b,
                                           const Channels &constant) {
        const auto of = [&](unsigned y, unsigned du, int c) __attribute__((always_inline)) {
            return fused_multiply_add(bits_float(du), a.v[c], fused_multiply_add(bits_float(y), b.v[c], constant.v[c]));
        };
        if constexpr (in_pairs<Mode>) {
            return Bf16::pack(of(y << 16, du << 16, 2 * word), of(y & 0xFFFF0000u, du & 0xFFFF0000u, 2 * word + 1));
        } else {
            return F32::operand(of(y, du, word));
        }
    }

    struct Quad {
        Unit y[4], du;
    };

    // Two rows of two pixels at a time; the gradient goes to the first maximum, what batch norm adds goes everywhere. Of an odd size, the
    // last row and column have no pooled pixel.
    DEVICE_INLINE void pooled(const TallRows &rows, const UnitOf &unit, const Channels &a, const Channels &b, const Channels &constant,
                              unsigned char *to) const {
        const int bytes = rows.channels * (int)sizeof(Element), row_bytes = rows.width * bytes, row_place = rows.pitch * 16;
        const int pairs = (rows.height + 1) / 2, pooled_width = rows.width / 2, period = rows.by_period.divisor;
        const int first_image = rows.by_period.quotient(rows.first_slot), first_row = rows.first_slot - first_image * period - rows.above;
        Walk walk(rows.by_pairs, {pairs, layer.pairs_factor}, unit.first_pair, unit.pairs_at_once);
        const unsigned char *y = first_pixel_of<Mode>(layer.y, first_image, rows.height * rows.width, rows.channels, unit.channel),
                            *du = first_pixel_of<Mode>(layer.du, first_image, rows.height / 2 * pooled_width, rows.channels, unit.channel);
        const int end = rows.end_of(rows.slots),
                  end_of_existing = unit.channel < rows.channels ? rows.end_of(rows.existing_slots()) : -1 << 30;
        for (int pair = walk.column; pair < walk.columns; pair += walk.lanes) {
            const int image = walk.begin(first_row < 0 ? 0 : smaller(first_row / 2, pairs));
            const bool has_right = 2 * pair + 1 < rows.width;
            Walk::Bytes at = walk.bytes(image, 2 * row_place, period * row_place),
                        at_y = walk.bytes(image, 2 * row_bytes, rows.height * row_bytes),
                        at_du = walk.bytes(image, pooled_width * bytes, rows.height / 2 * pooled_width * bytes);
            at.at += pair * 32 - first_row * row_place, at_y.at += 2 * pair * bytes, at_du.at += pair * bytes;
#pragma unroll 1
            while (at.at < end) {
                const bool exists = at.at < end_of_existing, has_below = 2 * walk.row + 1 < rows.height;
                Quad quad = {};
                if (exists) {
                    quad.y[0] = load_unit(y + at_y.at);
                    if (has_right) {
                        quad.y[1] = load_unit(y + at_y.at + bytes);
                    }
                    if (has_below) {
                        quad.y[2] = load_unit(y + at_y.at + row_bytes);
                    }
                    if (has_right & has_below) {
                        quad.y[3] = load_unit(y + at_y.at + row_bytes + bytes);
                        quad.du = load_unit(du + at_du.at);
                    }
                }
#pragma unroll
                for (int word = 0; word < 4; ++word) {
                    unsigned given[4];
                    given_to_first_best<Mode>(quad.y, word, a, quad.du.w[word], given);
#pragma unroll
                    for (int k = 0; k < 4; ++k) {
                        quad.y[k].w[word] = gradient(quad.y[k].w[word], given[k], word, a, b, constant);
                    }
                }
#pragma unroll
                for (int k = 0; k < 4; ++k) {
                    const int place = at.at + k / 2 * row_place + k % 2 * 16;
                    const bool in_rows = (unsigned)place < (unsigned)end, in_width = k % 2 == 0 || has_right,
                               in_height = k / 2 == 0 || has_below;
                    if (in_rows & in_width & in_height) {
                        store_unit(to + (unsigned)place, quad.y[k].where(exists));
                    }
                }
                const bool ended = walk.next();
                at.next(ended), at_y.next(ended), at_du.next(ended);
            }
        }
        // Rows of zeros before, between and after images.
        const int zeros = period - rows.height;
        for (int end_of_zeros = -first_row; end_of_zeros - zeros < rows.slots; end_of_zeros += period) {
            for (int slot = end_of_zeros - zeros; slot < end_of_zeros; ++slot) {
                for (int c = unit.first_pair; slot >= 0 && slot < rows.slots && c < rows.width; c += unit.pairs_at_once) {
                    store_unit(to + (unsigned)(slot * rows.pitch + c) * 16, {{0, 0, 0, 0}});
                }
            }
        }
    }
};
