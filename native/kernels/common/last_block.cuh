// How a kernel adds up what its blocks have left without another launch: the last block to end does it, always in the same order, so that
// the bits do not depend on which one that is.
#pragma once

#include "device.cuh"

// Whether all other blocks of the launch were here: what they wrote before can be read. To be asked by every thread. arrived: how many were
// here, 0 before a launch and after it.
DEVICE_INLINE bool is_last_block(unsigned *arrived) {
    __shared__ bool is_last;
    __syncthreads();
    if (threadIdx.x == 0) {
        is_last = count_on(arrived, gridDim.x - 1) == gridDim.x - 1;
    }
    __syncthreads();
    return is_last;
}
