// The warps of the software CUDA device: what tensor-core instructions compute there, and what breaks the rules.
#include "device.h"
#include "tensor_core.cuh"

#include <cmath>
#include <cstdio>
#include <vector>

namespace {

int failures = 0;

void expect(bool holds, const char *what) {
    std::printf("%s: %s\n", holds ? "holds " : "BROKEN", what);
    failures += !holds;
}

bool run(const std::function<void()> &body, unsigned threads = 32, unsigned shared = 0) {
    return softcuda::run_kernel(body, {1, 1, 1}, {threads, 1, 1}, shared);
}

bfloat16 number(int i) { return from_float<bfloat16>((float)(i % 7 - 3)); }

} // namespace

int main() {
    // A (16×16) and B (16×8) row by row, C = A · B: as fragments loaded from memory, B transposed on the way.
    alignas(16) static bfloat16 a[16][16], b[16][8];
    float expected[16][8] = {}, k16[16][8], k8[16][8];
    for (int i = 0; i < 16; ++i) {
        for (int j = 0; j < 16; ++j) {
            a[i][j] = number(3 * i + 5 * j);
        }
        for (int j = 0; j < 8; ++j) {
            b[i][j] = number(2 * i + 3 * j + i * j);
        }
    }
    for (int i = 0; i < 128; ++i) {
        for (int k = 0; k < 16; ++k) {
            expected[i / 8][i % 8] += to_float(a[i / 8][k]) * to_float(b[k][i % 8]);
        }
    }
    const bool ran = run([&] {
        const unsigned lane = threadIdx.x, g = lane / 4, t = lane % 4, matrix = lane / 8, row = lane % 8;
        unsigned left[4], right[2];
        load_matrices(left, &a[row + 8 * (matrix % 2)][8 * (matrix / 2)]);
        load_matrices_transposed(right, b[lane % 16]);
        float whole[4] = {}, halves[4] = {};
        multiply_accumulate_k16(whole, left, right);
        const unsigned first[2] = {left[0], left[1]}, second[2] = {left[2], left[3]};
        multiply_accumulate_k8(halves, first, right[0]);
        multiply_accumulate_k8(halves, second, right[1]);
        for (unsigned i = 0; i < 4; ++i) {
            k16[g + 8 * (i / 2)][2 * t + i % 2] = whole[i];
            k8[g + 8 * (i / 2)][2 * t + i % 2] = halves[i];
        }
    });
    bool same = ran;
    for (int i = 0; i < 128; ++i) {
        same = same && k16[i / 8][i % 8] == expected[i / 8][i % 8] && k8[i / 8][i % 8] == expected[i / 8][i % 8];
    }
    expect(same, "fragments multiply as the matrices they are loaded from");

    bool transposed = true, exchanged = true;
    run([&] {
        const unsigned g = threadIdx.x / 4, t = threadIdx.x % 4;
        const unsigned pair = transpose_matrix((8 * g + 2 * t) | (8 * g + 2 * t + 1) << 16);
        transposed = transposed && pair == ((8 * 2 * t + g) | (8 * (2 * t + 1) + g) << 16);
        exchanged = exchanged && shuffle_xor((float)threadIdx.x, 12) == (float)(threadIdx.x ^ 12);
    });
    expect(transposed && exchanged, "matrices turn and lanes exchange");

    bool early = false, late = false;
    run(
        [&] {
            bfloat16 *shared = reinterpret_cast<bfloat16 *>(dynamic_shared_memory) + 8 * threadIdx.x;
            copy_async(shared, a[threadIdx.x % 16]);
            early = early || shared[0].bits == a[threadIdx.x % 16][0].bits;
            wait_for_copies();
            late = shared[0].bits == a[threadIdx.x % 16][0].bits;
        },
        32, 512);
    expect(!early && late, "an asynchronous copy is there after the wait, and not before");

    expect(!run([] { transpose_matrix(0); }, 16), "a warp that is not whole cannot run its instructions");
    expect(!run([] { threadIdx.x < 8 ? (void)transpose_matrix(0) : (void)shuffle_xor(0, 1); }),
           "lanes at different instructions are seen");
    expect(!run(
               [] {
                   if (threadIdx.x < 32) {
                       __syncthreads();
                   }
               },
               64),
           "a barrier that some threads miss is seen");
    expect(run([] { transpose_matrix(0); }, 64), "and then everything runs again");
    std::printf("%d failures\n", failures);
    return failures != 0;
}
