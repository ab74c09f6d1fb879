// The threads of a block as warps of 32 lanes.
#pragma once

#include "device.cuh"

DEVICE_INLINE int lane() { return (int)threadIdx.x & 31; }
DEVICE_INLINE int warp() { return (int)threadIdx.x >> 5; }

// The value of the lane whose number differs in the bits of mask. All 32 lanes call together.
DEVICE_INLINE float shuffle_xor(float value, int mask) {
    unsigned other;
    asm volatile("shfl.sync.bfly.b32 %0, %1, %2, 0x1f, 0xffffffff;" : "=r"(other) : "r"(float_bits(value)), "r"(mask));
    return bits_float(other);
}

// The value of one lane. All 32 lanes call together.
DEVICE_INLINE unsigned shuffle_from(unsigned value, int source) {
    unsigned other;
    asm volatile("shfl.sync.idx.b32 %0, %1, %2, 0x1f, 0xffffffff;" : "=r"(other) : "r"(value), "r"(source));
    return other;
}

DEVICE_INLINE float shuffle_from(float value, int source) { return bits_float(shuffle_from(float_bits(value), source)); }
