// Gradients of data of the convolutions of `improved`. dY is made from y and the gradient of u (after ReLU and dropout, before batch norm:
// "du") on the way into shared memory. The gradient of the data leaves as the du of the layer below, with the sums for that layer's batch
// norm.
#include "first_layer_gradient.cuh"
#include "masked_gradient.cuh"
#include "parameters.cuh"

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
    DEVICE_INLINE void run(const Tile<Side, In> &tile, const Rows &rows, const Below &below, float keep_scale, bfloat16 *du) {
        convolve<Out>(tile, weights, rows, [&](int row, int column, const float(&made)[4]) {
            const FourChannels turned = by_pixel(made);
            const int x = column + (lane() >> 2);
            if (x < Side) {
                const int channel = masking.first_channel();
                *reinterpret_cast<FourChannels *>(du + (row * Side + x) * Out + channel) =
                    masking.apply(turned, load_four(below.at(row, x) + channel), keep_scale);
            }
        });
    }
};

// y (N, 14, 14, 64) and du → du of the layer below (N, 14, 14, Out). One of the two layers is pooled.
template <int Out, bool Pooled> struct BackwardDataOf14 {
    using T = Tile<14, 64>;

    static constexpr int du_elements = Pooled ? 49 * 64 : 196 * 64;
    static constexpr int elements = T::elements + 196 * 64 + du_elements + 2 * BackwardData<14, 64, Out>::Below::elements;

    DEVICE_INLINE static void run(const ConvBackwardData &p) {
        const T tile{reinterpret_cast<bfloat16 *>(dynamic_shared_memory)};
        BackwardData<14, 64, Out> conv;
        bfloat16 *next_y = tile.data + tile.elements, *next_du = next_y + 196 * 64;
        typename decltype(conv)::Below below{next_du + du_elements}, next_below{below.data + below.elements};
        __shared__ SharedCoefficients coefficients;
        const Share share = share_of<T>(p.samples);
        const auto prepare = [&](int n, const auto &of_below) {
            fetch_rows<T>(next_y, p.y + (long long)n * (196 * 64), share.read);
            if constexpr (Pooled) {
                fetch<du_elements>(next_du, p.du + (long long)n * du_elements);
            } else {
                fetch_rows<T>(next_du, p.du + (long long)n * du_elements, share.read);
            }
            of_below.fetch(p.below + (long long)n * (196 * Out), share.made);
        };
        clear(tile.data, tile.elements);
        conv.weights.load(p.turned);
        wait_for_kernel_before();
        prepare(share.image, below);
        coefficients.load(p.coefficients);
        conv.masking.load(p.norm_below);
        for (int n = share.image; n < p.samples; n += share.stride) {
            wait_for_copies();
            __syncthreads();
            if constexpr (Pooled) {
                fill_pooled_gradient(tile, Packed<T>{next_y}, next_du, coefficients, share.read);
            } else {
                fill_gradient(tile, Packed<T>{next_y}, next_du, coefficients, share.read);
            }
            __syncthreads();
            if (n + share.stride < p.samples) {
                prepare(n + share.stride, next_below);
            }
            conv.run(tile, share.made, below, Pooled ? 1.0f : p.keep_scale, p.du_below + (long long)n * (196 * Out));
            exchange(below, next_below);
        }
        let_next_kernel_begin();
        conv.masking.sums.template finish_gradients<Out>(p.norm_below);
    }
};

SHARED_MEMORY(conv4_backward_data, BackwardDataOf14<64, true>::elements)
KERNEL(256, 1) conv4_backward_data(ConvBackwardData p) { BackwardDataOf14<64, true>::run(p); }

SHARED_MEMORY(conv3_backward_data, BackwardDataOf14<32, false>::elements)
KERNEL(256, 1) conv3_backward_data(ConvBackwardData p) { BackwardDataOf14<32, false>::run(p); }

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
    clear(tile.data, tile.elements + image.elements);
    wait_for_kernel_before();
    of_layer2.load(p.coefficients2);
    of_layer1.load(p.norm1.coefficients);
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
        // For every image, and not once: beside these the filling of the tile would have to spill, and where shared memory takes nearly all
        // of the first-level cache, what is spilled may be as far as the second.
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
