// The first kernel of a step over a dataset. One block per sample.
#include "gather_augment.cuh"
#include "last_block.cuh"

template <typename T> struct GatherSamples {
    StepState *state;
    T *x;
    Gathering gathering;
};

namespace {

// For a prediction, pixels as they are.
template <typename T> DEVICE_INLINE void gather(const StepState *state, T *to) {
    constexpr int pixels = Picture::side * Picture::side;
    const unsigned char *image =
        device_pointer<const unsigned char>(state->pixels) + (long long)dataset_row(state, state->next, (int)blockIdx.x) * pixels;
    for (int i = (int)threadIdx.x; i < pixels; i += (int)blockDim.x) {
        to[i] = from_float<T>((float)image[i] / 255.0f);
    }
}

template <typename T> DEVICE_INLINE void gather_augment(const GatherSamples<T> &p) {
    __shared__ float memory[Picture::elements];
    const Picture picture{memory};
    T *to = p.x + (long long)blockIdx.x * (Picture::side * Picture::side);
    if (p.gathering.trains) {
        picture.clear();
        __syncthreads();
        gather_augment(p.state, (int)blockIdx.x, p.gathering, picture,
                       [&](int h, int w, float value) { to[h * Picture::side + w] = from_float<T>(value); });
    } else {
        gather(p.state, to);
    }
    if (is_last_block(&p.state->arrived) && threadIdx.x == 0) {
        move_on(p.state, (int)gridDim.x, p.gathering);
    }
}

} // namespace

KERNELS(gather_augment, GatherSamples, 128)
