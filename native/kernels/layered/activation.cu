// Bias, ReLU and dropout in one pass, forward and backward. Activations are (samples, size), channels last.
#include "../common/columns.cuh"
#include "../common/dropout.cuh"
#include "../common/stored.cuh"

struct ActivationForward {
    const StepState *state;
    const void *y;
    const float *bias;
    void *z;
    int samples, size, channels;
    Dropout dropout;
};

struct ActivationBackward {
    const void *z;
    void *dz;
    float *sums;
    int rows, channels;
    float keep_scale;
};

struct ColumnSums {
    const float *x;
    void *sums;
    int rows, channels;
    unsigned narrow; // whether the sums are bfloat16, not float32
};

// z = dropout(relu(y + bias)). A thread makes the four elements that one Philox block decides on.
KERNEL(256) activation_forward(ActivationForward p) {
    const bool bf16 = is_bf16();
    const int quads = (p.size + 3) / 4;
    const long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= (long long)p.samples * quads) {
        return;
    }
    const int n = (int)(at / quads), quad = (int)(at % quads), count = smaller(p.size - 4 * quad, 4);
    const long long offset = (long long)n * p.size + 4 * quad;
    unsigned words[4];
    p.dropout.words((unsigned)quad, p.state, n, words);

    if (p.size % 4 != 0) { // then not every sample begins where four elements can be loaded at once
#pragma unroll 1
        for (int i = 0; i < count; ++i) {
            const unsigned word = i == 0 ? words[0] : i == 1 ? words[1] : i == 2 ? words[2] : words[3];
            const float bias = p.bias ? p.bias[(4 * quad + i) % p.channels] : 0.0f;
            store(p.z, offset + i, p.dropout.apply(relu(load_stored(p.y, offset + i, bf16) + bias), word), bf16);
        }
        return;
    }
    float values[4], bias[4] = {};
    load_four(p.y, offset, bf16, values);
    if (p.bias) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            bias[i] = p.bias[(4 * quad + i) % p.channels];
        }
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        values[i] = p.dropout.apply(relu(values[i] + bias[i]), words[i]);
    }
    store_four(p.z, offset, bf16, values);
}

// dZ to dY in place: what is above 0 was kept and active, so z is its own mask. Where sums are asked for, also the sum of dY over a stretch
// of rows, per channel: sums is (gridDim.y, channels), added up by column_sums.
KERNEL(256) activation_backward(ActivationBackward p) {
    const bool bf16 = is_bf16();
    const long long count = (long long)p.rows * p.channels;
    if (!p.sums && count % 4 == 0) { // nothing depends on the channel: four neighbours a thread
        constexpr int threads = lanes * groups;
        const long long threads_of_grid = (long long)gridDim.x * gridDim.y * threads;
        for (long long i = (blockIdx.y * gridDim.x + blockIdx.x) * threads + threadIdx.x; i < count / 4; i += threads_of_grid) {
            float active[4], gradient[4];
            load_four(p.z, 4 * i, bf16, active);
            load_four(p.dz, 4 * i, bf16, gradient);
#pragma unroll
            for (int k = 0; k < 4; ++k) {
                gradient[k] = active[k] > 0 ? gradient[k] * p.keep_scale : 0.0f;
            }
            store_four(p.dz, 4 * i, bf16, gradient);
        }
        return;
    }
    const int c = (int)(blockIdx.x * lanes + lane()), stride = (int)(gridDim.y * groups);
    float sum = 0;
    if (c < p.channels) {
        for (int row = (int)(blockIdx.y * groups + warp()); row < p.rows; row += stride) {
            const long long at = (long long)row * p.channels + c;
            const float active = load_stored(p.z, at, bf16), before = load_stored(p.dz, at, bf16);
            const float gradient = active > 0 ? before * p.keep_scale : 0.0f;
            store(p.dz, at, gradient, bf16);
            sum += gradient;
        }
    }
    if (!p.sums) {
        return;
    }
    sum = sum_of_groups(sum);
    if (warp() == 0 && c < p.channels) {
        p.sums[(long long)blockIdx.y * p.channels + c] = sum;
    }
}

// Adds up the rows of (rows, channels). Blocks of 32 channels.
KERNEL(256) column_sums(ColumnSums p) {
    const int c = (int)(blockIdx.x * lanes + lane());
    // Wide layers leave few rows: 8 and more.
    const double of_group = p.rows <= 2 * groups   ? sum_of_rows<2>(p.x, p.rows, p.channels, c)
                            : p.rows <= 5 * groups ? sum_of_rows<5>(p.x, p.rows, p.channels, c)
                                                   : sum_of_rows<9>(p.x, p.rows, p.channels, c);
    const double sum = sum_of_groups(of_group);
    if (warp() > 0 || c >= p.channels) {
        return;
    }
    if (p.narrow) {
        static_cast<bfloat16 *>(p.sums)[c] = from_float<bfloat16>((float)sum);
    } else {
        static_cast<float *>(p.sums)[c] = (float)sum;
    }
}
