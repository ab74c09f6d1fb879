// Instructions that make numbers of one kind from those of another, and those on pairs of bfloat16.
#include "forms.h"

#include <cmath>
#include <cstring>
#include <limits>

namespace softcuda {

namespace {

template <typename Whole, typename Half> void take_apart(Warp &warp, const Instruction &i) {
    const Whole *whole = warp.at<Whole>(i.at[2]);
    for (unsigned lane = 0; lane < warp_lanes; ++lane) {
        if (warp.active >> lane & 1) {
            warp.at<Half>(i.at[0])[lane] = (Half)whole[lane];
            warp.at<Half>(i.at[1])[lane] = (Half)(whole[lane] >> 8 * sizeof(Half));
        }
    }
}

struct LowHalf {
    static int64_t of(uint64_t a) { return (int32_t)a; }
};
template <typename D> struct Truncate { // NaN is 0, and what is out of range the nearest there is
    template <typename T> static D of(T a) {
        constexpr T most = (T)std::numeric_limits<D>::max(), least = (T)std::numeric_limits<D>::min();
        return a != a       ? 0
               : a >= most  ? std::numeric_limits<D>::max()
               : a <= least ? std::numeric_limits<D>::min()
                            : (D)a;
    }
};

uint32_t bfloat16_bits(float x) { // to nearest, ties to even
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return x != x ? 0x7FFF : (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
}
struct PackBfloat16 { // the first operand above
    static uint32_t of(float a, float b) { return bfloat16_bits(a) << 16 | bfloat16_bits(b); }
};
struct RoundToTf32 { // to nearest, ties away from 0
    static uint32_t of(uint32_t a) { return (a & 0x7FFFFFFF) > 0x7F800000 ? 0x7FFFFFFF : (a + 0x1000) & ~0x1FFFu; }
};
struct Permute { // four bytes of eight, or their signs
    static uint32_t of(uint32_t a, uint32_t b, uint32_t selectors) {
        const uint64_t from = (uint64_t)b << 32 | a;
        uint32_t bytes = 0;
        for (unsigned i = 0; i < 4; ++i) {
            const uint32_t selector = selectors >> 4 * i & 15, byte = from >> 8 * (selector & 7) & 0xFF;
            bytes |= (selector & 8 ? (byte & 0x80 ? 0xFF : 0) : byte) << 8 * i;
        }
        return bytes;
    }
};
float float_of(uint32_t bfloat16) {
    const uint32_t bits = bfloat16 << 16;
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}
struct PackRelu {
    static uint32_t of(float a, float b) { return bfloat16_bits(a < 0 ? 0 : a) << 16 | bfloat16_bits(b < 0 ? 0 : b); }
};
template <typename Op> struct OfPairs {
    static uint32_t of(uint32_t a, uint32_t b) {
        return Op::of(a >> 16, b >> 16) << 16 | Op::of(a & 0xFFFF, b & 0xFFFF);
    }
};
struct GreatestBfloat16 { // of a number and NaN, the number
    static uint32_t of(uint32_t a, uint32_t b) {
        const float x = float_of(a), y = float_of(b);
        if (x != x || y != y) {
            return x == x ? a : y == y ? b : 0x7FFF;
        }
        return x > y || (x == y && a < b) ? a : b; // 0 above -0
    }
};
template <bool Greatest> struct BestBfloat16OrNan {
    static uint32_t of(uint32_t a, uint32_t b) {
        const float x = float_of(a), y = float_of(b);
        if (x != x || y != y) {
            return 0x7FFF;
        }
        return (x == y ? a < b : x > y) == Greatest ? a : b; // 0 above -0
    }
};
struct AreNotEqualFloat16 { // or one is NaN
    static uint32_t of(uint32_t a, uint32_t b) {
        const uint32_t x = a & 0x7FFF, y = b & 0x7FFF;
        return x > 0x7C00 || y > 0x7C00 || (a != b && (x | y) != 0) ? 0xFFFF : 0;
    }
};
struct IsGreater {
    static uint32_t of(uint32_t a, uint32_t b) { return float_of(a) > float_of(b) ? 0xFFFF : 0; }
};
struct AreUnordered {
    static uint32_t of(uint32_t a, uint32_t b) { return std::isunordered(float_of(a), float_of(b)) ? 0xFFFF : 0; }
};
struct MinimumOrNan {
    static float of(float a, float b) {
        if (a != a || b != b) {
            return std::numeric_limits<float>::quiet_NaN();
        }
        return a < b || (a == b && std::signbit(a)) ? a : b;
    }
};
struct MaximumOrNan {
    static float of(float a, float b) {
        if (a != a || b != b) {
            return std::numeric_limits<float>::quiet_NaN();
        }
        return a > b || (a == b && std::signbit(b)) ? a : b;
    }
};
template <typename Whole> struct Together { // the first operand below
    template <typename T> static Whole of(T a, T b) { return a | (Whole)b << 8 * sizeof(T); }
};

template <typename T> void add_float_conversions(Forms &forms, const std::string &type) {
    forms["cvt.rn.f32" + type] = form<Copy, float, T>();
    forms["cvt.rn.f64" + type] = form<Copy, double, T>();
    forms["cvt.rzi" + type + ".f32"] = form<Truncate<T>, T, float>();
    forms["cvt.rzi" + type + ".f64"] = form<Truncate<T>, T, double>();
}

} // namespace

void add_conversion_forms(Forms &forms) {
    forms["cvt.u16.u32"] = form<Copy, uint16_t, uint32_t>();
    forms["cvt.u16.u64"] = form<Copy, uint16_t, uint64_t>();
    forms["cvt.u32.u16"] = form<Copy, uint32_t, uint16_t>();
    forms["cvt.u32.u64"] = form<Copy, uint32_t, uint64_t>();
    forms["cvt.u64.u16"] = form<Copy, uint64_t, uint16_t>();
    forms["cvt.u64.u32"] = form<Copy, uint64_t, uint32_t>();
    forms["cvt.s32.s16"] = form<Copy, int32_t, int16_t>();
    forms["cvt.s64.s16"] = form<Copy, int64_t, int16_t>();
    forms["cvt.s64.s32"] = form<Copy, int64_t, int32_t>();
    forms["cvt.s64.s32/8"] = form<LowHalf, int64_t, uint64_t>(); // a register may be wider than what is taken from it
    forms["cvt.f64.f32"] = form<Copy, double, float>();
    forms["cvt.rn.f32.f64"] = form<Copy, float, double>();
    add_float_conversions<uint16_t>(forms, ".u16");
    add_float_conversions<int16_t>(forms, ".s16");
    add_float_conversions<uint32_t>(forms, ".u32");
    add_float_conversions<int32_t>(forms, ".s32");
    add_float_conversions<uint64_t>(forms, ".u64");
    add_float_conversions<int64_t>(forms, ".s64");
    forms["cvt.rn.bf16x2.f32"] = form<PackBfloat16, uint32_t, float, float>();
    forms["cvt.rna.tf32.f32"] = form<RoundToTf32, uint32_t, uint32_t>();
    forms["prmt.b32"] = form<Permute, uint32_t, uint32_t, uint32_t, uint32_t>();
    forms["cvt.rn.relu.bf16x2.f32"] = form<PackRelu, uint32_t, float, float>();
    forms["max.bf16x2"] = form<OfPairs<GreatestBfloat16>, uint32_t, uint32_t, uint32_t>();
    forms["max.NaN.bf16x2"] = form<OfPairs<BestBfloat16OrNan<true>>, uint32_t, uint32_t, uint32_t>();
    forms["min.NaN.bf16x2"] = form<OfPairs<BestBfloat16OrNan<false>>, uint32_t, uint32_t, uint32_t>();
    forms["set.neu.u32.f16x2"] = form<OfPairs<AreNotEqualFloat16>, uint32_t, uint32_t, uint32_t>();
    forms["set.gt.u32.bf16x2"] = form<OfPairs<IsGreater>, uint32_t, uint32_t, uint32_t>();
    forms["set.nan.u32.bf16x2"] = form<OfPairs<AreUnordered>, uint32_t, uint32_t, uint32_t>();
    forms["min.NaN.f32"] = form<MinimumOrNan, float, float, float>();
    forms["max.NaN.f32"] = form<MaximumOrNan, float, float, float>();
    forms["mov.b32.together"] = form<Together<uint32_t>, uint32_t, uint16_t, uint16_t>();
    forms["mov.b64.together"] = form<Together<uint64_t>, uint64_t, uint32_t, uint32_t>();
    forms["mov.b32.apart"] = {take_apart<uint32_t, uint16_t>, {2, 2, 4}, 2};
    forms["mov.b64.apart"] = {take_apart<uint64_t, uint32_t>, {4, 4, 8}, 2};
}

} // namespace softcuda
