// The first layer, a convolution from one channel, forward and its weights' gradient. Windows are rows of a left factor with a column for
// each tap, or columns of a right one.
#include "fill.cuh"

struct FirstForward {
    Convolution shape;
    const void *x, *w; // (N, height, width) and (outs, side · side)
    void *y;
    ChannelNorm norm;
};

struct FirstBackwardWeights {
    Convolution shape; // rows, slots: of dY's tall image, and of x's
    GradientLayer layer;
    const void *x;
    float *partial; // (gridDim.x · warps, outs, taps)
};

// Rows of x in shared memory, as the tall image has them, elements side by side.
template <class Mode> struct WindowTile {
    using Element = typename Mode::Element;

    static constexpr int of_register = Mode::of_unit / 4, of_step = 2 * Mode::of_unit; // elements

    Element *tile;

    DEVICE_INLINE void fill(const Convolution &c, const void *x, int first_slot, int slots) const {
        for (int i = (int)threadIdx.x; i < slots * c.pitch() + c.padding; i += conv_threads) {
            tile[i] = {};
        }
        __syncthreads();
        const TallRows rows = {c.samples, c.height,     c.width,       1,          c.padding, c.padding, c.pitch(),
                               0,         c.by_width(), c.by_period(), first_slot, slots};
        PixelWalk walk(rows, sizeof(Element), (int)threadIdx.x, conv_threads);
        const Element *images = static_cast<const Element *>(x) + (long long)walk.first_image * (c.height * c.width);
        walk.template all<4>(
            true, [&](int from) { return *reinterpret_cast<const Element *>(reinterpret_cast<const unsigned char *>(images) + from); },
            [&](unsigned place, bool is_there, const Element &value) {
                tile[place / 16 + c.padding] = is_there ? rounded(value) : Element{};
            });
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

    // Which element of a step's 32 bytes is part `part` of a lane's register i, that of its t-th or its (t + 4)-th four bytes.
    DEVICE_INLINE static int element(int i, int part) { return (lane() % 4 + 4 * i) * of_register + part; }
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
    wait_for_kernel_before();
    for (int tile = (int)blockIdx.x; tile < c.tiles; tile += (int)gridDim.x) {
        const TileRows rows(c, tile);
        const int pixels = rows.count * c.out_width;
        __syncthreads();
        windows.fill(c, p.x, rows.first_slot, rows.slots);
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

// A block has 64 outputs and all taps, a warp its share of the pixels.
template <class Mode> DEVICE_INLINE void first_backward_weights(const FirstBackwardWeights &p) {
    using Windows = WindowTile<Mode>;
    constexpr int most_units = 64 / Mode::of_unit, most_m = 4, tiles = 4; // of eight taps
    const Convolution &c = p.shape;
    const unsigned plane = c.plane_bytes(), planes = SHARED_ADDRESS(dynamic_shared_memory);
    const Windows windows{reinterpret_cast<typename Mode::Element *>(dynamic_shared_memory + most_units * plane)};
    const int first_out = (int)blockIdx.y * 64, outs = smaller(c.outs - first_out, 64), g = lane() / 4, t = lane() % 4;
    for (unsigned i = threadIdx.x; i < most_units * (unsigned)c.plane; i += conv_threads) {
        store_unit(dynamic_shared_memory + i * 16, {{0, 0, 0, 0}});
    }
    for (int i = (int)threadIdx.x; i < c.plane; i += conv_threads) {
        windows.tile[i] = {};
    }
    TallRows of_dy = {c.samples, c.out_height, c.out_width, c.outs, 0, 0, c.pitch(), c.plane, c.by_across(), c.by_period(), 0, c.rows};
    const int used = (c.taps() + 7) / 8, fragments = (outs + 15) / 16;
    int offsets[tiles];
#pragma unroll
    for (int tile = 0; tile < tiles; ++tile) {
        offsets[tile] = windows.offset(c, 8 * tile + g);
    }
    float sums[most_m][tiles][4] = {};
    for (int tile = (int)blockIdx.x; tile < c.tiles; tile += (int)gridDim.x) {
        of_dy.first_slot = tile * c.rows;
        __syncthreads();
        GradientInput<Mode>{p.layer}.fill(of_dy, first_out, outs <= 32 ? most_units / 2 : most_units, dynamic_shared_memory);
        windows.fill(c, p.x, of_dy.first_slot, c.slots);
        __syncthreads();
        for (int first = warp() * Windows::of_step; first < c.rows * c.pitch(); first += conv_warps * Windows::of_step) {
            Mode::with_products([&](auto how) __attribute__((always_inline)) {
                using Products = decltype(how);
                typename Products::template Factor<2> right[tiles];
#pragma unroll
                for (int k = 0; k < tiles; ++k) {
                    if (k < used) {
                        unsigned of_taps[2];
#pragma unroll
                        for (int i = 0; i < 2; ++i) {
                            of_taps[i] = windows.gathered(
                                [&](int part) { return windows.bits(windows.tile[first + windows.element(i, part) + offsets[k]]); });
                        }
                        Products::prepare(right[k], of_taps);
                    }
                }
#pragma unroll
                for (int m = 0; m < most_m; ++m) {
                    if (m < fragments) {
                        typename Products::template Factor<4> left;
                        unsigned loaded[4];
                        if constexpr (Mode::of_unit == 8) {
                            const unsigned matrix = lane() / 8, row = lane() % 8;
                            load_blocks_turned(loaded, planes + (2 * m + matrix % 2) * plane + (first + matrix / 2 * 8 + row) * 16);
                        } else {
#pragma unroll
                            for (int i = 0; i < 4; ++i) {
                                loaded[i] =
                                    load_word(planes + (4 * m + g / 4 + i % 2 * 2) * plane + (first + t + i / 2 * 4) * 16 + g % 4 * 4);
                            }
                        }
                        Products::prepare(left, loaded);
#pragma unroll
                        for (int k = 0; k < tiles; ++k) {
                            if (k < used) {
                                Products::multiply(sums[m][k], left, right[k]);
                            }
                        }
                    }
                }
            });
        }
    }
    float *partial = p.partial + ((long long)blockIdx.x * conv_warps + warp()) * c.outs * c.taps();
#pragma unroll
    for (int m = 0; m < most_m; ++m) {
#pragma unroll
        for (int k = 0; k < tiles; ++k) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int out = first_out + 16 * m + 8 * (i / 2) + g, tap = 8 * k + 2 * t + i % 2;
                if (out < c.outs && tap < c.taps()) {
                    partial[out * c.taps() + tap] = sums[m][k][i];
                }
            }
        }
    }
}

KERNELS_OF_MODES(first_forward, FirstForward, conv_threads, 4)
KERNELS_OF_MODES(first_backward_weights, FirstBackwardWeights, conv_threads, 3)
