// Matrix products by four warps together (wgmma), which GPUs of compute capability 9.0 have and no others: what only these have stands
// behind //@sm_90a in the PTX. All 128 threads of a block call together. The products run behind the threads' back: between begin_products
// and end_products nobody may touch the sums and left factors, or write what the right ones are read from.
#pragma once

#include "../common/device.cuh"

#define ON_HOPPER "//@sm_90a "

// A number that the compiler does not know and the assembler does, which leaves out what is for other GPUs.
DEVICE_INLINE bool is_hopper() {
    unsigned is;
    asm("mov.u32 %0, 0; " ON_HOPPER "mov.u32 %0, 1;" : "=r"(is));
    return is != 0;
}

// Where a right factor lies in shared memory, in blocks of eight by sixteen bytes, 128 bytes each: its address, and how far from there the
// next block of what is summed over (`leading`) and the next eight columns are (`stride`): the matrix descriptor of the PTX ISA, without
// swizzling. In bytes, multiples of 16.
DEVICE_INLINE unsigned long long right_factor(unsigned address, unsigned leading, unsigned stride) {
    return (unsigned long long)(stride >> 4) << 32 | (leading >> 4 << 16 | address >> 4);
}

// What threads wrote to shared memory is there for products that begin after a barrier.
DEVICE_INLINE void let_products_see_writes() { asm volatile(ON_HOPPER "fence.proxy.async.shared::cta;" : : : "memory"); }

// After the last touch of sums and left factors.
DEVICE_INLINE void begin_products() { asm volatile(ON_HOPPER "wgmma.fence.sync.aligned;" : : : "memory"); }

// For all products that were begun.
DEVICE_INLINE void end_products() {
    asm volatile(ON_HOPPER "wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned 0;" : : : "memory");
}

// The sums of eight columns as operands of an instruction, and of 32; and all of them in its text, with the factors behind them.
#define SUMS_OF_EIGHT(d) "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
#define SUMS_OF_32(d, i) SUMS_OF_EIGHT(d[i]), SUMS_OF_EIGHT(d[i + 1]), SUMS_OF_EIGHT(d[i + 2]), SUMS_OF_EIGHT(d[i + 3])
#define TEXT_OF_16 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define TEXT_OF_32 TEXT_OF_16 ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define LEFT_OF_32 "{" TEXT_OF_16 "}, {%16, %17, %18, %19}, "
#define LEFT_OF_64 "{" TEXT_OF_32 "}, {%32, %33, %34, %35}, "
#define FACTORS(a, b) "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b)

// D (64×N) += A (64×32 bytes) · B (32 bytes×N). Warp w has rows 16 w …, and of these a lane has the same of A and of each eight columns of
// D as with multiply_bf16 and multiply_tf32.
#define PRODUCT(columns, type, right, end)                                                                                                 \
    "{.reg .pred adds; setp.eq.u32 adds, 0, 0; wgmma.mma_async.sync.aligned.m64n" #columns type " " LEFT_OF_##columns right                \
        ", adds, 1, 1" end ";}"
#define PRODUCT_OF_32(name, type, end)                                                                                                     \
    DEVICE_INLINE void name(float(&d)[4][4], const unsigned(&a)[4], unsigned long long b) {                                                \
        asm volatile(ON_HOPPER PRODUCT(32, type, "%20", end) : SUMS_OF_32(d, 0) : FACTORS(a, b) : "memory");                               \
    }
#define PRODUCT_OF_64(name, type, end)                                                                                                     \
    DEVICE_INLINE void name(float(&d)[8][4], const unsigned(&a)[4], unsigned long long b) {                                                \
        asm volatile(ON_HOPPER PRODUCT(64, type, "%36", end) : SUMS_OF_32(d, 0), SUMS_OF_32(d, 4) : FACTORS(a, b) : "memory");             \
    }
#define BF16_PRODUCT "k16.f32.bf16.bf16"
#define TF32_PRODUCT "k8.f32.tf32.tf32"
PRODUCT_OF_32(begin_bf16, BF16_PRODUCT, ", 0")
PRODUCT_OF_64(begin_bf16, BF16_PRODUCT, ", 0")
PRODUCT_OF_32(begin_tf32, TF32_PRODUCT, "")
PRODUCT_OF_64(begin_tf32, TF32_PRODUCT, "")

// Where sixteen bytes are eight columns.
PRODUCT_OF_64(begin_bf16_turned, BF16_PRODUCT, ", 1")

// The same of 32 columns. The right factor lies so many bytes further on: they are added to half of its bits, since the assembler would
// need two additions for all of them.
DEVICE_INLINE void begin_bf16_turned(float (&d)[4][4], const unsigned (&a)[4], unsigned long long b, unsigned bytes) {
    asm volatile(ON_HOPPER "{.reg .b32 low; .reg .b32 high; .reg .b64 there; mov.b64 {low, high}, %20; add.u32 low, low, %21; "
                           "mov.b64 there, {low, high}; " PRODUCT(32, BF16_PRODUCT, "there", ", 1") "}"
                 : SUMS_OF_32(d, 0)
                 : FACTORS(a, b), "r"(bytes >> 4)
                 : "memory");
}

// Says to the compiler that sums are others now.
template <int Tiles> DEVICE_INLINE void settle(float (&d)[Tiles][4]) {
#pragma unroll
    for (int tile = 0; tile < Tiles; ++tile) {
        asm volatile("" : SUMS_OF_EIGHT(d[tile]) : : "memory");
    }
}
