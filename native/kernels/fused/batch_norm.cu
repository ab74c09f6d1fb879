// Batch norm over N, H, W where the kernels beside it have left the sums: from sums to coefficients, and from sums to
// gradients. In double, so that differences of large sums keep their digits.
#include "convolution.cuh"

namespace {

constexpr int wide = 1024;
constexpr double epsilon = 1e-5, momentum = 0.1; // PyTorch's

// totals[i] = sum over rows of partial (rows, count), always in the same order. Block of 1024 threads, count ≤ 512.
DEVICE_INLINE void add_rows(const float *partial, int rows, int count, double *totals) {
    __shared__ double of_groups[wide];
    const int groups = wide / count, i = (int)threadIdx.x % count, group = (int)threadIdx.x / count;
    double sum = 0;
    for (int row = group; row < rows; row += groups) {
        sum += group < groups ? partial[(long long)row * count + i] : 0.0f;
    }
    of_groups[threadIdx.x] = sum;
    __syncthreads();
    if (group == 0) {
        for (int other = 1; other < groups; ++other) {
            sum += of_groups[i + other * count];
        }
        totals[i] = sum;
    }
    __syncthreads();
}

// The batch's statistics of one channel to coefficients, and into the running ones.
DEVICE_INLINE void use_statistics(double average, double variance, double values, const float *gamma, const float *beta,
                                  float *running_mean, float *running_variance, float *coefficients, int channel) {
    variance = variance > 0 ? variance : variance != variance ? variance : 0;
    const double inverse = 1 / square_root(variance + epsilon), a = gamma[channel] * inverse;
    coefficients[scale + channel] = (float)a;
    coefficients[shift + channel] = (float)(beta[channel] - a * average);
    coefficients[mean + channel] = (float)average;
    coefficients[inverse_deviation + channel] = (float)inverse;
    running_mean[channel] = (float)((1 - momentum) * running_mean[channel] + momentum * average);
    running_variance[channel] =
        (float)((1 - momentum) * running_variance[channel] + momentum * variance * (values / (values - 1)));
}

// dγ, dβ and what dY takes from y, given the sums of du and of du · y of one channel.
DEVICE_INLINE void use_gradients(double du, double du_y, double values, float *coefficients, float *d_gamma,
                                 float *d_beta, int channel) {
    const double a = coefficients[scale + channel], average = coefficients[mean + channel],
                 inverse = coefficients[inverse_deviation + channel];
    const double gamma_gradient = inverse * (du_y - average * du), b = -a * inverse * gamma_gradient / values;
    d_beta[channel] = (float)du;
    d_gamma[channel] = (float)gamma_gradient;
    coefficients[from_y + channel] = (float)b;
    coefficients[constant + channel] = (float)(-a * du / values - b * average);
}

} // namespace

// partial (rows, 2, channels): sums of y and y² over `values` of them. One block.
KERNEL(1024)
batch_norm_statistics(const float *partial, int rows, int channels, double values, const float *gamma,
                      const float *beta, float *running_mean, float *running_variance, float *coefficients) {
    __shared__ double totals[128];
    add_rows(partial, rows, 2 * channels, totals);
    const int c = (int)threadIdx.x;
    if (c < channels) {
        const double average = totals[c] / values, variance = totals[channels + c] / values - average * average;
        use_statistics(average, variance, values, gamma, beta, running_mean, running_variance, coefficients, c);
    }
}

// partial (rows, 2, channels): sums of du and du · y. One block.
KERNEL(1024)
batch_norm_gradients(const float *partial, int rows, int channels, double values, float *coefficients, float *d_gamma,
                     float *d_beta) {
    __shared__ double totals[128];
    add_rows(partial, rows, 2 * channels, totals);
    const int c = (int)threadIdx.x;
    if (c < channels) {
        use_gradients(totals[c], totals[channels + c], values, coefficients, d_gamma, d_beta, c);
    }
}

// Coefficients from the running statistics, for prediction. One block of 64 threads.
KERNEL(64)
batch_norm_running(const float *gamma, const float *beta, const float *running_mean, const float *running_variance,
                   int channels, float *coefficients) {
    const int c = (int)threadIdx.x;
    if (c < channels) {
        const double a = gamma[c] / square_root((double)running_variance[c] + epsilon);
        coefficients[scale + c] = (float)a;
        coefficients[shift + c] = (float)(beta[c] - a * running_mean[c]);
    }
}

// The moments of the windows of x (N, 28, 28): sums over all pixels of p_j · p_k, where p are the nine values that the
// taps see and p_9 = 1. Whatever a convolution from one channel has as mean and variance follows from them. partial
// (blocks, 16, 16).
KERNEL(256, 2) window_moments(const bfloat16 *x, float *partial, int samples) {
    __shared__ bfloat16 image_memory[ImageTile::elements];
    __shared__ float of_warps[image_warps][256];
    const ImageTile image{image_memory};
    const int g = lane() >> 2, t = lane() & 3;
    float sums[2][4] = {};
    image.clear();
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
    partial[blockIdx.x * 256 + threadIdx.x] = sum;
}

// The first layer's statistics from the moments, which are kept (16, 16) in double for its backward pass. One block.
KERNEL(1024)
first_statistics(const float *partial, int rows, double values, const bfloat16 *w1, const float *gamma,
                 const float *beta, float *running_mean, float *running_variance, double *moments,
                 float *coefficients) {
    __shared__ double totals[256];
    add_rows(partial, rows, 256, totals);
    if (threadIdx.x < 256) {
        moments[threadIdx.x] = totals[threadIdx.x];
    }
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
        average /= values;
        use_statistics(average, square / values - average * average, values, gamma, beta, running_mean,
                       running_variance, coefficients, c);
    }
}

// The first layer's gradients from the sums of du1 · p_k and du1 (conv2_backward_data) and the moments of the windows:
// y1 is linear in p, so are all sums with it. One block.
KERNEL(1024)
first_gradients(const float *partial, int rows, double values, const bfloat16 *w1, const double *moments,
                float *coefficients, float *d_gamma, float *d_beta, float *d_w1) {
    __shared__ double totals[512];
    add_rows(partial, rows, 512, totals);
    const int c = (int)threadIdx.x;
    if (c < 32) {
        const double *of_taps = totals + 16 * c, du = of_taps[taps];
        double du_y = 0;
        for (int k = 0; k < taps; ++k) {
            du_y += (double)to_float(w1[c * taps + k]) * of_taps[k];
        }
        use_gradients(du, du_y, values, coefficients, d_gamma, d_beta, c);
        for (int k = 0; k < taps; ++k) {
            double y_window = 0; // the sum of y1 · p_k
            for (int j = 0; j < taps; ++j) {
                y_window += (double)to_float(w1[c * taps + j]) * moments[16 * j + k];
            }
            d_w1[c * taps + k] = (float)(coefficients[scale + c] * of_taps[k] + coefficients[from_y + c] * y_window +
                                         coefficients[constant + c] * moments[16 * taps + k]);
        }
    }
}
