// All convolutions of `improved` for prediction, by the running statistics: from the input to the features in one kernel, nothing stored
// between the layers.
#include "convolution.cuh"
#include "parameters.cuh"

DEVICE_INLINE float maximum(float a, float b) { // NaN stays
    float most;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(most) : "f"(a), "f"(b));
    return most;
}

// A convolution with its batch norm and ReLU.
template <int In, int Out> struct Layer {
    Weights<In, Out> weights;
    float scale_of[2], shift_of[2]; // of channels g and g + 8 of the warp's sixteen

    DEVICE_INLINE void load(const bfloat16 *w, const float *coefficients) {
        weights.load(w);
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int channel = weights.first_channel() + channel_of(half, lane() >> 2);
            scale_of[half] = coefficients[scale + channel];
            shift_of[half] = coefficients[shift + channel];
        }
    }

    // With 64 channels there are no registers for sums of even and odd sixteens apart.
    static constexpr bool apart = In == 32;

    // store(row, column, first channel, four channels) for every pixel of the image. A warp makes so many rows at once.
    template <int AtOnce, class T, class Store> DEVICE_INLINE void run(const T &tile, const Store &store) const {
        convolve<Out, AtOnce, apart>(tile, weights, [&](int row, int column, const float(&sums)[AtOnce][4]) {
#pragma unroll
            for (int y = 0; y < AtOnce; ++y) {
                float out[4];
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    out[i] = normalized(sums[y], i);
                }
                const FourChannels four = relu_by_pixel(out);
                const int x = column + (lane() >> 2);
                if (x < T::side) {
                    store(row + y, x, first_channel(), four);
                }
            }
        });
    }

    // The same after 2×2 max-pooling. Two rows of four pooled pixels come out of four rows of eight: in the place of pixel 2t what is of
    // the upper row, of 2t + 1 what is of the lower.
    template <int AtOnce, class T, class Store> DEVICE_INLINE void run_pooled(const T &tile, const Store &store) const {
        convolve<Out, AtOnce, apart>(tile, weights, [&](int row, int column, const float(&sums)[AtOnce][4]) {
#pragma unroll
            for (int y = 0; y < AtOnce; y += 4) {
                float out[4] = {};
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    const int above = y + 2 * (i & 1), left = i & 2;
                    if (above < AtOnce) {
                        const float upper = maximum(normalized(sums[above], left), normalized(sums[above], left + 1));
                        const float lower = maximum(normalized(sums[above + 1], left), normalized(sums[above + 1], left + 1));
                        out[i] = maximum(upper, lower);
                    }
                }
                const FourChannels four = relu_by_pixel(out);
                const int lower = lane() >> 2 & 1, x = column / 2 + (lane() >> 3);
                if (x < T::side / 2 && y + 2 * lower < AtOnce) {
                    store((row + y) / 2 + lower, x, first_channel(), four);
                }
            }
        });
    }

  private:
    DEVICE_INLINE float normalized(const float (&sums)[4], int i) const {
        return fused_multiply_add(sums[i], scale_of[i >> 1], shift_of[i >> 1]);
    }

    DEVICE_INLINE static int first_channel() { return Weights<In, Out>::first_channel() + 4 * (lane() & 3); }
};

DEVICE_INLINE void store_four(bfloat16 *to, const FourChannels &four) { *reinterpret_cast<FourChannels *>(to) = four; }

// x (N, 28, 28) → z4 (N, 7, 7, 64). A block takes one image or two at a time: two load each layer's weights once for both, one has more
// blocks where there are few images.
SHARED_MEMORY(predict_features, Tile<28, 32>::elements + ImageTile::elements + 2 * (Tile<14, 32>::elements + Tile<14, 64>::elements))
KERNEL(256, 1) predict_features(PredictFeatures p) {
    using Wide = Tile<28, 32>;
    using Pooled = Tile<14, 32>;
    using Deep = Tile<14, 64>;
    const Wide first{reinterpret_cast<bfloat16 *>(dynamic_shared_memory)};
    const ImageTile image{first.data + first.elements};
    bfloat16 *pooled = image.data + image.elements, *deep = pooled + p.at_once * Pooled::elements;
    const auto second = [&](int i) { return Pooled{pooled + i * Pooled::elements}; };
    const auto third = [&](int i) { return Deep{deep + i * Deep::elements}; };
    __shared__ SharedCoefficients of_layer1;
    __shared__ bfloat16 weights1[32 * taps];
    copy_first_weights(weights1, p.w1);
    clear(first.data, first.elements + image.elements);
    clear(pooled, p.at_once * (Pooled::elements + Deep::elements));
    wait_for_kernel_before();
    of_layer1.load(p.coefficients1);
    for (int n = (int)blockIdx.x * p.at_once; n < p.samples; n += (int)gridDim.x * p.at_once) {
        const int count = p.samples - n < p.at_once ? p.samples - n : p.at_once;
        {
            Layer<32, 32> layer;
            layer.load(p.w2, p.coefficients2);
            for (int i = 0; i < count; ++i) {
                __syncthreads();
                image.fill(image.load(p.x + (long long)(n + i) * 784));
                __syncthreads();
                fill_first_layer(first, image, weights1, of_layer1);
                __syncthreads();
                layer.run_pooled<14>(first, [&](int row, int column, int channel, const FourChannels &four) {
                    store_four(second(i).at(row + 1, column + 1) + channel, four);
                });
            }
        }
        {
            Layer<32, 64> layer;
            layer.load(p.w3, p.coefficients3);
            __syncthreads();
            for (int i = 0; i < count; ++i) {
                layer.run<14>(second(i), [&](int row, int column, int channel, const FourChannels &four) {
                    store_four(third(i).at(row + 1, column + 1) + channel, four);
                });
            }
        }
        {
            Layer<64, 64> layer;
            layer.load(p.w4, p.coefficients4);
            __syncthreads();
            for (int i = 0; i < count; ++i) {
                bfloat16 *to = p.z4 + (long long)(n + i) * (49 * 64);
                layer.run_pooled<14>(third(i), [&](int row, int column, int channel, const FourChannels &four) {
                    store_four(to + (row * 7 + column) * 64 + channel, four);
                });
            }
        }
    }
}
