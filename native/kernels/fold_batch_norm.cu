// Batch norm by its running statistics as part of the convolution before it, for prediction: scaled weights, and a
// shift in place of a bias. Thread per weight; weights (channels, of_channel).
#include "numbers.cuh"

namespace {

template <typename T>
DEVICE_INLINE void fold_batch_norm(const float *w, const float *gamma, const float *beta, const float *mean,
                                   const float *variance, double epsilon, T *folded, float *shift, int channels,
                                   int of_channel) {
    const int i = (int)(blockIdx.x * blockDim.x + threadIdx.x), channel = i / of_channel;
    if (channel >= channels) {
        return;
    }
    const double scale = gamma[channel] / square_root(variance[channel] + epsilon);
    folded[i] = from_float<T>((float)(scale * w[i]));
    if (i % of_channel == 0) {
        shift[channel] = (float)(beta[channel] - scale * mean[channel]);
    }
}

} // namespace

KERNEL(256)
fold_batch_norm_f32(const float *w, const float *gamma, const float *beta, const float *mean, const float *variance,
                    double epsilon, float *folded, float *shift, int channels, int of_channel) {
    fold_batch_norm(w, gamma, beta, mean, variance, epsilon, folded, shift, channels, of_channel);
}

KERNEL(256)
fold_batch_norm_bf16(const float *w, const float *gamma, const float *beta, const float *mean, const float *variance,
                     double epsilon, bfloat16 *folded, float *shift, int channels, int of_channel) {
    fold_batch_norm(w, gamma, beta, mean, variance, epsilon, folded, shift, channels, of_channel);
}
