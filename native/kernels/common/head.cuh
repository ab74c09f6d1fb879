// What both ends of the network share: softmax, cross-entropy, the sums over a batch, and the logits of a prediction. A warp takes a sample
// at a time.
#pragma once

#include "last_block.cuh"
#include "numbers.cuh"
#include "step_state.cuh"
#include "warp.cuh"

// Where training leaves its results: logits (N, classes), a block's sums of gradients in partial (blocks, columns), and its loss and hits
// in outcome (blocks, 2).
struct HeadResults {
    StepState *state;
    float *logits, *partial;
    double *outcome;
    unsigned *arrived;
    int samples, columns;
};

constexpr int classes = 10, most_features = 256, head_warps = 8;

// The first sample of a warp, and how far its next ones are apart.
DEVICE_INLINE int head_sample() { return (int)blockIdx.x * head_warps + warp(); }
DEVICE_INLINE int head_stride() { return (int)gridDim.x * head_warps; }

// What one warp adds up over its samples for the loss, the hits and the last layer's bias.
struct LossSums {
    float bias = 0; // lane c: of class c
    double loss = 0;
    unsigned correct = 0;

    // Adds a sample with these logits, lane c having its own of class c. Lane c gets the gradient of the batch's mean loss by that logit;
    // scale is 1 / samples. For the smoothing of labels see Cpu/SoftmaxCrossEntropy.
    DEVICE_INLINE float add(float own, const float (&all)[classes], int label, float scale, double smoothing) {
        int best = 0;
        float most = all[0], of_label = all[0], sum = 0;
#pragma unroll
        for (int c = 1; c < classes; ++c) {
            best = all[c] > most ? c : best;
            most = all[c] > most ? all[c] : most;
            of_label = c == label ? all[c] : of_label;
        }
        // Lane c computes for class c; all lanes sum in the order of the classes.
        const float power = exp_nonpositive(own - most);
#pragma unroll
        for (int c = 0; c < classes; ++c) {
            sum += shuffle_from(power, c);
        }
        loss += (double)log_positive(sum) + (double)most - (double)of_label;
        if (smoothing > 0) {
            double apart = 0;
            for (int c = 0; c < classes; ++c) {
                apart += (double)of_label - (double)all[c];
            }
            loss += smoothing * apart / classes;
        }
        correct += best == label ? 1 : 0;
        // In double: where the network is sure, 1 is taken from what is nearly 1.
        const double target = (lane() == label ? 1 - smoothing : 0) + smoothing / classes;
        const float of_logit = (float)(((double)power / sum - target) * scale);
        bias += lane() < classes ? of_logit : 0.0f;
        return of_logit;
    }

    // The block's sum of the gradients of the bias; of_warps: room that a barrier has set free.
    DEVICE_INLINE void store_bias(float *to, float (&of_warps)[head_warps][most_features]) const {
        of_warps[warp()][lane()] = bias;
        __syncthreads();
        if (threadIdx.x < classes) {
            to[threadIdx.x] = total(of_warps, (int)threadIdx.x);
        }
    }

    DEVICE_INLINE static float total(const float (&of_warps)[head_warps][most_features], int k) {
        float sum = 0;
        for (int i = 0; i < head_warps; ++i) {
            sum += of_warps[i][k];
        }
        return sum;
    }
};

// The epoch's sums, from those of all warps of all blocks: outcome (blocks, 2), loss and hits.
DEVICE_INLINE void add_outcome(const HeadResults &to, const LossSums &sums) {
    constexpr int threads = 32 * head_warps;
    __shared__ double losses[threads], hits[threads];
    if (lane() == 0) {
        losses[warp()] = sums.loss;
        hits[warp()] = sums.correct;
    }
    __syncthreads();
    if (threadIdx.x < 2) {
        const double *of_warps = threadIdx.x == 0 ? losses : hits;
        double sum = 0;
        for (int i = 0; i < head_warps; ++i) {
            sum += of_warps[i];
        }
        to.outcome[2 * blockIdx.x + threadIdx.x] = sum;
    }
    if (!is_last_block(to.arrived)) {
        return;
    }
    losses[threadIdx.x] = threadIdx.x < gridDim.x ? to.outcome[2 * threadIdx.x] : 0.0;
    hits[threadIdx.x] = threadIdx.x < gridDim.x ? to.outcome[2 * threadIdx.x + 1] : 0.0;
    for (unsigned half = threads / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) {
            losses[threadIdx.x] += losses[threadIdx.x + half];
            hits[threadIdx.x] += hits[threadIdx.x + half];
        }
    }
    if (threadIdx.x == 0) {
        to.state->loss += losses[0];
        to.state->correct += (unsigned long long)hits[0];
    }
}

// A prediction's logits to where the host or the caller will read them: row first + n. What fills up the last batch is left out.
DEVICE_INLINE void store_prediction(const StepState *state, int n, float own) {
    if (lane() < classes && state->first + (unsigned)n < state->rows) {
        const long long row = (long long)state->first + n;
        device_pointer<float>(state->predictions)[row * classes + lane()] = own;
    }
}
