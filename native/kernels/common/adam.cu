// Adam (Kingma, Ba 2015) with decoupled weight decay (Loshchilov, Hutter 2019) as torch.optim.AdamW: bias-corrected, ε outside the root.
// One launch over the flat buffer of all parameters. The structs of parameters are those of Adam.cs.
#include "numbers.cuh"
#include "step_state.cuh"

// Where the copies of a weight that products read lie: as the fused kernels read it forward, and turned round, or -1.
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

struct AdamScalars {
    StepState *state;
    double beta1, beta2, weight_decay;
};

struct AdamUpdate {
    const StepState *state;
    float *w;
    const float *dw;
    const bfloat16 *dw16;
    float *m, *v;
    void *operands;
    const Places *places;
    int first, end, count, narrow;
    unsigned rounding;
    float beta1, rest1, beta2, rest2, epsilon;
};

struct WeightRounding {
    const float *w;
    void *operands;
    const Places *places;
    int first, end, count;
    unsigned rounding;
};

// What operands are: bfloat16, or float32, as it is or rounded to the eleven bits of tf32.
enum Rounding { to_bfloat16, to_tf32, to_nothing };

// β^t by repeated squaring: a function of t alone, so that a resumed run has the same bits.
DEVICE_INLINE double power(double base, unsigned long long t) {
    double result = 1;
    for (; t > 0; t >>= 1, base *= base) {
        result = t & 1 ? result * base : result;
    }
    return result;
}

// Counts the step and computes its scalars, by one thread, while the step's gradients are computed. The step's first kernel has moved on
// already, so the learning rate is that of the step before the next one.
KERNEL(32) begin_adam_step(AdamScalars p) {
    if (threadIdx.x == 0) {
        const double rate = device_pointer<const float>(p.state->learning_rates)[p.state->step - 1];
        const unsigned long long t = ++p.state->adam_step;
        p.state->step_size = (float)(-rate / (1 - power(p.beta1, t)));
        p.state->root_scale = (float)(1 / square_root(1 - power(p.beta2, t)));
        p.state->weight_scale = (float)(1 - rate * p.weight_decay);
    }
}

DEVICE_INLINE void store_operand(float w, void *operands, const Places &place, unsigned rounding) {
    if (rounding == to_bfloat16) {
        bfloat16 *to = static_cast<bfloat16 *>(operands);
        const bfloat16 operand = from_float<bfloat16>(w);
        to[place.forward] = operand;
        if (place.turned >= 0) {
            to[place.turned] = operand;
        }
    } else {
        float *to = static_cast<float *>(operands);
        const float operand = rounding == to_tf32 ? bits_float((float_bits(w) + 0x1000u) & ~0x1FFFu) : w; // ties away from 0
        to[place.forward] = operand;
        if (place.turned >= 0) {
            to[place.turned] = operand;
        }
    }
}

// In bf16 the first `narrow` gradients may be bfloat16 (cuDNN gives weight gradients in the type of the weights). Where products do not
// read the master weights, each is copied into operands. Four elements a thread, a block's width apart: what it loads is on its way
// together.
constexpr int adam_elements = 4;
PUBLISH(adam_of_thread, adam_elements)
KERNEL(256) adam(AdamUpdate p) {
    constexpr int of_thread = adam_elements, threads = 256;
    const int from = (int)(blockIdx.x * (of_thread * threads) + threadIdx.x);
    const float root_scale = p.state->root_scale, step_size = p.state->step_size, weight_scale = p.state->weight_scale;
    float gradient[of_thread], mean[of_thread], square[of_thread], weight[of_thread];
    Places place[of_thread];
#pragma unroll
    for (int k = 0; k < of_thread; ++k) {
        const int i = from + k * threads;
        if (i < p.count) {
            gradient[k] = i < p.narrow ? to_float(p.dw16[i]) : p.dw[i];
            mean[k] = p.m[i];
            square[k] = p.v[i];
            weight[k] = p.w[i];
            place[k] = places_of(i, p.places, p.first, p.end);
        }
    }
#pragma unroll
    for (int k = 0; k < of_thread; ++k) {
        const int i = from + k * threads;
        if (i < p.count) {
            mean[k] = fused_multiply_add(mean[k], p.beta1, gradient[k] * p.rest1);
            square[k] = fused_multiply_add(square[k], p.beta2, gradient[k] * p.rest2 * gradient[k]);
            p.m[i] = mean[k];
            p.v[i] = square[k];
            const float denominator = fused_multiply_add(square_root(square[k]), root_scale, p.epsilon);
            const float updated = fused_multiply_add(step_size, mean[k] / denominator, weight[k] * weight_scale);
            p.w[i] = updated;
            if (p.operands) {
                store_operand(updated, p.operands, place[k], p.rounding);
            }
        }
    }
}

// Master weights into the copy that convolutions and matrix products read, after loading. A thread per element.
KERNEL(256) round_weights(WeightRounding p) {
    const int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < p.count) {
        store_operand(p.w[i], p.operands, places_of(i, p.places, p.first, p.end), p.rounding);
    }
}
