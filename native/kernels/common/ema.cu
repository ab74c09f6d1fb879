// An exponential moving average of the weights, after each step of the optimizer. The new weights have the share 1 − min(decay, (1 + t) /
// (10 + t)) in it after step t, as in TensorFlow's ExponentialMovingAverage with num_updates. The struct of parameters is that of Ema.cs.
#include "device.cuh"
#include "step_state.cuh"

struct WeightAverage {
    const StepState *state;
    const float *w;
    float *average;
    int count;
    float least_share; // 1 − decay
};

// A thread per element.
KERNEL(256) average_weights(WeightAverage p) {
    const int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < p.count) {
        const float early = 9.0f / (10.0f + (float)(unsigned)p.state->adam_step); // 1 − (1 + t) / (10 + t)
        const float share = early > p.least_share ? early : p.least_share, before = p.average[i];
        p.average[i] = fused_multiply_add(share, p.w[i] - before, before);
    }
}
