// The hidden dense layer of `improved`: 3136 features, 49 pixels of 64 channels, to 256. What one operand's rows hold side by side is
// summed over, so a lane loads sixteen bytes of a row and has its part of two fragments: in which order a product is summed is free, as
// long as both factors keep to it. Here lane 4 g + t has eight neighbours, from 8t on, of 32.
#include "masked_gradient.cuh"
#include "parameters.cuh"

constexpr int features4 = 49 * 64, hidden = 256;

// Of sixteen rows: those that a lane has as g and g + 8, 32 columns wide. Stands for two fragments of a left factor, or two pairs of a
// right one.
struct RowPair {
    Octet rows[2];

    DEVICE_INLINE void load(const bfloat16 *first, const bfloat16 *second) {
        rows[0] = load_octet(first);
        rows[1] = load_octet(second);
    }

    DEVICE_INLINE void left(int step, unsigned (&a)[4]) const {
        a[0] = rows[0].w[2 * step], a[1] = rows[1].w[2 * step];
        a[2] = rows[0].w[2 * step + 1], a[3] = rows[1].w[2 * step + 1];
    }

    DEVICE_INLINE void right(int step, int half, unsigned (&b)[2]) const {
        b[0] = rows[half].w[2 * step], b[1] = rows[half].w[2 * step + 1];
    }
};

// Count times sixteen rows, of which a lane loads Stage · 32 columns at a time.
template <int Count, int Stage> struct Operand {
    struct Columns {
        RowPair of[Stage][Count];
    };

    const bfloat16 *rows[Count][2]; // where the lane's part of them begins
    Columns next;

    DEVICE_INLINE void load(int stage) {
#pragma unroll
        for (int s = 0; s < Stage; ++s) {
#pragma unroll
            for (int i = 0; i < Count; ++i) {
                next.of[s][i].load(rows[i][0] + 32 * (stage * Stage + s), rows[i][1] + 32 * (stage * Stage + s));
            }
        }
    }
};

// One part of y (parts, N, 256) f32: z4 (N, 3136) · w (256, 3136)ᵀ summed over its share of the features. A block makes 32 · Samples
// samples by 64 · Outs outputs, a warp half of these by a quarter of those; it loads one stage ahead.
template <int Samples, int Outs, int Stage> DEVICE_INLINE void hidden_forward(const HiddenForward &p) {
    constexpr int across = hidden / (64 * Outs), stages = features4 / (32 * Stage);
    const int g = lane() >> 2, t = lane() & 3;
    const int part = (int)blockIdx.x % p.parts, tile = (int)blockIdx.x / p.parts;
    const int first_sample = (tile / across * 2 + (warp() & 1)) * 16 * Samples;
    const int first_out = (tile % across * 4 + (warp() >> 1)) * 16 * Outs;
    Operand<Samples, Stage> left;
    Operand<Outs, Stage> right;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
        for (int i = 0; i < Samples; ++i) { // the last one stands in for those that do not exist
            const int n = first_sample + 16 * i + 8 * half + g;
            left.rows[i][half] = p.z4 + (long long)(n < p.samples ? n : p.samples - 1) * features4 + 8 * t;
        }
#pragma unroll
        for (int j = 0; j < Outs; ++j) { // so that a lane gets four neighbouring sums
            right.rows[j][half] = p.w + (long long)(first_out + 16 * j + channel_of(half, g)) * features4 + 8 * t;
        }
    }

    float sums[Samples][Outs][2][4] = {};
    const int end = stages * (part + 1) / p.parts;
    int stage = stages * part / p.parts;
    right.load(stage);
    wait_for_kernel_before();
    left.load(stage);
    while (stage < end) {
        const auto z = left.next;
        const auto v = right.next;
        if (++stage < end) {
            left.load(stage);
            right.load(stage);
        }
#pragma unroll
        for (int step = 0; step < 2 * Stage; ++step) {
#pragma unroll
            for (int i = 0; i < Samples; ++i) {
                unsigned a[4];
                z.of[step / 2][i].left(step % 2, a);
#pragma unroll
                for (int j = 0; j < Outs; ++j) {
#pragma unroll
                    for (int half = 0; half < 2; ++half) {
                        unsigned b[2];
                        v.of[step / 2][j].right(step % 2, half, b);
                        multiply_accumulate_k16(sums[i][j][half], a, b);
                    }
                }
            }
        }
    }
#pragma unroll
    for (int i = 0; i < Samples; ++i) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int n = first_sample + 16 * i + 8 * half + g;
            float *row = p.y + ((long long)part * p.samples + n) * hidden + first_out + 4 * t;
#pragma unroll
            for (int j = 0; j < Outs; ++j) {
                const float(&of)[2][4] = sums[i][j];
                if (n < p.samples) {
                    *reinterpret_cast<Four16 *>(row +
                                                16 * j) = {{of[0][2 * half], of[0][2 * half + 1], of[1][2 * half], of[1][2 * half + 1]}};
                }
            }
        }
    }
}

// For small batches: many blocks.
KERNEL(256, 2) hidden_forward_32x64(HiddenForward p) { hidden_forward<1, 1, 2>(p); }

// For large ones: what is loaded is multiplied more often.
KERNEL(256, 2) hidden_forward_64x128(HiddenForward p) { hidden_forward<2, 2, 1>(p); }

// dy (N, 256) · w, and on through dropout and ReLU to du4 (N, 7, 7, 64), with the sums for batch norm. A block has the weights of one
// pixel, a warp those of sixteen channels in its registers, and takes sixteen samples at a time, of which the block fetches the next ones
// meanwhile.
constexpr int hidden_pitch = 64 + 8, hidden_data_samples = image_warps / (64 / 16) * 16;
SHARED_MEMORY(hidden_backward_data, hidden *hidden_pitch)
PUBLISH(hidden_backward_data_samples, hidden_data_samples)
KERNEL(256, 2) hidden_backward_data(HiddenBackwardData p) {
    constexpr int pitch = hidden_pitch, chunks = hidden / 32, groups = 64 / 16, at_once = hidden_data_samples;
    bfloat16 *tile = reinterpret_cast<bfloat16 *>(dynamic_shared_memory);
    const int pixel = (int)blockIdx.x % 49, g = lane() >> 2, t = lane() & 3;
    MaskedGradient<64> masking;
    // Rows lie in the order in which they are read: for every step of sixteen, those of the eight columns that the lanes' t have as first,
    // then as second. And pairs of channels so that a lane gets four neighbours.
    for (int i = (int)threadIdx.x; i < hidden * 4; i += image_threads) {
        const int out = i / 4, sixteen = i % 4 * 16;
        const bfloat16 *from = p.w + (long long)out * features4 + pixel * 64 + sixteen;
        const Octet first = load_octet(from), second = load_octet(from + 8);
        const int row = (out & ~31) | (out >> 1 & 3) * 8 | (out >> 3 & 3) * 2 | (out & 1);
        store_octet(tile + row * pitch + sixteen, {{first.w[0], first.w[2], second.w[0], second.w[2]}});
        store_octet(tile + row * pitch + sixteen + 8, {{first.w[1], first.w[3], second.w[1], second.w[3]}});
    }
    __syncthreads();
    unsigned weights[2 * chunks][4];
#pragma unroll
    for (int step = 0; step < 2 * chunks; ++step) {
        const int i = lane() >> 3, j = lane() & 7; // matrix and row: columns first by k, then by channels
        load_matrices_transposed(weights[step], tile + (16 * step + 8 * (i & 1) + j) * pitch + warp() % groups * 16 + 8 * (i >> 1));
    }
    __syncthreads();

    // Rows of gradients take the weights' place, spread so that two rows of four lanes lie in different banks.
    constexpr int row_pitch = hidden + 32, stage = at_once * row_pitch;
    static_assert(2 * stage <= hidden * pitch, "two stages are no larger than the weights were");
    const auto prepare = [&](int first, bfloat16 *to) {
        for (int i = (int)threadIdx.x; i < at_once * hidden / 8; i += image_threads) {
            const int row = i / (hidden / 8), n = first + row < p.samples ? first + row : p.samples - 1;
            copy_async(to + row * row_pitch + i % (hidden / 8) * 8, p.dy + (long long)n * hidden + i % (hidden / 8) * 8);
        }
    };
    const int stride = (int)gridDim.x / 49 * at_once, row = warp() / groups * 16 + g;
    int first = (int)blockIdx.x / 49 * at_once;
    wait_for_kernel_before();
    prepare(first, tile);
    masking.load(p.norm4);
    for (int turn = 0; first < p.samples; first += stride, turn ^= 1) {
        const long long at = (long long)(first + row) * features4 + pixel * 64 + masking.first_channel();
        FourChannels y[2] = {};
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            if (first + row + 8 * half < p.samples) {
                y[half] = load_four(p.pooled4 + at + 8 * half * features4);
            }
        }
        wait_for_copies();
        __syncthreads();
        if (first + stride < p.samples) {
            prepare(first + stride, tile + (turn ^ 1) * stage);
        }
        const bfloat16 *from = tile + turn * stage + row * row_pitch + 8 * t;
        float sums[2][2][4] = {}; // even and odd steps apart: a product waits for the one before on the same sums
#pragma unroll
        for (int chunk = 0; chunk < chunks; ++chunk) {
            RowPair gradients;
            gradients.load(from + 32 * chunk, from + 8 * row_pitch + 32 * chunk);
#pragma unroll
            for (int step = 0; step < 2; ++step) {
                unsigned a[4];
                gradients.left(step, a);
                const unsigned(&b)[4] = weights[2 * chunk + step];
                multiply_accumulate_k16(sums[step][0], a, {b[0], b[1]});
                multiply_accumulate_k16(sums[step][1], a, {b[2], b[3]});
            }
        }
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            if (first + row + 8 * half < p.samples) {
                float gradient[4];
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    gradient[i] = sums[0][i / 2][2 * half + i % 2] + sums[1][i / 2][2 * half + i % 2];
                }
                *reinterpret_cast<FourChannels *>(p.du4 + at + 8 * half * features4) = masking.apply(gradient, y[half], p.keep_scale);
            }
        }
    }
    let_next_kernel_begin();
    masking.sums.finish_gradients<64>(p.norm4);
}

// dw (256, 3136) f32 = dyᵀ (256, N) · z4 (N, 3136). A block makes 128 outputs by the 64 channels of a pixel, 128 samples at a time, of
// which it fetches the next meanwhile: so many, because what is fetched takes as long to come as fewer take to be multiplied. A warp makes
// 32 by 32.
constexpr int weights_samples = 128, weights_outs = 128, pitch_of_dy = weights_outs + 8, pitch_of_z = 64 + 8;
SHARED_MEMORY(hidden_backward_weights, 2 * weights_samples * (pitch_of_dy + pitch_of_z))
PUBLISH(hidden_backward_weights_outs, weights_outs)
KERNEL(256, 2) hidden_backward_weights(HiddenBackwardWeights p) {
    constexpr int at_once = weights_samples, outs = weights_outs, channels = 64, pitch_dy = pitch_of_dy, pitch_z = pitch_of_z;
    constexpr int stage = at_once * (pitch_dy + pitch_z);
    bfloat16 *stages = reinterpret_cast<bfloat16 *>(dynamic_shared_memory);
    const int pixel = (int)blockIdx.x / 2, first_out = (int)blockIdx.x % 2 * outs;
    const auto prepare = [&](int first, bfloat16 *to) {
        const auto fetch_rows = [&](const bfloat16 *from, int width, int row_of_all, bfloat16 *into, int pitch) {
            for (int i = (int)threadIdx.x; i < at_once * width / 8; i += image_threads) {
                const int n = i / (width / 8), octet = i % (width / 8);
                bfloat16 *place = into + n * pitch + 8 * octet;
                if (first + n < p.samples) {
                    copy_async(place, from + (long long)(first + n) * row_of_all + 8 * octet);
                } else {
                    store_octet(place, {{0, 0, 0, 0}});
                }
            }
        };
        fetch_rows(p.dy + first_out, outs, hidden, to, pitch_dy);
        fetch_rows(p.z4 + pixel * channels, channels, features4, to + at_once * pitch_dy, pitch_z);
    };
    const int i = lane() >> 3, j = lane() & 7, g = lane() >> 2, t = lane() & 3;
    const int out = warp() % 4 * 32, channel = warp() / 4 * 32;
    float sums[2][4][4] = {};
    prepare(0, stages);
    for (int first = 0, turn = 0; first < p.samples; first += at_once, turn ^= 1) {
        wait_for_copies();
        __syncthreads();
        if (first + at_once < p.samples) {
            prepare(first + at_once, stages + (turn ^ 1) * stage);
        }
        const bfloat16 *gradients = stages + turn * stage + (8 * (i >> 1) + j) * pitch_dy + out + 8 * (i & 1);
        const bfloat16 *inputs = stages + turn * stage + at_once * pitch_dy + (8 * (i & 1) + j) * pitch_z + channel + 8 * (i >> 1);
#pragma unroll
        for (int k = 0; k < at_once; k += 16) {
            unsigned a[2][4], b[2][4];
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                load_matrices_transposed(a[half], gradients + k * pitch_dy + 16 * half);
                load_matrices_transposed(b[half], inputs + k * pitch_z + 16 * half);
            }
#pragma unroll
            for (int row = 0; row < 2; ++row) {
#pragma unroll
                for (int column = 0; column < 4; ++column) {
                    const unsigned(&of)[4] = b[column / 2];
                    multiply_accumulate_k16(sums[row][column], a[row], {of[column % 2 * 2], of[column % 2 * 2 + 1]});
                }
            }
        }
    }
#pragma unroll
    for (int row = 0; row < 2; ++row) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            float *to = p.dw + (long long)(first_out + out + 16 * row + 8 * half + g) * features4 + pixel * channels + channel + 2 * t;
#pragma unroll
            for (int column = 0; column < 4; ++column) {
                const float(&of)[4] = sums[row][column];
                *reinterpret_cast<Two *>(to + 8 * column) = {{of[2 * half], of[2 * half + 1]}};
            }
        }
    }
}
