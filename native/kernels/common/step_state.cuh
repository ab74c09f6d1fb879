// What a captured step reads and advances: a graph is replayed as it is, so everything that changes from step to step lives in device
// memory. src/CudnnDigits/Cuda/Device/StepState.cs has the same fields in the same order.
#pragma once

#include "device.cuh"

struct StepState {
    unsigned long long pixels;         // address of (digits, 28, 28) uint8, the dataset
    unsigned long long labels;         // address of (digits) uint8
    unsigned long long order;          // address of (rows) int32, the rows of the dataset in the order they are run
    unsigned long long learning_rates; // address of (steps) f32, the epoch's
    unsigned long long predictions;    // address of (rows, classes) f32, where logits go
    long long stride;                  // elements from one image to the next, where the images are not a dataset
    unsigned long long adam_step;      // steps of Adam, the running one included
    double loss;                       // sums since the epoch began
    unsigned long long correct;
    unsigned long long samples;
    unsigned rows;         // length of the order
    unsigned step;         // next step of the epoch
    unsigned next;         // where in the order it begins
    unsigned first;        // where in the order the running step begins
    unsigned epoch;        // keys augmentation and dropout
    float step_size;       // −learning rate / (1 − β₁ᵗ)
    float root_scale;      // 1 / √(1 − β₂ᵗ)
    unsigned float_pixels; // whether such images are f32, 0 ... 1, rather than uint8
    float weight_scale;    // 1 − learning rate · weight decay
    unsigned arrived;      // blocks of the step's first kernel that have ended, 0 between steps
    float label_smoothing; // of the training loss
};
static_assert(sizeof(StepState) == 128, "StepState.cs has the same layout");

// Row of the dataset at a place in the order. Past its end, where a last batch of predictions is filled up, the last row again.
DEVICE_INLINE int dataset_row(const int *order, unsigned rows, unsigned at) { return order[at < rows ? at : rows - 1]; }

// That of sample n of a step which begins at `first`.
DEVICE_INLINE int dataset_row(const StepState *state, unsigned first, int n) {
    return dataset_row(device_pointer<const int>(state->order), state->rows, first + (unsigned)n);
}

// The same for the running step.
DEVICE_INLINE int dataset_row(const StepState *state, int n) { return dataset_row(state, state->first, n); }
