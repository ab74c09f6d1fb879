// Gradients of the weights of the convolutions of `improved`. dY and the input are made in shared memory from what the passes before have
// left; one sum leaves each block.
#include "convolution.cuh"
#include "parameters.cuh"

// dW (Out, 3, 3, In) = sum over pixels of dY (…, Out) times what each tap sees of the input (…, In). A warp takes eight input channels, all
// taps, and its share of the output channels and of each row's pixels, sixteen at a time.
template <int Side, int In, int Out> struct BackwardWeights {
    static constexpr int column_groups = In / 8, chunks = (Side + 15) / 16;
    static constexpr int row_groups = image_warps / column_groups / chunks, rows = Out / 16 / row_groups;

    float sums[taps][rows][4] = {};

    DEVICE_INLINE static int first_in() { return warp() % column_groups * 8; }
    DEVICE_INLINE static int chunk() { return warp() / column_groups % chunks; }
    DEVICE_INLINE static int first_out() { return warp() / column_groups / chunks * rows * 16; }

    DEVICE_INLINE void add(const Tile<Side, Out> &dy, const Tile<Side, In> &input) {
        const int i = lane() & 7, matrix = lane() >> 3;
        const bfloat16 *gradients = dy.at(1, 16 * chunk() + 8 * (matrix >> 1) + i + 1) + first_out() + 8 * (matrix & 1);
        const bfloat16 *pixels = input.at(0, 16 * chunk() + (lane() & 15)) + first_in();
        unsigned a[3][rows][4]; // dY of three rows
        for (int first = 0; first < Side + 2; first += 3) {
#pragma unroll
            for (int step = 0; step < 3; ++step) {
                const int y = first + step; // row of the input, with its border
                if (y < Side) {
#pragma unroll
                    for (int r = 0; r < rows; ++r) {
                        load_matrices_transposed(a[step][r], gradients + y * (dy.columns * dy.pitch) + 16 * r);
                    }
                }
                if (y < Side + 2) {
#pragma unroll
                    for (int x = 0; x < 3; ++x) {
                        unsigned b[2];
                        load_matrices_transposed(b, pixels + (y * input.columns + x) * input.pitch);
#pragma unroll
                        for (int above = 0; above < 3; ++above) {
                            if (y - above >= 0 && y - above < Side) {
#pragma unroll
                                for (int r = 0; r < rows; ++r) {
                                    multiply_accumulate_k16(sums[3 * above + x][r], a[(step - above + 3) % 3][r], b);
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    // To partial (blocks · chunks, Out, 3, 3, In).
    DEVICE_INLINE void store(float *partial) const {
        float *to = partial + ((long long)blockIdx.x * chunks + chunk()) * (Out * taps * In);
#pragma unroll
        for (int tap = 0; tap < taps; ++tap) {
#pragma unroll
            for (int r = 0; r < rows; ++r) {
                store_tap<In>(to, first_out() + 16 * r, tap, first_in(), sums[tap][r]);
            }
        }
    }
};

// partial (blocks, 64, 3, 3, 64).
SHARED_MEMORY(conv4_backward_weights, 2 * Tile<14, 64>::elements + 2 * 196 * 64 + 49 * 64)
KERNEL(256, 1) conv4_backward_weights(ConvBackwardWeights p) {
    const Tile<14, 64> dy{reinterpret_cast<bfloat16 *>(dynamic_shared_memory)}, input{dy.data + dy.elements};
    bfloat16 *next_y4 = input.data + input.elements, *next_du4 = next_y4 + 196 * 64, *next_y3 = next_du4 + 49 * 64;
    __shared__ SharedCoefficients of_layer4, of_layer3;
    BackwardWeights<14, 64, 64> conv;
    const auto prepare = [&](int n) {
        fetch<196 * 64>(next_y4, p.y + (long long)n * (196 * 64));
        fetch<49 * 64>(next_du4, p.du + (long long)n * (49 * 64));
        fetch<196 * 64>(next_y3, p.below + (long long)n * (196 * 64));
    };
    prepare((int)blockIdx.x);
    of_layer4.load(p.coefficients);
    of_layer3.load(p.coefficients_below);
    clear(dy.data, dy.elements + input.elements);
    for (int n = (int)blockIdx.x; n < p.samples; n += (int)gridDim.x) {
        wait_for_copies();
        __syncthreads();
        fill_pooled_gradient(dy, Packed<Tile<14, 64>>{next_y4}, next_du4, of_layer4);
        fill_activated(input, next_y3, of_layer3);
        __syncthreads();
        if (n + (int)gridDim.x < p.samples) {
            prepare(n + (int)gridDim.x);
        }
        conv.add(dy, input);
    }
    conv.store(p.partial);
}

// partial (blocks, 64, 3, 3, 32).
SHARED_MEMORY(conv3_backward_weights, Tile<14, 64>::elements + Tile<14, 32>::elements + 196 * 64)
KERNEL(256, 2) conv3_backward_weights(ConvBackwardWeights p) {
    const Tile<14, 64> dy{reinterpret_cast<bfloat16 *>(dynamic_shared_memory)};
    const Tile<14, 32> input{dy.data + dy.elements};
    bfloat16 *next_du3 = input.data + input.elements;
    __shared__ SharedCoefficients of_layer3, of_layer2;
    BackwardWeights<14, 32, 64> conv;
    const auto fetch_du3 = [&](int n) { fetch<196 * 64>(next_du3, p.du + (long long)n * (196 * 64)); };
    fetch_du3((int)blockIdx.x);
    of_layer3.load(p.coefficients);
    of_layer2.load(p.coefficients_below);
    clear(dy.data, dy.elements + input.elements);
    for (int n = (int)blockIdx.x; n < p.samples; n += (int)gridDim.x) {
        const long long at = (long long)n * (196 * 64);
        __syncthreads();
        fetch_in_place(dy, p.y + at);
        fetch_in_place(input, p.below + at / 2);
        wait_for_copies();
        __syncthreads();
        fill_gradient(dy, dy, next_du3, of_layer3);
        fill_activated_pooled(input, nullptr, of_layer2, p.keep_scale);
        __syncthreads();
        if (n + (int)gridDim.x < p.samples) {
            fetch_du3(n + (int)gridDim.x);
        }
        conv.add(dy, input);
    }
    conv.store(p.partial);
}

// partial (blocks · 2, 32, 3, 3, 32).
SHARED_MEMORY(conv2_backward_weights, 2 * Tile<28, 32>::elements + ImageTile::elements + 784 * 32 + 196 * 32)
KERNEL(256, 1) conv2_backward_weights(Conv2BackwardWeights p) {
    const Tile<28, 32> dy{reinterpret_cast<bfloat16 *>(dynamic_shared_memory)}, input{dy.data + dy.elements};
    const ImageTile image{input.data + input.elements};
    bfloat16 *next_y2 = image.data + image.elements, *next_du2 = next_y2 + 784 * 32;
    __shared__ SharedCoefficients of_layer2, of_layer1;
    __shared__ bfloat16 weights1[32 * taps];
    BackwardWeights<28, 32, 32> conv;
    const auto prepare = [&](int n) {
        fetch<784 * 32>(next_y2, p.y2 + (long long)n * (784 * 32));
        fetch<196 * 32>(next_du2, p.du2 + (long long)n * (196 * 32));
    };
    prepare((int)blockIdx.x);
    ImageTile::Piece next = image.load(p.x + (long long)blockIdx.x * 784);
    of_layer2.load(p.coefficients2);
    of_layer1.load(p.coefficients1);
    copy_first_weights(weights1, p.w1);
    clear(dy.data, dy.elements + input.elements + image.elements);
    __syncthreads();
    image.fill(next);
    for (int n = (int)blockIdx.x; n < p.samples; n += (int)gridDim.x) {
        const bool more = n + (int)gridDim.x < p.samples;
        if (more) {
            next = image.load(p.x + (long long)(n + (int)gridDim.x) * 784);
        }
        wait_for_copies();
        __syncthreads();
        fill_pooled_gradient(dy, Packed<Tile<28, 32>>{next_y2}, next_du2, of_layer2);
        fill_first_layer(input, image, weights1, of_layer1);
        __syncthreads();
        if (more) {
            prepare(n + (int)gridDim.x);
            image.fill(next);
        }
        conv.add(dy, input);
    }
    conv.store(p.partial);
}
