// The number formats of activations, and the few functions a kernel needs of libm. Each is a short series from arithmetic that every
// compiler rounds alike; clang without an SDK has no libm for the device.
#pragma once

#include "device.cuh"

// bfloat16: the upper half of a float. Widened and narrowed by integer operations, so that the PTX runs on GPUs that have no such
// instructions.
struct bfloat16 {
    unsigned short bits;
};

DEVICE_INLINE float to_float(float x) { return x; }
DEVICE_INLINE float to_float(bfloat16 x) { return bits_float((unsigned)x.bits << 16); }

template <typename T> DEVICE_INLINE T from_float(float x);
template <> DEVICE_INLINE float from_float<float>(float x) { return x; }
template <> DEVICE_INLINE bfloat16 from_float<bfloat16>(float x) {
    const unsigned u = float_bits(x), rounded = u + 0x7FFFu + ((u >> 16) & 1u); // to nearest, ties to even
    return {(unsigned short)((x != x ? u | 0x400000u : rounded) >> 16)}; // NaN stays NaN
}

// Four neighbours at a time, as one load or store of 16 or 8 bytes.
template <typename T> struct alignas(4 * sizeof(T)) Four { T v[4]; };

// The nearest integer, |x| < 2^22: adding 1.5 · 2^23 leaves no bits for a fraction.
DEVICE_INLINE float nearest(float x) { return (x + 12582912.0f) - 12582912.0f; }

// The first coefficient is that of the highest power.
template <int N> DEVICE_INLINE float polynomial(float x, const float (&coefficients)[N]) {
    float sum = coefficients[0];
    for (int i = 1; i < N; ++i) {
        sum = fused_multiply_add(sum, x, coefficients[i]);
    }
    return sum;
}

// e^x for x <= 0, as softmax needs it: 2^n · e^r with |r| <= ln 2 / 2, Taylor to r^7 (next term below 6e-9).
DEVICE_INLINE float exp_nonpositive(float x) {
    if (!(x > -87.0f)) {
        return x < 0 ? 0.0f : x; // below the smallest normal number; NaN stays NaN
    }
    const float n = nearest(x * 1.44269504f);
    float r = fused_multiply_add(n, -0.693145752f, x); // ln 2 in two parts, the first exact in 16 bits
    r = fused_multiply_add(n, -1.42860677e-6f, r);
    const float power = polynomial(r, {1.0f / 5040, 1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f});
    return power * bits_float((unsigned)((int)n + 127) << 23);
}

// ln x for normal x > 0: e · ln 2 + 2 artanh((m − 1) / (m + 1)) with m between 1/√2 and √2, to s^9 (next term below 1e-9).
DEVICE_INLINE float log_positive(float x) {
    const unsigned u = float_bits(x);
    int exponent = (int)(u >> 23) - 127;
    float m = bits_float((u & 0x007FFFFFu) | 0x3F800000u);
    if (m > 1.41421356f) {
        m *= 0.5f;
        ++exponent;
    }
    const float s = (m - 1) / (m + 1), z = s * s;
    const float log_m = fused_multiply_add(2 * s * z, polynomial(z, {1.0f / 9, 1.0f / 7, 1.0f / 5, 1.0f / 3}), 2 * s);
    return fused_multiply_add((float)exponent, 0.693147181f, log_m);
}

// Sine and cosine for |x| <= 4: a quarter turn at a time, Taylor to r^11 and r^10 on |r| <= π/4 (next terms below 3e-8).
DEVICE_INLINE void sin_cos(float x, float *sine, float *cosine) {
    const float quarter = nearest(x * 0.636619772f);
    float r = fused_multiply_add(quarter, -1.5703125f, x); // π/2 in two parts, the first exact in 8 bits
    r = fused_multiply_add(quarter, -4.83826794e-4f, r);
    const float z = r * r;
    const float odd = polynomial(z, {-1.0f / 39916800, 1.0f / 362880, -1.0f / 5040, 1.0f / 120, -1.0f / 6});
    const float s = fused_multiply_add(odd * z, r, r);
    const float c = polynomial(z, {-1.0f / 3628800, 1.0f / 40320, -1.0f / 720, 1.0f / 24, -0.5f, 1.0f});
    const int turn = (int)quarter & 3;
    const float a = turn & 1 ? c : s, b = turn & 1 ? s : c;
    *sine = turn & 2 ? -a : a;
    *cosine = (turn + 1) & 2 ? -b : b;
}
