// The beginning of a step over a dataset: uint8 pixels of its samples to the network's input, pixel/255, rotated, shifted, zoomed and
// distorted on the way; and the step's state moves on. The map and the sampling are those of AugmentationSpec and Cpu/GatherAugment.
#pragma once

#include "numbers.cuh"
#include "philox.cuh"
#include "step_state.cuh"

// What a step is to do beside predicting.
struct Gathering {
    unsigned trains;
    float rotate_radians, shift_pixels, zoom, elastic;
    unsigned long long seed;
};

// From a pixel of the input to where it lies in the picture: (xx · w + xy · h + x0, −xy · w + xx · h + y0).
struct AffineMap {
    float xx, xy, x0, y0;
};

// What elastic distortion adds to where a pixel lies.
struct Displacement {
    float x, y;
};

// A digit in shared memory, pixel/255, with a border of background: 1 before, 2 after, so that any clamped sample stays inside.
struct Picture {
    static constexpr int side = 28, pitch = 32, elements = (side + 3) * pitch;

    float *data;

    DEVICE_INLINE void clear() const {
        for (int i = (int)threadIdx.x; i < elements; i += (int)blockDim.x) {
            data[i] = 0;
        }
    }

    // image: uint8, at a multiple of four bytes.
    DEVICE_INLINE void fill(const unsigned char *image) const {
        constexpr int fours = side / 4;
        for (int i = (int)threadIdx.x; i < side * fours; i += (int)blockDim.x) {
            const unsigned four = reinterpret_cast<const unsigned *>(image)[i];
            float *to = data + (i / fours + 1) * pitch + i % fours * 4 + 1;
#pragma unroll
            for (int k = 0; k < 4; ++k) {
                to[k] = (float)(four >> 8 * k & 255) / 255.0f;
            }
        }
    }

    DEVICE_INLINE static float clamped(float at) { return at < -1.0f ? -1.0f : at > (float)side ? (float)side : at; }

    // What the input has at row h, column w: bilinear. Which product is rounded is said, not left to the compiler.
    DEVICE_INLINE float sample(const AffineMap &map, const Displacement &by, float h, float w) const {
        const float u = clamped(fused_multiply_add(map.xx, w, map.xy * h) + map.x0 + by.x) + 1;
        const float v = clamped(fused_multiply_add(map.xx, h, -map.xy * w) + map.y0 + by.y) + 1;
        const int column = (int)u, row = (int)v; // u, v >= 0: truncation is floor
        const float right = u - (float)column, down = v - (float)row;
        const float *at = data + row * pitch + column;
        const float above = at[0] + right * (at[1] - at[0]);
        const float below = at[pitch] + right * (at[pitch + 1] - at[pitch]);
        return above + down * (below - above);
    }
};

constexpr unsigned augmentation_purpose = 4;

DEVICE_INLINE float signed_uniform(unsigned word) { return 2 * philox_uniform(word) - 1; }

// Where nothing is to be rotated, shifted or zoomed, the map leaves every pixel as it is, to the bit.
DEVICE_INLINE AffineMap affine_map(const Gathering &gathering, const PhiloxBlock &words) {
    float sine, cosine;
    sin_cos(signed_uniform(words.x) * gathering.rotate_radians, &sine, &cosine);
    const float scale = 1 / (1 + signed_uniform(words.w) * gathering.zoom);
    const float xx = cosine * scale, xy = sine * scale, centre = (Picture::side - 1) / 2.0f;
    const float from_x = centre + signed_uniform(words.y) * gathering.shift_pixels;
    const float from_y = centre + signed_uniform(words.z) * gathering.shift_pixels;
    return {xx, xy, centre - xx * from_x - xy * from_y, centre + xy * from_x - xx * from_y};
}

// The grid of elastic distortion in shared memory: 5×5 displacements along x, then as many along y. Between the knots lies Keys' cubic
// convolution (1981, a = -1/2), as in Cpu/GatherAugment.
struct ElasticGrid {
    static constexpr int knots = 5, blocks = (2 * knots * knots + 3) / 4, elements = 4 * blocks;

    float *data;

    // Four displacements.
    DEVICE_INLINE void set(unsigned block, const Gathering &gathering, const PhiloxBlock &words) const {
        float *to = data + 4 * block;
        to[0] = signed_uniform(words.x) * gathering.elastic;
        to[1] = signed_uniform(words.y) * gathering.elastic;
        to[2] = signed_uniform(words.z) * gathering.elastic;
        to[3] = signed_uniform(words.w) * gathering.elastic;
    }

    // Weights of the four knots about a pixel, the first of which is returned; it may be -1.
    DEVICE_INLINE static int weights(int pixel, float *weight) {
        const float at = (float)pixel * ((knots - 1.0f) / (Picture::side - 1));
        const int cell = smaller((int)at, knots - 2);
        const float t = at - (float)cell;
        weight[0] = ((1 - 0.5f * t) * t - 0.5f) * t;
        weight[1] = (1.5f * t - 2.5f) * t * t + 1;
        weight[2] = ((2 - 1.5f * t) * t + 0.5f) * t;
        weight[3] = (0.5f * t - 0.5f) * t * t;
        return cell - 1;
    }

    DEVICE_INLINE static int inside(int knot) { return knot < 0 ? 0 : smaller(knot, knots - 1); }

    DEVICE_INLINE Displacement at(int h, int w) const {
        float down[4], across[4];
        const int above = weights(h, down), left = weights(w, across);
        Displacement sum = {0, 0};
        for (int i = 0; i < 4; ++i) { // outer knots are repeated
            const float *row = data + inside(above + i) * knots;
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                const float weight = down[i] * across[j];
                sum.x += weight * row[inside(left + j)];
                sum.y += weight * row[knots * knots + inside(left + j)];
            }
        }
        return sum;
    }
};

// Sample n of the step that begins, by all threads of a block: each pixel of the input is given to put(i, value). Between clearing the
// picture and this lies a barrier, and so it does between this and the next time.
template <class Put>
DEVICE_INLINE void augment(const StepState *state, int n, const Gathering &gathering, const Picture &picture, const Put &put) {
    __shared__ AffineMap map;
    __shared__ float knots[ElasticGrid::elements];
    const ElasticGrid grid{knots};
    const int row = dataset_row(state, state->next, n);
    picture.fill(device_pointer<const unsigned char>(state->pixels) + (long long)row * (Picture::side * Picture::side));
    const unsigned block = blockDim.x - 1 - threadIdx.x; // of words, by the last threads, which have the least to fill
    if (block <= (gathering.elastic > 0 ? ElasticGrid::blocks : 0)) {
        const PhiloxBlock words = philox_block(gathering.seed, block, (unsigned)row, state->epoch, augmentation_purpose);
        if (block == 0) {
            map = affine_map(gathering, words);
        } else {
            grid.set(block - 1, gathering, words);
        }
    }
    __syncthreads();
    const int w = (int)threadIdx.x % 32; // a warp makes a row: its neighbours lie in different banks
    for (int h = (int)threadIdx.x / 32; h < Picture::side && w < Picture::side; h += (int)blockDim.x / 32) {
        const Displacement by = gathering.elastic > 0 ? grid.at(h, w) : Displacement{0, 0};
        put(h, w, picture.sample(map, by, (float)h, (float)w));
    }
}

// By one thread, once all blocks have read where the step of n samples begins: the step's place in the order.
DEVICE_INLINE void move_on(StepState *state, int n, const Gathering &gathering) {
    if (gathering.trains) {
        state->step += 1;
        state->samples += (unsigned)n;
    }
    state->first = state->next;
    state->next += (unsigned)n;
}
