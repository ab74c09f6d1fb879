// The last layer's bias, softmax, cross-entropy and its gradient; the epoch's sums; and the way out for predictions.
#include "numbers.cuh"
#include "step_state.cuh"

namespace {

constexpr int block_threads = 512;

// logits += bias; dLogits = (softmax(logits) − one-hot(label)) / samples; dBias, the sum of dLogits over the batch;
// adds to the epoch's loss and correct count. One block for the whole batch, a sample per thread at a time, so that the
// sums have one order and need no atomics.
template <typename T>
DEVICE_INLINE void softmax_cross_entropy(StepState *state, float *logits, const float *bias, T *d_logits, float *d_bias,
                                         int samples, int classes) {
    __shared__ double losses[block_threads];
    __shared__ unsigned hits[block_threads];
    double loss = 0;
    unsigned correct = 0;
    const float scale = 1.0f / (float)samples;
    for (int n = (int)threadIdx.x; n < samples; n += block_threads) {
        float *z = logits + (long long)n * classes;
        T *dz = d_logits + (long long)n * classes;
        const int label = device_pointer<const unsigned char>(state->labels)[dataset_row(state, n)];
        int best = 0;
        for (int i = 0; i < classes; ++i) {
            z[i] += bias[i];
            best = z[i] > z[best] ? i : best;
        }
        float sum = 0;
        for (int i = 0; i < classes; ++i) {
            sum += exp_nonpositive(z[i] - z[best]);
        }
        for (int i = 0; i < classes; ++i) {
            const float p = exp_nonpositive(z[i] - z[best]) / sum;
            dz[i] = from_float<T>((p - (i == label ? 1.0f : 0.0f)) * scale);
        }
        loss += (double)log_positive(sum) + (double)z[best] - (double)z[label];
        correct += best == label ? 1 : 0;
    }
    losses[threadIdx.x] = loss;
    hits[threadIdx.x] = correct;
    for (unsigned half = block_threads / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) {
            losses[threadIdx.x] += losses[threadIdx.x + half];
            hits[threadIdx.x] += hits[threadIdx.x + half];
        }
    }
    if (threadIdx.x == 0) {
        state->loss += losses[0];
        state->correct += hits[0];
    }

    // Of the gradients as they are stored: a thread sums one class over every so many samples.
    __syncthreads();
    const int groups = block_threads / classes, c = (int)threadIdx.x % classes, group = (int)threadIdx.x / classes;
    double sum = 0;
    for (int n = group; n < samples && group < groups; n += groups) {
        sum += to_float(d_logits[(long long)n * classes + c]);
    }
    losses[threadIdx.x] = sum;
    __syncthreads();
    if (group == 0) {
        for (int other = 1; other < groups; ++other) {
            sum += losses[other * classes + c];
        }
        d_bias[c] = (float)sum;
    }
}

} // namespace

KERNEL(512)
softmax_cross_entropy_f32(StepState *state, float *logits, const float *bias, float *d_logits, float *d_bias,
                          int samples, int classes) {
    softmax_cross_entropy(state, logits, bias, d_logits, d_bias, samples, classes);
}

KERNEL(512)
softmax_cross_entropy_bf16(StepState *state, float *logits, const float *bias, bfloat16 *d_logits, float *d_bias,
                           int samples, int classes) {
    softmax_cross_entropy(state, logits, bias, d_logits, d_bias, samples, classes);
}

// Logits of the running prediction step, with their bias, to where the host will read them: row first + n. A thread per
// logit; what fills up the last batch is left out.
KERNEL(256) store_logits(const StepState *state, const float *logits, const float *bias, int samples, int classes) {
    const long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (at < (long long)samples * classes && state->first + at / classes < state->rows) {
        device_pointer<float>(state->predictions)[(long long)state->first * classes + at] =
            logits[at] + bias[at % classes];
    }
}
