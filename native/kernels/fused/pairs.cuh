// Two neighbouring bfloat16 in one register, the first in the lower half (sm_90 and newer).
#pragma once

#include "../common/numbers.cuh"

DEVICE_INLINE float low_half(unsigned pair) { return bits_float(pair << 16); }
DEVICE_INLINE float high_half(unsigned pair) { return bits_float(pair & 0xFFFF0000u); }

// Rounded to nearest, ties to even.
DEVICE_INLINE unsigned pack(float first, float second) {
    unsigned pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
    return pair;
}

// max(x, 0), rounded alike; NaN stays.
DEVICE_INLINE unsigned pack_relu(float first, float second) {
    unsigned pair;
    asm("cvt.rn.relu.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
    return pair;
}

// The greater of each; of a number and NaN, the number.
DEVICE_INLINE unsigned greatest(unsigned a, unsigned b) {
    unsigned pair;
    asm("max.bf16x2 %0, %1, %2;" : "=r"(pair) : "r"(a), "r"(b));
    return pair;
}

// 0xFFFF where a > b, else 0.
DEVICE_INLINE unsigned where_greater(unsigned a, unsigned b) {
    unsigned mask;
    asm("set.gt.u32.bf16x2 %0, %1, %2;" : "=r"(mask) : "r"(a), "r"(b));
    return mask;
}

// 0xFFFF where the sign bit is set, else 0.
DEVICE_INLINE unsigned where_signed(unsigned x) {
    unsigned mask;
    asm("prmt.b32 %0, %1, %1, 0xBB99;" : "=r"(mask) : "r"(x)); // the sign of byte 3, twice, and of byte 1, twice
    return mask;
}

// 0xFFFF where x is NaN, else 0.
DEVICE_INLINE unsigned where_nan(unsigned x) {
    unsigned mask;
    asm("set.nan.u32.bf16x2 %0, %1, %1;" : "=r"(mask) : "r"(x));
    return mask;
}
