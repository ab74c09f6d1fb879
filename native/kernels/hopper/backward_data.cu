// conv4_backward_data as in fused/backward_data.cu.
#include "convolution.cuh"

// y4, du4 → du3 (N, 14, 14, 64).
KERNEL(512, 1)
conv4_backward_data(const bfloat16 *y4, const bfloat16 *du4, const float *coefficients4, const bfloat16 *turned4,
                    const bfloat16 *y3, bfloat16 *du3, BatchNorm norm3, int samples) {
    const SharedWeights<64> weights{reinterpret_cast<bfloat16 *>(dynamic_shared_memory)};
    const Tiles<64> tiles{weights.data + weights.elements};
    bfloat16 *next_y4 = tiles.data + tiles.elements, *next_du4 = next_y4 + 196 * 64;
    alignas(16) __shared__ float of_layer4[shared_count];
    WarpgroupConvolution<64> conv;
    MaskedGradient<64> masking; // of the layer below
    const auto fetch_next = [&](int n) {
        fetch_quads<convolution_threads, Tile<14, 64>>(next_y4, y4 + (long long)n * (196 * 64));
        fetch<49 * 64, convolution_threads>(next_du4, du4 + (long long)n * (49 * 64));
    };
    weights.load<convolution_threads>(turned4);
    tiles.clear<convolution_threads>();
    wait_for_kernel_before();
    fetch_next((int)blockIdx.x);
    load_coefficients<convolution_threads>(of_layer4, coefficients4);
    __syncthreads();
    for_every_sample(
        samples, fetch_next,
        [&](int, int which) {
            fill_pooled_gradient<convolution_threads>(tiles.of(which), Packed<Tile<14, 64>>{next_y4}, next_du4,
                                                      of_layer4, Tile<14, 64>::all());
        },
        [&](int, int which) { conv.begin(tiles.of(which), weights); },
        [&](int n) {
            FourChannels below[conv.strips]; // y of the layer below: on its way until the products are there
#pragma unroll
            for (int strip = 0; strip < conv.strips; ++strip) {
                const int pixel = conv.pixel(strip), column = pixel % 16;
                below[strip] = load_four(y3 + (long long)n * (196 * 64) +
                                         (pixel / 16 * 14 + (column < 14 ? column : 13)) * 64 + conv.first_channel());
            }
            masking.load(norm3);
            conv.finish([&](int strip, int row, int column, const float(&made)[4]) {
                const FourChannels turned = by_pixel(made);
                const float gradient[4] = {element(turned, 0), element(turned, 1), element(turned, 2),
                                           element(turned, 3)};
                if (column < 14) {
                    *reinterpret_cast<FourChannels *>(du3 + (long long)n * (196 * 64) + (row * 14 + column) * 64 +
                                                      conv.first_channel()) =
                        masking.apply(gradient, below[strip], 1.0f);
                }
            });
        });
    let_next_kernel_begin();
    masking.sums.finish_gradients<64, convolution_threads>(norm3);
}
