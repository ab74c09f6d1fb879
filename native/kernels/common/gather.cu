// The first kernel of a step: over a dataset, or over images of a caller, uint8 or f32. One block per sample.
#include "gather_augment.cuh"
#include "last_block.cuh"

template <typename T> struct GatherSamples {
    StepState *state;
    T *x;
    Gathering gathering;
};

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

constexpr int pixels = Picture::side * Picture::side;

DEVICE_INLINE float pixel_value(float pixel) { return pixel; }
DEVICE_INLINE float pixel_value(unsigned char pixel) { return (float)pixel / 255.0f; }

// For a prediction, pixels as they are.
template <typename T, typename Pixel> DEVICE_INLINE void copy_image(const Pixel *image, T *to) {
    for (int i = (int)threadIdx.x; i < pixels; i += (int)blockDim.x) {
        to[i] = from_float<T>(pixel_value(image[i]));
    }
}

template <typename T> DEVICE_INLINE void gather_augment(const GatherSamples<T> &p) {
    __shared__ float memory[Picture::elements];
    const Picture picture{memory};
    T *to = p.x + (long long)blockIdx.x * pixels;
    if (p.gathering.trains) {
        picture.clear();
        __syncthreads();
        gather_augment(p.state, (int)blockIdx.x, p.gathering, picture,
                       [&](int h, int w, float value) { to[h * Picture::side + w] = from_float<T>(value); });
    } else {
        const int row = dataset_row(p.state, p.state->next, (int)blockIdx.x);
        copy_image(device_pointer<const unsigned char>(p.state->pixels) + (long long)row * pixels, to);
    }
    if (is_last_block(&p.state->arrived) && threadIdx.x == 0) {
        move_on(p.state, (int)gridDim.x, p.gathering);
    }
}

// Where the step has more samples than there are images, the last image again.
template <typename T> DEVICE_INLINE void gather_images(const GatherImages<T> &p) {
    const unsigned n = blockIdx.x, last = p.state->rows - 1;
    const long long at = (long long)(n < last ? n : last) * p.state->stride;
    T *to = p.x + (long long)n * pixels;
    if (p.state->float_pixels) {
        copy_image(device_pointer<const float>(p.state->pixels) + at, to);
    } else {
        copy_image(device_pointer<const unsigned char>(p.state->pixels) + at, to);
    }
}

KERNELS(gather_augment, GatherSamples, 128)
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
