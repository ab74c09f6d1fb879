// The convolutions of `improved` forward: each kernel reads what the one before has left (y, before batch norm), normalizes, activates,
// pools and drops it on the way into shared memory, convolves, and leaves its own y with the sums for its batch norm. bfloat16, channels
// last; blocks take one image after another.
#include "../parameters.cuh"
#include "convolution.cuh"

// x (N, 28, 28) → y2 (N, 28, 28, 32), through the first layer.
SHARED_MEMORY(conv2_forward, SharedWeights<32, 32>::elements + 2 * Planes<28, 32, 32, 4>::elements + 2 * ImageTile::elements)
KERNEL(512, 1) conv2_forward(Conv2Forward p) {
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
        next = ImageTile::load(p.x + (long long)(n + stride < p.samples ? n + stride : n) * 784);
    };
    weights.load<convolution_threads>(p.w2);
    copy_first_weights<convolution_threads>(weights1, p.w1);
    clear<convolution_threads>(tiles.data, tiles.elements + images.elements);
    wait_for_kernel_before();
    next = ImageTile::load(p.x + (long long)blockIdx.x * 784);
    of_layer1.load<convolution_threads>(p.coefficients1);
    __syncthreads();
    fetch_next((int)blockIdx.x);
    __syncthreads();
    for_every_sample(
        p.samples, fetch_next,
        [&](int, int which) { fill_first_layer<convolution_threads>(tiles.of(which), images.of(which), weights1, of_layer1); },
        [&](int which) { conv.begin(tiles.of(which), weights); }, [&](int) { conv.take(); },
        [&](int n) { store_output(conv, p.y2 + (long long)n * (784 * 32), statistics); });
    let_next_kernel_begin();
    statistics.finish_statistics<32, convolution_threads>(p.norm2);
}

// y2 → pooled2 (N, 14, 14, 32) and y3 (N, 14, 14, 64).
SHARED_MEMORY(conv3_forward, SharedWeights<32, 64>::elements + 2 * Planes<14, 32, 64>::elements + 784 * 48)
KERNEL(512, 1) conv3_forward(Conv3Forward p) {
    using Input = Planes<14, 32, 64>;
    using Before = Packed<Tile<28, 32>, bfloat16, 48>;
    const SharedWeights<32, 64> weights{reinterpret_cast<bfloat16 *>(dynamic_shared_memory)};
    const Several<Input> tiles{weights.data + weights.elements};
    const Before next_y2{tiles.data + tiles.elements};
    __shared__ SharedCoefficients of_layer2;
    WarpgroupConvolution<Input, 64> conv;
    ChannelSums statistics;
    const Digits digits(p.state);
    Digit digit;
    const auto fetch_next = [&](int n) {
        fetch_quads<convolution_threads, Before>(p.y2 + (long long)n * (784 * 32), next_y2);
        digit = digits.of(n);
    };
    weights.load<convolution_threads>(p.w3);
    clear<convolution_threads>(tiles.data, tiles.elements);
    wait_for_kernel_before();
    fetch_next((int)blockIdx.x);
    of_layer2.load<convolution_threads>(p.coefficients2);
    __syncthreads();
    for_every_sample(
        p.samples, fetch_next,
        [&](int n, int which) {
            const auto tile = tiles.of(which);
            for_pooled<convolution_threads, Before>({0, Before::side}, [&](const Place &at, int octet) {
                const Eight a = of_layer2.of_octet(scale, octet), b = of_layer2.of_octet(shift, octet);
                const Octet pooled = pool_octet<Before>(digit, next_y2, at, octet, of_layer2.signs_of_octet(octet), p.dropout);
                store_octet(p.pooled2 + (long long)n * (196 * 32) + pooled_element<Before>(at, octet), pooled);
                store_octet(tile.at(at.row + 1, at.column + 1, 8 * octet), activate_pooled(pooled, a, b, p.dropout.keep_scale));
            });
        },
        [&](int which) { conv.begin(tiles.of(which), weights); }, [&](int) { conv.take(); },
        [&](int n) { store_output(conv, p.y3 + (long long)n * (196 * 64), statistics); });
    let_next_kernel_begin();
    statistics.finish_statistics<64, convolution_threads>(p.norm3);
}

// y3 → y4 (N, 14, 14, 64).
SHARED_MEMORY(conv4_forward, SharedWeights<64, 64>::elements + 2 * Planes<14, 64, 64>::elements + 196 * 64)
KERNEL(512, 1) conv4_forward(Conv4Forward p) {
    using Input = Planes<14, 64, 64>;
    const SharedWeights<64, 64> weights{reinterpret_cast<bfloat16 *>(dynamic_shared_memory)};
    const Several<Input> tiles{weights.data + weights.elements};
    bfloat16 *next_y3 = tiles.data + tiles.elements;
    __shared__ SharedCoefficients of_layer3;
    WarpgroupConvolution<Input, 64> conv;
    ChannelSums statistics;
    const auto fetch_next = [&](int n) { fetch<196 * 64, convolution_threads>(next_y3, p.y3 + (long long)n * (196 * 64)); };
    weights.load<convolution_threads>(p.w4);
    clear<convolution_threads>(tiles.data, tiles.elements);
    wait_for_kernel_before();
    fetch_next((int)blockIdx.x);
    of_layer3.load<convolution_threads>(p.coefficients3);
    __syncthreads();
    for_every_sample(
        p.samples, fetch_next, [&](int, int which) { fill_activated<convolution_threads>(tiles.of(which), next_y3, of_layer3); },
        [&](int which) { conv.begin(tiles.of(which), weights); }, [&](int) { conv.take(); },
        [&](int n) { store_output(conv, p.y4 + (long long)n * (196 * 64), statistics); });
    let_next_kernel_begin();
    statistics.finish_statistics<64, convolution_threads>(p.norm4);
}
