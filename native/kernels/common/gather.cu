// The first kernel of a step: over a dataset, or over images of a caller, uint8 or f32. One block per sample.
#include "gather_augment.cuh"
#include "last_block.cuh"
#include "stored.cuh"

struct GatherSamples {
    StepState *state;
    void *x;
    Gathering gathering;
};

struct GatherImages {
    const StepState *state;
    void *x;
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

// For a prediction, pixels of an image as they are, from its first one's address on: uint8 or f32.
DEVICE_INLINE void copy_image(unsigned long long image, bool is_float, void *x, bool bf16) {
    for (int i = (int)threadIdx.x; i < pixels; i += (int)blockDim.x) {
        const float pixel = is_float ? device_pointer<const float>(image)[i] : device_pointer<const unsigned char>(image)[i] / 255.0f;
        store(x, (long long)blockIdx.x * pixels + i, pixel, bf16);
    }
}

KERNEL(128) gather_augment(GatherSamples p) {
    const bool bf16 = is_bf16();
    __shared__ float memory[Picture::elements];
    const Picture picture{memory};
    if (p.gathering.trains) {
        picture.clear();
        __syncthreads();
        augment(p.state, (int)blockIdx.x, p.gathering, picture,
                [&](int h, int w, float value) { store(p.x, (long long)blockIdx.x * pixels + h * Picture::side + w, value, bf16); });
    } else {
        const int row = dataset_row(p.state, p.state->next, (int)blockIdx.x);
        copy_image(p.state->pixels + (unsigned long long)row * pixels, false, p.x, bf16);
    }
    if (is_last_block(&p.state->arrived) && threadIdx.x == 0) {
        move_on(p.state, (int)gridDim.x, p.gathering);
    }
}

// Where the step has more samples than there are images, the last image again.
KERNEL(128) gather_images(GatherImages p) {
    const unsigned n = blockIdx.x, last = p.state->rows - 1;
    const bool is_float = p.state->float_pixels;
    const unsigned long long at = (unsigned long long)(n < last ? n : last) * (unsigned long long)p.state->stride;
    copy_image(p.state->pixels + (is_float ? sizeof(float) * at : at), is_float, p.x, is_bf16());
}

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
