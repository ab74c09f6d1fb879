// Sums of columns by blocks of 32 of them and 8 groups of rows; a warp is a group.
#pragma once

#include "warp.cuh"

constexpr int lanes = 32, groups = 8;

// In the first group, the sum of those of all groups.
template <typename Sum> DEVICE_INLINE Sum sum_of_groups(Sum sum) {
    __shared__ Sum partial[groups][lanes];
    partial[warp()][lane()] = sum;
    __syncthreads();
    for (int group = 1; warp() == 0 && group < groups; ++group) {
        sum += partial[group][lane()];
    }
    return sum;
}

// The sum of a group's rows of a column of (rows, columns). The lane's column need not exist. So many rows are on their way before the
// first is waited for: for that is the barrier.
template <int AtOnce> DEVICE_INLINE double sum_of_rows(const float *x, int rows, int columns, int column) {
    double sum = 0;
#pragma unroll 1
    for (int first = 0; first < rows; first += AtOnce * groups) {
        float values[AtOnce];
#pragma unroll
        for (int k = 0; k < AtOnce; ++k) { // none on a condition, which would part them
            const int row = smaller(first + warp() + k * groups, rows - 1);
            values[k] = x[(unsigned)row * (unsigned)columns + (unsigned)smaller(column, columns - 1)];
        }
        __syncthreads();
#pragma unroll
        for (int k = 0; k < AtOnce; ++k) {
            sum += first + warp() + k * groups < rows ? values[k] : 0.0f;
        }
    }
    return sum;
}
