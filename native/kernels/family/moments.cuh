// The moments of the windows of the input: sums over all windows of p_j · p_k, where p_0, p_1 … are what the taps of the first convolution
// see, and the one after them is 1. The mean and variance of whatever a convolution from one channel makes follow from them.
#pragma once

#include "../common/device.cuh"

struct Moments {
    static constexpr int most_taps = 25;

    // Where the sum of p_j · p_k lies, whatever the window.
    DEVICE_INLINE static constexpr int at(int j, int k) { return j < k ? at(k, j) : j * (j + 1) / 2 + k; }

    // How many there are, rounded up to fours: at the end may be one that means nothing.
    DEVICE_INLINE static constexpr int count(int taps) { return (at(taps, taps) + 4) / 4 * 4; }
};
