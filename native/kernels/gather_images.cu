// Images of a caller, uint8 or f32, to the network's input. One block per sample; each thread makes every 128th
// pixel. Where the step has more samples than there are images, the last image again.
#include "numbers.cuh"
#include "step_state.cuh"

namespace {

template <typename T> DEVICE_INLINE void gather_images(const StepState *state, T *x) {
    constexpr int pixels = 28 * 28;
    const unsigned n = blockIdx.x, last = state->rows - 1;
    const long long at = (long long)(n < last ? n : last) * state->stride;
    T *to = x + (long long)n * pixels;
    if (state->float_pixels) {
        const float *image = device_pointer<const float>(state->pixels) + at;
        for (int i = (int)threadIdx.x; i < pixels; i += (int)blockDim.x) {
            to[i] = from_float<T>(image[i]);
        }
        return;
    }
    const unsigned char *image = device_pointer<const unsigned char>(state->pixels) + at;
    for (int i = (int)threadIdx.x; i < pixels; i += (int)blockDim.x) {
        to[i] = from_float<T>((float)image[i] / 255.0f);
    }
}

} // namespace

KERNEL(128) gather_images_f32(const StepState *state, float *x) { gather_images(state, x); }

KERNEL(128) gather_images_bf16(const StepState *state, bfloat16 *x) { gather_images(state, x); }

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
