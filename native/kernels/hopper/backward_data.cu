// Gradients of data, as in fused/backward_data.cu.
#include "../fused/first_layer_gradient.cuh"
#include "../fused/parameters.cuh"
#include "convolution.cuh"

// y4, du4 → du3 (N, 14, 14, 64).
SHARED_MEMORY(conv4_backward_data,
              SharedWeights<64, 64>::elements + 2 * Planes<14, 64, 64>::elements + 196 * 64 + 49 * 64)
KERNEL(512, 1) conv4_backward_data(Conv4BackwardData p) {
    using Gradient = Planes<14, 64, 64>;
    const SharedWeights<64, 64> weights{reinterpret_cast<bfloat16 *>(dynamic_shared_memory)};
    const Several<Gradient> tiles{weights.data + weights.elements};
    bfloat16 *next_y4 = tiles.data + tiles.elements, *next_du4 = next_y4 + 196 * 64;
    __shared__ SharedCoefficients of_layer4;
    WarpgroupConvolution<Gradient, 64> conv;
    GradientBelow<Gradient, 64> below;
    const auto fetch_next = [&](int n) {
        fetch_quads<convolution_threads, Gradient>(p.y4 + (long long)n * (196 * 64),
                                                   Packed<Gradient, bfloat16>{next_y4}, Tile<14, 64>::all());
        fetch_pooled<convolution_threads, Gradient>(next_du4, p.du4 + (long long)n * (49 * 64), Tile<14, 64>::all());
    };
    weights.load<convolution_threads>(p.turned4);
    clear<convolution_threads>(tiles.data, tiles.elements);
    wait_for_kernel_before();
    fetch_next((int)blockIdx.x);
    of_layer4.load<convolution_threads>(p.coefficients4);
    __syncthreads();
    for_every_sample(
        p.samples, fetch_next,
        [&](int, int which) {
            fill_pooled_gradient<convolution_threads>(tiles.of(which), Packed<Gradient>{next_y4}, next_du4, of_layer4,
                                                      Tile<14, 64>::all());
        },
        [&](int which) { conv.begin(tiles.of(which), weights); },
        [&](int n) {
            below.load(p.y3 + (long long)n * (196 * 64));
            conv.take();
        },
        [&](int n) { below.store(conv, 1.0f, p.du3 + (long long)n * (196 * 64), p.norm3); });
    let_next_kernel_begin();
    below.masking.sums.finish_gradients<64, convolution_threads>(p.norm3);
}

// y3, du3 → du2 (N, 14, 14, 32), pooled.
SHARED_MEMORY(conv3_backward_data, SharedWeights<64, 32>::elements + 2 * Planes<14, 64, 32>::elements + 2 * 196 * 64)
KERNEL(512, 1) conv3_backward_data(Conv3BackwardData p) {
    using Gradient = Planes<14, 64, 32>;
    const SharedWeights<64, 32> weights{reinterpret_cast<bfloat16 *>(dynamic_shared_memory)};
    const Several<Gradient> tiles{weights.data + weights.elements};
    bfloat16 *next_y3 = tiles.data + tiles.elements, *next_du3 = next_y3 + 196 * 64;
    __shared__ SharedCoefficients of_layer3;
    WarpgroupConvolution<Gradient, 32> conv;
    GradientBelow<Gradient, 32> below;
    const auto fetch_next = [&](int n) {
        fetch<196 * 64, convolution_threads>(next_y3, p.y3 + (long long)n * (196 * 64));
        fetch<196 * 64, convolution_threads>(next_du3, p.du3 + (long long)n * (196 * 64));
    };
    weights.load<convolution_threads>(p.turned3);
    clear<convolution_threads>(tiles.data, tiles.elements);
    wait_for_kernel_before();
    fetch_next((int)blockIdx.x);
    of_layer3.load<convolution_threads>(p.coefficients3);
    __syncthreads();
    for_every_sample(
        p.samples, fetch_next,
        [&](int, int which) {
            fill_gradient<convolution_threads>(tiles.of(which), Packed<Gradient>{next_y3}, next_du3, of_layer3,
                                               Tile<14, 64>::all());
        },
        [&](int which) { conv.begin(tiles.of(which), weights); },
        [&](int n) {
            below.load(p.pooled2 + (long long)n * (196 * 32));
            conv.take();
        },
        [&](int n) { below.store(conv, p.keep_scale, p.du2 + (long long)n * (196 * 32), p.norm2); });
    let_next_kernel_begin();
    below.masking.sums.finish_gradients<32, convolution_threads>(p.norm2);
}

// y2, du2 → the whole backward pass of the first layer.
SHARED_MEMORY(conv2_backward_data, SharedWeights<32, 32>::elements + 2 * Planes<28, 32, 32, 1>::elements +
                                       3 * ImageTile::elements + 196 * 32)
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
        fetch_pooled<convolution_threads, Gradient>(next_du2, p.du2 + (long long)n * (196 * 32), Tile<28, 32>::all());
    };
    weights.load<convolution_threads>(p.turned2);
    clear<convolution_threads>(tiles.data, tiles.elements + images.elements);
    wait_for_kernel_before();
    fetch_next((int)blockIdx.x);
    of_layer2.load<convolution_threads>(p.coefficients2);
    of_layer1.load<convolution_threads>(device_pointer<const float>(p.norm1.coefficients));
    copy_first_weights<convolution_threads>(weights1, p.w1);
    __syncthreads();
    for_every_sample(
        p.samples, fetch_next,
        [&](int, int which) {
            const Gradient tile = tiles.of(which);
            images.of(filled).fill(next);
            filled = filled == 2 ? 0 : filled + 1;
            fill_pooled_gradient<convolution_threads>(tile, tile, next_du2, of_layer2, Tile<28, 32>::all());
        },
        [&](int which) { conv.begin(tiles.of(which), weights); }, [&](int) { conv.take(); },
        [&](int) {
            FirstConvolution first;
            first.load(weights1, of_layer1, warp() % 2 * 16);
            const Windows windows(images.of(used), conv.row(0), conv.column());
            const unsigned inside = gradient1.inside(conv.column());
#pragma unroll
            for (int strip = 0; strip < conv.strips; ++strip) {
                gradient1.add(first, windows, (conv.row(strip) - conv.row(0)) * ImageTile::columns, inside,
                              conv.made[strip].w);
            }
            used = used == 2 ? 0 : used + 1;
        },
        (int)blockIdx.x, (int)gridDim.x, [&](int n, int which) { // there is no room to fetch y2 ahead
            fetch_quads<convolution_threads, Gradient>(p.y2 + (long long)n * (784 * 32), tiles.of(which),
                                                       Tile<28, 32>::all());
        });
    gradient1.finish<convolution_threads>(weights1, of_layer1, p.norm1, p.moments, p.d_w1);
}
