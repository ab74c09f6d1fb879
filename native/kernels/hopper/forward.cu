// conv3_forward and conv4_forward as in fused/forward.cu.
#include "convolution.cuh"

namespace {

// y (N, 14, 14, 64) of one sample, and what it adds to the layer's statistics.
template <int In>
DEVICE_INLINE void store_output(WarpgroupConvolution<In> &conv, bfloat16 *y, ChannelSums &statistics) {
    conv.finish([&](int, int row, int column, const float(&made)[4]) {
        const FourChannels out = by_pixel(made);
        if (column < 14) {
            *reinterpret_cast<FourChannels *>(y + (row * 14 + column) * 64 + conv.first_channel()) = out;
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const float value = element(out, i);
                statistics.first[i] += value;
                statistics.second[i] = fused_multiply_add(value, value, statistics.second[i]);
            }
        }
    });
}

} // namespace

// y2 → pooled2 (N, 14, 14, 32) and y3 (N, 14, 14, 64).
KERNEL(512, 1)
conv3_forward(const StepState *state, const bfloat16 *y2, const float *coefficients2, const bfloat16 *w3,
              bfloat16 *pooled2, bfloat16 *y3, BatchNorm norm3, int samples, unsigned threshold, float keep_scale,
              unsigned long long seed, unsigned layer) {
    const SharedWeights<32> weights{reinterpret_cast<bfloat16 *>(dynamic_shared_memory)};
    const Tiles<32> tiles{weights.data + weights.elements};
    bfloat16 *next_y2 = tiles.data + tiles.elements;
    const Dropout dropout = {threshold, keep_scale, seed, layer};
    alignas(16) __shared__ float of_layer2[shared_count];
    WarpgroupConvolution<32> conv;
    ChannelSums statistics;
    Digit digit;
    const auto fetch_next = [&](int n) {
        fetch_quads<convolution_threads, Tile<28, 32>>(next_y2, y2 + (long long)n * (784 * 32));
        digit = digit_of(state, n);
    };
    weights.load<convolution_threads>(w3);
    tiles.clear<convolution_threads>();
    wait_for_kernel_before();
    fetch_next((int)blockIdx.x);
    load_coefficients<convolution_threads>(of_layer2, coefficients2);
    __syncthreads();
    for_every_sample(
        samples, fetch_next,
        [&](int n, int which) {
            const auto tile = tiles.of(which);
            const int octet = (int)threadIdx.x % tile.octets;
            for (int i = (int)threadIdx.x; i < 196 * tile.octets; i += convolution_threads) {
                const int pixel = i / tile.octets;
                const Eight a = load_eight(of_layer2 + scale + 8 * octet),
                            b = load_eight(of_layer2 + shift + 8 * octet);
                const Octet pooled = pool_octet<Tile<28, 32>>(digit, next_y2, pixel, octet,
                                                              load_octet(of_layer2 + signs + 4 * octet), dropout);
                store_octet(pooled2 + (long long)n * (196 * 32) + 8 * i, pooled);
                store_octet(tile.octet_at(pixel / 14 + 1, pixel % 14 + 1, octet),
                            activate_pooled(pooled, a, b, keep_scale));
            }
        },
        [&](int, int which) { conv.begin(tiles.of(which), weights); },
        [&](int n) { store_output(conv, y3 + (long long)n * (196 * 64), statistics); });
    let_next_kernel_begin();
    statistics.finish_statistics<64, convolution_threads>(norm3);
}

// y3 → y4 (N, 14, 14, 64).
KERNEL(512, 1)
conv4_forward(const bfloat16 *y3, const float *coefficients3, const bfloat16 *w4, bfloat16 *y4, BatchNorm norm4,
              int samples) {
    const SharedWeights<64> weights{reinterpret_cast<bfloat16 *>(dynamic_shared_memory)};
    const Tiles<64> tiles{weights.data + weights.elements};
    bfloat16 *next_y3 = tiles.data + tiles.elements;
    alignas(16) __shared__ float of_layer3[shared_count];
    WarpgroupConvolution<64> conv;
    ChannelSums statistics;
    const auto fetch_next = [&](int n) {
        fetch<196 * 64, convolution_threads>(next_y3, y3 + (long long)n * (196 * 64));
    };
    weights.load<convolution_threads>(w4);
    tiles.clear<convolution_threads>();
    wait_for_kernel_before();
    fetch_next((int)blockIdx.x);
    load_coefficients<convolution_threads>(of_layer3, coefficients3);
    __syncthreads();
    for_every_sample(
        samples, fetch_next,
        [&](int, int which) {
            fill_activated<convolution_threads>(tiles.of(which), next_y3, of_layer3, Tile<14, 64>::all());
        },
        [&](int, int which) { conv.begin(tiles.of(which), weights); },
        [&](int n) { store_output(conv, y4 + (long long)n * (196 * 64), statistics); });
    let_next_kernel_begin();
    statistics.finish_statistics<64, convolution_threads>(norm4);
}
