// The warp-wide instructions of native/kernels/tensor_core.cuh, as the PTX ISA defines their fragments.
#include "warp.h"
#include "tensor_core.cuh"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace {

struct Multiply {
    float *d;
    const unsigned *a, *b;
};

struct Load {
    unsigned *to;
    const bfloat16 *row;
};

// Sixteen bytes at an address that is no multiple of sixteen are an error on a GPU.
void require_aligned(const void *p, const char *instruction) {
    if (reinterpret_cast<uintptr_t>(p) % 16 != 0) {
        std::fprintf(stderr, "softcuda: %s: the address is not aligned\n", instruction);
        std::abort(); // a fiber cannot be unwound
    }
}

float low(unsigned pair) { return bits_float(pair << 16); }
float high(unsigned pair) { return bits_float(pair & 0xFFFF0000u); }

// D (16×8) += A (16×K) · B (K×8); lane 4 g + t holds rows g and g + 8 of A and D, column g of B, two neighbours at a
// time.
template <int K> void multiply(void **lanes) {
    float a[16][K], b[K][8], d[16][8];
    for (unsigned lane = 0; lane < warp_lanes; ++lane) {
        const Multiply &m = *static_cast<Multiply *>(lanes[lane]);
        const unsigned g = lane / 4, t = lane % 4;
        for (unsigned half = 0; half < K / 8; ++half) {
            const unsigned k = 8 * half + 2 * t;
            a[g][k] = low(m.a[2 * half]);
            a[g][k + 1] = high(m.a[2 * half]);
            a[g + 8][k] = low(m.a[2 * half + 1]);
            a[g + 8][k + 1] = high(m.a[2 * half + 1]);
            b[k][g] = low(m.b[half]);
            b[k + 1][g] = high(m.b[half]);
        }
        d[g][2 * t] = m.d[0];
        d[g][2 * t + 1] = m.d[1];
        d[g + 8][2 * t] = m.d[2];
        d[g + 8][2 * t + 1] = m.d[3];
    }
    for (int row = 0; row < 16; ++row) {
        for (int k = 0; k < K; ++k) {
            for (int column = 0; column < 8; ++column) {
                d[row][column] += a[row][k] * b[k][column];
            }
        }
    }
    for (unsigned lane = 0; lane < warp_lanes; ++lane) {
        float *to = static_cast<Multiply *>(lanes[lane])->d;
        const unsigned g = lane / 4, t = lane % 4;
        to[0] = d[g][2 * t];
        to[1] = d[g][2 * t + 1];
        to[2] = d[g + 8][2 * t];
        to[3] = d[g + 8][2 * t + 1];
    }
}

// Matrix i has its eight rows at the addresses of lanes 8 i … 8 i + 7.
template <int Matrices, bool Transposed> void load(void **lanes) {
    for (int i = 0; i < Matrices; ++i) {
        unsigned short matrix[8][8];
        for (int row = 0; row < 8; ++row) {
            const bfloat16 *from = static_cast<Load *>(lanes[8 * i + row])->row;
            require_aligned(from, "ldmatrix");
            std::memcpy(matrix[row], from, sizeof matrix[row]);
        }
        for (unsigned lane = 0; lane < warp_lanes; ++lane) {
            const unsigned g = lane / 4, t = lane % 4;
            const unsigned short first = Transposed ? matrix[2 * t][g] : matrix[g][2 * t];
            const unsigned short second = Transposed ? matrix[2 * t + 1][g] : matrix[g][2 * t + 1];
            static_cast<Load *>(lanes[lane])->to[i] = first | (unsigned)second << 16;
        }
    }
}

void transpose(void **lanes) {
    unsigned before[warp_lanes];
    for (unsigned lane = 0; lane < warp_lanes; ++lane) {
        before[lane] = *static_cast<unsigned *>(lanes[lane]);
    }
    auto element = [&](unsigned row, unsigned column) {
        return before[4 * row + column / 2] >> (column % 2 * 16) & 0xFFFFu;
    };
    for (unsigned lane = 0; lane < warp_lanes; ++lane) {
        const unsigned g = lane / 4, t = lane % 4;
        *static_cast<unsigned *>(lanes[lane]) = element(2 * t, g) | element(2 * t + 1, g) << 16;
    }
}

struct Exchange {
    float value;
    int mask;
};

void exchange(void **lanes) {
    float before[warp_lanes];
    for (unsigned lane = 0; lane < warp_lanes; ++lane) {
        before[lane] = static_cast<Exchange *>(lanes[lane])->value;
    }
    for (unsigned lane = 0; lane < warp_lanes; ++lane) {
        Exchange &to = *static_cast<Exchange *>(lanes[lane]);
        to.value = before[lane ^ (unsigned)to.mask];
    }
}

} // namespace

void multiply_accumulate_k16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    Multiply mine = {d, a, b};
    warp_collective(&mine, multiply<16>);
}

void multiply_accumulate_k8(float (&d)[4], const unsigned (&a)[2], unsigned b) {
    Multiply mine = {d, a, &b};
    warp_collective(&mine, multiply<8>);
}

void load_matrices(unsigned (&to)[4], const bfloat16 *row) {
    Load mine = {to, row};
    warp_collective(&mine, load<4, false>);
}

void load_matrices_transposed(unsigned (&to)[4], const bfloat16 *row) {
    Load mine = {to, row};
    warp_collective(&mine, load<4, true>);
}

void load_matrices_transposed(unsigned (&to)[2], const bfloat16 *row) {
    Load mine = {to, row};
    warp_collective(&mine, load<2, true>);
}

unsigned transpose_matrix(unsigned pair) {
    warp_collective(&pair, transpose);
    return pair;
}

float shuffle_xor(float value, int mask) {
    Exchange mine = {value, mask};
    warp_collective(&mine, exchange);
    return mine.value;
}

// Copies happen when their thread waits and no sooner, so that a missing wait shows.
namespace {

struct Copy {
    bfloat16 *to;
    const bfloat16 *from;
};

std::vector<Copy> &copies_of_thread() {
    thread_local std::vector<std::vector<Copy>> copies;
    const unsigned thread = thread_of_block();
    if (copies.size() <= thread) {
        copies.resize(thread + 1);
    }
    return copies[thread];
}

} // namespace

void copy_async(bfloat16 *shared, const bfloat16 *global) {
    require_aligned(shared, "cp.async");
    require_aligned(global, "cp.async");
    copies_of_thread().push_back({shared, global});
}

void wait_for_copies() {
    for (const Copy &copy : copies_of_thread()) {
        std::memcpy(copy.to, copy.from, 16);
    }
    copies_of_thread().clear();
}
