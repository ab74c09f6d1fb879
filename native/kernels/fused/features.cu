// The end of the convolutions: what the dense layers read, and the way back from their gradient.
#include "activation.cuh"
#include "batch_norm.cuh"
#include "tall.cuh"

struct FeaturesForward {
    const StepState *state;
    const void *y; // (rows, channels), and so is what comes out; either may be missing. Without `marked`, y has the marks of dropout
    Affine affine;
    void *marked, *z;
    Dropout dropout;
    int rows, pixels, channels; // pixels: rows of a sample
};

struct FeaturesBackward {
    const void *dz, *marked; // (rows, channels)
    Affine affine;
    void *du;
    ChannelNorm norm;
    float keep_scale;
    int rows;
};

constexpr int forward_threads = 256;

// A thread has the same channels all along, a unit of them.
template <class Mode> DEVICE_INLINE void features_forward(const FeaturesForward &p) {
    using Element = typename Mode::Element;
    const int units = p.channels / Mode::of_unit, at_once = forward_threads / units, channel = (int)threadIdx.x % units * Mode::of_unit;
    wait_for_kernel_before();
    let_next_kernel_begin();
    if ((int)threadIdx.x >= at_once * units) {
        return;
    }
    const Values<Mode::of_unit> scale = p.affine.scales<Mode::of_unit>(channel).times(p.dropout.keep_scale),
                                shift = p.affine.shifts<Mode::of_unit>(channel).times(p.dropout.keep_scale);
    const Digits digits(p.state, p.dropout);
    for (int row = (int)blockIdx.x * at_once + (int)threadIdx.x / units; row < p.rows; row += (int)gridDim.x * at_once) {
        const long long place = (long long)row * p.channels + channel;
        Unit marked = load_unit(static_cast<const Element *>(p.y) + place);
        if (p.marked && p.dropout.threshold > 0) {
            const int n = row / p.pixels, element = (row - n * p.pixels) * p.channels + channel;
            marked = marked_unit<Mode>(marked, digits.dropped<Mode::of_unit>(p.dropout, element, n));
        }
        if (p.marked) {
            store_unit(static_cast<Element *>(p.marked) + place, marked);
        }
        if (p.z) {
            const Unit made = activate<Mode>(Mode::widen(marked), scale, shift);
            store_unit(static_cast<Element *>(p.z) + place, p.dropout.threshold > 0 ? where_kept<Mode>(made, marked) : made);
        }
    }
}

KERNELS_OF_MODES(features_forward, FeaturesForward, forward_threads, 4)

constexpr int backward_threads = 1024, backward_channels = 64, backward_sums = rows_at_end * 2 * backward_channels;
PUBLISH(features_backward_channels, backward_channels)

// du where u is above 0 and was not dropped, and the gradients of batch norm or of the bias. Blocks along y have so many channels each.
// What was dropped is NaN, and no u above 0.
template <class Mode> DEVICE_INLINE void features_backward(const FeaturesBackward &p) {
    using Element = typename Mode::Element;
    constexpr int of_unit = Mode::of_unit;
    float *sums = sums_at_end();
    float(&of_threads)[of_unit][backward_threads] = *reinterpret_cast<float(*)[of_unit][backward_threads]>(sums + backward_sums);
    const int channels = p.norm.channels, first_channel = (int)blockIdx.y * backward_channels;
    const int units = smaller(backward_channels, channels - first_channel) / of_unit, thread = (int)threadIdx.x;
    const int rows_of_block = backward_threads / units, step = (int)gridDim.x * rows_of_block;
    const int channel = first_channel + thread % units * of_unit;
    const Values<of_unit> scale = p.affine.scales<of_unit>(channel), shift = p.affine.shifts<of_unit>(channel);
    Values<of_unit> of_du = {}, of_du_y = {};
    wait_for_kernel_before();
    struct Row {
        Unit dz, y;
    };
    const auto place = [&](int row) { return (long long)row * channels + here(channel); };
    const auto load = [&](int row) -> Row { // past the end, the last one
        const long long from = place(smaller(row, p.rows - 1));
        return {load_unit(static_cast<const Element *>(p.dz) + from), load_unit(static_cast<const Element *>(p.marked) + from)};
    };
    int row = thread < rows_of_block * units ? (int)blockIdx.x * rows_of_block + thread / units : p.rows;
    for (Row next = load(row); row < p.rows; row += step) {
        const Row now = next;
        next = load(row + step); // on its way meanwhile
        Values<of_unit> y = Mode::widen(now.y);
        Values<of_unit> du = Mode::widen(now.dz);
#pragma unroll
        for (int c = 0; c < of_unit; ++c) {
            const bool passes = fused_multiply_add(y.v[c], scale.v[c], shift.v[c]) > 0;
            du.v[c] = passes ? du.v[c] * p.keep_scale : 0.0f;
            y.v[c] = passes ? y.v[c] : 0.0f;
        }
        const Unit out = Mode::narrow(du);
        store_unit(static_cast<Element *>(p.du) + place(row), out);
        du = Mode::widen(out); // as it is read
#pragma unroll
        for (int c = 0; c < of_unit; ++c) {
            of_du.v[c] += du.v[c];
            of_du_y.v[c] = fused_multiply_add(du.v[c], y.v[c], of_du_y.v[c]);
        }
    }
    let_next_kernel_begin();
    // A warp adds up what the threads with a channel have, but for the last rows_at_end sums. Of a loop that it knows to have two rounds,
    // clang would make a predicate in place of a number.
#pragma unroll 1
    for (int first = 0; first < 2 * backward_channels; first += here(backward_channels), of_du = of_du_y) {
        __syncthreads();
#pragma unroll
        for (int c = 0; c < of_unit; ++c) {
            of_threads[c][thread] = of_du.v[c];
        }
        __syncthreads();
        for (int c = warp(); c < backward_channels; c += backward_threads / 32) {
            float sum = 0;
            for (int at = lane(); c < units * of_unit && at < rows_of_block; at += 32) {
                sum += of_threads[c % of_unit][at * units + c / of_unit];
            }
#pragma unroll
            for (int mask = 16; mask >= rows_at_end; mask /= 2) {
                sum += shuffle_xor(sum, mask);
            }
            if (lane() < rows_at_end) {
                sums[lane() * 2 * backward_channels + first + c] = sum;
            }
        }
    }
    finish<true>(p.norm, first_channel, backward_channels);
}

SHARED_MEMORY(features_backward_bf16, 2 * (backward_sums + 8 * backward_threads))
SHARED_MEMORY(features_backward_f32, 2 * (backward_sums + 8 * backward_threads))
KERNELS_OF_MODES(features_backward, FeaturesBackward, backward_threads, 1)
