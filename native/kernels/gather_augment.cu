// The first kernel of a step over a dataset. One block per sample.
#include "gather_augment.cuh"
#include "last_block.cuh"

namespace {

// For a prediction, pixels as they are.
template <typename T> DEVICE_INLINE void gather(const StepState *state, T *to) {
    constexpr int pixels = Picture::side * Picture::side;
    const unsigned char *image = device_pointer<const unsigned char>(state->pixels) +
                                 (long long)dataset_row(state, state->next, (int)blockIdx.x) * pixels;
    for (int i = (int)threadIdx.x; i < pixels; i += (int)blockDim.x) {
        to[i] = from_float<T>((float)image[i] / 255.0f);
    }
}

template <typename T> DEVICE_INLINE void begin_step(StepState *state, T *x, const Gathering &gathering) {
    __shared__ float memory[Picture::elements];
    const Picture picture{memory};
    T *to = x + (long long)blockIdx.x * (Picture::side * Picture::side);
    if (gathering.trains) {
        picture.clear();
        __syncthreads();
        gather_augment(state, (int)blockIdx.x, gathering, picture,
                       [&](int h, int w, float value) { to[h * Picture::side + w] = from_float<T>(value); });
    } else {
        gather(state, to);
    }
    if (is_last_block(&state->arrived) && threadIdx.x == 0) {
        move_on(state, (int)gridDim.x, gathering);
    }
}

} // namespace

KERNEL(128) gather_augment_f32(StepState *state, float *x, Gathering gathering) { begin_step(state, x, gathering); }

KERNEL(128) gather_augment_bf16(StepState *state, bfloat16 *x, Gathering gathering) { begin_step(state, x, gathering); }
