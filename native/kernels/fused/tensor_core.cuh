// Tensor cores and what feeds them (sm_80 and newer): one function per warp-wide instruction. All 32 lanes call together. Fragments are
// those of the PTX ISA; lane = 4 g + t, g = 0 … 7, t = 0 … 3.
#pragma once

#include "../common/warp.cuh"
#include "pairs.cuh"

DEVICE_INLINE unsigned shared_address(const void *p) {
#if defined(__CUDACC__)
    return (unsigned)__cvta_generic_to_shared(p);
#else
    return (unsigned)(unsigned long long)(__attribute__((address_space(3))) const void *)p;
#endif
}

// D (16×8) += A (16×16) · B (16×8). a: rows g and g + 8 at columns 2t, then both at columns 2t + 8; b: column g at rows 2t and 2t + 8; d:
// row g at columns 2t and 2t + 1, then row g + 8.
DEVICE_INLINE void multiply_accumulate_k16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// D (16×8) += A (16×8) · B (8×8).
DEVICE_INLINE void multiply_accumulate_k8(float (&d)[4], const unsigned (&a)[2], unsigned b) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(b));
}

// Four 8×8 matrices from shared memory; lane 8 i + j points at row j of matrix i, 16 bytes. A lane gets columns 2t and 2t + 1 of row g of
// each; transposed, rows 2t and 2t + 1 of column g.
DEVICE_INLINE void load_matrices(unsigned (&to)[4], const bfloat16 *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(shared_address(row))
                 : "memory");
}

DEVICE_INLINE void load_matrices_transposed(unsigned (&to)[4], const bfloat16 *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// An 8×8 matrix that the warp holds (row g, columns 2t and 2t + 1), transposed.
DEVICE_INLINE unsigned transpose_matrix(unsigned pair) {
    unsigned transposed;
    asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(transposed) : "r"(pair));
    return transposed;
}

// Sixteen bytes from global to shared memory, behind the back of the thread that asks; there once it has waited.
DEVICE_INLINE void copy_async(bfloat16 *shared, const bfloat16 *global) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" : : "r"(shared_address(shared)), "l"(global) : "memory");
}

DEVICE_INLINE void wait_for_copies() { asm volatile("cp.async.wait_all;" : : : "memory"); }
