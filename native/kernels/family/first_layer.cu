// The first layer, a convolution from one channel: forward, where windows are rows of a left factor with a column for each tap, and its
// weights' gradient.
#include "first_layer.cuh"

struct FirstForward {
    Convolution shape;
    const void *x, *w; // (N, height, width) and (outs, side · side)
    void *y;
    ChannelNorm norm;
};

// The gradient of du that was stored, since the layer is pooled, or no convolution reads it.
struct FirstBackwardWeights {
    GradientLayer layer;
    FirstGradient gradient;
};

struct FirstWeights {
    const float *sums; // of all blocks
    const void *w;     // (outs, taps), and so is what comes out
    Affine affine;
    float *dw;
    unsigned outs, taps;
};

// y and the batch's statistics. A block makes 32 outputs, a warp sixteen pixels at a time.
template <class Mode> DEVICE_INLINE void first_forward(const FirstForward &p) {
    using Windows = WindowTile<Mode>;
    constexpr int most_steps = 32 / Windows::of_step;
    const Convolution &c = p.shape;
    const Windows windows{reinterpret_cast<typename Mode::Element *>(dynamic_shared_memory)};
    const int channel = (int)blockIdx.y * 32 + lane() % 4 * 8, g = lane() / 4;
    const bool exists = channel < c.outs;
    unsigned weights[most_steps][4][2];
    int offsets[most_steps][2][Windows::of_register];
#pragma unroll
    for (int step = 0; step < most_steps; ++step) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
#pragma unroll
            for (int part = 0; part < Windows::of_register; ++part) {
                offsets[step][i][part] = windows.offset(c, step * Windows::of_step + windows.element(i, part));
            }
        }
#pragma unroll
        for (int tile = 0; tile < 4; ++tile) {
            const int out = (int)blockIdx.y * 32 + 8 * (g / 2) + 2 * tile + g % 2; // as WeightStream has them
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                weights[step][tile][i] = windows.gathered([&](int part) {
                    const int tap = step * Windows::of_step + windows.element(i, part);
                    return tap < c.taps() && out < c.outs
                               ? windows.bits(static_cast<const typename Mode::Element *>(p.w)[out * c.taps() + tap])
                               : 0u;
                });
            }
        }
    }
    WarpSums<1> sums;
    windows.clear(c);
    wait_for_kernel_before();
    for (int tile = (int)blockIdx.x; tile < c.tiles; tile += (int)gridDim.x) {
        const TileRows rows(c, tile);
        const int pixels = rows.count * c.out_width;
        __syncthreads();
        windows.fill(c, p.x, rows);
        __syncthreads();
        ChannelSums of_tile;
        for (int first = warp() * 16; first < pixels; first += conv_warps * 16) {
            int places[2];
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const int pixel = smaller(first + 8 * half + g, pixels - 1), row = c.by_across().quotient(pixel);
                places[half] = (rows.slot_of(c, rows.first + row) - rows.first_slot) * c.pitch() + pixel - row * c.out_width;
            }
            float made[4][4] = {};
            Mode::with_products([&](auto how) __attribute__((always_inline)) {
                using Products = decltype(how);
#pragma unroll
                for (int step = 0; step < most_steps; ++step) {
                    if (step * Windows::of_step < c.taps()) {
                        unsigned loaded[4];
#pragma unroll
                        for (int i = 0; i < 4; ++i) {
                            loaded[i] = windows.gathered(
                                [&](int part) { return windows.bits(windows.tile[places[i % 2] + offsets[step][i / 2][part]]); });
                        }
                        typename Products::template Factor<4> left;
                        Products::prepare(left, loaded);
#pragma unroll
                        for (int k = 0; k < 4; ++k) {
                            typename Products::template Factor<2> right;
                            Products::prepare(right, weights[step][k]);
                            Products::multiply(made[k], left, right);
                        }
                    }
                }
            });
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const int pixel = first + 8 * half + g;
                if (pixel < pixels && exists) {
                    Eight y;
#pragma unroll
                    for (int i = 0; i < 8; ++i) {
                        y.v[i] = made[i / 2][2 * half + i % 2];
                    }
                    auto *to =
                        static_cast<typename Mode::Element *>(p.y) + ((long long)rows.first * c.out_width + pixel) * c.outs + channel;
                    store_eight<Mode>(to, y);
                    of_tile.add(y, y);
                }
            }
        }
        sums.add(0, of_tile);
    }
    let_next_kernel_begin();
    if (p.norm.partial) {
        finish<conv_threads, false>(p.norm, sums.of_block(), (int)blockIdx.y * 32, 32, reinterpret_cast<double *>(dynamic_shared_memory));
    }
}

// A block has 32 outputs, a warp sixteen pixels of du at a time.
template <class Mode> DEVICE_INLINE void first_backward_weights(const FirstBackwardWeights &p) {
    using Element = typename Mode::Element;
    using Sums = FirstSums<Mode>;
    const Convolution &c = p.gradient.shape;
    constexpr unsigned scratch = 64 * Sums::row_bytes; // of four times sixteen pixels
    const Sums sums{p.gradient, dynamic_shared_memory, scratch, dynamic_shared_memory + conv_warps * scratch};
    const int channel = (int)blockIdx.y * 32 + lane() % 4 * 8;
    const Divisor across = c.by_across(), down = c.by_down();
    const int height = c.out_height >> c.pools, width = c.out_width >> c.pools; // of du
    sums.clear();
    for (int tile = (int)blockIdx.x; tile < c.tiles; tile += (int)gridDim.x) {
        const TileRows rows(c, tile);
        sums.fill(rows);
        __syncthreads();
        sums.add(rows, [&](const auto &visit) __attribute__((always_inline)) {
#pragma unroll 1
            for (int first = warp() * 16; first - warp() * 16 < rows.count * across.divisor; first += conv_warps * 16) {
                __syncthreads();
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    const int at = 8 * half + lane() / 4, line = across.quotient(first + at), column = first + at - line * across.divisor;
                    const int image = down.quotient(rows.first + line), row = rows.first + line - image * down.divisor;
                    const bool in_tile = line < rows.count, in_height = row < height, in_width = column < width, in_outs = channel < c.outs;
                    const bool exists = in_tile & in_height & in_width & in_outs;
                    const long long place = ((image * height + row) * width + column) * (long long)c.outs,
                                    first_y = ((image * c.out_height + 2 * row) * c.out_width + 2 * column) * (long long)c.outs;
#pragma unroll
                    for (int i = 0; i < Sums::units; ++i) {
                        const int of_unit = channel + i * Mode::of_unit;
                        const Element *y = static_cast<const Element *>(p.layer.y) + first_y + of_unit, *below = y + c.out_width * c.outs;
                        Unit given = {}, du[4] = {};
                        if (exists) {
                            given = load_unit(static_cast<const Element *>(p.layer.du) + place + of_unit);
                        }
                        if (!c.pools) {
                            du[0] = given;
                        } else if (exists) {
                            const Unit of_window[4] = {load_unit(y), load_unit(y + c.outs), load_unit(below), load_unit(below + c.outs)};
                            given_to_first_best<Mode>(of_window, p.layer.affine.scales<Mode::of_unit>(of_unit), given, du);
                        }
#pragma unroll
                        for (int k = 0; k < 4; ++k) {
                            sums.put(k, at, i, du[k]);
                        }
                    }
                }
                __syncthreads();
#pragma unroll 1
                for (int k = 0; k < 1 + 3 * c.pools; ++k) {
                    visit(first, k, k);
                }
            }
        });
    }
    __syncthreads();
    sums.finish();
}

// The gradient from the sums. In double, since sums over all pixels are subtracted.
template <class Mode> DEVICE_INLINE void first_weights(const FirstWeights &p) {
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x, out = i / p.taps, tap = i % p.taps;
    if (out >= p.outs) {
        return;
    }
    const FirstBlocks blocks(p.taps);
    double sum = p.sums[blocks.sum(out, tap)];
    if (p.affine.scale) {
        double of_y = 0;
        for (unsigned k = 0; k < p.taps; ++k) {
            of_y += (double)to_float(static_cast<const typename Mode::Element *>(p.w)[out * p.taps + k]) * p.sums[blocks.moment(k, tap)];
        }
        sum = p.affine.scale[out] * sum + p.affine.from_y[out] * of_y + (double)p.affine.constant[out] * p.sums[blocks.moment(tap, p.taps)];
    }
    p.dw[i] = (float)sum;
}

KERNELS_OF_MODES(first_forward, FirstForward, conv_threads, 4)
KERNELS_OF_MODES(first_backward_weights, FirstBackwardWeights, conv_threads, 3)
KERNELS_OF_MODES(first_weights, FirstWeights, 256)
