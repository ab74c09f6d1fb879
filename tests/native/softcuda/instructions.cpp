// Instructions that each lane runs for itself, as the PTX ISA defines them.
#include "forms.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

namespace softcuda {

namespace {

template <typename T> using Unsigned = std::make_unsigned_t<T>;

void set_predicate(Warp &warp, uint32_t at, Lanes value) {
    Lanes &predicate = *warp.at<Lanes>(at);
    predicate = (predicate & ~warp.active) | (value & warp.active);
}

template <typename T, typename Op> void compare(Warp &warp, const Instruction &i) {
    const T *a = warp.at<T>(i.at[1]), *b = warp.at<T>(i.at[2]);
    Lanes holds = 0;
    for (unsigned lane = 0; lane < warp_lanes; ++lane) {
        holds |= (Lanes)Op::of(a[lane], b[lane]) << lane;
    }
    set_predicate(warp, i.at[0], holds);
}

template <typename T> void select(Warp &warp, const Instruction &i) {
    T *d = warp.at<T>(i.at[0]);
    const T *a = warp.at<T>(i.at[1]), *b = warp.at<T>(i.at[2]);
    const Lanes first = *warp.at<Lanes>(i.at[3]);
    for (unsigned lane = 0; lane < warp_lanes; ++lane) {
        const T chosen = first >> lane & 1 ? a[lane] : b[lane];
        d[lane] = warp.active >> lane & 1 ? chosen : d[lane];
    }
}

template <typename Op> void of_predicates(Warp &warp, const Instruction &i) {
    set_predicate(warp, i.at[0], Op::of(*warp.at<Lanes>(i.at[1]), *warp.at<Lanes>(i.at[2])));
}

void not_predicate(Warp &warp, const Instruction &i) { set_predicate(warp, i.at[0], ~*warp.at<Lanes>(i.at[1])); }

struct Not {
    template <typename T> static T of(T a) { return (T)~a; }
};
struct Negate {
    template <typename T> static T of(T a) { return -a; }
};
struct NegateInteger { // of unsigned ones: the least one has no opposite
    template <typename T> static T of(T a) { return (T)(0 - a); }
};
struct AbsoluteInteger {
    template <typename T> static T of(T a) { return a >> (8 * sizeof(T) - 1) ? (T)(0 - a) : a; }
};
struct Absolute {
    template <typename T> static T of(T a) { return std::fabs(a); }
};
struct Root {
    template <typename T> static T of(T a) { return std::sqrt(a); }
};
struct Reciprocal {
    template <typename T> static T of(T a) { return 1 / a; }
};
struct Add {
    template <typename T> static T of(T a, T b) { return (T)(a + b); }
};
struct Subtract {
    template <typename T> static T of(T a, T b) { return (T)(a - b); }
};
struct Multiply {
    template <typename T> static T of(T a, T b) { return (T)(a * b); }
};
struct MultiplyLow { // sixteen bits would become an int, which must not overflow
    template <typename T> static T of(T a, T b) { return (T)((uint64_t)a * (uint64_t)b); }
};
struct MultiplyHigh {
    template <typename T> static T of(T a, T b) {
        using Wide = std::conditional_t<std::is_signed_v<T>, __int128, unsigned __int128>;
        return (T)((Wide)a * b >> 8 * sizeof(T));
    }
};
template <typename D> struct MultiplyWide {
    template <typename T> static D of(T a, T b) { return (D)a * (D)b; }
};
struct MultiplyAdd {
    template <typename T> static T of(T a, T b, T c) { return (T)(a * b + c); }
};
struct FusedMultiplyAdd {
    static float of(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
    static double of(double a, double b, double c) { return __builtin_fma(a, b, c); }
};
struct Divide {
    template <typename T> static T of(T a, T b) {
        if constexpr (std::is_integral_v<T>) {
            if (b == 0) {
                return (T)-1;
            }
            return std::is_signed_v<T> && b == (T)-1 ? (T)(0 - (Unsigned<T>)a)
                                                     : (T)(a / b); // the least one has no opposite
        } else {
            return a / b;
        }
    }
};
struct Remainder {
    template <typename T> static T of(T a, T b) { return b == 0 || b == (T)-1 ? 0 : (T)(a % b); }
};
struct Minimum {
    static constexpr bool is_least = true;
    template <typename T> static T of(T a, T b) { return b < a ? b : a; }
};
struct Maximum {
    static constexpr bool is_least = false;
    template <typename T> static T of(T a, T b) { return a < b ? b : a; }
};
template <typename Op> struct OfNumbers { // of a number and NaN, the number; 0 above -0
    template <typename T> static T of(T a, T b) {
        return a != a ? b : b != b ? a : a == b ? (std::signbit(a) == Op::is_least ? a : b) : Op::of(a, b);
    }
};
struct And {
    template <typename T> static T of(T a, T b) { return (T)(a & b); }
};
struct Or {
    template <typename T> static T of(T a, T b) { return (T)(a | b); }
};
struct ExclusiveOr {
    template <typename T> static T of(T a, T b) { return (T)(a ^ b); }
};
struct ShiftLeft { // what is shifted by all bits or more is gone
    template <typename T> static T of(T a, uint32_t by) { return by < 8 * sizeof(T) ? (T)(a << by) : 0; }
};
struct ShiftRight { // or only the sign is left
    template <typename T> static T of(T a, uint32_t by) {
        return by < 8 * sizeof(T) ? (T)(a >> by) : a < 0 ? (T)-1 : 0;
    }
};
struct ExtractBits {
    static uint32_t of(uint32_t a, uint32_t from, uint32_t count) {
        from &= 255;
        count &= 255;
        return from > 31 || count == 0 ? 0 : (a >> from) & (count > 31 ? ~0u : (1u << count) - 1);
    }
};
struct ShiftLeftFrom { // the upper half of two words
    static uint32_t of(uint32_t low, uint32_t high, uint32_t count) {
        return (uint32_t)((((uint64_t)high << 32 | low) << (count & 31)) >> 32);
    }
};
struct ExtractSignedBits { // above them, the highest of them
    static int32_t of(int32_t a, uint32_t from, uint32_t count) {
        const int32_t bits = a >> std::min(from & 255u, 31u);
        const unsigned above = 32 - std::min(count & 255u, 32u);
        return above == 32 ? 0 : (int32_t)((uint32_t)bits << above) >> above;
    }
};

struct Equal {
    template <typename T> static bool of(T a, T b) { return a == b; }
};
struct NotEqual {
    template <typename T> static bool of(T a, T b) { return a < b || a > b; } // false where one is NaN
};
struct Less {
    template <typename T> static bool of(T a, T b) { return a < b; }
};
struct LessOrEqual {
    template <typename T> static bool of(T a, T b) { return a <= b; }
};
struct Greater {
    template <typename T> static bool of(T a, T b) { return a > b; }
};
struct GreaterOrEqual {
    template <typename T> static bool of(T a, T b) { return a >= b; }
};
struct BothNumbers {
    template <typename T> static bool of(T a, T b) { return a == a && b == b; }
};
template <typename Op> struct OrUnordered {
    template <typename T> static bool of(T a, T b) { return a != a || b != b || Op::of(a, b); }
};
struct Never {
    template <typename T> static bool of(T, T) { return false; }
};

template <typename T, typename Op> Form comparison() { return {compare<T, Op>, {0, sizeof(T), sizeof(T)}}; }

template <typename T> void add_moves(Forms &forms, const std::string &type) {
    forms["mov" + type] = form<Copy, T, T>();
    forms["selp" + type] = {select<T>, {sizeof(T), sizeof(T), sizeof(T), 0}};
}

template <typename T> void add_comparisons(Forms &forms, const std::string &type) {
    forms["setp.eq" + type] = comparison<T, Equal>();
    forms["setp.ne" + type] = comparison<T, NotEqual>();
    forms["setp.lt" + type] = comparison<T, Less>();
    forms["setp.le" + type] = comparison<T, LessOrEqual>();
    forms["setp.gt" + type] = comparison<T, Greater>();
    forms["setp.ge" + type] = comparison<T, GreaterOrEqual>();
}

template <typename T> void add_bits(Forms &forms, const std::string &type) {
    add_moves<T>(forms, type);
    forms["setp.eq" + type] = comparison<T, Equal>();
    forms["setp.ne" + type] = comparison<T, NotEqual>();
    forms["and" + type] = form<And, T, T, T>();
    forms["or" + type] = form<Or, T, T, T>();
    forms["xor" + type] = form<ExclusiveOr, T, T, T>();
    forms["not" + type] = form<Not, T, T>();
    forms["shl" + type] = form<ShiftLeft, T, T, uint32_t>();
}

template <typename T> void add_integers(Forms &forms, const std::string &type) {
    using U = Unsigned<T>; // overflow wraps
    add_moves<T>(forms, type);
    add_comparisons<T>(forms, type);
    forms["add" + type] = form<Add, U, U, U>();
    forms["sub" + type] = form<Subtract, U, U, U>();
    forms["mul.lo" + type] = form<MultiplyLow, U, U, U>();
    forms["mad.lo" + type] = form<MultiplyAdd, U, U, U, U>();
    forms["div" + type] = form<Divide, T, T, T>();
    forms["rem" + type] = form<Remainder, T, T, T>();
    forms["min" + type] = form<Minimum, T, T, T>();
    forms["max" + type] = form<Maximum, T, T, T>();
    forms["shr" + type] = form<ShiftRight, T, T, uint32_t>();
    forms["mul.hi" + type] = form<MultiplyHigh, T, T, T>();
    if constexpr (std::is_signed_v<T>) {
        forms["neg" + type] = form<NegateInteger, U, U>();
        forms["abs" + type] = form<AbsoluteInteger, U, U>();
    }
}

template <typename T, typename Wide> void add_wide(Forms &forms, const std::string &type) {
    forms["mul.wide" + type] = form<MultiplyWide<Wide>, Wide, T, T>();
}

template <typename T> void add_floats(Forms &forms, const std::string &type) {
    add_moves<T>(forms, type);
    add_comparisons<T>(forms, type);
    forms["setp.num" + type] = comparison<T, BothNumbers>();
    forms["setp.nan" + type] = comparison<T, OrUnordered<Never>>();
    forms["setp.equ" + type] = comparison<T, OrUnordered<Equal>>();
    forms["setp.neu" + type] = comparison<T, OrUnordered<NotEqual>>();
    forms["setp.leu" + type] = comparison<T, OrUnordered<LessOrEqual>>();
    forms["setp.ltu" + type] = comparison<T, OrUnordered<Less>>();
    forms["setp.geu" + type] = comparison<T, OrUnordered<GreaterOrEqual>>();
    forms["setp.gtu" + type] = comparison<T, OrUnordered<Greater>>();
    forms["add" + type] = form<Add, T, T, T>();
    forms["sub" + type] = form<Subtract, T, T, T>();
    forms["mul" + type] = form<Multiply, T, T, T>();
    forms["div.rn" + type] = form<Divide, T, T, T>();
    forms["fma.rn" + type] = form<FusedMultiplyAdd, T, T, T, T>();
    forms["min" + type] = form<OfNumbers<Minimum>, T, T, T>();
    forms["max" + type] = form<OfNumbers<Maximum>, T, T, T>();
    forms["neg" + type] = form<Negate, T, T>();
    forms["abs" + type] = form<Absolute, T, T>();
    forms["sqrt.rn" + type] = form<Root, T, T>();
    forms["rcp.rn" + type] = form<Reciprocal, T, T>();
}

Forms all_forms() {
    Forms forms;
    add_bits<uint16_t>(forms, ".b16");
    add_bits<uint32_t>(forms, ".b32");
    add_bits<uint64_t>(forms, ".b64");
    add_integers<uint16_t>(forms, ".u16");
    add_integers<int16_t>(forms, ".s16");
    add_integers<uint32_t>(forms, ".u32");
    add_integers<int32_t>(forms, ".s32");
    add_integers<uint64_t>(forms, ".u64");
    add_integers<int64_t>(forms, ".s64");
    add_wide<uint16_t, uint32_t>(forms, ".u16");
    add_wide<uint32_t, uint64_t>(forms, ".u32");
    add_wide<int32_t, int64_t>(forms, ".s32");
    add_floats<float>(forms, ".f32");
    add_floats<double>(forms, ".f64");
    forms["and.pred"] = {of_predicates<And>, {0, 0, 0}};
    forms["or.pred"] = {of_predicates<Or>, {0, 0, 0}};
    forms["xor.pred"] = {of_predicates<ExclusiveOr>, {0, 0, 0}};
    forms["not.pred"] = {not_predicate, {0, 0}};
    forms["shf.l.wrap.b32"] = form<ShiftLeftFrom, uint32_t, uint32_t, uint32_t, uint32_t>();
    forms["bfe.u32"] = form<ExtractBits, uint32_t, uint32_t, uint32_t, uint32_t>();
    forms["bfe.s32"] = form<ExtractSignedBits, int32_t, int32_t, uint32_t, uint32_t>();
    forms["cvta.global.u64"] = forms["cvta.to.global.u64"] =
        form<Copy, uint64_t, uint64_t>(); // global addresses are generic ones
    add_conversion_forms(forms);
    add_memory_forms(forms);
    add_warp_forms(forms);
    add_warpgroup_forms(forms);
    return forms;
}

} // namespace

Generation generation_of(const std::string &opcode) {
    static const struct {
        const char *beginning;
        Generation generation;
    } later_than_turing[] = {
        {"mma.sync.", {80, false}},
        {"cp.async.", {80, false}},
        {"cvt.rna.tf32.", {80, false}},
        {"cvt.rn.bf16x2.", {80, false}},
        {"cvt.rn.relu.bf16x2.", {80, false}},
        {"max.NaN.", {80, false}},
        {"min.NaN.", {80, false}},
        {"max.bf16x2", {80, false}},
        {"set.gt.u32.bf16x2", {90, false}},
        {"set.nan.u32.bf16x2", {90, false}},
        {"griddepcontrol.", {90, false}},
        {"fence.proxy.", {90, false}},
        {"wgmma.", {90, true}},
    };
    for (const auto &[beginning, generation] : later_than_turing) {
        if (opcode.rfind(beginning, 0) == 0) {
            return generation;
        }
    }
    return {75, false};
}

const Form *find_form(const std::string &opcode, unsigned register_bytes) {
    static const Forms forms = all_forms();
    auto found = forms.find(opcode + "/" + std::to_string(register_bytes));
    if (found == forms.end()) {
        found = forms.find(opcode);
    }
    return found == forms.end() ? nullptr : &found->second;
}

} // namespace softcuda
