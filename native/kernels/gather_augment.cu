// uint8 pixels of the step's samples to the network's input, pixel/255, rotated, shifted and zoomed on the way.
// One block per sample; each thread makes every 128th pixel.
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

// The map and the sampling are those of AugmentationSpec.Draw and Cpu/GatherAugment.
template <typename T>
DEVICE_INLINE void gather_augment(const StepState *state, T *x, unsigned long long seed, float rotate_radians,
                                  float shift_pixels, float zoom) {
    const int n = (int)blockIdx.x, row = dataset_row(state, n);
    const unsigned char *image = device_pointer<const unsigned char>(state->pixels) + (long long)row * side * side;
    T *to = x + (long long)n * side * side;
    if (rotate_radians == 0 && shift_pixels == 0 && zoom == 0) {
        for (int i = (int)threadIdx.x; i < side * side; i += (int)blockDim.x) {
            to[i] = from_float<T>((float)image[i] / 255.0f);
        }
        return;
    }

    const PhiloxBlock words = philox_block(seed, 0, (unsigned)row, state->epoch, augmentation_purpose);
    float sine, cosine;
    sin_cos(signed_uniform(words.x) * rotate_radians, &sine, &cosine);
    const float scale = 1 / (1 + signed_uniform(words.w) * zoom);
    const float xx = cosine * scale, xy = sine * scale, centre = (side - 1) / 2.0f;
    const float from_x = centre + signed_uniform(words.y) * shift_pixels;
    const float from_y = centre + signed_uniform(words.z) * shift_pixels;
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

} // namespace

KERNEL(128)
gather_augment_f32(const StepState *state, float *x, unsigned long long seed, float rotate_radians, float shift_pixels,
                   float zoom) {
    gather_augment(state, x, seed, rotate_radians, shift_pixels, zoom);
}

KERNEL(128)
gather_augment_bf16(const StepState *state, bfloat16 *x, unsigned long long seed, float rotate_radians,
                    float shift_pixels, float zoom) {
    gather_augment(state, x, seed, rotate_radians, shift_pixels, zoom);
}
