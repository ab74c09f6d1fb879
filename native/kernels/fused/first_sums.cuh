// Sums over all pixels of what windows of the first layer see, from which the gradients of its parameters follow.
#pragma once

#include "first_layer.cuh"

// What the kernel that makes the first layer's du leaves for the gradients of its parameters. y is linear in what the taps see. So are
// dY = scale · du + from_y · y + constant and its coefficients' sums: all follows from sums over all pixels, of du times what each tap
// sees, and with batch norm the moments, of what two taps see, where a last tap sees 1 everywhere.
struct FirstGradient {
    FirstInput input; // rows as those of the tiles in which du is made
    const float *w;   // (outs, taps)
    float *partial;   // (gridDim.x, gridDim.y, sums)
    unsigned has_moments;
};

// Sums of a group of 32 outputs lie in blocks of 16 taps by eight columns, as products leave them: (blocks, 32 lanes, 4). The first blocks
// are of outputs. Those behind them are the moments, of the first group alone.
struct FirstBlocks {
    static constexpr int taps = 9, of_outs = 4, count = of_outs + 2, sums = count * 128;

    DEVICE_INLINE static unsigned sum(unsigned out, unsigned tap) { return out / 32 * sums + element(out % 32, tap); }
    DEVICE_INLINE static unsigned moment(unsigned a, unsigned b) { return element(of_outs * 8 + b, a); }

  private:
    DEVICE_INLINE static unsigned element(unsigned column, unsigned row) {
        return column / 8 * 128 + (row % 8 * 4 + column % 8 / 2) * 4 + row / 8 * 2 + column % 2;
    }
};
PUBLISH(first_sums_of_group, FirstBlocks::sums)

// The sums of a block in shared memory, and how they are made. Each warp has scratch of so many bytes, for du of its pixels sixteen by
// sixteen and in bfloat16 for what windows see of them, and later for sums of its own; behind that of all warps lies `memory`. Scratch is
// free when a tile begins.
template <class Mode> struct FirstSums {
    using Windows = WindowTile<Mode>;
    static constexpr int units = 8 / Mode::of_unit; // of eight channels
    static constexpr int steps = units;             // of products, of sixteen pixels
    static constexpr int row_bytes = 64 * units;    // of du of a pixel
    static constexpr int of_word = Windows::of_register, taps = FirstBlocks::taps;
    static constexpr int steps_of_taps = (taps + 8 * of_word - 1) / (8 * of_word); // of products that make y

    const FirstGradient &p;
    unsigned char *all_scratch;
    unsigned scratch_bytes;
    unsigned char *memory;

    DEVICE_INLINE unsigned char *factors() const { return memory + FirstBlocks::sums * sizeof(float); }
    DEVICE_INLINE Windows windows() const { return {reinterpret_cast<typename Mode::Element *>(factors() + steps_of_taps * 1024)}; }
    DEVICE_INLINE Four<float> *totals() const { return reinterpret_cast<Four<float> *>(memory); }

    DEVICE_INLINE void clear() const {
        windows().clear(p.input.shape);
        for (int i = (int)threadIdx.x; i < FirstBlocks::count * 32; i += conv_threads) {
            totals()[i] = {};
        }
#pragma unroll 1
        for (int i = (int)threadIdx.x; i < steps_of_taps * 256; i += conv_threads) { // (steps, pairs of tiles, 32 lanes, 4 words)
            const int of_lane = i % 4, t = i / 4 % 4, g = i / 16 % 8, tile = i / 128 % 2 * 2 + of_lane / 2;
            const int out = (int)blockIdx.y * 32 + g / 2 * 8 + 2 * tile + g % 2, tap = (i / 256 * 8 + of_lane % 2 * 4 + t) * of_word;
            float of_taps[of_word];
#pragma unroll
            for (int k = 0; k < of_word; ++k) {
                of_taps[k] = out < p.input.shape.outs && tap + k < taps ? p.w[out * taps + tap + k] : 0.0f;
            }
            reinterpret_cast<unsigned *>(factors())[i] = Windows::packed(of_taps);
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

    // Which values of the warp's pixels are active: a bit for each half of a fragment and each of the lane's eight outputs, from the
    // uppermost one on.
    struct Active {
        unsigned of[most_pairs] = {};

        DEVICE_INLINE bool is(int fragment, int half, int i) const {
            return of[fragment / 2] >> (31 - fragment % 2 * 16 - half * 8 - i) & 1;
        }
    };

    // As the lowest bit; the others go up.
    DEVICE_INLINE static void take_sign(unsigned &bits, float x) { asm("shf.l.wrap.b32 %0, %1, %0, 1;" : "+r"(bits) : "r"(float_bits(x))); }

    // u > 0, where u = scale · y + shift: the sign of -u, of which 0 has none. c: the convolution that makes du. In bfloat16, what windows
    // see stays in scratch, for `add`.
    DEVICE_INLINE Active where_active(const Convolution &c, const TileRows &rows, const Affine &affine) const {
        if constexpr (steps == 1) {
            see(c, rows);
            __syncthreads();
        }
        const int wanted = (int)blockIdx.y * 32 + here(lane()) % 4 * 8, channel = wanted < c.outs ? wanted : 0;
        const Values<8> scale = affine.scales<8>(channel).times(-1);
        Values<8> shift = affine.shifts<8>(channel);
#pragma unroll
        for (float &of_channel : shift.v) {
            of_channel = 0 - of_channel; // not -0, with which -u might be that
        }
        Unit right[2] = {}; // factors
        if constexpr (steps_of_taps == 1) {
            right[0] = load_unit(factors() + lane() * 16), right[1] = load_unit(factors() + 512 + lane() * 16);
        }
        Active active;
#pragma unroll 1
        for (int fragment = 0; fragment < most_fragments; ++fragment) {
            unsigned bits = 0;
            if (fragment < c.fragments) {
                float y[4][4] = {};
                make(y, c, rows, fragment, right);
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    const Eight of_pixel = eight_of(y, half);
#pragma unroll
                    for (int i = 0; i < 8; ++i) {
                        take_sign(bits, fused_multiply_add(of_pixel.v[i], scale.v[i], shift.v[i]));
                    }
                }
            }
            active.of[0] = active.of[0] << 16 | active.of[1] >> 16;
            active.of[1] = active.of[1] << 16 | bits;
        }
        return active;
    }

    // Adds what the pixels of a tile come to, whose du was put.
    DEVICE_INLINE void add(const Convolution &c, const TileRows &rows) const {
        const bool has_moments = p.has_moments && blockIdx.y == 0;
        __syncthreads();
        float sums[FirstBlocks::count][4] = {};
        Pixel pixel;
#pragma unroll 1
        for (int number = 0; number < c.fragments * steps; ++number) { // of steps
            unsigned seen[4], of_du[FirstBlocks::of_outs][2];
            load(of_du, number / steps, number % steps);
            if constexpr (steps == 1) {
                load_blocks_turned(seen, seen_by(c, number) + lane() / 8 % 2 * 256 + (lane() / 16 * 8 + lane() % 8) * 16);
            } else {
                if (number % (2 * steps) == 0) {
                    pixel = Pixel(p.input.shape, windows(), rows, TileColumns::first(c, number / (2 * steps)));
                }
                gather(seen, pixel, number % (2 * steps));
            }
            Mode::with_products([&](auto how) __attribute__((always_inline)) {
                using Products = decltype(how);
                typename Products::template Factor<4> left;
                Products::prepare(left, seen);
                typename Products::template Factor<2> right;
#pragma unroll
                for (int tile = 0; tile < FirstBlocks::of_outs; ++tile) {
                    Products::prepare(right, of_du[tile]);
                    Products::multiply(sums[tile], left, right);
                }
#pragma unroll
                for (int i = 0; i < 2 && has_moments; ++i) { // a left factor as it was gathered is a right one, too
                    Products::prepare(right, {seen[i], seen[i + 2]});
                    Products::multiply(sums[FirstBlocks::of_outs + i], left, right);
                }
            });
        }
        add_up(sums);
    }

    // After a barrier.
    DEVICE_INLINE void finish() const {
        constexpr int count = FirstBlocks::count * 32;
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

    // Of sixteen pixels, in bfloat16: (units of taps, pixels).
    DEVICE_INLINE unsigned seen_by(const Convolution &c, int sixteen) const {
        return SHARED_ADDRESS(scratch()) + (unsigned)(c.fragments * 16 * row_bytes + sixteen * 512);
    }

    // y of the first layer, as the sums of a fragment: of four tiles of eight outputs.
    DEVICE_INLINE void make(float (&y)[4][4], const Convolution &c, const TileRows &rows, int sixteen, const Unit (&right)[2]) const {
        unsigned upper = 0, lower = 0; // where windows of pixels g and g + 8 begin
        if constexpr (steps > 1) {
            const Pixel pixel(p.input.shape, windows(), rows, TileColumns::first(c, sixteen / 2));
            upper = shuffle_from(pixel.window, sixteen % 2 * 16 + lane() / 4);
            lower = shuffle_from(pixel.window, sixteen % 2 * 16 + lane() / 4 + 8);
        }
        const int all = here(steps_of_taps); // else a loop of two rounds has a predicate in place of a number
        int step = 0;
        do {
            unsigned seen[4];
            if constexpr (steps == 1) {
                load_blocks(seen, seen_by(c, sixteen) + lane() / 16 * 256 + lane() % 16 * 16);
            } else {
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    const unsigned place = place_of_tap(8 * step + 4 * half + lane() % 4);
                    seen[2 * half] = load_word(upper + place), seen[2 * half + 1] = load_word(lower + place);
                }
            }
            Mode::with_products([&](auto how) __attribute__((always_inline)) {
                using Products = decltype(how);
                typename Products::template Factor<4> left;
                Products::prepare(left, seen);
#pragma unroll
                for (int tile = 0; tile < 4; tile += 2) {
                    const Unit loaded =
                        steps_of_taps == 1 ? right[tile / 2] : load_unit(factors() + step * 1024 + tile * 256 + lane() * 16);
                    multiply_two<Products>(&y[tile], left, loaded);
                }
            });
        } while (++step < all);
    }

    // In bfloat16, what windows of the warp's pixels see, to scratch.
    DEVICE_INLINE void see(const Convolution &c, const TileRows &rows) const {
#pragma unroll 1
        for (int pair = 0; pair < c.fragments / 2; ++pair) {
            const Pixel pixel(p.input.shape, windows(), rows, TileColumns::first(c, pair));
            const unsigned to = seen_by(c, 2 * pair + lane() / 16) + lane() % 16 * 16;
            const typename Windows::template Seen<3> seen(p.input.shape, pixel.window & ~3u);
#pragma unroll
            for (int unit = 0; unit < 2; ++unit) {
                store_unit(SHARED_POINTER(Unit, to + unit * 256), seen.unit(unit, pixel.window / 2 % 2, pixel.one));
            }
        }
    }

    // Bytes from the first tap of a window, in float32; behind the last one, that of the last.
    DEVICE_INLINE unsigned place_of_tap(int tap) const {
        const int existing = smaller(tap, taps - 1);
        return (unsigned)(existing / 3 * Windows::line_bytes(p.input.shape) + existing % 3 * 4);
    }

    // A left factor in float32: taps by eight pixels, first the even ones and then the odd ones. eight: of 32 pixels.
    DEVICE_INLINE void gather(unsigned (&to)[4], const Pixel &pixel, int eight) const {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const int tap = i % 2 * 8 + lane() / 4, of = eight * 8 + lane() % 4 * 2 + i / 2;
            const unsigned window = shuffle_from(pixel.window, of), one = shuffle_from(pixel.one, of);
            const unsigned seen = load_word(window + place_of_tap(tap));
            to[i] = tap == taps ? one : seen;
        }
    }

    // Right factors: the same pixels by eight outputs.
    DEVICE_INLINE void load(unsigned (&to)[FirstBlocks::of_outs][2], int sixteen, int step) const {
        const unsigned from = SHARED_ADDRESS(scratch()) + sixteen * 16 * row_bytes;
        if constexpr (steps == 1) {
#pragma unroll
            for (int tile = 0; tile < FirstBlocks::of_outs; tile += 2) {
                unsigned loaded[4];
                load_blocks_turned(loaded, from + place(lane() % 16, tile + lane() / 16));
                to[tile][0] = loaded[0], to[tile][1] = loaded[1], to[tile + 1][0] = loaded[2], to[tile + 1][1] = loaded[3];
            }
        } else {
#pragma unroll
            for (int tile = 0; tile < FirstBlocks::of_outs; ++tile) {
#pragma unroll
                for (int i = 0; i < 2; ++i) {
                    const int row = 8 * step + lane() % 4 * 2 + i, g = lane() / 4;
                    to[tile][i] = Mode::operand(bits_float(load_word(from + place(row, 2 * tile + g / 4) + g % 4 * 4)));
                }
            }
        }
    }

    // What the warps have goes to the block's.
    DEVICE_INLINE void add_up(const float (&sums)[FirstBlocks::count][4]) const {
        __syncthreads();
#pragma unroll
        for (int block = 0; block < FirstBlocks::count; ++block) {
            reinterpret_cast<Four<float> *>(scratch())[block * 32 + lane()] = {sums[block][0], sums[block][1], sums[block][2],
                                                                               sums[block][3]};
        }
        __syncthreads();
        for (int i = (int)threadIdx.x; i < FirstBlocks::count * 32; i += conv_threads) {
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
