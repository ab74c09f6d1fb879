// Batch norm by its running statistics as part of the convolution before it, for prediction: scaled weights, and a shift in place of a
// bias. Thread per weight; weights (channels, of_channel).
#include "../common/numbers.cuh"

template <typename T> struct FoldBatchNorm {
    const float *w, *gamma, *beta, *mean, *variance;
    double epsilon;
    T *folded;
    float *shift;
    int channels, of_channel;
};

template <typename T> DEVICE_INLINE void fold_batch_norm(const FoldBatchNorm<T> &p) {
    const int i = (int)(blockIdx.x * blockDim.x + threadIdx.x), channel = i / p.of_channel;
    if (channel >= p.channels) {
        return;
    }
    const double scale = p.gamma[channel] / square_root(p.variance[channel] + p.epsilon);
    p.folded[i] = from_float<T>((float)(scale * p.w[i]));
    if (i % p.of_channel == 0) {
        p.shift[channel] = (float)(p.beta[channel] - scale * p.mean[channel]);
    }
}

KERNELS(fold_batch_norm, FoldBatchNorm, 256)
