// Moves the step's state on: the first kernel of every step. One thread.
#include "step_state.cuh"

// β^t by repeated squaring: a function of t alone, so that a resumed run has the same bits.
DEVICE_INLINE double power(double base, unsigned long long t) {
    double result = 1;
    for (; t > 0; t >>= 1, base *= base) {
        result = t & 1 ? result * base : result;
    }
    return result;
}

// A step that trains: Adam's step, its learning rate and bias corrections, and where in the order it begins.
KERNEL(32) begin_training_step(StepState *state, int n, double weight_decay) {
    if (threadIdx.x == 0) {
        const double rate = device_pointer<const float>(state->learning_rates)[state->step];
        const unsigned long long t = ++state->adam_step;
        state->step_size = (float)(-rate / (1 - power(0.9, t)));
        state->root_scale = (float)(1 / square_root(1 - power(0.999, t)));
        state->weight_scale = (float)(1 - rate * weight_decay);
        state->first = state->next;
        state->next += (unsigned)n;
        state->step += 1;
        state->samples += (unsigned)n;
    }
}

// A step that predicts.
KERNEL(32) begin_prediction_step(StepState *state, int n) {
    if (threadIdx.x == 0) {
        state->first = state->next;
        state->next += (unsigned)n;
    }
}

// A step over images that are not a dataset: (rows, 28, 28) of uint8 or f32 wherever the caller has them. What the
// step reads comes as parameters, which a launch copies, so that the host need not wait before it describes the next.
KERNEL(32)
begin_image_step(StepState *state, unsigned long long images, long long stride, unsigned float_pixels,
                 unsigned long long logits, unsigned rows) {
    if (threadIdx.x == 0) {
        state->pixels = images;
        state->stride = stride;
        state->float_pixels = float_pixels;
        state->predictions = logits;
        state->rows = rows;
        state->first = 0;
    }
}
