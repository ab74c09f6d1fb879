// ReLU and dropout, as every kernel that has them between two layers applies them to an element.
#pragma once

#include "numbers.cuh"
#include "philox.cuh"
#include "step_state.cuh"

// Element i of a sample is dropped where word i of its stream is below the threshold, which is rate · 2^32; 0 drops
// nothing. What is kept is scaled.
struct ReluDropout {
    unsigned threshold, layer;
    float keep_scale;
    unsigned long long seed;

    // The words of elements 4 quad … 4 quad + 3: one Philox block.
    DEVICE_INLINE void words(const StepState *state, int n, unsigned quad, unsigned (&words)[4]) const {
        words[0] = words[1] = words[2] = words[3] = ~0u;
        if (threshold > 0) {
            const PhiloxBlock block =
                philox_block(seed, quad, (unsigned)dataset_row(state, n), state->epoch, dropout_purpose + layer);
            words[0] = block.x;
            words[1] = block.y;
            words[2] = block.z;
            words[3] = block.w;
        }
    }

    // NaN stays, so that a run that diverged says so.
    DEVICE_INLINE float apply(float x, unsigned word) const {
        const float active = x > 0 ? x : x != x ? x : 0.0f;
        return word < threshold ? 0.0f : active * keep_scale;
    }
};
