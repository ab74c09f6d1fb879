// How the lanes of a warp hold the factors of a matrix product, and the sums.
#pragma once

#include "ptx.h"

#include <cstddef>
#include <cstdint>
#include <utility>

namespace softcuda {

// Half a warp: lane 4 g + t of it holds what belongs to row g, in column t or thereabouts.
using Floats = float __attribute__((vector_size(64)));
using Bits = uint32_t __attribute__((vector_size(64)));
constexpr size_t half_warp = warp_lanes / 2;
using HalfWarp = std::make_index_sequence<half_warp>;

// How factors of a product (16×K) · (K×8) lie in the registers of a warp: what belongs to k is in lane 4 g + quad(k) of
// a row's or a column's four, in register part(k), two for A where there is one for B. Tensor cores read the same from
// shared memory, 128 bytes for the registers of a warp; a product by warpgroups sums over so many.
struct Bfloat16 { // two neighbours in one register
    static constexpr unsigned sums_over = 16;
    static constexpr unsigned part(unsigned k) { return k / 8; }
    static constexpr unsigned quad(unsigned k) { return k % 8 / 2; }
    static Floats number(Bits bits, unsigned k) { return (Floats)(k % 2 ? bits & 0xFFFF0000 : bits << 16); }
};
struct Tf32 { // 13 bits fewer than a float
    static constexpr unsigned sums_over = 8;
    static constexpr unsigned part(unsigned k) { return k / 4; }
    static constexpr unsigned quad(unsigned k) { return k % 4; }
    static Floats number(Bits bits, unsigned) { return (Floats)(bits & ~0x1FFFu); }
};

template <unsigned quad, size_t... lane> Floats rows(Floats a, std::index_sequence<lane...>) {
    return __builtin_shufflevector(a, a, (lane / 4 * 4 + quad)...);
}
// Of columns 2 t or 2 t + 1 for lanes t, 4 + t, 8 + t …
template <unsigned quad, unsigned odd, size_t... lane>
Floats columns(Floats left, Floats right, std::index_sequence<lane...>) {
    return __builtin_shufflevector(left, right, (4 * (2 * (lane % 4) + odd) + quad)...);
}

} // namespace softcuda
