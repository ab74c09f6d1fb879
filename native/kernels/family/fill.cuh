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

// A layer on the way back, by value: y and the gradient of u, (N, H, W, C), or (N, H/2, W/2, C) of a layer that is pooled. The factors are
// those of divisors by half of W and of H, rounded up.
struct GradientLayer {
    const void *y, *du;
    Affine affine;
    unsigned pools, pair_width_factor, pairs_factor;
};

// A thread's part of so many channels, a power of two of units: one unit of some pixels.
template <class Mode> struct UnitOfThread {
    int number, channel, first_pixel, pixels_at_once;

    DEVICE_INLINE UnitOfThread(int first_channel, int units) {
        const int thread = here((int)threadIdx.x), first_of = (units - 1) & thread;
        number = first_of;
        channel = first_channel + number * Mode::of_unit;
        const int shift = units >= 16 ? 4 : units == 8 ? 3 : 2;
        first_pixel = thread >> shift;
        pixels_at_once = conv_threads >> shift;
    }

    // Bytes from the planes of the units to the thread's first pixel.
    DEVICE_INLINE unsigned place(const TallRows &rows) const { return (unsigned)(number * rows.plane + rows.left) * 16; }
};

// A way through the pixels of rows, each of `bytes` in memory: those that lie before, between and behind images are not there.
struct PixelWalk {
    struct Cursor {
        int row, column;
        int place, from; // bytes: of the plane, and of memory from the first image of the rows on
    };

    Walk walk;
    Walk::Stride place, from;
    int above, height, end, end_of_existing;
    Cursor at;
    int first_image;

    DEVICE_INLINE PixelWalk(const TallRows &rows, int bytes, int first_pixel, int step)
        : walk(rows.by_width, rows.by_period, step), above(rows.above), height(rows.height), end(rows.end_of(rows.slots)),
          end_of_existing(rows.end_of(rows.existing_slots())), first_image(rows.by_period.quotient(rows.first_slot)) {
        const int row_bytes = walk.by_width.divisor * bytes, row_place = rows.pitch * 16;
        const Distances in_plane = {16, row_place, walk.by_height.divisor * row_place}, in_memory = {bytes, row_bytes, height * row_bytes};
        place = walk.stride(in_plane), from = walk.stride(in_memory);
        Walk::Place begin = walk.begin(rows.first_slot, first_pixel);
        begin.image -= first_image;
        at = {begin.row, begin.column, begin.bytes(in_plane) - (rows.first_slot - first_image * walk.by_height.divisor) * row_place,
              begin.bytes(in_memory) - above * row_bytes};
    }

    DEVICE_INLINE bool is_there() const {
        const bool in_image = (unsigned)(at.row - above) < (unsigned)height, in_batch = at.place < end_of_existing;
        return in_image & in_batch;
    }

    DEVICE_INLINE void next() {
        const Walk::Ends ends = walk.next(at.row, at.column);
        ends.add(at.place, place);
        ends.add(at.from, from);
    }

    // store(place, is there, load(from)) of every pixel, so many loads on the way together.
    template <int AtOnce, class Load, class Store> DEVICE_INLINE void all(bool exists, const Load &load, const Store &store) {
        while (at.place < end) {
            int places[AtOnce];
            bool are_there[AtOnce];
            decltype(load(0)) loaded[AtOnce];
#pragma unroll
            for (int k = 0; k < AtOnce; ++k) {
                places[k] = at.place;
                are_there[k] = is_there();
                are_there[k] &= exists;
                if (are_there[k]) {
                    loaded[k] = load(at.from);
                }
                next();
            }
#pragma unroll
            for (int k = 0; k < AtOnce; ++k) {
                if (places[k] < end) {
                    store((unsigned)places[k], are_there[k], loaded[k]);
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
        PixelWalk walk(rows, rows.channels * (int)sizeof(typename Mode::Element), unit.first_pixel, unit.pixels_at_once);
        const unsigned char *y = first_pixel_of<Mode>(layer.y, walk.first_image, rows.height * rows.width, rows.channels, unit.channel);
        unsigned char *to = planes + unit.place(rows);
        walk.template all<4>(
            exists, [&](int from) { return load_unit(y + from); },
            [&](unsigned place, bool is_there, const Unit &marked) {
                store_unit(to + place, is_there ? activate<Mode>(marked, scale, shift, layer.drops) : Unit{{0, 0, 0, 0}});
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
            PixelWalk walk(rows, rows.channels * (int)sizeof(Element), unit.first_pixel, unit.pixels_at_once);
            const int pixels = rows.height * rows.width;
            const unsigned char *y = first_pixel_of<Mode>(layer.y, walk.first_image, pixels, rows.channels, unit.channel),
                                *du = first_pixel_of<Mode>(layer.du, walk.first_image, pixels, rows.channels, unit.channel);
            walk.template all<3>(
                unit.channel < rows.channels, [&](int from) { return Pair{load_unit(y + from), load_unit(du + from)}; },
                [&](unsigned place, bool is_there, const Pair &pair) {
                    store_unit(to + place, is_there ? gradient(pair.y, pair.du, a, b, constant) : Unit{{0, 0, 0, 0}});
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

    DEVICE_INLINE static Unit gradient(const Unit &y, const Unit &du, const Channels &a, const Channels &b, const Channels &constant) {
        const Channels of_y = Mode::widen(y);
        Channels out = Mode::widen(du);
#pragma unroll
        for (int c = 0; c < Mode::of_unit; ++c) {
            out.v[c] = fused_multiply_add(out.v[c], a.v[c], fused_multiply_add(of_y.v[c], b.v[c], constant.v[c]));
        }
        return Mode::operand(out);
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
        const Walk walk({(rows.width + 1) / 2, layer.pair_width_factor}, {pairs, layer.pairs_factor}, unit.pixels_at_once);
        const Distances in_plane = {32, 2 * row_place, period * row_place}, in_y = {2 * bytes, 2 * row_bytes, rows.height * row_bytes},
                        in_du = {bytes, pooled_width * bytes, rows.height / 2 * pooled_width * bytes};
        const Walk::Stride place = walk.stride(in_plane), from_y = walk.stride(in_y), from_du = walk.stride(in_du);
        const Walk::Place begin = walk.begin(first_row < 0 ? 0 : smaller(first_row / 2, pairs), unit.first_pixel);
        int row = begin.row, column = begin.column, at = begin.bytes(in_plane) - first_row * row_place, at_y = begin.bytes(in_y),
            at_du = begin.bytes(in_du);
        const unsigned char *y = first_pixel_of<Mode>(layer.y, first_image, rows.height * rows.width, rows.channels, unit.channel),
                            *du = first_pixel_of<Mode>(layer.du, first_image, rows.height / 2 * pooled_width, rows.channels, unit.channel);
        const int end = rows.end_of(rows.slots), end_of_existing = rows.end_of(rows.existing_slots());
        while (at < end) {
            const bool in_channels = unit.channel < rows.channels, in_batch = at < end_of_existing, exists = in_channels & in_batch;
            const bool has_right = 2 * column + 1 < rows.width, has_below = 2 * row + 1 < rows.height, has_all = has_right & has_below;
            Quad quad = {};
            if (exists) {
                quad.y[0] = load_unit(y + at_y);
                if (has_right) {
                    quad.y[1] = load_unit(y + at_y + bytes);
                }
                if (has_below) {
                    quad.y[2] = load_unit(y + at_y + row_bytes);
                }
                if (has_all) {
                    quad.y[3] = load_unit(y + at_y + row_bytes + bytes);
                    quad.du = load_unit(du + at_du);
                }
            }
            Unit given[4];
            given_to_first_best<Mode>(quad.y, a, quad.du, given);
#pragma unroll
            for (int k = 0; k < 4; ++k) {
                const int place_of_pixel = at + k / 2 * row_place + k % 2 * 16;
                if ((unsigned)place_of_pixel < (unsigned)end && (k % 2 == 0 || has_right) && (k / 2 == 0 || has_below)) {
                    store_unit(to + (unsigned)place_of_pixel, exists ? gradient(quad.y[k], given[k], a, b, constant) : Unit{{0, 0, 0, 0}});
                }
            }
            const Walk::Ends ends = walk.next(row, column);
            ends.add(at, place);
            ends.add(at_y, from_y);
            ends.add(at_du, from_du);
        }
        // Rows of zeros before, between and after images.
        const int zeros = period - rows.height;
        for (int end_of_zeros = -first_row; end_of_zeros - zeros < rows.slots; end_of_zeros += period) {
            for (int slot = end_of_zeros - zeros; slot < end_of_zeros; ++slot) {
                for (int c = unit.first_pixel; slot >= 0 && slot < rows.slots && c < rows.width; c += unit.pixels_at_once) {
                    store_unit(to + (unsigned)(slot * rows.pitch + c) * 16, {{0, 0, 0, 0}});
                }
            }
        }
    }
};
