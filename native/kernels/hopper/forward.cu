// The convolutions forward, as in fused/forward.cu.
#include "convolution.cuh"

// x (N, 28, 28) → y2 (N, 28, 28, 32), through the first layer.
KERNEL(512, 1)
conv2_forward(const bfloat16 *x, const bfloat16 *w1, const float *coefficients1, const bfloat16 *w2, bfloat16 *y2,
              BatchNorm norm2, int samples) {
    using Input = Planes<28, 32, 32, 4>;
    const SharedWeights<32, 32> weights{reinterpret_cast<bfloat16 *>(dynamic_shared_memory)};
    const Several<Input> tiles{weights.data + weights.elements};
    const Several<ImageTile> images{tiles.data + tiles.elements};
    __shared__ SharedCoefficients of_layer1;
    __shared__ bfloat16 weights1[32 * taps];
    WarpgroupConvolution<Input, 32> conv;
    ChannelSums statistics;
    // What a thread loads of an image others use: it is in shared memory a barrier before they do.
    const int stride = (int)gridDim.x;
    int next_image = 0;
    ImageTile::Piece next;
    const auto fetch_next = [&](int n) {
        images.of(next_image).fill(next);
        next_image ^= 1;
        next = ImageTile::load(x + (long long)(n + stride < samples ? n + stride : n) * 784);
    };
    weights.load<convolution_threads>(w2);
    copy_first_weights<convolution_threads>(weights1, w1);
    clear<convolution_threads>(tiles.data, tiles.elements + images.elements);
    wait_for_kernel_before();
    next = ImageTile::load(x + (long long)blockIdx.x * 784);
    of_layer1.load<convolution_threads>(coefficients1);
    __syncthreads();
    fetch_next((int)blockIdx.x);
    __syncthreads();
    for_every_sample(
        samples, fetch_next,
        [&](int, int which) {
            fill_first_layer<convolution_threads>(tiles.of(which), images.of(which), weights1, of_layer1,
                                                  Tile<28, 32>::all());
        },
        [&](int which) { conv.begin(tiles.of(which), weights); }, [&](int) { conv.take(); },
        [&](int n) { store_output(conv, y2 + (long long)n * (784 * 32), statistics); });
    let_next_kernel_begin();
    statistics.finish_statistics<32, convolution_threads>(norm2);
}

// y2 → pooled2 (N, 14, 14, 32) and y3 (N, 14, 14, 64).
KERNEL(512, 1)
conv3_forward(const StepState *state, const bfloat16 *y2, const float *coefficients2, const bfloat16 *w3,
              bfloat16 *pooled2, bfloat16 *y3, BatchNorm norm3, int samples, unsigned threshold, float keep_scale,
              unsigned long long seed, unsigned layer) {
    using Input = Planes<14, 32, 64>;
    using Before = Unpooled<48>;
    const SharedWeights<32, 64> weights{reinterpret_cast<bfloat16 *>(dynamic_shared_memory)};
    const Several<Input> tiles{weights.data + weights.elements};
    const Before next_y2{tiles.data + tiles.elements};
    const Dropout dropout = {threshold, keep_scale, seed, layer};
    __shared__ SharedCoefficients of_layer2;
    WarpgroupConvolution<Input, 64> conv;
    ChannelSums statistics;
    const Digits digits(state);
    Digit digit;
    const auto fetch_next = [&](int n) {
        fetch_quads<convolution_threads, Before>(y2 + (long long)n * (784 * 32), next_y2, Tile<28, 32>::all());
        digit = digits.of(n);
    };
    weights.load<convolution_threads>(w3);
    clear<convolution_threads>(tiles.data, tiles.elements);
    wait_for_kernel_before();
    fetch_next((int)blockIdx.x);
    of_layer2.load<convolution_threads>(coefficients2);
    __syncthreads();
    for_every_sample(
        samples, fetch_next,
        [&](int n, int which) {
            const auto tile = tiles.of(which);
            for_pooled<convolution_threads, Before>(Tile<28, 32>::all(), [&](const Place &at, int octet) {
                const Eight a = of_layer2.of_octet(scale, octet), b = of_layer2.of_octet(shift, octet);
                const Octet pooled =
                    pool_octet<Before>(digit, next_y2, at, octet, of_layer2.signs_of_octet(octet), dropout);
                store_octet(pooled2 + (long long)n * (196 * 32) + pooled_element<Before>(at, octet), pooled);
                store_octet(tile.at(at.row + 1, at.column + 1, 8 * octet), activate_pooled(pooled, a, b, keep_scale));
            });
        },
        [&](int which) { conv.begin(tiles.of(which), weights); }, [&](int) { conv.take(); },
        [&](int n) { store_output(conv, y3 + (long long)n * (196 * 64), statistics); });
    let_next_kernel_begin();
    statistics.finish_statistics<64, convolution_threads>(norm3);
}

// y3 → y4 (N, 14, 14, 64).
KERNEL(512, 1)
conv4_forward(const bfloat16 *y3, const float *coefficients3, const bfloat16 *w4, bfloat16 *y4, BatchNorm norm4,
              int samples) {
    using Input = Planes<14, 64, 64>;
    const SharedWeights<64, 64> weights{reinterpret_cast<bfloat16 *>(dynamic_shared_memory)};
    const Several<Input> tiles{weights.data + weights.elements};
    bfloat16 *next_y3 = tiles.data + tiles.elements;
    __shared__ SharedCoefficients of_layer3;
    WarpgroupConvolution<Input, 64> conv;
    ChannelSums statistics;
    const auto fetch_next = [&](int n) {
        fetch<196 * 64, convolution_threads>(next_y3, y3 + (long long)n * (196 * 64));
    };
    weights.load<convolution_threads>(w4);
    clear<convolution_threads>(tiles.data, tiles.elements);
    wait_for_kernel_before();
    fetch_next((int)blockIdx.x);
    of_layer3.load<convolution_threads>(coefficients3);
    __syncthreads();
    for_every_sample(
        samples, fetch_next,
        [&](int, int which) {
            fill_activated<convolution_threads>(tiles.of(which), next_y3, of_layer3, Tile<14, 64>::all());
        },
        [&](int which) { conv.begin(tiles.of(which), weights); }, [&](int) { conv.take(); },
        [&](int n) { store_output(conv, y4 + (long long)n * (196 * 64), statistics); });
    let_next_kernel_begin();
    statistics.finish_statistics<64, convolution_threads>(norm4);
}
