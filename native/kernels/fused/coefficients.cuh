// Eight channels at a time, and what batch norm comes to for each channel.
#pragma once

#include "tensor_core.cuh"

constexpr int image_threads = 256, image_warps = 8, taps = 9;

// What batch norm comes to for one layer: f32, 64 places each. Forward, u = scale · y + shift; backward, dY = scale · du + from_y · y +
// constant.
enum Coefficient {
    scale = 0,
    shift = 64,
    from_y = 128,
    constant = 192,
    shared_count = 256, // those that kernels keep in shared memory
    mean = 256,
    inverse_deviation = 320
};

// Eight neighbouring channels of a pixel: one load or store of 16 bytes.
struct alignas(16) Octet {
    unsigned w[4];
};

struct Eight {
    float v[8];
};

struct alignas(16) Four16 {
    float v[4];
};

template <typename T> DEVICE_INLINE Octet load_octet(const T *from) { return *reinterpret_cast<const Octet *>(from); }
DEVICE_INLINE void store_octet(bfloat16 *to, const Octet &octet) { *reinterpret_cast<Octet *>(to) = octet; }

DEVICE_INLINE Eight load_eight(const float *from) {
    const Four16 first = reinterpret_cast<const Four16 *>(from)[0], second = reinterpret_cast<const Four16 *>(from)[1];
    return {{first.v[0], first.v[1], first.v[2], first.v[3], second.v[0], second.v[1], second.v[2], second.v[3]}};
}

struct alignas(8) Two {
    float v[2];
};

DEVICE_INLINE Two load_two(const float *from) { return *reinterpret_cast<const Two *>(from); }

DEVICE_INLINE float element(const Octet &octet, int i) { return i & 1 ? high_half(octet.w[i / 2]) : low_half(octet.w[i / 2]); }

DEVICE_INLINE Octet narrow_relu(const Eight &x) {
    return {{pack_relu(x.v[0], x.v[1]), pack_relu(x.v[2], x.v[3]), pack_relu(x.v[4], x.v[5]), pack_relu(x.v[6], x.v[7])}};
}

// The sign bits of two scales, as of a pair; NaN has none.
DEVICE_INLINE unsigned signs_of(float first, float second) { return (first < 0 ? 0x8000u : 0u) | (second < 0 ? 0x80000000u : 0u); }

DEVICE_INLINE Octet signs_of(const Eight &scales) {
    Octet out;
#pragma unroll
    for (int pair = 0; pair < 4; ++pair) {
        out.w[pair] = signs_of(scales.v[2 * pair], scales.v[2 * pair + 1]);
    }
    return out;
}

// A kernel reads them out of shared memory: registers are for weights and sums. Four places lie between eight channels and the next, so
// that threads which read the same of each find it in different banks.
struct alignas(16) SharedCoefficients {
    static constexpr int apart = 8 + 4;

    float values[shared_count / 8 * apart];
    unsigned signs[32]; // of the scales, as pairs

    DEVICE_INLINE static int place(int which, int channel) {
        return (which / 8 + channel / 8) * apart + channel % 8; // which: a whole number of eights
    }

    template <int Threads = image_threads> DEVICE_INLINE void load(const float *coefficients) {
        for (int i = (int)threadIdx.x; i < shared_count; i += Threads) {
            values[place(0, i)] = coefficients[i];
        }
        if (threadIdx.x < 32) {
            const float *of_pair = coefficients + scale + 2 * threadIdx.x;
            signs[threadIdx.x] = signs_of(of_pair[0], of_pair[1]);
        }
    }

    DEVICE_INLINE const float *at(Coefficient which, int channel) const { return values + place(which, channel); }
    DEVICE_INLINE float of(Coefficient which, int channel) const { return *at(which, channel); }
    DEVICE_INLINE Two of_two(Coefficient which, int channel) const { return load_two(at(which, channel)); }
    DEVICE_INLINE Eight of_octet(Coefficient which, int octet) const { return load_eight(at(which, 8 * octet)); }
    DEVICE_INLINE Octet signs_of_octet(int octet) const { return load_octet(signs + 4 * octet); }
};
