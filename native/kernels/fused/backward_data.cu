// Gradients of data of the convolutions of `improved`. dY is made from y and the gradient of u (after ReLU and dropout,
// before batch norm: "du") on the way into shared memory. The gradient of the data leaves as the du of the layer below,
// with the sums for that layer's batch norm.
#include "first_layer_gradient.cuh"
#include "masked_gradient.cuh"
#include "parameters.cuh"

namespace {

template <class T> DEVICE_INLINE void exchange(T &a, T &b) {
    const T was = a;
    a = b;
    b = was;
}

template <int Side, int In, int Out> struct BackwardData {
    Weights<In, Out> weights;    // In: channels of dY, Out: channels of the layer below
    MaskedGradient<Out> masking; // of the layer below

    using Below = Spread<Tile<Side, Out>>;

    // below: y of the layer below; pooled, where it is pooled.
    DEVICE_INLINE void run(const Tile<Side, In> &tile, const Rows &rows, const Below &below, float keep_scale,
                           bfloat16 *du) {
        convolve<Out>(tile, weights, rows, [&](int row, int column, const float(&made)[4]) {
            const FourChannels turned = by_pixel(made);
            const float gradient[4] = {element(turned, 0), element(turned, 1), element(turned, 2), element(turned, 3)};
            const int x = column + (lane() >> 2);
            if (x < Side) {
                const int channel = masking.first_channel();
                *reinterpret_cast<FourChannels *>(du + (row * Side + x) * Out + channel) =
                    masking.apply(gradient, load_four(below.at(row, x) + channel), keep_scale);
            }
        });
    }
};

} // namespace

// y4, du4 → du3 (N, 14, 14, 64).
SHARED_MEMORY(conv4_backward_data,
              Tile<14, 64>::elements + 196 * 64 + 49 * 64 + 2 * BackwardData<14, 64, 64>::Below::elements)
KERNEL(256, 1) conv4_backward_data(Conv4BackwardData p) {
    const Tile<14, 64> tile{reinterpret_cast<bfloat16 *>(dynamic_shared_memory)};
    BackwardData<14, 64, 64> conv;
    bfloat16 *next_y4 = tile.data + tile.elements, *next_du4 = next_y4 + 196 * 64;
    decltype(conv)::Below below{next_du4 + 49 * 64}, next_below{below.data + below.elements};
    __shared__ SharedCoefficients of_layer4;
    const Share share = share_of<Tile<14, 64>>(p.samples);
    const auto prepare = [&](int n, const auto &of_below) {
        fetch_rows<Tile<14, 64>>(next_y4, p.y4 + (long long)n * (196 * 64), share.read);
        fetch<49 * 64>(next_du4, p.du4 + (long long)n * (49 * 64));
        of_below.fetch(p.y3 + (long long)n * (196 * 64), share.made);
    };
    tile.clear();
    conv.weights.load(p.turned4);
    wait_for_kernel_before();
    prepare(share.image, below);
    of_layer4.load(p.coefficients4);
    conv.masking.load(p.norm3);
    for (int n = share.image; n < p.samples; n += share.stride) {
        wait_for_copies();
        __syncthreads();
        fill_pooled_gradient(tile, Packed<Tile<14, 64>>{next_y4}, next_du4, of_layer4, share.read);
        __syncthreads();
        if (n + share.stride < p.samples) {
            prepare(n + share.stride, next_below);
        }
        conv.run(tile, share.made, below, 1.0f, p.du3 + (long long)n * (196 * 64));
        exchange(below, next_below);
    }
    let_next_kernel_begin();
    conv.masking.sums.finish_gradients<64>(p.norm3);
}

// y3, du3 → du2 (N, 14, 14, 32), pooled.
SHARED_MEMORY(conv3_backward_data,
              Tile<14, 64>::elements + 2 * 196 * 64 + 2 * BackwardData<14, 64, 32>::Below::elements)
KERNEL(256, 1) conv3_backward_data(Conv3BackwardData p) {
    const Tile<14, 64> tile{reinterpret_cast<bfloat16 *>(dynamic_shared_memory)};
    BackwardData<14, 64, 32> conv;
    bfloat16 *next_y3 = tile.data + tile.elements, *next_du3 = next_y3 + 196 * 64;
    decltype(conv)::Below below{next_du3 + 196 * 64}, next_below{below.data + below.elements};
    __shared__ SharedCoefficients of_layer3;
    const Share share = share_of<Tile<14, 64>>(p.samples);
    const auto prepare = [&](int n, const auto &of_below) {
        fetch_rows<Tile<14, 64>>(next_y3, p.y3 + (long long)n * (196 * 64), share.read);
        fetch_rows<Tile<14, 64>>(next_du3, p.du3 + (long long)n * (196 * 64), share.read);
        of_below.fetch(p.pooled2 + (long long)n * (196 * 32), share.made);
    };
    tile.clear();
    conv.weights.load(p.turned3);
    wait_for_kernel_before();
    prepare(share.image, below);
    of_layer3.load(p.coefficients3);
    conv.masking.load(p.norm2);
    for (int n = share.image; n < p.samples; n += share.stride) {
        wait_for_copies();
        __syncthreads();
        fill_gradient(tile, Packed<Tile<14, 64>>{next_y3}, next_du3, of_layer3, share.read);
        __syncthreads();
        if (n + share.stride < p.samples) {
            prepare(n + share.stride, next_below);
        }
        conv.run(tile, share.made, below, p.keep_scale, p.du2 + (long long)n * (196 * 32));
        exchange(below, next_below);
    }
    let_next_kernel_begin();
    conv.masking.sums.finish_gradients<32>(p.norm2);
}

// y2, du2 → the whole backward pass of the first layer.
SHARED_MEMORY(conv2_backward_data, Tile<28, 32>::elements + ImageTile::elements + 196 * 32)
KERNEL(256, 2) conv2_backward_data(Conv2BackwardData p) {
    const Tile<28, 32> tile{reinterpret_cast<bfloat16 *>(dynamic_shared_memory)};
    const ImageTile image{tile.data + tile.elements};
    bfloat16 *next_du2 = image.data + image.elements;
    __shared__ SharedCoefficients of_layer2, of_layer1;
    __shared__ bfloat16 weights1[32 * taps];
    const Share share = share_of<Tile<28, 32>>(p.samples);
    const Rows filled = whole_turns<Tile<28, 32>>(share.read);
    const auto fetch_du2 = [&](int n) {
        fetch_rows<Tile<14, 32>>(next_du2, p.du2 + (long long)n * (196 * 32), {filled.first / 2, filled.end / 2});
    };
    tile.clear();
    image.clear();
    wait_for_kernel_before();
    of_layer2.load(p.coefficients2);
    of_layer1.load(device_pointer<const float>(p.norm1.coefficients));
    copy_first_weights(weights1, p.w1);
    ImageTile::Piece next = image.load(p.x + (long long)share.image * 784);
    fetch_du2(share.image);
    FirstLayerGradient gradient1;
    for (int n = share.image; n < p.samples; n += share.stride) {
        __syncthreads();
        fetch_in_place(tile, p.y2 + (long long)n * (784 * 32), filled);
        image.fill(next);
        wait_for_copies();
        __syncthreads();
        fill_pooled_gradient(tile, tile, next_du2, of_layer2, share.read);
        __syncthreads();
        if (n + share.stride < p.samples) {
            next = image.load(p.x + (long long)(n + share.stride) * 784);
            fetch_du2(n + share.stride);
        }
        // For every image, and not once: beside these the filling of the tile would have to spill, and where shared
        // memory takes nearly all of the first-level cache, what is spilled may be as far as the second.
        Weights<32, 32> weights;
        FirstConvolution first;
        weights.load(p.turned2);
        first.load(weights1, of_layer1, weights.first_channel());
        convolve<32>(tile, weights, share.made, [&](int row, int column, const float(&gradient)[4]) {
            gradient1.add(first, Windows(image, row, column), 0, gradient1.inside(column),
                          {pack(gradient[0], gradient[1]), pack(gradient[2], gradient[3])});
        });
    }
    gradient1.finish(weights1, of_layer1, p.norm1, p.moments, p.d_w1);
}
