// Adam (Kingma, Ba 2015) with decoupled weight decay (Loshchilov, Hutter 2019) as torch.optim.AdamW: β 0.9 and 0.999,
// ε 1e-8 outside the root, bias-corrected. One launch over the flat buffer of all parameters.
#include "numbers.cuh"
#include "step_state.cuh"

// Where the rounded copies of a weight lie: as the fused kernels read it forward, and turned round, or -1.
struct alignas(8) Places {
    int forward, turned;
};

// Of element i: place i; of elements first … end - 1 those that they are given.
DEVICE_INLINE Places places_of(int i, const Places *places, int first, int end) {
    Places place = {i, -1};
    if (i >= first && i < end) {
        place = places[i - first];
    }
    return place;
}

DEVICE_INLINE void store_rounded(float w, bfloat16 *w16, const Places &place) {
    const bfloat16 rounded = from_float<bfloat16>(w);
    w16[place.forward] = rounded;
    if (place.turned >= 0) {
        w16[place.turned] = rounded;
    }
}

// In bf16 the first `narrow` gradients are bfloat16 (cuDNN gives weight gradients in the type of the weights), and
// every master weight is rounded into w16; in fp32 and tf32 there are neither. Four elements a thread, a block's width
// apart: what it loads is on its way together.
KERNEL(256)
adam(const StepState *state, float *w, const float *dw, const bfloat16 *dw16, float *m, float *v, bfloat16 *w16,
     const Places *places, int first, int end, int count, int narrow) {
    constexpr int of_thread = 4, threads = 256;
    const int from = (int)(blockIdx.x * (of_thread * threads) + threadIdx.x);
    const float root_scale = state->root_scale, step_size = state->step_size, weight_scale = state->weight_scale;
    float gradient[of_thread], mean[of_thread], square[of_thread], weight[of_thread];
    Places place[of_thread];
#pragma unroll
    for (int k = 0; k < of_thread; ++k) {
        const int i = from + k * threads;
        if (i < count) {
            gradient[k] = i < narrow ? to_float(dw16[i]) : dw[i];
            mean[k] = m[i];
            square[k] = v[i];
            weight[k] = w[i];
            place[k] = places_of(i, places, first, end);
        }
    }
#pragma unroll
    for (int k = 0; k < of_thread; ++k) {
        const int i = from + k * threads;
        if (i < count) {
            mean[k] = fused_multiply_add(mean[k], 0.9f, gradient[k] * 0.1f);
            square[k] = fused_multiply_add(square[k], 0.999f, gradient[k] * 0.001f * gradient[k]);
            m[i] = mean[k];
            v[i] = square[k];
            const float denominator = fused_multiply_add(square_root(square[k]), root_scale, 1e-8f);
            const float updated = fused_multiply_add(step_size, mean[k] / denominator, weight[k] * weight_scale);
            w[i] = updated;
            if (w16) {
                store_rounded(updated, w16, place[k]);
            }
        }
    }
}

// Master weights into the copy that convolutions and matrix products read, after loading. A thread per element.
KERNEL(256) round_weights(const float *w, bfloat16 *w16, const Places *places, int first, int end, int count) {
    const int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < count) {
        store_rounded(w[i], w16, places_of(i, places, first, end));
    }
}
