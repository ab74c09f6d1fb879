// What batch norm needs beside the convolutions: the first layer's statistics, and coefficients for prediction.
#include "batch_norm.cuh"
#include "convolution.cuh"

// The moments of the windows of x (N, 28, 28): sums over all pixels of p_j · p_k, where p are the nine values that the
// taps see and p_9 = 1. Whatever a convolution from one channel has as mean and variance follows from them: the
// first layer's statistics. The moments themselves are kept (16, 16) in double for its backward pass.
KERNEL(256, 2) window_moments(const bfloat16 *x, const bfloat16 *w1, BatchNorm norm1, double *moments, int samples) {
    __shared__ bfloat16 image_memory[ImageTile::elements];
    __shared__ float of_warps[image_warps][256];
    const ImageTile image{image_memory};
    const int g = lane() >> 2, t = lane() & 3;
    float sums[2][4] = {};
    image.clear();
    wait_for_kernel_before();
    for (int n = (int)blockIdx.x; n < samples; n += (int)gridDim.x) {
        __syncthreads();
        image.fill(x + (long long)n * 784);
        __syncthreads();
        for (int i = warp(); i < 56; i += image_warps) {
            const int row = i / 2, column = i % 2 * 16;
            unsigned
                a[4]; // a[i]: taps g (i even) or g + 8 (odd) at pixels 2t and 2t + 1, from the ninth pixel on for i > 1
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const int pixel = column + 8 * half + 2 * t;
                const unsigned inside = pixel < 28 ? ~0u : 0u; // 28 is even: both are inside, or none
                a[2 * half] = (image.tap(g, row, pixel) | image.tap(g, row, pixel + 1) << 16) & inside;
                const unsigned rest = g == 0   ? image.tap(8, row, pixel) | image.tap(8, row, pixel + 1) << 16
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
    for (int i = 0; i < 4; ++i) {
        const int j = g + 8 * (i >> 1), k = 2 * t + (i & 1);
        of_warps[warp()][16 * j + k] = sums[0][i];
        of_warps[warp()][16 * j + k + 8] = sums[1][i];
    }
    __syncthreads();
    float sum = 0;
    for (int w = 0; w < image_warps; ++w) {
        sum += of_warps[w][threadIdx.x];
    }
    device_pointer<float>(norm1.partial)[blockIdx.x * 256 + threadIdx.x] = sum;

    __shared__ double totals[256];
    if (add_up_in_last_block<256>(norm1, totals)) {
        moments[threadIdx.x] = totals[threadIdx.x];
        const int c = (int)threadIdx.x;
        if (c < 32) {
            double average = 0, square = 0;
            for (int j = 0; j < taps; ++j) {
                double of_j = 0;
                for (int k = 0; k < taps; ++k) {
                    of_j += (double)to_float(w1[c * taps + k]) * totals[16 * j + k];
                }
                square += of_j * to_float(w1[c * taps + j]);
                average += to_float(w1[c * taps + j]) * totals[16 * taps + j];
            }
            average /= norm1.values;
            use_statistics(norm1, average, square / norm1.values - average * average, c);
        }
    }
}

// Coefficients from the running statistics, for prediction. One block of 64 threads.
KERNEL(64) batch_norm_running(BatchNorm norm, int channels) {
    const int c = (int)threadIdx.x;
    if (c < channels) {
        float *coefficients = device_pointer<float>(norm.coefficients) + c;
        const double variance = device_pointer<const float>(norm.running_variance)[c];
        const double a = device_pointer<const float>(norm.gamma)[c] / square_root(variance + epsilon);
        coefficients[scale] = (float)a;
        coefficients[shift] =
            (float)(device_pointer<const float>(norm.beta)[c] - a * device_pointer<const float>(norm.running_mean)[c]);
    }
}
