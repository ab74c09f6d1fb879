// Gradients of data of the convolutions of `improved`. dY is made from y and the gradient of u (after ReLU and dropout, before batch norm:
// "du") on the way into shared memory. The gradient of the data leaves as the du of the layer below, with the sums for that layer's batch
// norm.
#include "../first_layer_gradient.cuh"
#include "../parameters.cuh"
#include "convolution.cuh"

// y (N, 14, 14, 64) and du → du of the layer below (N, 14, 14, Out). One of the two layers is pooled.
template <int Out, bool Pooled> struct BackwardDataOf14 {
    using Gradient = Planes<14, 64, Out>;
    using Filters = SharedWeights<64, Out>;

    static constexpr int du_elements = Pooled ? 49 * 64 : 196 * 64;
    static constexpr int elements = Filters::elements + 2 * Gradient::elements + 196 * 64 + du_elements;

    DEVICE_INLINE static void run(const ConvBackwardData &p) {
        const Filters weights{reinterpret_cast<bfloat16 *>(dynamic_shared_memory)};
        const Several<Gradient> tiles{weights.data + weights.elements};
        bfloat16 *next_y = tiles.data + tiles.elements, *next_du = next_y + 196 * 64;
        __shared__ SharedCoefficients coefficients;
        WarpgroupConvolution<Gradient, Out> conv;
        GradientBelow<Gradient, Out> below;
        const auto fetch_next = [&](int n) {
            const bfloat16 *y = p.y + (long long)n * (196 * 64), *du = p.du + (long long)n * du_elements;
            if constexpr (Pooled) {
                fetch_quads<convolution_threads, Gradient>(y, Packed<Gradient, bfloat16>{next_y});
                fetch_pooled<convolution_threads, Gradient>(next_du, du);
            } else {
                fetch<196 * 64, convolution_threads>(next_y, y);
                fetch<196 * 64, convolution_threads>(next_du, du);
            }
        };
        weights.template load<convolution_threads>(p.turned);
        clear<convolution_threads>(tiles.data, tiles.elements);
        wait_for_kernel_before();
        fetch_next((int)blockIdx.x);
        coefficients.load<convolution_threads>(p.coefficients);
        __syncthreads();
        for_every_sample(
            p.samples, fetch_next,
            [&](int, int which) {
                const Packed<Gradient> y{next_y};
                if constexpr (Pooled) {
                    fill_pooled_gradient<convolution_threads>(tiles.of(which), y, next_du, coefficients);
                } else {
                    fill_gradient<convolution_threads>(tiles.of(which), y, next_du, coefficients);
                }
            },
            [&](int which) { conv.begin(tiles.of(which), weights); },
            [&](int n) {
                below.load(p.below + (long long)n * (196 * Out));
                conv.take();
            },
            [&](int n) {
                bfloat16 *du = p.du_below + (long long)n * (196 * Out);
                below.store(conv, Pooled ? 1.0f : p.keep_scale, du, p.norm_below);
            });
        let_next_kernel_begin();
        below.masking.sums.template finish_gradients<Out, convolution_threads>(p.norm_below);
    }
};

SHARED_MEMORY(conv4_backward_data, BackwardDataOf14<64, true>::elements)
KERNEL(512, 1) conv4_backward_data(ConvBackwardData p) { BackwardDataOf14<64, true>::run(p); }

SHARED_MEMORY(conv3_backward_data, BackwardDataOf14<32, false>::elements)
KERNEL(512, 1) conv3_backward_data(ConvBackwardData p) { BackwardDataOf14<32, false>::run(p); }

// y2, du2 → the whole backward pass of the first layer.
SHARED_MEMORY(conv2_backward_data,
              SharedWeights<32, 32>::elements + 2 * Planes<28, 32, 32, 1>::elements + 3 * ImageTile::elements + 196 * 32)
KERNEL(512, 1) conv2_backward_data(Conv2BackwardData p) {
    using Gradient = Planes<28, 32, 32, 1>;
    const SharedWeights<32, 32> weights{reinterpret_cast<bfloat16 *>(dynamic_shared_memory)};
    const Several<Gradient> tiles{weights.data + weights.elements};
    const Several<ImageTile, 3> images{tiles.data + tiles.elements}; // of what is used, multiplied and made
    int filled = 0, used = 0;
    bfloat16 *next_du2 = images.data + images.elements;
    __shared__ SharedCoefficients of_layer2, of_layer1;
    __shared__ bfloat16 weights1[32 * taps];
    WarpgroupConvolution<Gradient, 32> conv;
    FirstLayerGradient gradient1;
    ImageTile::Piece next;
    const auto fetch_next = [&](int n) {
        next = ImageTile::load(p.x + (long long)n * 784);
        fetch_pooled<convolution_threads, Gradient>(next_du2, p.du2 + (long long)n * (196 * 32));
    };
    weights.load<convolution_threads>(p.turned2);
    clear<convolution_threads>(tiles.data, tiles.elements + images.elements);
    wait_for_kernel_before();
    fetch_next((int)blockIdx.x);
    of_layer2.load<convolution_threads>(p.coefficients2);
    of_layer1.load<convolution_threads>(p.norm1.coefficients);
    copy_first_weights<convolution_threads>(weights1, p.w1);
    __syncthreads();
    for_every_sample(
        p.samples, fetch_next,
        [&](int, int which) {
            const Gradient tile = tiles.of(which);
            images.of(filled).fill(next);
            filled = filled == 2 ? 0 : filled + 1;
            fill_pooled_gradient<convolution_threads>(tile, tile, next_du2, of_layer2);
        },
        [&](int which) { conv.begin(tiles.of(which), weights); }, [&](int) { conv.take(); },
        [&](int) {
            FirstConvolution first;
            first.load(weights1, of_layer1, warp() % 2 * 16);
            const Windows windows(images.of(used), conv.row(0), conv.column());
            const unsigned inside = gradient1.inside(conv.column());
#pragma unroll
            for (int strip = 0; strip < conv.strips; ++strip) {
                gradient1.add(first, windows, (conv.row(strip) - conv.row(0)) * ImageTile::columns, inside, conv.made[strip].w);
            }
            used = used == 2 ? 0 : used + 1;
        },
        (int)blockIdx.x, (int)gridDim.x, [&](int n, int which) { // there is no room to fetch y2 ahead
            fetch_quads<convolution_threads, Gradient>(p.y2 + (long long)n * (784 * 32), tiles.of(which));
        });
    gradient1.finish<convolution_threads>(weights1, of_layer1, p.norm1, p.moments, p.d_w1);
}
