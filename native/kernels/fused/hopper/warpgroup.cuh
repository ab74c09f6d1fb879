// Matrix products by four warps together, from shared memory (wgmma; sm_90a alone): one function per instruction. All 128 threads of a
// warpgroup call together. They run behind the threads' back: between begin_products and wait_for_products nobody may touch the sums, or
// write what the products read.
#pragma once

#include "../tensor_core.cuh"

constexpr int warpgroup_threads = 128;

DEVICE_INLINE int warpgroup() { return (int)threadIdx.x / warpgroup_threads; }

// Where a factor lies in shared memory, in blocks of eight by sixteen bytes, 128 bytes each: where the first one begins, and how far from
// there the next eight of what is summed over are (`leading`), and the next eight rows of the left factor, or columns of the right one
// (`stride`): the matrix descriptor of the PTX ISA, without swizzling. In bytes, multiples of 16.
struct MatrixDescriptor {
    unsigned low, high;

    DEVICE_INLINE static MatrixDescriptor of(const bfloat16 *first, unsigned leading, unsigned stride) {
        return {shared_address(first) >> 4 | leading >> 4 << 16, stride >> 4};
    }

    // No carry leaves the address: shared memory ends before that.
    DEVICE_INLINE MatrixDescriptor plus(unsigned bytes) const { return {low + (bytes >> 4), high}; }

    // The same, of which the compiler knows that it is the same for the whole warp, and no more: what it would add to it for every product,
    // it adds when the product begins, once for a warp, and does not keep in registers from one image to the next. All 32 lanes call
    // together.
    DEVICE_INLINE MatrixDescriptor here() const { return {shuffle_from(low, 0), high}; }

    DEVICE_INLINE unsigned long long bits() const { return (unsigned long long)high << 32 | low; }
};

// What threads wrote to shared memory is there for products that begin after a barrier.
DEVICE_INLINE void let_products_see_writes() { asm volatile("fence.proxy.async.shared::cta;" : : : "memory"); }

// Before the first product on sums that threads have touched.
DEVICE_INLINE void begin_products() { asm volatile("wgmma.fence.sync.aligned;" : : : "memory"); }

DEVICE_INLINE void end_products() { asm volatile("wgmma.commit_group.sync.aligned;" : : : "memory"); }

// The sums of one strip of eight columns as operands of an instruction, and of several; and all of them in its text.
#define SUMS_OF_STRIP(d) "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
#define SUMS_OF_THREE(d, i) SUMS_OF_STRIP(d[i]), SUMS_OF_STRIP(d[i + 1]), SUMS_OF_STRIP(d[i + 2])
#define SUMS_OF_FOUR(d, i) SUMS_OF_THREE(d, i), SUMS_OF_STRIP(d[i + 3])
#define TEXT_OF_16 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define TEXT_OF_28 TEXT_OF_16 ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27"
#define TEXT_OF_32 TEXT_OF_28 ", %28, %29, %30, %31"
#define TEXT_OF_56                                                                                                                         \
    TEXT_OF_32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, "                    \
               "%52, %53, %54, %55"
#define TEXT_OF_64 TEXT_OF_56 ", %56, %57, %58, %59, %60, %61, %62, %63"

// The instruction for so many columns and sums, with the numbers of the operands behind the sums: the factors, whether to add, and (1) or
// not (0) each factor's transposition.
#define PRODUCT(columns, text, a, b, adds, transposed)                                                                                     \
    "{.reg .pred adds; setp.ne.b32 adds, %" #adds ", 0; wgmma.mma_async.sync.aligned.m64n" #columns "k16.f32.bf16.bf16 {" text "}, %" #a   \
    ", %" #b ", adds, 1, 1, " transposed ";}"
#define FACTORS(a, b, adds) "l"(a.bits()), "l"(b.bits()), "r"((int)adds)

// D (64×N) = A (64×16) · B (16×N), plus D where `adds`. Warp w of the group has rows 16 w …; strip by strip of eight columns, row g at
// columns 2t and 2t + 1, then row g + 8: as multiply_accumulate_k16 leaves them.

// Sixteen bytes are eight of the sixteen that are summed over (K-major).
DEVICE_INLINE void multiply_async(float (&d)[7][4], MatrixDescriptor a, MatrixDescriptor b, bool adds) {
    asm volatile(PRODUCT(56, TEXT_OF_28, 28, 29, 30, "0, 0") : SUMS_OF_FOUR(d, 0), SUMS_OF_THREE(d, 4) : FACTORS(a, b, adds) : "memory");
}

DEVICE_INLINE void multiply_async(float (&d)[14][4], MatrixDescriptor a, MatrixDescriptor b, bool adds) {
    asm volatile(PRODUCT(112, TEXT_OF_56, 56, 57, 58, "0, 0")
                 : SUMS_OF_FOUR(d, 0), SUMS_OF_FOUR(d, 4), SUMS_OF_THREE(d, 8), SUMS_OF_THREE(d, 11)
                 : FACTORS(a, b, adds)
                 : "memory");
}

// Sixteen bytes are eight rows of A, or eight columns of B (M- and N-major).
DEVICE_INLINE void multiply_transposed_async(float (&d)[4][4], MatrixDescriptor a, MatrixDescriptor b, bool adds) {
    asm volatile(PRODUCT(32, TEXT_OF_16, 16, 17, 18, "1, 1") : SUMS_OF_FOUR(d, 0) : FACTORS(a, b, adds) : "memory");
}

DEVICE_INLINE void multiply_transposed_async(float (&d)[8][4], MatrixDescriptor a, MatrixDescriptor b, bool adds) {
    asm volatile(PRODUCT(64, TEXT_OF_32, 32, 33, 34, "1, 1") : SUMS_OF_FOUR(d, 0), SUMS_OF_FOUR(d, 4) : FACTORS(a, b, adds) : "memory");
}

DEVICE_INLINE void multiply_transposed_async(float (&d)[16][4], MatrixDescriptor a, MatrixDescriptor b, bool adds) {
    asm volatile(PRODUCT(128, TEXT_OF_64, 64, 65, 66, "1, 1")
                 : SUMS_OF_FOUR(d, 0), SUMS_OF_FOUR(d, 4), SUMS_OF_FOUR(d, 8), SUMS_OF_FOUR(d, 12)
                 : FACTORS(a, b, adds)
                 : "memory");
}

// For all products that were begun; the sums are there after it.
DEVICE_INLINE void wait_for_products() { asm volatile("wgmma.wait_group.sync.aligned 0;" : : : "memory"); }

// Says to the compiler that sums are others now.
template <int Strips> DEVICE_INLINE void settle(float (&d)[Strips][4]) {
#pragma unroll
    for (int strip = 0; strip < Strips; ++strip) {
        asm volatile("" : SUMS_OF_STRIP(d[strip]) : : "memory");
    }
}
