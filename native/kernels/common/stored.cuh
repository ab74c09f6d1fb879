// Activations, and the weights that meet them, as they are stored: float32, or bfloat16 where the switch bf16 is chosen.
#pragma once

#include "numbers.cuh"

// Whether that is so: the driver's compiler knows, and leaves out what is for the other type.
DEVICE_INLINE bool is_bf16() {
    unsigned chosen;
    asm("mov.u32 %0, 0; //@bf16 mov.u32 %0, 1;" : "=r"(chosen));
    return chosen != 0;
}

// Element i of what is stored so. Both types have one address, rather than one each.
DEVICE_INLINE const void *place_of(const void *from, long long i, bool bf16) {
    return static_cast<const char *>(from) + (i << (bf16 ? 1 : 2));
}
DEVICE_INLINE void *place_of(void *from, long long i, bool bf16) { return static_cast<char *>(from) + (i << (bf16 ? 1 : 2)); }

DEVICE_INLINE float load_stored(const void *from, long long i, bool bf16) {
    const void *at = place_of(from, i, bf16);
    return bf16 ? to_float(*static_cast<const bfloat16 *>(at)) : *static_cast<const float *>(at);
}

DEVICE_INLINE void store(void *to, long long i, float value, bool bf16) {
    void *at = place_of(to, i, bf16);
    if (bf16) {
        *static_cast<bfloat16 *>(at) = from_float<bfloat16>(value);
    } else {
        *static_cast<float *>(at) = value;
    }
}

// The same of four neighbours, from a multiple of four on.
DEVICE_INLINE void load_four(const void *from, long long i, bool bf16, float (&to)[4]) {
    const void *at = place_of(from, i, bf16);
    if (bf16) {
        const Four<bfloat16> four = *static_cast<const Four<bfloat16> *>(at);
        to[0] = to_float(four.v[0]), to[1] = to_float(four.v[1]), to[2] = to_float(four.v[2]), to[3] = to_float(four.v[3]);
    } else {
        const Four<float> four = *static_cast<const Four<float> *>(at);
        to[0] = four.v[0], to[1] = four.v[1], to[2] = four.v[2], to[3] = four.v[3];
    }
}

DEVICE_INLINE void store_four(void *to, long long i, bool bf16, const float (&from)[4]) {
    void *at = place_of(to, i, bf16);
    if (bf16) {
        *static_cast<Four<bfloat16> *>(at) = {from_float<bfloat16>(from[0]), from_float<bfloat16>(from[1]), from_float<bfloat16>(from[2]),
                                              from_float<bfloat16>(from[3])};
    } else {
        *static_cast<Four<float> *>(at) = {from[0], from[1], from[2], from[3]};
    }
}
