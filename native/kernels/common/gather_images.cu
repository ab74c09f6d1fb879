// Images of a caller, uint8 or f32, to the network's input. One block per sample; each thread makes every 128th pixel. Where the step has
// more samples than there are images, the last image again.
#include "numbers.cuh"
#include "step_state.cuh"

// What each kernel is launched with, by value. The struct of the same name in src/CudnnDigits/Cuda has the same fields in the same order.
template <typename T> struct GatherImages {
    const StepState *state;
    T *x;
};

struct BeginImageStep {
    StepState *state;
    unsigned long long images;
    long long stride;
    unsigned float_pixels;
    unsigned long long logits;
    unsigned rows;
};

namespace {

template <typename T> DEVICE_INLINE void gather_images(const GatherImages<T> &p) {
    constexpr int pixels = 28 * 28;
    const unsigned n = blockIdx.x, last = p.state->rows - 1;
    const long long at = (long long)(n < last ? n : last) * p.state->stride;
    T *to = p.x + (long long)n * pixels;
    if (p.state->float_pixels) {
        const float *image = device_pointer<const float>(p.state->pixels) + at;
        for (int i = (int)threadIdx.x; i < pixels; i += (int)blockDim.x) {
            to[i] = from_float<T>(image[i]);
        }
        return;
    }
    const unsigned char *image = device_pointer<const unsigned char>(p.state->pixels) + at;
    for (int i = (int)threadIdx.x; i < pixels; i += (int)blockDim.x) {
        to[i] = from_float<T>((float)image[i] / 255.0f);
    }
}

} // namespace

KERNELS(gather_images, GatherImages, 128)

// A step over images that are not a dataset: (rows, 28, 28) of uint8 or f32 wherever the caller has them. What the step reads comes as
// parameters, which a launch copies, so that the host need not wait before it describes the next.
KERNEL(32) begin_image_step(BeginImageStep p) {
    if (threadIdx.x == 0) {
        p.state->pixels = p.images;
        p.state->stride = p.stride;
        p.state->float_pixels = p.float_pixels;
        p.state->predictions = p.logits;
        p.state->rows = p.rows;
        p.state->first = 0;
    }
}
