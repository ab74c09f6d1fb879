// Philox4x32-10, counter-based random numbers: the same words as src/CudnnDigits/Numerics/Philox.cs draws, so that a GPU and a CPU augment
// and drop alike. Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
//
// Key = (low, high half of the seed); counter = (word index / 4, sample, epoch, purpose).
#pragma once

#include "device.cuh"

struct PhiloxBlock {
    unsigned x, y, z, w;
};

// Of dropout, plus which of the network's dropout layers it is: RandomPurpose in Philox.cs.
constexpr unsigned dropout_purpose = 16;

// Blocks of words from the first one on. Two rounds are unrolled: ten take five times the lines, and little less time.
template <int Count>
DEVICE_INLINE void philox_blocks(PhiloxBlock (&blocks)[Count], unsigned long long seed, unsigned first, unsigned sample, unsigned epoch,
                                 unsigned purpose) {
#pragma unroll
    for (int i = 0; i < Count; ++i) {
        blocks[i] = {first + (unsigned)i, sample, epoch, purpose};
    }
    unsigned k0 = (unsigned)seed, k1 = (unsigned)(seed >> 32);
#pragma unroll 2
    for (int round = 0; round < 10; ++round) {
#pragma unroll
        for (int i = 0; i < Count; ++i) {
            PhiloxBlock &c = blocks[i];
            unsigned low0, high0, low1, high1; // not as products of 64 bits, whose upper halves clang would carry along
            multiply_wide<0xD2511F53u>(c.x, low0, high0);
            multiply_wide<0xCD9E8D57u>(c.z, low1, high1);
            c = {high1 ^ c.y ^ k0, low1, high0 ^ c.w ^ k1, low0};
        }
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}

DEVICE_INLINE PhiloxBlock philox_block(unsigned long long seed, unsigned block, unsigned sample, unsigned epoch, unsigned purpose) {
    PhiloxBlock blocks[1];
    philox_blocks(blocks, seed, block, sample, epoch, purpose);
    return blocks[0];
}

// Upper 24 bits, in [0, 1): every value is exact in float.
DEVICE_INLINE float philox_uniform(unsigned word) { return (float)(word >> 8) * (1.0f / (1 << 24)); }
