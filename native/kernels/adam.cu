// Adam (Kingma, Ba 2015) with decoupled weight decay (Loshchilov, Hutter 2019) as torch.optim.AdamW: β 0.9 and 0.999,
// ε 1e-8 outside the root, bias-corrected. One launch over the flat buffer of all parameters, a thread per element.
#include "numbers.cuh"
#include "step_state.cuh"

// Where the rounded copies of a weight lie: as the fused kernels read it forward, and turned round, or -1.
struct alignas(8) Places {
    int forward, turned;
};

// Into place i; elements first … end - 1 into the places that they are given.
DEVICE_INLINE void store_rounded(float w, bfloat16 *w16, int i, const Places *places, int first, int end) {
    const bfloat16 rounded = from_float<bfloat16>(w);
    if (i < first || i >= end) {
        w16[i] = rounded;
        return;
    }
    const Places place = places[i - first];
    w16[place.forward] = rounded;
    if (place.turned >= 0) {
        w16[place.turned] = rounded;
    }
}

// In bf16 the first `narrow` gradients are bfloat16 (cuDNN gives weight gradients in the type of the weights), and
// every master weight is rounded into w16; in fp32 and tf32 there are neither.
KERNEL(256)
adam(const StepState *state, float *w, const float *dw, const bfloat16 *dw16, float *m, float *v, bfloat16 *w16,
     const Places *places, int first, int end, int count, int narrow) {
    const int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (i >= count) {
        return;
    }
    const float gradient = i < narrow ? to_float(dw16[i]) : dw[i];
    const float mean = fused_multiply_add(m[i], 0.9f, gradient * 0.1f);
    const float square = fused_multiply_add(v[i], 0.999f, gradient * 0.001f * gradient);
    m[i] = mean;
    v[i] = square;
    const float denominator = fused_multiply_add(square_root(square), state->root_scale, 1e-8f);
    const float updated = fused_multiply_add(state->step_size, mean / denominator, w[i] * state->weight_scale);
    w[i] = updated;
    if (w16) {
        store_rounded(updated, w16, i, places, first, end);
    }
}

// Master weights into the copy that convolutions and matrix products read, after loading. A thread per element.
KERNEL(256) round_weights(const float *w, bfloat16 *w16, const Places *places, int first, int end, int count) {
    const int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < count) {
        store_rounded(w[i], w16, i, places, first, end);
    }
}
