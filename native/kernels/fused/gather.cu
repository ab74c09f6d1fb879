// The first kernel of a training step: its input, and the statistics of the first layer, which follow from it.
#include "../common/gather_augment.cuh"
#include "batch_norm.cuh"
#include "convolution.cuh"

struct GatherWindowMoments {
    StepState *state;
    bfloat16 *x;
    Gathering gathering;
    const bfloat16 *w1;
    BatchNorm norm1;
    double *moments;
    int samples;
};

// Samples of a dataset to x (N, 28, 28), augmented, and the moments of the windows of x: sums over all pixels of p_j · p_k, where p are the
// nine values that the taps see and p_9 = 1. Whatever a convolution from one channel has as mean and variance follows from them: the first
// layer's statistics. The moments themselves are kept for its backward pass.
PUBLISH(moment_count, Moments::count)
KERNEL(256, 4) gather_window_moments(GatherWindowMoments p) {
    __shared__ float picture_memory[Picture::elements];
    __shared__ bfloat16 image_memory[ImageTile::elements];
    __shared__ float of_warps[image_warps][Moments::count];
    const Picture picture{picture_memory};
    const ImageTile image{image_memory};
    const int g = lane() >> 2, t = lane() & 3;
    float sums[2][4] = {};
    picture.clear();
    for (int i = (int)threadIdx.x; i < image.elements; i += image_threads) {
        image.data[i] = {0};
    }
    wait_for_kernel_before();
    __syncthreads();
    for (int n = (int)blockIdx.x; n < p.samples; n += (int)gridDim.x) {
        bfloat16 *to = p.x + (long long)n * 784;
        augment(p.state, n, p.gathering, picture, [&](int h, int w, float value) {
            const bfloat16 rounded = from_float<bfloat16>(value);
            to[h * 28 + w] = rounded;
            image.set(h, w, rounded);
        });
        __syncthreads();
        for (int i = warp(); i < 56; i += image_warps) {
            const int row = i / 2, column = i % 2 * 16;
            unsigned a[4]; // a[i]: taps g (i even) or g + 8 (odd) at pixels 2t and 2t + 1, from the ninth pixel on for i > 1
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const int pixel = column + 8 * half + 2 * t;
                const unsigned inside = pixel < 28 ? ~0u : 0u; // 28 is even: both are inside, or none
                const bfloat16 *window = image.window(row, pixel), *of_g = window + image.tap(g), *last = window + image.tap(8);
                a[2 * half] = (of_g[0].bits | of_g[1].bits << 16) & inside;
                const unsigned rest = g == 0   ? last[0].bits | last[1].bits << 16
                                      : g == 1 ? 0x3F803F80u // 1
                                               : 0u;
                a[2 * half + 1] = rest & inside;
            }
            const unsigned low[2] = {a[0], a[2]}, high[2] = {a[1], a[3]};
            multiply_accumulate_k16(sums[0], a, low);
            multiply_accumulate_k16(sums[1], a, high);
        }
    }
    let_next_kernel_begin();
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        const int j = g + 8 * (i >> 1 & 1), k = 2 * t + (i & 1) + 8 * (i >> 2);
        if (j < Moments::rows && k < Moments::columns) {
            of_warps[warp()][Moments::at(j, k)] = sums[i >> 2][i & 3];
        }
    }
    __syncthreads();
    if (threadIdx.x < Moments::count) {
        float sum = 0;
        for (int w = 0; threadIdx.x < Moments::rows * Moments::columns && w < image_warps; ++w) {
            sum += of_warps[w][threadIdx.x];
        }
        p.norm1.partial[blockIdx.x * Moments::count + threadIdx.x] = sum;
    }

    __shared__ double totals[Moments::count], scratch[1024];
    const int c = (int)threadIdx.x, channel = c < 32 ? c : 0;
    const Affine affine = load_affine(p.norm1, channel);
    float w[taps];
#pragma unroll
    for (int k = 0; k < taps; ++k) {
        w[k] = to_float(p.w1[channel * taps + k]);
    }
    if (add_up_in_last_block<Moments::count>(p.norm1, totals, scratch)) {
        if (c < Moments::count) {
            p.moments[c] = totals[c];
        }
        if (c < 32) {
            double average = 0, square = 0;
#pragma unroll
            for (int j = 0; j < taps; ++j) {
                double of_j = 0;
#pragma unroll
                for (int k = 0; k < taps; ++k) {
                    of_j += (double)w[k] * totals[Moments::at(j, k)];
                }
                square += of_j * w[j];
                average += w[j] * totals[Moments::at(taps, j)];
            }
            average /= p.norm1.values;
            use_statistics(p.norm1, affine, average, square / p.norm1.values - average * average, c);
        } else if (c == 32) {
            move_on(p.state, p.samples, p.gathering);
        }
    }
}
