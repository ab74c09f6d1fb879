// Arithmetic of the fused kernels: what an element is in memory, sixteen bytes of them at a time, and how a tensor core multiplies them.
// A kernel is a template over one of two modes, by elements in memory. Shared memory and registers hold the same number of bytes in both,
// so that nothing else of a kernel depends on the mode. Products of float32 are in tf32, or with the switch fp32 as accurate as float32.
#pragma once

#include "../common/numbers.cuh"
#include "../common/warp.cuh"
#include "warpgroup.cuh"

#if defined(__CUDACC__)
#define SHARED_ADDRESS(p) (unsigned)__cvta_generic_to_shared(p)
#define SHARED_POINTER(T, address) static_cast<T *>(__cvta_shared_to_generic(address))
#else
#define SHARED_POINTER(T, address) (T *)((__attribute__((address_space(3))) T *)(unsigned long long)(address))
#define SHARED_ADDRESS(p) (unsigned)(unsigned long long)(__attribute__((address_space(3))) const void *)(p)
#endif

// Sixteen bytes.
struct alignas(16) Unit {
    unsigned w[4];
};

// Zeros that the compiler does not know to be zeros: it would store known ones in two halves.
DEVICE_INLINE Unit zero_unit() {
    unsigned zero;
    asm("mov.u32 %0, 0;" : "=r"(zero));
    return {{zero, zero, zero, zero}};
}

DEVICE_INLINE Unit load_unit(const void *from) { return *reinterpret_cast<const Unit *>(from); }
DEVICE_INLINE void store_unit(void *to, const Unit &unit) { *reinterpret_cast<Unit *>(to) = unit; }

// Numbers of one unit, as they are computed with.
template <int Count> struct Values {
    float v[Count];

    DEVICE_INLINE Values times(float factor) const {
        Values out;
#pragma unroll
        for (int i = 0; i < Count; ++i) {
            out.v[i] = v[i] * factor;
        }
        return out;
    }
};

// Bits of the mark in the place of a value that dropout takes away: a NaN with a sign. Those that arithmetic makes have none.
constexpr unsigned dropped_bits = 0xFFFFFFFF;

// max(x, 0); NaN stays, so that a run that diverged says so.
DEVICE_INLINE float rectified(float x) {
    float most;
    asm("max.NaN.f32 %0, %1, 0f00000000;" : "=f"(most) : "f"(x));
    return most;
}

// Whether the switch fp32 is chosen: the driver's compiler knows, and leaves out what is for the other precision.
DEVICE_INLINE bool is_fp32() {
    unsigned chosen; // volatile: the compiler of this text must not make two loops of one
    asm volatile("mov.u32 %0, 0; //@fp32 mov.u32 %0, 1;" : "=r"(chosen));
    return chosen != 0;
}

// What products are in one step: a left factor of 16 rows by 32 bytes, a right one of 32 bytes by 8 columns. lane = 4 g + t. Of
// the left factor a lane has rows g and g + 8 of its t-th four bytes, then both of the (t + 4)-th; of the right one the t-th and (t +
// 4)-th four bytes of column g; of the sums row g at columns 2t and 2t + 1, then row g + 8.
DEVICE_INLINE void multiply_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

DEVICE_INLINE void multiply_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Products of what was loaded, as it is.
template <void (*Multiply)(float (&)[4], const unsigned (&)[4], const unsigned (&)[2])> struct PlainProducts {
    template <int N> using Factor = unsigned[N]; // of N registers, as it is multiplied
    template <int N> DEVICE_INLINE static void prepare(unsigned (&to)[N], const unsigned (&loaded)[N]) {
#pragma unroll
        for (int i = 0; i < N; ++i) {
            to[i] = loaded[i];
        }
    }

    DEVICE_INLINE static void multiply(float (&d)[4], const Factor<4> &a, const Factor<2> &b) { Multiply(d, a, b); }
};

// float32 by three products of tf32: x = high + low with eleven bits each, and low · low is below float32's last bit. The sum of a step is
// added outside the tensor core, whose additions cut off what float32 would round. Source: Ootomo, Yokota, "Recovering single precision
// accuracy from Tensor Cores", 2022.
struct SplitProducts {
    template <int N> struct Factor {
        unsigned high[N], low[N];
    };

    template <int N> DEVICE_INLINE static void prepare(Factor<N> &to, const unsigned (&loaded)[N]) {
#pragma unroll
        for (int i = 0; i < N; ++i) {
            to.high[i] = (loaded[i] + 0x1000u) & ~0x1FFFu; // as cvt.rna, in two instructions instead of four; NaN is in `low` still
            to.low[i] = float_bits(bits_float(loaded[i]) - bits_float(to.high[i]));
        }
    }

    DEVICE_INLINE static void multiply(float (&d)[4], const Factor<4> &a, const Factor<2> &b) {
        float step[4];
        begin_step(step, a.low, b.high);
        multiply_tf32(step, a.high, b.low);
        multiply_tf32(step, a.high, b.high);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            d[i] += step[i];
        }
    }

  private:
    // multiply_tf32 from zeros on.
    DEVICE_INLINE static void begin_step(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
        asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                     "{%10, %10, %10, %10};"
                     : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(0.0f));
    }
};

struct Bf16 {
    using Element = bfloat16;
    static constexpr int of_unit = 8; // elements

    // work(how), where `how` is of the type whose products are this mode's.
    template <class Work> DEVICE_INLINE static void with_products(const Work &work) { work(PlainProducts<multiply_bf16>()); }

    DEVICE_INLINE static bool by_warpgroups() { return is_hopper(); }
    template <int Tiles> DEVICE_INLINE static void begin(float (&d)[Tiles][4], const unsigned (&a)[4], unsigned long long b) {
        begin_bf16(d, a, b);
    }

    DEVICE_INLINE static Values<8> widen(const Unit &unit) {
        Values<8> out;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            out.v[2 * i] = bits_float(unit.w[i] << 16);
            out.v[2 * i + 1] = bits_float(unit.w[i] & 0xFFFF0000u);
        }
        return out;
    }

    // Rounded to nearest, ties to even.
    DEVICE_INLINE static unsigned pack(float first, float second) {
        unsigned pair;
        asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
        return pair;
    }

    DEVICE_INLINE static Unit narrow(const Values<8> &x) {
        return {{pack(x.v[0], x.v[1]), pack(x.v[2], x.v[3]), pack(x.v[4], x.v[5]), pack(x.v[6], x.v[7])}};
    }

    // As an operand of products.
    DEVICE_INLINE static Unit operand(const Values<8> &x) { return narrow(x); }
};

struct F32 {
    using Element = float;
    static constexpr int of_unit = 4;

    template <class Work> DEVICE_INLINE static void with_products(const Work &work) {
        if (is_fp32()) {
            work(SplitProducts());
        } else {
            work(PlainProducts<multiply_tf32>());
        }
    }

    DEVICE_INLINE static Values<4> widen(const Unit &unit) {
        return {{bits_float(unit.w[0]), bits_float(unit.w[1]), bits_float(unit.w[2]), bits_float(unit.w[3])}};
    }

    DEVICE_INLINE static Unit narrow(const Values<4> &x) {
        return {{float_bits(x.v[0]), float_bits(x.v[1]), float_bits(x.v[2]), float_bits(x.v[3])}};
    }

    DEVICE_INLINE static Unit operand(const Values<4> &x) { return {{operand(x.v[0]), operand(x.v[1]), operand(x.v[2]), operand(x.v[3])}}; }

    DEVICE_INLINE static bool by_warpgroups() { return is_hopper() && !is_fp32(); }
    template <int Tiles> DEVICE_INLINE static void begin(float (&d)[Tiles][4], const unsigned (&a)[4], unsigned long long b) {
        begin_tf32(d, a, b);
    }

    DEVICE_INLINE static unsigned operand(float x) {
        unsigned rounded;
        asm("cvt.rna.tf32.f32 %0, %1; //@fp32 mov.b32 %0, %1;" : "=&r"(rounded) : "f"(x));
        return rounded;
    }
};

// Eight neighbouring channels.
using Eight = Values<8>;

template <class Mode> DEVICE_INLINE Eight load_eight(const typename Mode::Element *from) {
    Eight out;
#pragma unroll
    for (int first = 0; first < 8; first += Mode::of_unit) {
        const Values<Mode::of_unit> part = Mode::widen(load_unit(from + first));
#pragma unroll
        for (int i = 0; i < Mode::of_unit; ++i) {
            out.v[first + i] = part.v[i];
        }
    }
    return out;
}

// Unit i of them.
template <class Mode> DEVICE_INLINE Unit narrow_unit(const Eight &x, int i) {
    Values<Mode::of_unit> part;
#pragma unroll
    for (int k = 0; k < Mode::of_unit; ++k) {
        part.v[k] = x.v[i * Mode::of_unit + k];
    }
    return Mode::narrow(part);
}

template <class Mode> DEVICE_INLINE void store_eight(typename Mode::Element *to, const Eight &x) {
#pragma unroll
    for (int i = 0; i < 8 / Mode::of_unit; ++i) {
        store_unit(to + i * Mode::of_unit, narrow_unit<Mode>(x, i));
    }
}

// So many floats from an address at a multiple of sixteen bytes.
template <int Count> DEVICE_INLINE Values<Count> load_values(const float *from) {
    Values<Count> out;
#pragma unroll
    for (int first = 0; first < Count; first += 4) {
        const Values<4> part = F32::widen(load_unit(from + first));
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            out.v[first + i] = part.v[i];
        }
    }
    return out;
}

// Four blocks of eight rows by sixteen bytes from shared memory; lane 8 i + j points at row j of block i. A lane gets four bytes of each:
// the t-th of row g.
DEVICE_INLINE void load_blocks(unsigned (&to)[4], unsigned row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(row)
                 : "memory");
}

// The same of eight by eight bfloat16, each block turned: rows 2t and 2t + 1 of column g.
DEVICE_INLINE void load_blocks_turned(unsigned (&to)[4], unsigned row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(row)
                 : "memory");
}

DEVICE_INLINE unsigned load_word(unsigned shared) { return *SHARED_POINTER(const unsigned, shared); }

// A unit from global memory by one load. The compiler may load the words of a unit one by one.
DEVICE_INLINE Unit load_whole(const Unit *from) {
    Unit out;
    asm volatile("ld.global.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(out.w[0]), "=r"(out.w[1]), "=r"(out.w[2]), "=r"(out.w[3])
                 : "l"((unsigned long long)from));
    return out;
}

// Floats to an address of global memory, which is a multiple of eight bytes for two. The compiler would store the two one by one.
DEVICE_INLINE void store_float(unsigned long long at, float x) { asm volatile("st.global.f32 [%0], %1;" : : "l"(at), "f"(x) : "memory"); }
DEVICE_INLINE void store_floats(unsigned long long at, float x, float y) {
    asm volatile("st.global.v2.f32 [%0], {%1, %2};" : : "l"(at), "f"(x), "f"(y) : "memory");
}

// Sixteen bytes from global to shared memory, behind the back of the thread that asks; zeros where there are none to copy. What a thread
// asks for until it closes a group is there once it has waited for the group, for others after a barrier.
DEVICE_INLINE void copy_unit(unsigned shared, const void *global, bool exists = true) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" : : "r"(shared), "l"(global), "r"(exists ? 16 : 0) : "memory");
}

DEVICE_INLINE void close_copies() { asm volatile("cp.async.commit_group;" : : : "memory"); }

// For all groups but the last so many.
template <int Last> DEVICE_INLINE void wait_for_copies() { asm volatile("cp.async.wait_group %0;" : : "n"(Last) : "memory"); }

// Where a launch allows it, a kernel on sm_90 and newer begins before the one before it has ended, as soon as all blocks of that one have
// said so. It may read what older kernels wrote; from here on, also what that one did. Everything that a kernel writes to global memory, it
// writes after it has waited; and it lets the next begin after it has waited, so that the next need not wait for more than one.
DEVICE_INLINE void wait_for_kernel_before() { asm volatile("//@sm_90 griddepcontrol.wait;" : : : "memory"); }
DEVICE_INLINE void let_next_kernel_begin() { asm volatile("//@sm_90 griddepcontrol.launch_dependents;" : : : "memory"); }

// A kernel for each mode, from the device template of its name.
#define KERNELS_OF_MODES(name, Parameters, ...)                                                                                            \
    KERNEL(__VA_ARGS__) name##_bf16(Parameters p) { name<Bf16>(p); }                                                                       \
    KERNEL(__VA_ARGS__) name##_f32(Parameters p) { name<F32>(p); }
