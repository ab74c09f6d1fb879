// Adam (Kingma, Ba 2015) with decoupled weight decay (Loshchilov, Hutter 2019) as torch.optim.AdamW: β 0.9 and 0.999,
// ε 1e-8 outside the root, bias-corrected. One launch over the flat buffer of all parameters, a thread per element.
#include "numbers.cuh"
#include "step_state.cuh"

// In bf16 the first `narrow` gradients are bfloat16 (cuDNN gives weight gradients in the type of the weights), and
// every master weight is rounded into w16; in fp32 and tf32 there are neither.
KERNEL(256)
adam(const StepState *state, float *w, const float *dw, const bfloat16 *dw16, float *m, float *v, bfloat16 *w16,
     int count, int narrow) {
    const int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (i >= count) {
        return;
    }
    const float gradient = i < narrow ? to_float(dw16[i]) : dw[i];
    const float first = fused_multiply_add(m[i], 0.9f, gradient * 0.1f);
    const float second = fused_multiply_add(v[i], 0.999f, gradient * 0.001f * gradient);
    m[i] = first;
    v[i] = second;
    const float denominator = fused_multiply_add(square_root(second), state->root_scale, 1e-8f);
    const float updated = fused_multiply_add(state->step_size, first / denominator, w[i] * state->weight_scale);
    w[i] = updated;
    if (w16) {
        w16[i] = from_float<bfloat16>(updated);
    }
}

// Master weights into the copy that convolutions and matrix products read, after loading. A thread per element.
KERNEL(256) round_weights(const float *w, bfloat16 *w16, int count) {
    const int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < count) {
        w16[i] = from_float<bfloat16>(w[i]);
    }
}
