// Activations, and the weights that meet them, as they are stored: float32, or bfloat16 where the switch bf16 is chosen.
#pragma once

#include "numbers.cuh"

// Whether that is so: the driver's compiler knows, and leaves out what is for the other type.
DEVICE_INLINE bool is_bf16() {
    unsigned chosen; // volatile: the compiler of this text must not make two loops of one
    asm volatile("mov.u32 %0, 0; //@bf16 mov.u32 %0, 1;" : "=r"(chosen));
    return chosen != 0;
}

DEVICE_INLINE float load_stored(const void *from, long long i) {
    return is_bf16() ? to_float(static_cast<const bfloat16 *>(from)[i]) : static_cast<const float *>(from)[i];
}

DEVICE_INLINE void store(void *to, long long i, float value) {
    if (is_bf16()) {
        static_cast<bfloat16 *>(to)[i] = from_float<bfloat16>(value);
    } else {
        static_cast<float *>(to)[i] = value;
    }
}
