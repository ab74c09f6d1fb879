// The first kernel of a step over a dataset: uint8 pixels of its samples to the network's input, pixel/255, rotated,
// shifted and zoomed on the way; and the step's state moves on. One block per sample; each thread makes every 128th
// pixel.
#include "last_block.cuh"
#include "numbers.cuh"
#include "philox.cuh"
#include "step_state.cuh"

namespace {

constexpr int side = 28;
constexpr unsigned augmentation_purpose = 4;

DEVICE_INLINE float signed_uniform(unsigned word) { return 2 * philox_uniform(word) - 1; }

// 0 outside the picture.
DEVICE_INLINE float pixel_at(const unsigned char *image, int row, int column) {
    const bool inside = (unsigned)row < (unsigned)side && (unsigned)column < (unsigned)side;
    return inside ? (float)image[row * side + column] / 255.0f : 0.0f;
}

DEVICE_INLINE float clamped(float at) { return at < -1.0f ? -1.0f : at > (float)side ? (float)side : at; }

// β^t by repeated squaring: a function of t alone, so that a resumed run has the same bits.
DEVICE_INLINE double power(double base, unsigned long long t) {
    double result = 1;
    for (; t > 0; t >>= 1, base *= base) {
        result = t & 1 ? result * base : result;
    }
    return result;
}

// Adam's step, its learning rate and bias corrections.
DEVICE_INLINE void begin_training(StepState *state, int n, double weight_decay) {
    const double rate = device_pointer<const float>(state->learning_rates)[state->step];
    const unsigned long long t = ++state->adam_step;
    state->step_size = (float)(-rate / (1 - power(0.9, t)));
    state->root_scale = (float)(1 / square_root(1 - power(0.999, t)));
    state->weight_scale = (float)(1 - rate * weight_decay);
    state->step += 1;
    state->samples += (unsigned)n;
}

// What a step is to do beside predicting.
struct Gathering {
    unsigned trains;
    float rotate_radians, shift_pixels, zoom;
    double weight_decay;
    unsigned long long seed;
};

// The map and the sampling are those of AugmentationSpec.Draw and Cpu/GatherAugment.
template <typename T> DEVICE_INLINE void gather_augment(const StepState *state, T *x, const Gathering &gathering) {
    const int n = (int)blockIdx.x, row = dataset_row(state, state->next, n);
    const unsigned char *image = device_pointer<const unsigned char>(state->pixels) + (long long)row * side * side;
    T *to = x + (long long)n * side * side;
    if (gathering.rotate_radians == 0 && gathering.shift_pixels == 0 && gathering.zoom == 0) {
        for (int i = (int)threadIdx.x; i < side * side; i += (int)blockDim.x) {
            to[i] = from_float<T>((float)image[i] / 255.0f);
        }
        return;
    }

    const PhiloxBlock words = philox_block(gathering.seed, 0, (unsigned)row, state->epoch, augmentation_purpose);
    float sine, cosine;
    sin_cos(signed_uniform(words.x) * gathering.rotate_radians, &sine, &cosine);
    const float scale = 1 / (1 + signed_uniform(words.w) * gathering.zoom);
    const float xx = cosine * scale, xy = sine * scale, centre = (side - 1) / 2.0f;
    const float from_x = centre + signed_uniform(words.y) * gathering.shift_pixels;
    const float from_y = centre + signed_uniform(words.z) * gathering.shift_pixels;
    const float x0 = centre - xx * from_x - xy * from_y, y0 = centre + xy * from_x - xx * from_y;
    for (int i = (int)threadIdx.x; i < side * side; i += (int)blockDim.x) {
        const float h = (float)(i / side), w = (float)(i % side);
        const float u = clamped(xx * w + xy * h + x0) + 1, v = clamped(-xy * w + xx * h + y0) + 1;
        const int column = (int)u, line = (int)v; // u, v >= 0: truncation is floor
        const float right = u - (float)column, down = v - (float)line;
        const float a = pixel_at(image, line - 1, column - 1), b = pixel_at(image, line - 1, column);
        const float c = pixel_at(image, line, column - 1), d = pixel_at(image, line, column);
        const float above = a + right * (b - a), below = c + right * (d - c);
        to[i] = from_float<T>(above + down * (below - above));
    }
}

template <typename T> DEVICE_INLINE void begin_step(StepState *state, T *x, const Gathering &gathering) {
    gather_augment(state, x, gathering);
    if (is_last_block(&state->arrived) && threadIdx.x == 0) { // all others have read where the step begins
        const int n = (int)gridDim.x;
        if (gathering.trains) {
            begin_training(state, n, gathering.weight_decay);
        }
        state->first = state->next;
        state->next += (unsigned)n;
    }
}

} // namespace

KERNEL(128) gather_augment_f32(StepState *state, float *x, Gathering gathering) { begin_step(state, x, gathering); }

KERNEL(128) gather_augment_bf16(StepState *state, bfloat16 *x, Gathering gathering) { begin_step(state, x, gathering); }
