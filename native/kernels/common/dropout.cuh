// Dropout, and the ReLU before it, as every kernel that has them between two layers applies them.
#pragma once

#include "numbers.cuh"
#include "philox.cuh"
#include "step_state.cuh"

// NaN stays, so that a run that diverged says so.
DEVICE_INLINE float relu(float x) { return x <= 0 ? 0.0f : x; }

// Element i of a sample is dropped where word i of its stream is below the threshold, which is rate · 2^32; 0 drops nothing. What is kept
// is scaled.
struct Dropout {
    unsigned long long seed;
    unsigned threshold, layer;
    float keep_scale;

    // The words of elements from 4 quad on, of the dataset's row: a Philox block of each four.
    template <int Count> DEVICE_INLINE void words(unsigned quad, unsigned row, unsigned epoch, unsigned (&words)[Count]) const {
        PhiloxBlock blocks[Count / 4];
        philox_blocks(blocks, seed, quad, row, epoch, dropout_purpose + layer);
#pragma unroll
        for (int i = 0; i < Count / 4; ++i) {
            words[4 * i] = blocks[i].x, words[4 * i + 1] = blocks[i].y, words[4 * i + 2] = blocks[i].z, words[4 * i + 3] = blocks[i].w;
        }
    }

    // The same of sample n of the running step; a prediction, which drops nothing, need not have a dataset.
    DEVICE_INLINE void words(unsigned quad, const StepState *state, int n, unsigned (&to)[4]) const {
        to[0] = to[1] = to[2] = to[3] = ~0u;
        if (threshold > 0) {
            words(quad, (unsigned)dataset_row(state, n), state->epoch, to);
        }
    }

    DEVICE_INLINE float apply(float active, unsigned word) const { return word < threshold ? 0.0f : active * keep_scale; }
};
