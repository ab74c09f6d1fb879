// Matrix products by four warps together, from shared memory (wgmma; sm_90a alone): one function per instruction. All
// 128 threads of a warpgroup call together. They run behind the threads' back: between begin_products and
// wait_for_products nobody may touch the sums, or write what the products read.
#pragma once

#include "tensor_core.cuh"

constexpr int warpgroup_threads = 128;

DEVICE_INLINE int warpgroup() { return (int)threadIdx.x / warpgroup_threads; }

// Where a factor lies in shared memory, in blocks of eight by sixteen bytes, 128 bytes each: where the first one
// begins, and how far from there the next eight of what is summed over are (`leading`), and the next eight rows of the
// left factor, or columns of the right one (`stride`): the matrix descriptor of the PTX ISA, without swizzling. In
// bytes, multiples of 16.
struct MatrixDescriptor {
    unsigned low, high;

    DEVICE_INLINE static MatrixDescriptor of(const bfloat16 *first, unsigned leading, unsigned stride) {
        return {shared_address(first) >> 4 | leading >> 4 << 16, stride >> 4};
    }

    // No carry leaves the address: shared memory ends before that.
    DEVICE_INLINE MatrixDescriptor plus(unsigned bytes) const { return {low + (bytes >> 4), high}; }

    // The same, of which the compiler knows that it is the same for the whole warp, and no more: what it would add to
    // it for every product, it adds when the product begins, once for a warp, and does not keep in registers from one
    // image to the next. All 32 lanes call together.
    DEVICE_INLINE MatrixDescriptor here() const { return {shuffle_from(low, 0), high}; }

    DEVICE_INLINE unsigned long long bits() const { return (unsigned long long)high << 32 | low; }
};

// What threads wrote to shared memory is there for products that begin after a barrier.
DEVICE_INLINE void let_products_see_writes() { asm volatile("fence.proxy.async.shared::cta;" : : : "memory"); }

// Before the first product on sums that threads have touched.
DEVICE_INLINE void begin_products() { asm volatile("wgmma.fence.sync.aligned;" : : : "memory"); }

DEVICE_INLINE void end_products() { asm volatile("wgmma.commit_group.sync.aligned;" : : : "memory"); }

// D (64×N) = A (64×16) · B (16×N), plus D where `adds`. Warp w of the group has rows 16 w …; strip by strip of eight
// columns, row g at columns 2t and 2t + 1, then row g + 8: as multiply_accumulate_k16 leaves them.
#define SUMS_OF_STRIP(d) "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])

// Sixteen bytes are eight of the sixteen that are summed over (K-major).
DEVICE_INLINE void multiply_async(float (&d)[7][4], MatrixDescriptor a, MatrixDescriptor b, bool adds) {
    asm volatile("{.reg .pred adds; setp.ne.b32 adds, %30, 0; "
                 "wgmma.mma_async.sync.aligned.m64n56k16.f32.bf16.bf16 {"
                 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
                 "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27}, "
                 "%28, %29, adds, 1, 1, 0, 0;}"
                 : SUMS_OF_STRIP(d[0]), SUMS_OF_STRIP(d[1]), SUMS_OF_STRIP(d[2]), SUMS_OF_STRIP(d[3]),
                   SUMS_OF_STRIP(d[4]), SUMS_OF_STRIP(d[5]), SUMS_OF_STRIP(d[6])
                 : "l"(a.bits()), "l"(b.bits()), "r"((int)adds)
                 : "memory");
}

DEVICE_INLINE void multiply_async(float (&d)[14][4], MatrixDescriptor a, MatrixDescriptor b, bool adds) {
    asm volatile("{.reg .pred adds; setp.ne.b32 adds, %58, 0; "
                 "wgmma.mma_async.sync.aligned.m64n112k16.f32.bf16.bf16 {"
                 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
                 "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
                 "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
                 "%48, %49, %50, %51, %52, %53, %54, %55}, "
                 "%56, %57, adds, 1, 1, 0, 0;}"
                 : SUMS_OF_STRIP(d[0]), SUMS_OF_STRIP(d[1]), SUMS_OF_STRIP(d[2]), SUMS_OF_STRIP(d[3]),
                   SUMS_OF_STRIP(d[4]), SUMS_OF_STRIP(d[5]), SUMS_OF_STRIP(d[6]), SUMS_OF_STRIP(d[7]),
                   SUMS_OF_STRIP(d[8]), SUMS_OF_STRIP(d[9]), SUMS_OF_STRIP(d[10]), SUMS_OF_STRIP(d[11]),
                   SUMS_OF_STRIP(d[12]), SUMS_OF_STRIP(d[13])
                 : "l"(a.bits()), "l"(b.bits()), "r"((int)adds)
                 : "memory");
}

// Sixteen bytes are eight rows of A, or eight columns of B (M- and N-major).
DEVICE_INLINE void multiply_transposed_async(float (&d)[8][4], MatrixDescriptor a, MatrixDescriptor b, bool adds) {
    asm volatile("{.reg .pred adds; setp.ne.b32 adds, %34, 0; "
                 "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
                 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
                 "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
                 "%32, %33, adds, 1, 1, 1, 1;}"
                 : SUMS_OF_STRIP(d[0]), SUMS_OF_STRIP(d[1]), SUMS_OF_STRIP(d[2]), SUMS_OF_STRIP(d[3]),
                   SUMS_OF_STRIP(d[4]), SUMS_OF_STRIP(d[5]), SUMS_OF_STRIP(d[6]), SUMS_OF_STRIP(d[7])
                 : "l"(a.bits()), "l"(b.bits()), "r"((int)adds)
                 : "memory");
}

DEVICE_INLINE void multiply_transposed_async(float (&d)[4][4], MatrixDescriptor a, MatrixDescriptor b, bool adds) {
    asm volatile("{.reg .pred adds; setp.ne.b32 adds, %18, 0; "
                 "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 {"
                 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15}, "
                 "%16, %17, adds, 1, 1, 1, 1;}"
                 : SUMS_OF_STRIP(d[0]), SUMS_OF_STRIP(d[1]), SUMS_OF_STRIP(d[2]), SUMS_OF_STRIP(d[3])
                 : "l"(a.bits()), "l"(b.bits()), "r"((int)adds)
                 : "memory");
}

DEVICE_INLINE void multiply_transposed_async(float (&d)[16][4], MatrixDescriptor a, MatrixDescriptor b, bool adds) {
    asm volatile("{.reg .pred adds; setp.ne.b32 adds, %66, 0; "
                 "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
                 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
                 "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
                 "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
                 "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
                 "%64, %65, adds, 1, 1, 1, 1;}"
                 : SUMS_OF_STRIP(d[0]), SUMS_OF_STRIP(d[1]), SUMS_OF_STRIP(d[2]), SUMS_OF_STRIP(d[3]),
                   SUMS_OF_STRIP(d[4]), SUMS_OF_STRIP(d[5]), SUMS_OF_STRIP(d[6]), SUMS_OF_STRIP(d[7]),
                   SUMS_OF_STRIP(d[8]), SUMS_OF_STRIP(d[9]), SUMS_OF_STRIP(d[10]), SUMS_OF_STRIP(d[11]),
                   SUMS_OF_STRIP(d[12]), SUMS_OF_STRIP(d[13]), SUMS_OF_STRIP(d[14]), SUMS_OF_STRIP(d[15])
                 : "l"(a.bits()), "l"(b.bits()), "r"((int)adds)
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

#undef SUMS_OF_STRIP
