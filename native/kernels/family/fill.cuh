// How what a convolution reads is made in shared memory from what the passes before have left: activations, and gradients.
#pragma once

#include "../common/dropout.cuh"
#include "activation.cuh"
#include "batch_norm.cuh"
#include "convolution.cuh"

// The layer before a convolution, by value: y (N, H, W, C), or `marked` of a layer that is pooled or drops. full_height > 0: y (N,
// full_height, full_width, C) is still to be pooled; `makes`: what is pooled and dropped is left in marked, where there is such.
struct PreviousLayer {
    const void *y;
    Affine affine;
    void *marked;
    const StepState *state;
    Dropout dropout;
    int full_height, full_width;
    unsigned makes;
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
};

// make(loaded) of every pixel of a walk, so many loads on the way together; load(at) tells whether there is something to load.
template <int AtOnce, class Loaded, class Load, class Make>
DEVICE_INLINE void for_pixels(const Walk &walk, Cursor at, int slots, const Load &load, const Make &make) {
    while (at.slot < slots) {
        Cursor places[AtOnce];
        Loaded loaded[AtOnce];
#pragma unroll
        for (int k = 0; k < AtOnce; ++k) {
            places[k] = at;
            if (at.slot < slots) {
                load(at, loaded[k]);
            }
            walk.next(at);
        }
#pragma unroll
        for (int k = 0; k < AtOnce; ++k) {
            if (places[k].slot < slots) {
                make(places[k], loaded[k]);
            }
        }
    }
}

// Where a unit of a pixel (height, width, channels) of an image lies.
template <class Mode>
DEVICE_INLINE const typename Mode::Element *pixel_address(const void *images, int image, int row, int column, int height, int width,
                                                          int channels, int channel) {
    return static_cast<const typename Mode::Element *>(images) + (long long)image * (height * width * channels) +
           (row * width + column) * channels + channel;
}

// Rows of the tall image that this tile, and no other, is to leave: from the first one after the zeros on.
struct OwnedSlots {
    int first, end;

    DEVICE_INLINE OwnedSlots(const Convolution &c, const TileRows &rows) : first(rows.first == 0 ? 0 : c.padding), end(c.slots) {
        if (rows.first + rows.count < c.samples * c.out_height) {
            end = TileRows::slot_of(c, rows.first + rows.count) + c.padding - rows.first_slot;
        }
    }
};

// The activation of the layer before.
template <class Mode> struct ActivatedInput {
    const PreviousLayer &layer;

    DEVICE_INLINE void fill(const Convolution &c, const TileRows &rows, int chunk, unsigned char *planes) const {
        if (layer.makes) {
            make(c, rows, chunk, planes);
        } else {
            read(c, rows.first_slot, rows.slots, chunk * chunk_channels<Mode>, units_of_chunk, planes);
        }
    }

    // Of y, or of what is marked already.
    DEVICE_INLINE void read(const Convolution &c, int first_slot, int slots, int first_channel, int units, unsigned char *planes) const {
        const UnitOf unit(first_channel, units);
        const Coefficients of(layer.affine, unit.channel, c.channels);
        const Walk walk(c.by_width(), c.by_period(), unit.pixels_at_once);
        unsigned char *to = place(c, planes, unit);
        const auto exists = [&](const Cursor &at) { return of.exist && at.row >= c.padding && at.image < c.samples; };
        for_pixels<4, Unit>(
            walk, walk.begin(first_slot, unit.first_pixel), slots,
            [&](const Cursor &at, Unit &y) {
                if (exists(at)) {
                    y = load_unit(
                        pixel_address<Mode>(layer.y, at.image, at.row - c.padding, at.column, c.height, c.width, c.channels, unit.channel));
                }
            },
            [&](const Cursor &at, const Unit &y) {
                store_unit(to + (unsigned)(at.slot * c.pitch() + at.column) * 16,
                           exists(at) ? activate<Mode>(y, of.scale, of.shift, layer.dropout.keep_scale) : Unit{{0, 0, 0, 0}});
            });
    }

  private:
    using Channels = Values<Mode::of_unit>;
    using UnitOf = UnitOfThread<Mode>;

    struct Coefficients {
        Channels scale, shift;
        bool exist;

        DEVICE_INLINE Coefficients(const Affine &affine, int channel, int channels) : scale{}, shift{}, exist(channel < channels) {
            if (exist) {
                scale = affine.scales<Mode::of_unit>(channel);
                shift = affine.shifts<Mode::of_unit>(channel);
            }
        }
    };

    DEVICE_INLINE static unsigned char *place(const Convolution &c, unsigned char *planes, const UnitOf &unit) {
        return planes + (unsigned)(unit.number * c.plane + c.padding) * 16;
    }

    struct Quad {
        Unit of[4];
        unsigned row; // of the dataset
    };

    DEVICE_INLINE void make(const Convolution &c, const TileRows &rows, int chunk, unsigned char *planes) const {
        const UnitOf unit(chunk * chunk_channels<Mode>, units_of_chunk);
        const Coefficients of(layer.affine, unit.channel, c.channels);
        const Walk walk(c.by_width(), c.by_period(), unit.pixels_at_once);
        const OwnedSlots owned(c, rows);
        const bool pools = layer.full_height > 0, drops = layer.dropout.threshold > 0;
        const int *order = drops ? device_pointer<const int>(layer.state->order) : nullptr;
        const unsigned first_row = drops ? layer.state->first : 0, rows_of_order = drops ? layer.state->rows : 1,
                       epoch = drops ? layer.state->epoch : 0;
        const int height = pools ? layer.full_height : c.height, width = pools ? layer.full_width : c.width;
        unsigned char *to = place(c, planes, unit);
        for_pixels<1, Quad>(
            walk, walk.begin(rows.first_slot, unit.first_pixel), rows.slots,
            [&](const Cursor &at, Quad &y) {
                if (of.exist && at.row >= c.padding && at.image < c.samples) {
                    const int row = at.row - c.padding;
                    const auto *first = pixel_address<Mode>(layer.y, at.image, pools ? 2 * row : row, pools ? 2 * at.column : at.column,
                                                            height, width, c.channels, unit.channel);
                    y.of[0] = load_unit(first);
                    y.row = drops ? (unsigned)dataset_row(order, rows_of_order, first_row + (unsigned)at.image) : 0;
                    if (pools) {
                        y.of[1] = load_unit(first + c.channels);
                        y.of[2] = load_unit(first + width * c.channels);
                        y.of[3] = load_unit(first + width * c.channels + c.channels);
                    }
                }
            },
            [&](const Cursor &at, const Quad &y) {
                Unit made = {{0, 0, 0, 0}};
                if (of.exist && at.row >= c.padding && at.image < c.samples) {
                    const int row = at.row - c.padding, element = (row * c.width + at.column) * c.channels + unit.channel;
                    const Unit marked = marked_unit<Mode>(pools ? pooled_unit<Mode>(y.of, of.scale) : y.of[0], layer.dropout,
                                                          (unsigned)element, y.row, epoch);
                    if (layer.marked && blockIdx.y == 0 && at.slot >= owned.first && at.slot < owned.end) {
                        store_unit(static_cast<typename Mode::Element *>(layer.marked) +
                                       (long long)at.image * (c.height * c.width * c.channels) + element,
                                   marked);
                    }
                    made = activate<Mode>(marked, of.scale, of.shift, layer.dropout.keep_scale);
                }
                store_unit(to + (unsigned)(at.slot * c.pitch() + at.column) * 16, made);
            });
    }
};

// Rows of a tall image of dY, `above` of each image being zeros, and where their pixels lie: `left` positions further on.
struct GradientRows {
    int samples, height, width, channels;
    Divisor by_width, by_period;
    int pitch, plane, first_slot, slots, above, left;
};

// dY of a layer on the way back.
template <class Mode> struct GradientInput {
    const GradientLayer &layer;

    DEVICE_INLINE void fill(const Convolution &c, const TileRows &rows, int chunk, unsigned char *planes) const {
        const GradientRows all = {c.samples, c.height, c.width,         c.channels, c.by_width(), c.by_period(),
                                  c.pitch(), c.plane,  rows.first_slot, rows.slots, c.padding,    c.padding};
        fill(all, chunk * chunk_channels<Mode>, units_of_chunk, planes);
    }

    DEVICE_INLINE void fill(const GradientRows &c, int first_channel, int units, unsigned char *planes) const {
        const UnitOfThread<Mode> unit(first_channel, units);
        Channels a = {}, b = {}, constant = {};
        if (unit.channel < c.channels) {
            a = layer.affine.scales<Mode::of_unit>(unit.channel);
            b = Affine::of<Mode::of_unit>(layer.affine.from_y, unit.channel, 0);
            constant = Affine::of<Mode::of_unit>(layer.affine.constant, unit.channel, 0);
        }
        unsigned char *to = planes + (unsigned)(unit.number * c.plane + c.left) * 16;
        if (layer.pools) {
            pooled(c, unit, a, b, constant, to);
        } else {
            plain(c, unit, a, b, constant, to);
        }
    }

  private:
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

    DEVICE_INLINE void plain(const GradientRows &c, const UnitOf &unit, const Channels &a, const Channels &b, const Channels &constant,
                             unsigned char *to) const {
        const Walk walk(c.by_width, c.by_period, unit.pixels_at_once);
        const auto exists = [&](const Cursor &at) {
            return unit.channel < c.channels && at.row >= c.above && at.row < c.above + c.height && at.image < c.samples;
        };
        for_pixels<3, Pair>(
            walk, walk.begin(c.first_slot, unit.first_pixel), c.slots,
            [&](const Cursor &at, Pair &pair) {
                if (exists(at)) {
                    pair.y = load_unit(
                        pixel_address<Mode>(layer.y, at.image, at.row - c.above, at.column, c.height, c.width, c.channels, unit.channel));
                    pair.du = load_unit(
                        pixel_address<Mode>(layer.du, at.image, at.row - c.above, at.column, c.height, c.width, c.channels, unit.channel));
                }
            },
            [&](const Cursor &at, const Pair &pair) {
                store_unit(to + (unsigned)(at.slot * c.pitch + at.column) * 16,
                           exists(at) ? gradient(pair.y, pair.du, a, b, constant) : Unit{{0, 0, 0, 0}});
            });
    }

    struct Quad {
        Unit y[4], du;
    };

    // Two rows of two pixels at a time; the gradient goes to the first maximum, what batch norm adds goes everywhere. Of an odd size, the
    // last row and column have no pooled pixel.
    DEVICE_INLINE void pooled(const GradientRows &c, const UnitOf &unit, const Channels &a, const Channels &b, const Channels &constant,
                              unsigned char *to) const {
        const int pairs = (c.height + 1) / 2, period = c.by_period.divisor, last = c.first_slot + c.slots - 1;
        const int image = c.by_period.quotient(c.first_slot), row = c.first_slot - image * period - c.above;
        const int last_image = c.by_period.quotient(last), last_row = last - last_image * period - c.above;
        const int first_pair = image * pairs + (row < 0 ? 0 : smaller(row / 2, pairs)),
                  end = last_image * pairs + (last_row < 0 ? 0 : smaller(last_row / 2 + 1, pairs));
        const Walk walk({(c.width + 1) / 2, layer.pair_width_factor}, {pairs, layer.pairs_factor}, unit.pixels_at_once);
        const auto exists = [&](const Cursor &at) { return unit.channel < c.channels && at.image < c.samples; };
        const auto inside = [&](const Cursor &at, int k) { return 2 * at.row + k / 2 < c.height && 2 * at.column + k % 2 < c.width; };
        for_pixels<1, Quad>(
            walk, walk.begin(first_pair, unit.first_pixel), end - first_pair,
            [&](const Cursor &at, Quad &quad) {
                if (exists(at)) {
                    const auto *first =
                        pixel_address<Mode>(layer.y, at.image, 2 * at.row, 2 * at.column, c.height, c.width, c.channels, unit.channel);
#pragma unroll
                    for (int k = 0; k < 4; ++k) {
                        quad.y[k] = inside(at, k) ? load_unit(first + (k / 2 * c.width + k % 2) * c.channels) : Unit{{0, 0, 0, 0}};
                    }
                    quad.du = inside(at, 3) ? load_unit(pixel_address<Mode>(layer.du, at.image, at.row, at.column, c.height / 2,
                                                                            c.width / 2, c.channels, unit.channel))
                                            : Unit{{0, 0, 0, 0}};
                }
            },
            [&](const Cursor &at, const Quad &quad) {
                Unit given[4];
                given_to_first_best<Mode>(quad.y, a, quad.du, given);
                const int slot = at.image * period + c.above + 2 * at.row - c.first_slot;
#pragma unroll
                for (int k = 0; k < 4; ++k) {
                    if (inside(at, k) && slot + k / 2 >= 0 && slot + k / 2 < c.slots) {
                        store_unit(to + (unsigned)((slot + k / 2) * c.pitch + 2 * at.column + k % 2) * 16,
                                   exists(at) ? gradient(quad.y[k], given[k], a, b, constant) : Unit{{0, 0, 0, 0}});
                    }
                }
            });
        // Rows of zeros before, between and after images.
        for (int next = image; next <= last_image + 1; ++next) {
            const int end_of_zeros = next * period + c.above - c.first_slot, zeros = period - c.height;
            for (int slot = end_of_zeros - zeros; slot < end_of_zeros; ++slot) {
                for (int column = unit.first_pixel; slot >= 0 && slot < c.slots && column < c.width; column += unit.pixels_at_once) {
                    store_unit(to + (unsigned)(slot * c.pitch + column) * 16, {{0, 0, 0, 0}});
                }
            }
        }
    }
};
