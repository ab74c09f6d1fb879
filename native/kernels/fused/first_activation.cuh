// The activation of a first layer of three by three, made where the second convolution reads it. Neither y nor that is stored.
#pragma once

#include "first_layer.cuh"

// Left factors are what pairs of neighbouring windows see, line after line, as words lie in shared memory. In bfloat16 a word is two
// elements; of it, the right window sees what the left one does, one element further, and the two differ in their weights alone. Right
// factors are made once and stay in shared memory: (chunks of outputs, steps, windows of a pair, pairs of tiles, 32 lanes, 16 bytes). A
// lane's sums are of the channels of one unit: output of_unit · i + 2 j + k is number 2 i + k of tile j.
template <class Mode> struct FirstActivation {
    using Windows = WindowTile<Mode>;

    static constexpr int of_word = Windows::of_register; // elements, and windows that a left factor serves
    static constexpr int tiles = Mode::of_unit / 2, pairs_at_once = 8 * of_word, side = 3;
    static constexpr int words_of_line = (side + of_word - 1) / of_word, words = side * words_of_line, steps = (words + 7) / 8;
    static constexpr int units = steps * of_word * tiles / 2; // of a lane, for a chunk of outputs

    const FirstInput &layer;
    const float *weights; // (outputs, taps)
    const Affine &affine;
    int outs;               // of the first layer
    unsigned char *factors; // and windows behind them

    DEVICE_INLINE Windows windows() const { return {reinterpret_cast<typename Mode::Element *>(factors + all_units() * 512)}; }

    // Once, before a barrier.
    DEVICE_INLINE void begin() const {
#pragma unroll 1
        for (int i = (int)threadIdx.x; i < all_units() * 128; i += conv_threads) {
            const int of_lane = i % 4, t = i / 4 % 4, g = i / 16 % 8, number = i / 128;
            const int tile = number % (tiles / 2) * 2 + of_lane / 2, right = number / (tiles / 2) % of_word;
            const int of_chunk = number / (tiles / 2 * of_word), chunk = of_chunk / steps, step = of_chunk % steps;
            const int out = chunk * chunk_channels<Mode> + g / 2 * Mode::of_unit + 2 * tile + g % 2;
            const int word = 8 * step + of_lane % 2 * 4 + t, y = word / words_of_line, x = word % words_of_line * of_word - right;
            float seen[of_word] = {};
#pragma unroll
            for (int k = 0; k < of_word; ++k) {
                if ((out < outs) & (y < side) & ((unsigned)(x + k) < (unsigned)side)) {
                    seen[k] = weights[(out * side + y) * side + x + k];
                }
            }
            reinterpret_cast<unsigned *>(factors)[i] = Windows::packed(seen);
        }
    }

    DEVICE_INLINE void fill(const TallRows &rows, const TileRows &read, int first_channel, unsigned char *planes) const {
        const UnitOfThread<Mode> of_zeros(first_channel, units_of_chunk);
        fill_zeros(rows, of_zeros, rows.existing_slots(), planes);
        const int wanted = first_channel + lane() % 4 * Mode::of_unit, channel = wanted < rows.channels ? wanted : 0;
        const auto scale = affine.scales<Mode::of_unit>(channel), shift = affine.shifts<Mode::of_unit>(channel);
        const int all = rows.slots * rows.by_pairs.divisor;
        unsigned char *of_unit = planes + (unsigned)(lane() % 4 * rows.plane + rows.left) * 16;
        Unit right[units]; // factors
#pragma unroll
        for (int i = 0; i < units; ++i) {
            right[i] = load_unit(factors + (first_channel / chunk_channels<Mode> * units + i) * 512 + lane() * 16);
        }
#pragma unroll 1
        for (int number = warp() * pairs_at_once; number < all; number += conv_warps * pairs_at_once) {
            Pair pairs[of_word];
#pragma unroll
            for (int i = 0; i < of_word; ++i) {
                pairs[i] = Pair(*this, rows, read, number + 8 * i + spread(lane() / 4));
            }
            float y[of_word][tiles][4] = {};
            multiply(y, pairs[0].window, of_word == 2 ? pairs[of_word - 1].window : pairs[0].window + 4, right);
#pragma unroll
            for (int i = 0; i < of_word; ++i) {
                Unit made[2];
#pragma unroll
                for (int right = 0; right < 2; ++right) {
                    Values<Mode::of_unit> of_pixel;
#pragma unroll
                    for (int k = 0; k < Mode::of_unit; ++k) {
                        of_pixel.v[k] = of_word == 2 ? y[right % of_word][k / 2][2 * i + k % 2] : y[0][k / 2][2 * right + k % 2];
                    }
                    made[right] = activate<Mode>(of_pixel, scale, shift);
                }
                pairs[i].store(made[0], made[1], of_unit);
            }
        }
    }

  private:
    DEVICE_INLINE int all_units() const { return (outs + chunk_channels<Mode> - 1) / chunk_channels<Mode> * units; }

    // Two neighbouring pixels, all of which four lanes make.
    struct Pair {
        unsigned window; // where that of the left one begins
        int place;       // bytes from a plane's first pixel to the left one; below 0: there is none
        bool has_right;

        Pair() = default;
        DEVICE_INLINE Pair(const FirstActivation &of, const TallRows &rows, const TileRows &read, int number) {
            const int line = rows.by_pairs.quotient(number), column = 2 * (number - line * rows.by_pairs.divisor);
            const int slot = rows.first_slot + line, image = rows.by_period.quotient(slot);
            const int row = slot - image * rows.by_period.divisor - rows.above;
            const Convolution &c = of.layer.shape;
            const bool exists = (line < rows.slots) & (row >= 0) & (image < rows.samples);
            window = exists ? of.windows().place(c, image * c.period() + row - read.first_slot, column) : of.windows().zeros(c);
            place = exists ? (line * rows.pitch + column) * 16 : -1;
            has_right = rows.width % 2 == 0 || column + 1 < rows.width;
        }

        DEVICE_INLINE void store(const Unit &left, const Unit &right, unsigned char *of_unit) const {
            if (place >= 0) {
                store_unit(of_unit + (unsigned)place, left);
                if (has_right) {
                    store_unit(of_unit + (unsigned)place + 16, right);
                }
            }
        }
    };

    // upper, lower: what the lane's rows of left factors see.
    DEVICE_INLINE void multiply(float (&y)[of_word][tiles][4], unsigned upper, unsigned lower, const Unit (&right)[units]) const {
        const int all = here(steps); // else a loop of two rounds has a predicate in place of a number
        int step = 0;
        do {
            unsigned seen[4];
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const int word = smaller(8 * step + 4 * half + lane() % 4, words - 1);
                const unsigned place = (unsigned)(word / words_of_line * Windows::line_bytes(layer.shape) + word % words_of_line * 4);
                seen[2 * half] = load_word(upper + place), seen[2 * half + 1] = load_word(lower + place);
            }
            Mode::with_products([&](auto how) __attribute__((always_inline)) {
                using Products = decltype(how);
                typename Products::template Factor<4> left;
                Products::prepare(left, seen);
#pragma unroll
                for (int i = 0; i < units / steps; ++i) {
                    Unit of_step = right[i];
#pragma unroll
                    for (int word = 0; word < 4 && steps == 2; ++word) {
                        const unsigned first = right[i].w[word], second = right[units / steps + i].w[word];
                        of_step.w[word] = step == 0 ? first : second;
                    }
                    multiply_two<Products>(&y[2 * i / tiles][2 * i % tiles], left, of_step);
                }
            });
        } while (++step < all);
    }

    static_assert(steps <= 2, "factors of two steps are kept");
};

// What a convolution reads: the activation of the layer before it, which may be made here; or if it may be the first, windows of the input.
template <class Mode, bool MayBeFirst> struct ConvolutionInput {
    const PreviousLayer &before;
    const FirstInput &first;
    const float *first_w; // the convolution is the second one and makes the activation of the first, `before`
    int channels;
    unsigned char *behind; // what is free of shared memory

    // Once, before a barrier.
    DEVICE_INLINE void begin() const {
        if (first.x) {
            windows().clear(first.shape);
            if (!MayBeFirst || first_w) {
                activation().begin();
            }
        }
    }

    // first_of_tile: the first of some calls for the same rows.
    DEVICE_INLINE void fill(const TallRows &rows, int first_channel, int units, bool first_of_tile, unsigned char *planes) const {
        if (!first.x) {
            ActivatedInput<Mode>{before}.fill(rows, first_channel, units, planes);
            return;
        }
        const TileRows read = windows().see(first, rows, first_of_tile);
        if (MayBeFirst && !first_w) {
            WindowInput<Mode>{first, windows()}.fill(rows, read, first_channel, units, planes);
            return;
        }
        const int left = (channels - first_channel + Mode::of_unit - 1) / Mode::of_unit;
        const int all = here(smaller(units, left)); // else a loop of two rounds has a predicate in place of a number
#pragma unroll 1
        for (int unit = 0; unit < all; unit += units_of_chunk) {
            activation().fill(rows, read, first_channel + unit * Mode::of_unit, planes + unit * rows.plane * 16);
        }
    }

  private:
    DEVICE_INLINE FirstActivation<Mode> activation() const { return {first, first_w, before.affine, channels, behind}; }
    DEVICE_INLINE WindowTile<Mode> windows() const {
        return !MayBeFirst || first_w ? activation().windows() : WindowTile<Mode>{reinterpret_cast<typename Mode::Element *>(behind)};
    }
};
