// Gradients of the weights of the convolutions of `improved`. dY and the input are made in shared memory from what the passes before have
// left; one sum leaves each block. Three warpgroups, one for each row of the window, or for each column in
// conv2_backward_weights; what they add up stays in registers from the first image to the last.
#include "../parameters.cuh"
#include "tile.cuh"

constexpr int weights_threads = 3 * warpgroup_threads;

// dW (64, 3, 3, In) = sum over pixels of dY (…, 64) times what each tap sees of the input (…, In).
template <int In> struct WarpgroupWeights {
    float sums[3][In / 8][4] = {};

    DEVICE_INLINE void begin(const GradientPlanes &dy, const Planes<14, In, 64> &input) {
        begin_products();
        const MatrixDescriptor gradients = dy.channels_by_pixels().here(),
                               views = input.channels_by_pixels().plus(16 * input.columns * warpgroup()).here();
#pragma unroll
        for (int row = 0; row < dy.side; ++row) { // sixteen pixels, of which the last two are zeros of dY
#pragma unroll
            for (int x = 0; x < 3; ++x) {
                multiply_transposed_async(sums[x], gradients.plus(16 * dy.columns * row), views.plus(16 * (input.columns * row + x)), true);
            }
        }
        end_products();
    }

    DEVICE_INLINE void take() {
        wait_for_products();
#pragma unroll
        for (int x = 0; x < 3; ++x) {
            settle(sums[x]);
        }
    }

    // To partial (blocks, 64, 3, 3, In).
    DEVICE_INLINE void store(float *partial) const {
        float *to = partial + (long long)blockIdx.x * (64 * taps * In);
#pragma unroll
        for (int x = 0; x < 3; ++x) {
#pragma unroll
            for (int strip = 0; strip < In / 8; ++strip) {
                store_tap<In>(to, warp() % 4 * 16, 3 * warpgroup() + x, 8 * strip, sums[x][strip]);
            }
        }
    }
};

// dY and the input of one sample; of what else they consist, both are told.
template <class Gradient, class Input> struct GradientAndInput {
    static constexpr int elements = Gradient::elements + Input::elements;

    bfloat16 *data;

    template <class... More> DEVICE_INLINE Gradient dy(More... more) const { return {data, more...}; }
    template <class... More> DEVICE_INLINE Input input(More... more) const { return {data + Gradient::elements, more...}; }
};

// partial (blocks, 64, 3, 3, In), from y and du and the y of the layer below. One of the two layers is pooled.
template <int In, bool Pooled> struct BackwardWeightsOf14 {
    using Tiles = GradientAndInput<GradientPlanes, Planes<14, In, 64>>;

    static constexpr int du_elements = Pooled ? 49 * 64 : 196 * 64;
    static constexpr int elements = 2 * Tiles::elements + 196 * 64 + du_elements + 196 * In;

    DEVICE_INLINE static void run(const ConvBackwardWeights &p) {
        const Several<Tiles> tiles{reinterpret_cast<bfloat16 *>(dynamic_shared_memory)};
        bfloat16 *next_y = tiles.data + tiles.elements, *next_du = next_y + 196 * 64, *next_below = next_du + du_elements;
        __shared__ SharedCoefficients coefficients, coefficients_below;
        WarpgroupWeights<In> conv;
        const auto fetch_next = [&](int n) {
            const bfloat16 *y = p.y + (long long)n * (196 * 64), *du = p.du + (long long)n * du_elements;
            if constexpr (Pooled) {
                fetch_quads<weights_threads, GradientPlanes>(y, Packed<GradientPlanes, bfloat16>{next_y});
                fetch_pooled<weights_threads, GradientPlanes>(next_du, du);
            } else {
                fetch<196 * 64, weights_threads>(next_y, y);
                fetch<196 * 64, weights_threads>(next_du, du);
            }
            fetch<196 * In, weights_threads>(next_below, p.below + (long long)n * (196 * In));
        };
        fetch_next((int)blockIdx.x);
        coefficients.load<weights_threads>(p.coefficients);
        coefficients_below.load<weights_threads>(p.coefficients_below);
        clear<weights_threads>(tiles.data, tiles.elements);
        __syncthreads();
        for_every_sample(
            p.samples, fetch_next,
            [&](int, int which) {
                const GradientPlanes dy = tiles.of(which).dy();
                const auto input = tiles.of(which).input();
                const Packed<GradientPlanes> y{next_y};
                if constexpr (Pooled) {
                    fill_pooled_gradient<weights_threads>(dy, y, next_du, coefficients);
                    fill_activated<weights_threads>(input, next_below, coefficients_below);
                } else {
                    fill_gradient<weights_threads>(dy, y, next_du, coefficients);
                    fill_activated_pooled<weights_threads>(input, next_below, coefficients_below, p.keep_scale);
                }
            },
            [&](int which) { conv.begin(tiles.of(which).dy(), tiles.of(which).input()); }, [&](int) { conv.take(); }, [](int) {});
        conv.store(p.partial);
    }
};

SHARED_MEMORY(conv4_backward_weights, BackwardWeightsOf14<64, true>::elements)
KERNEL(384, 1) conv4_backward_weights(ConvBackwardWeights p) { BackwardWeightsOf14<64, true>::run(p); }

SHARED_MEMORY(conv3_backward_weights, BackwardWeightsOf14<32, false>::elements)
KERNEL(384, 1) conv3_backward_weights(ConvBackwardWeights p) { BackwardWeightsOf14<32, false>::run(p); }

// dW (32, 3, 3, 32) from two rows of dY and the four of the input that their windows see: of these pairs of rows, three of four make the
// windows' rows. A warpgroup has a column of the window.
struct PairsOfRows {
    using Gradient = RowPlanes<false, 1>; // apart like those of every_second
    using Input = RowPlanes<true, 4>;     // like those of four pixels of which a thread has four channels

    float sums[16][4] = {}; // (two rows of 32 channels, four rows of 32 channels)

    DEVICE_INLINE void begin(const Gradient &dy, const Input &input) {
        begin_products();
        const MatrixDescriptor gradients = dy.channels_by_pixels().here(),
                               views = input.channels_by_pixels().plus(16 * (unsigned)warpgroup()).here();
#pragma unroll
        for (int row = 0; row < 14; row += 2) {
#pragma unroll
            for (int column = 0; column < 32; column += 16) { // of dY, the last four are zeros
                multiply_transposed_async(sums, gradients.plus(row * Gradient::row_bytes + 16 * column),
                                          views.plus(row * Input::row_bytes + 16 * column), true);
            }
        }
        end_products();
    }

    DEVICE_INLINE void take() {
        wait_for_products();
        settle(sums);
    }

    // To partial (blocks · 2, 32, 3, 3, 32): each of the two rows leaves its own.
    DEVICE_INLINE void store(float *partial) const {
        const int row = warp() % 4 / 2;
        float *to = partial + (2LL * blockIdx.x + row) * (32 * taps * 32);
#pragma unroll
        for (int y = 0; y < 3; ++y) {
#pragma unroll
            for (int strip = 0; strip < 4; ++strip) {
                float own[4];
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    own[i] = row == 0 ? sums[4 * y + strip][i] : sums[4 * y + 4 + strip][i];
                }
                store_tap<32>(to, warp() % 2 * 16, 3 * y + warpgroup(), 8 * strip, own);
            }
        }
    }
};

using PairsOfRowsTiles = GradientAndInput<PairsOfRows::Gradient, PairsOfRows::Input>;

// partial (blocks · 2, 32, 3, 3, 32). A block makes one half of its images, the upper one or the lower one; there is an even number of
// blocks.
SHARED_MEMORY(conv2_backward_weights, 2 * PairsOfRowsTiles::elements + 2 * ImageTile::elements + 14 * 28 * 40 + 98 * 32)
KERNEL(384, 1) conv2_backward_weights(Conv2BackwardWeights p) {
    using Gradient = PairsOfRows::Gradient;
    using Before = Packed<Tile<28, 32>, bfloat16, 40>;
    const Several<PairsOfRowsTiles> tiles{reinterpret_cast<bfloat16 *>(dynamic_shared_memory)};
    const Several<ImageTile> images{tiles.data + tiles.elements};
    bfloat16 *next_y2 = images.data + images.elements, *next_du2 = next_y2 + 14 * 28 * Before::pitch;
    __shared__ SharedCoefficients of_layer2, of_layer1;
    __shared__ bfloat16 weights1[32 * taps];
    const int first = (int)blockIdx.x / 2, stride = (int)gridDim.x / 2, first_row = (int)blockIdx.x % 2 * 14;
    const Rows made = {(unsigned)first_row, (unsigned)first_row + 14}, read = {made.first > 0 ? 13u : 0u, made.first > 0 ? 28u : 15u};
    // As if they were whole images.
    const Before of_y2{next_y2 - first_row * Before::side * Before::pitch};
    bfloat16 *of_du2 = next_du2 - first_row / 2 * 14 * 32;
    PairsOfRows conv;
    int next_image = 0;
    ImageTile::Piece next;
    const auto fetch_next = [&](int n) {
        fetch_quads<weights_threads, Gradient>(p.y2 + (long long)n * (784 * 32), of_y2, made);
        fetch_pooled<weights_threads, Gradient>(of_du2, p.du2 + (long long)n * (196 * 32), made);
        images.of(next_image).fill(next);
        next_image ^= 1;
        next = ImageTile::load(p.x + (long long)(n + stride < p.samples ? n + stride : n) * 784);
    };
    next = ImageTile::load(p.x + (long long)first * 784);
    of_layer2.load<weights_threads>(p.coefficients2);
    of_layer1.load<weights_threads>(p.coefficients1);
    copy_first_weights<weights_threads>(weights1, p.w1);
    clear<weights_threads>(tiles.data, tiles.elements + images.elements);
    __syncthreads();
    fetch_next(first);
    __syncthreads();
    for_every_sample(
        p.samples, fetch_next,
        [&](int, int which) {
            fill_pooled_gradient<weights_threads>(tiles.of(which).dy(first_row), of_y2, of_du2, of_layer2, made);
            fill_first_layer<weights_threads>(tiles.of(which).input(first_row), images.of(which), weights1, of_layer1, read);
        },
        [&](int which) { conv.begin(tiles.of(which).dy(first_row), tiles.of(which).input(first_row)); }, [&](int) { conv.take(); },
        [](int) {}, first, stride);
    conv.store(p.partial);
}
