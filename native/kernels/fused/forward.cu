// The convolutions of `improved` forward: each kernel reads what the one before has left (y, before batch norm), normalizes, activates,
// pools and drops it on the way into shared memory, convolves, and leaves its own y with the sums for its batch norm. bfloat16, channels
// last; blocks take one image after another.
#include "convolution.cuh"
#include "parameters.cuh"

template <int Side, int In, int Out> struct Convolution {
    Weights<In, Out> weights;
    ChannelSums sums;

    DEVICE_INLINE void run(const Tile<Side, In> &tile, const Rows &rows, bfloat16 *y) {
        convolve<Out>(tile, weights, rows, [&](int row, int column, const float(&made)[4]) {
            const FourChannels out = by_pixel(made);
            const int x = column + (lane() >> 2), channel = weights.first_channel() + 4 * (lane() & 3);
            if (x < Side) {
                *reinterpret_cast<FourChannels *>(y + (row * Side + x) * Out + channel) = out;
                sums.add(out);
            }
        });
    }
};

// x (N, 28, 28) → y2 (N, 28, 28, 32), through the first layer.
SHARED_MEMORY(conv2_forward, Tile<28, 32>::elements + ImageTile::elements)
KERNEL(256, 2) conv2_forward(Conv2Forward p) {
    const Tile<28, 32> tile{reinterpret_cast<bfloat16 *>(dynamic_shared_memory)};
    const ImageTile image{tile.data + tile.elements};
    __shared__ SharedCoefficients of_layer1;
    __shared__ bfloat16 weights1[32 * taps];
    const Share share = share_of<Tile<28, 32>>(p.samples);
    Convolution<28, 32, 32> conv;
    conv.weights.load(p.w2);
    copy_first_weights(weights1, p.w1);
    clear(tile.data, tile.elements + image.elements);
    wait_for_kernel_before();
    of_layer1.load(p.coefficients1);
    ImageTile::Piece next = image.load(p.x + (long long)share.image * 784);
    __syncthreads();
    image.fill(next);
    for (int n = share.image; n < p.samples; n += share.stride) {
        const bool more = n + share.stride < p.samples;
        if (more) {
            next = image.load(p.x + (long long)(n + share.stride) * 784);
        }
        __syncthreads();
        fill_first_layer(tile, image, weights1, of_layer1, share.read);
        __syncthreads();
        if (more) {
            image.fill(next);
        }
        conv.run(tile, share.made, p.y2 + (long long)n * (784 * 32));
    }
    let_next_kernel_begin();
    conv.sums.finish_statistics<32>(p.norm2);
}

// y2 → pooled2 (N, 14, 14, 32) and y3 (N, 14, 14, 64).
SHARED_MEMORY(conv3_forward, Tile<14, 32>::elements + 784 * 32)
KERNEL(256, 2) conv3_forward(Conv3Forward p) {
    const Tile<14, 32> tile{reinterpret_cast<bfloat16 *>(dynamic_shared_memory)};
    bfloat16 *next_y2 = tile.data + tile.elements;
    const Dropout dropout = p.dropout; // a reference to the parameter would cost registers
    __shared__ SharedCoefficients of_layer2;
    const Share share = share_of<Tile<14, 32>>(p.samples);
    const auto prepare = [&](int n) {
        fetch_rows<Tile<28, 32>>(next_y2, p.y2 + (long long)n * (784 * 32), {2 * share.read.first, 2 * share.read.end});
    };
    Convolution<14, 32, 64> conv;
    conv.weights.load(p.w3);
    clear(tile.data, tile.elements);
    wait_for_kernel_before();
    prepare(share.image);
    const Digits digits(p.state);
    Digit digit = digits.of(share.image);
    of_layer2.load(p.coefficients2);
    for (int n = share.image; n < p.samples; n += share.stride) {
        wait_for_copies();
        __syncthreads();
        for_octets<image_threads, Tile<14, 32>>(share.read, [&](unsigned i, const Place &at, int octet) {
            const Eight a = of_layer2.of_octet(scale, octet), b = of_layer2.of_octet(shift, octet);
            const Octet pooled =
                pool_octet<Tile<28, 32>>(digit, Packed<Tile<28, 32>>{next_y2}, at, octet, of_layer2.signs_of_octet(octet), dropout);
            if (at.row >= (int)share.made.first && at.row < (int)share.made.end) {
                store_octet(p.pooled2 + (long long)n * (196 * 32) + i, pooled);
            }
            store_octet(tile.at(at.row + 1, at.column + 1, 8 * octet), activate_pooled(pooled, a, b, dropout.keep_scale));
        });
        __syncthreads();
        if (n + share.stride < p.samples) {
            prepare(n + share.stride);
            digit = digits.of(n + share.stride);
        }
        conv.run(tile, share.made, p.y3 + (long long)n * (196 * 64));
    }
    let_next_kernel_begin();
    conv.sums.finish_statistics<64>(p.norm3);
}

// y3 → y4 (N, 14, 14, 64).
SHARED_MEMORY(conv4_forward, Tile<14, 64>::elements + 196 * 64)
KERNEL(256, 1) conv4_forward(Conv4Forward p) {
    const Tile<14, 64> tile{reinterpret_cast<bfloat16 *>(dynamic_shared_memory)};
    bfloat16 *next_y3 = tile.data + tile.elements;
    __shared__ SharedCoefficients of_layer3;
    const Share share = share_of<Tile<14, 64>>(p.samples);
    Convolution<14, 64, 64> conv;
    conv.weights.load(p.w4);
    clear(tile.data, tile.elements);
    wait_for_kernel_before();
    fetch_rows<Tile<14, 64>>(next_y3, p.y3 + (long long)share.image * (196 * 64), share.read);
    of_layer3.load(p.coefficients3);
    for (int n = share.image; n < p.samples; n += share.stride) {
        wait_for_copies();
        __syncthreads();
        fill_activated(tile, next_y3, of_layer3, share.read);
        __syncthreads();
        const int next = n + share.stride;
        if (next < p.samples) {
            fetch_rows<Tile<14, 64>>(next_y3, p.y3 + (long long)next * (196 * 64), share.read);
        }
        conv.run(tile, share.made, p.y4 + (long long)n * (196 * 64));
    }
    let_next_kernel_begin();
    conv.sums.finish_statistics<64>(p.norm4);
}

// y4 → pooled4 and z4, (N, 7, 7, 64): what the dense layers read. A thread per eight channels of a pooled pixel.
KERNEL(256) pool4_forward(Pool4Forward p) {
    using T = Tile<14, 64>;
    const long long i = (long long)blockIdx.x * image_threads + threadIdx.x;
    wait_for_kernel_before();
    let_next_kernel_begin();
    const int n = (int)(i / (49 * T::octets)), pixel = (int)(i / T::octets % 49), octet = (int)(i % T::octets);
    if (n < p.samples) {
        const Eight a = load_eight(p.coefficients4 + scale + 8 * octet), b = load_eight(p.coefficients4 + shift + 8 * octet);
        const Octet pooled = pool_octet<T>(Digits(p.state).of(n), Packed<T>{p.y4 + (long long)n * (196 * 64)}, {pixel / 7, pixel % 7},
                                           octet, signs_of(a), p.dropout);
        store_octet(p.pooled4 + 8 * i, pooled);
        store_octet(p.z4 + 8 * i, activate_pooled(pooled, a, b, p.dropout.keep_scale));
    }
}
