// The end of a network whose hidden layer the kernels of hidden_head.cu do not take: it begins with the product y (N, classes) of the last
// dense layer, to which only the bias is still to be added.
#include "head.cuh"

template <typename T> struct LogitHeadTraining {
    HeadResults results;
    const float *y, *bias;
    T *dy;
};

struct LogitHeadPrediction {
    const StepState *state;
    const float *y, *bias;
    int samples;
};

struct LogitHead {
    float bias;

    DEVICE_INLINE explicit LogitHead(const float *of_classes) : bias(lane() < classes ? of_classes[lane()] : 0.0f) {}

    // Lane c gets the logit of class c.
    DEVICE_INLINE float logit(const float *y, int n) const { return lane() < classes ? y[(long long)n * classes + lane()] + bias : 0.0f; }
};

template <typename T> DEVICE_INLINE void logit_head_training(const LogitHeadTraining<T> &p) {
    __shared__ float of_warps[head_warps][most_features];
    const HeadResults &to = p.results;
    const LogitHead head(p.bias);
    LossSums sums;
    const unsigned char *labels = device_pointer<const unsigned char>(to.state->labels);
    const double smoothing = to.state->label_smoothing;
    const float scale = 1.0f / (float)to.samples;
    for (int n = head_sample(); n < to.samples; n += head_stride()) {
        const float own = head.logit(p.y, n);
        float all[classes];
#pragma unroll
        for (int c = 0; c < classes; ++c) {
            all[c] = shuffle_from(own, c);
        }
        const float of_logit = sums.add(own, all, labels[(unsigned)dataset_row(to.state, n)], scale, smoothing);
        if (lane() < classes) {
            const long long at = (long long)n * classes + lane();
            to.logits[at] = own;
            p.dy[at] = from_float<T>(of_logit);
        }
    }
    sums.store_bias(to.partial + (long long)blockIdx.x * to.columns, of_warps);
    add_outcome(to, sums);
}

KERNELS(logit_head_training, LogitHeadTraining, 256)

KERNEL(256) logit_head_prediction(LogitHeadPrediction p) {
    const LogitHead head(p.bias);
    for (int n = head_sample(); n < p.samples; n += head_stride()) {
        store_prediction(p.state, n, head.logit(p.y, n));
    }
}
