// What each instruction of PTX computes on the software CUDA device, beside what the PTX ISA says.
#include "ptx_lab.h"

#include <cmath>
#include <limits>

namespace {

uint64_t bits(float x) {
    uint32_t u;
    std::memcpy(&u, &x, sizeof u);
    return u;
}

uint64_t bits(double x) {
    uint64_t u;
    std::memcpy(&u, &x, sizeof u);
    return u;
}

// One instruction from (a, b, c), as %r1 … %r3, %rd11 … %rd13, %rs1 … %rs3, %f1 … %f3 and %fd1 … %fd3, to number 10 of
// its kind: in all lanes, and where only half of them are active.
struct Example {
    const char *instruction;
    uint64_t a, b, c, expected;
};

void check(const Example &example) {
    const std::string text = example.instruction,
                      to = text.substr(text.find('%'), text.find("10", text.find('%')) + 2 - text.find('%'));
    const bool is_long = to == "%rd10" || to == "%fd10";
    const std::string type = to == "%rs10"   ? "u16"
                             : to == "%r10"  ? "u32"
                             : to == "%f10"  ? "f32"
                             : to == "%fd10" ? "f64"
                                             : "u64";
    std::string before;
    for (int i = 1; i <= 3; ++i) {
        const std::string n = std::to_string(i), at = "[%rd0+" + std::to_string(8 * (i - 1)) + "];\n";
        before += "ld.global.u16 %rs" + n + ", " + at + "ld.global.u32 %r" + n + ", " + at + "ld.global.f32 %f" + n +
                  ", " + at + "ld.global.u64 %rd1" + n + ", " + at + "ld.global.f64 %fd" + n + ", " + at;
    }
    before += "ld.global." + type + " " + to + ", [%rd0+24];\n";
    const std::string after = "st.global." + type + " [%rd1], " + to + ";";
    const uint64_t mask = is_long ? ~0ull : to == "%rs10" ? 0xFFFF : 0xFFFFFFFF, otherwise = 0x1234567812345678;
    bool holds = true;
    for (const unsigned active : {32u, 16u}) {
        Memory in, out;
        for (unsigned thread = 0; thread < 32; ++thread) {
            const uint64_t values[] = {example.a, example.b, example.c, otherwise};
            std::memcpy(&in.at<uint64_t>(thread, 0), values, sizeof values);
        }
        const std::string guard = "setp.lt.u32 %p7, %r0, " + std::to_string(active) + ";\n@!%p7 bra NEXT;\n";
        holds = holds && run(before + guard + text + "\nNEXT:\n" + after, in, out) == success;
        for (unsigned thread = 0; thread < 32; ++thread) {
            holds = holds &&
                    (out.at<uint64_t>(thread, 0) & mask) == ((thread < active ? example.expected : otherwise) & mask);
        }
    }
    expect(holds, text);
}

constexpr uint64_t minus(uint64_t x) { return 0 - x; }

const float nan32 = std::numeric_limits<float>::quiet_NaN();

const Example examples[] = {
    {"add.s32 %r10, %r1, %r2;", 0xFFFFFFFF, 2, 0, 1},
    {"sub.s64 %rd10, %rd11, %rd12;", 1, 2, 0, minus(1)},
    {"sub.s16 %rs10, %rs1, %rs2;", 1, 2, 0, 0xFFFF},
    {"mul.lo.s32 %r10, %r1, -3;", 0x60000000, 0, 0, 0xE0000000},
    {"mul.lo.s16 %rs10, %rs1, %rs2;", 0xFFFF, 0xFFFF, 0, 1},
    {"mul.hi.u32 %r10, %r1, %r2;", 0xFFFFFFFF, 0xFFFFFFFF, 0, 0xFFFFFFFE},
    {"mul.hi.u64 %rd10, %rd11, %rd12;", ~0ull, ~0ull, 0, ~0ull - 1},
    {"mul.hi.s32 %r10, %r1, %r2;", minus(7), 0x55555556, 0, minus(3)}, // -7 / 3, before the sign is added
    {"mul.wide.u32 %rd10, %r1, %r2;", 0xFFFFFFFF, 0xFFFFFFFF, 0, 0xFFFFFFFE00000001},
    {"mul.wide.s32 %rd10, %r1, %r2;", 0xFFFFFFFF, 2, 0, minus(2)},
    {"mad.lo.s32 %r10, %r1, %r2, %r3;", 0x10000, 0x10001, 5, 0x10005},
    {"div.s64 %rd10, %rd11, %rd12;", minus(7), 2, 0, minus(3)},
    {"div.u32 %r10, %r1, %r2;", 0xFFFFFFFF, 16, 0, 0x0FFFFFFF},
    {"rem.s32 %r10, %r1, %r2;", minus(7), 2, 0, minus(1)},
    {"min.s32 %r10, %r1, %r2;", minus(7), 2, 0, minus(7)},
    {"min.u32 %r10, %r1, %r2;", minus(7), 2, 0, 2},
    {"max.u32 %r10, %r1, %r2;", minus(7), 2, 0, minus(7)},
    {"shl.b32 %r10, %r1, %r2;", 3, 31, 0, 0x80000000},
    {"shl.b32 %r10, %r1, %r2;", 3, 32, 0, 0},
    {"shl.b64 %rd10, %rd11, %r2;", 3, 40, 0, 3ull << 40},
    {"shr.u32 %r10, %r1, %r2;", 0x80000000, 31, 0, 1},
    {"shr.u32 %r10, %r1, %r2;", 0x80000000, 32, 0, 0},
    {"shr.s32 %r10, %r1, %r2;", 0x80000000, 40, 0, 0xFFFFFFFF},
    {"shr.u16 %rs10, %rs1, %r2;", 0x8000, 15, 0, 1},
    {"and.b32 %r10, %r1, %r2;", 0xF0F0, 0xFF00, 0, 0xF000},
    {"xor.b64 %rd10, %rd11, -1;", 5, 0, 0, ~5ull},
    {"not.b32 %r10, %r1;", 5, 0, 0, ~5ull},
    {"bfe.u32 %r10, %r1, %r2, %r3;", 0xABCD1234, 8, 12, 0xD12},
    {"bfe.u32 %r10, %r1, %r2, %r3;", 0xABCD1234, 24, 32, 0xAB},
    {"bfe.s32 %r10, %r1, %r2, %r3;", 0xABCD1234, 8, 12, 0xFFFFFD12},
    {"bfe.s32 %r10, %r1, %r2, %r3;", 0xABCD1234, 24, 32, 0xFFFFFFAB},
    {"shf.l.wrap.b32 %r10, %r1, %r2, %r3;", 0xABCD1234, 0x12345678, 36, 0x2345678A},
    {"prmt.b32 %r10, %r1, %r2, 0x7051;", 0x33221100, 0x77665544, 0, 0x77005511},
    {"prmt.b32 %r10, %r1, %r2, 0xBB99;", 0x80FF7FFF, 0, 0, 0xFFFF0000},
    {"mov.b64 %rd10, {%r1, %r2};", 1, 2, 0, 0x200000001},
    {"{ .reg .b32 low; mov.b64 {low, %r10}, %rd11; }", 0x200000001, 0, 0, 2},
    {"mov.b32 %r10, {%rs1, %rs2};", 1, 2, 0, 0x20001},
    {"cvt.s64.s32 %rd10, %r1;", 0x80000000, 0, 0, 0xFFFFFFFF80000000},
    {"cvt.s64.s32 %rd10, %rd11;", 0x7FFFFFFF80000000, 0, 0, 0xFFFFFFFF80000000},
    {"cvt.s32.s16 %r10, %rs1;", 0x18000, 0, 0, 0xFFFF8000},
    {"cvt.u64.u32 %rd10, %r1;", 0x80000000, 0, 0, 0x80000000},
    {"cvt.u16.u32 %rs10, %r1;", 0x12345, 0, 0, 0x2345},
    {"cvt.rzi.s32.f32 %r10, %f1;", bits(-2.9f), 0, 0, minus(2)},
    {"cvt.rzi.s32.f32 %r10, %f1;", bits(1e20f), 0, 0, 0x7FFFFFFF},
    {"cvt.rzi.s32.f32 %r10, %f1;", bits(nan32), 0, 0, 0},
    {"cvt.rzi.u32.f32 %r10, %f1;", bits(4e9f), 0, 0, 4000000000},
    {"cvt.rn.f32.s16 %f10, %rs1;", 0xFFFD, 0, 0, bits(-3.0f)},
    {"cvt.rzi.u64.f64 %rd10, %fd1;", bits(-1.0), 0, 0, 0},
    {"cvt.rn.f32.s32 %f10, %r1;", minus(3), 0, 0, bits(-3.0f)},
    {"cvt.rn.f32.u32 %f10, %r1;", 0xFFFFFFFF, 0, 0, bits(4294967296.0f)},
    {"cvt.rn.f32.f64 %f10, %fd1;", bits(1 + 0x1p-24 + 0x1p-50), 0, 0, bits(1 + 0x1p-23f)},
    {"cvt.f64.f32 %fd10, %f1;", bits(0.1f), 0, 0, bits((double)0.1f)},
    // Two bfloat16, the first operand above; halfway to the even one.
    {"cvt.rn.bf16x2.f32 %r10, %f1, %f2;", bits(1 + 0x1p-8f), bits(1 + 3 * 0x1p-8f), 0, 0x3F803F82},
    {"cvt.rn.relu.bf16x2.f32 %r10, %f1, %f2;", bits(-1.0f), bits(1 + 3 * 0x1p-8f), 0, 0x00003F82},
    {"cvt.rn.relu.bf16x2.f32 %r10, %f1, %f2;", bits(nan32), bits(-0x1p-100f), 0, 0x7FFF0000},
    {"max.bf16x2 %r10, %r1, %r2;", 0x3F80BF80, 0x4000C000, 0, 0x4000BF80}, // 1, -1 and 2, -2
    {"max.bf16x2 %r10, %r1, %r2;", 0xFFFF8000, 0xC0000000, 0, 0xC0000000}, // NaN, -0 and -2, 0
    {"set.gt.u32.bf16x2 %r10, %r1, %r2;", 0x3F80BF80, 0x3F80C000, 0, 0x0000FFFF},
    {"set.gt.u32.bf16x2 %r10, %r1, %r2;", 0xFFFF0000, 0x3F808000, 0, 0}, // NaN, 0 and 1, -0
    {"set.nan.u32.bf16x2 %r10, %r1, %r2;", 0xFFFF3F80, 0x00003F80, 0, 0xFFFF0000},
    {"max.NaN.bf16x2 %r10, %r1, %r2;", 0xFF80FFFF, 0x3F803F80, 0, 0x3F807FFF}, // infinity is a number
    {"max.NaN.bf16x2 %r10, %r1, %r2;", 0x80003F80, 0x0000BF80, 0, 0x00003F80},
    {"min.NaN.bf16x2 %r10, %r1, %r2;", 0x7F80FFFF, 0x3F803F80, 0, 0x3F807FFF},
    {"min.NaN.bf16x2 %r10, %r1, %r2;", 0x80003F80, 0x0000BF80, 0, 0x8000BF80},
    {"set.neu.u32.f16x2 %r10, %r1, %r2;", 0xBC00BC01, 0xBC00BC00, 0, 0x0000FFFF},
    {"set.neu.u32.f16x2 %r10, %r1, %r2;", 0x80007C01, 0x00007C01, 0, 0x0000FFFF}, // NaN differs from itself, 0 not from -0
    {"min.NaN.f32 %f10, %f1, %f2;", bits(-1.0f), bits(-2.0f), 0, bits(-2.0f)},
    {"min.NaN.f32 %f10, %f1, %f2;", bits(nan32), bits(-2.0f), 0, bits(nan32)},
    {"max.NaN.f32 %f10, %f1, %f2;", bits(-1.0f), bits(-2.0f), 0, bits(-1.0f)},
    {"max.NaN.f32 %f10, %f1, %f2;", bits(-1.0f), bits(nan32), 0, bits(nan32)},
    {"max.f32 %f10, %f1, %f2;", bits(-1.0f), bits(nan32), 0, bits(-1.0f)},
    {"max.f32 %f10, %f1, %f2;", bits(nan32), bits(-2.0f), 0, bits(-2.0f)},
    {"max.f32 %f10, %f1, %f2;", bits(-0.0f), bits(0.0f), 0, bits(0.0f)},
    {"min.f32 %f10, %f1, %f2;", bits(0.0f), bits(-0.0f), 0, bits(-0.0f)},
    {"min.f32 %f10, %f1, %f2;", bits(3.0f), bits(-2.0f), 0, bits(-2.0f)},
    {"cvt.rna.tf32.f32 %r10, %f1;", bits(1 + 0x1p-11f), 0, 0, bits(1 + 0x1p-10f)}, // halfway: away from 0
    {"cvt.rna.tf32.f32 %r10, %f1;", bits(-1 - 0x1p-11f + 0x1p-23f), 0, 0, bits(-1.0f)},
    {"cvt.rna.tf32.f32 %r10, %f1;", bits(nan32) | 1, 0, 0, 0x7FFFFFFF},
    {"fma.rn.f32 %f10, %f1, %f2, %f3;", bits(1 + 0x1p-23f), bits(1 - 0x1p-23f), bits(-1.0f), bits(-0x1p-46f)},
    {"fma.rn.f32 %f10, %f1, 0f40000000, 0f3F800000;", bits(3.0f), 0, 0, bits(7.0f)},
    {"fma.rn.f64 %fd10, %fd1, %fd2, %fd3;", bits(1 + 0x1p-52), bits(1 - 0x1p-52), bits(-1.0), bits(-0x1p-104)},
    {"div.rn.f32 %f10, %f1, %f2;", bits(1.0f), bits(3.0f), 0, bits(1.0f / 3)},
    {"rcp.rn.f64 %fd10, %fd1;", bits(3.0), 0, 0, bits(1.0 / 3)},
    {"sqrt.rn.f32 %f10, %f1;", bits(2.0f), 0, 0, bits(std::sqrt(2.0f))},
    {"neg.s32 %r10, %r1;", 5, 0, 0, 0xFFFFFFFB},
    {"neg.s32 %r10, %r1;", 0x80000000, 0, 0, 0x80000000},
    {"abs.s32 %r10, %r1;", minus(5), 0, 0, 5},
    {"abs.s64 %rd10, %rd11;", 5, 0, 0, 5},
    {"neg.f32 %f10, %f1;", bits(0.0f), 0, 0, bits(-0.0f)},
    {"abs.f32 %f10, %f1;", bits(-2.0f), 0, 0, bits(2.0f)},
    {"selp.f32 %f10, 0f3F800000, %f1, %p7;", bits(2.0f), 0, 0, bits(1.0f)}, // %p7 is true in active lanes
    {"mov.f32 %f10, %f1; not.pred %p1, %p7; selp.f32 %f10, 0f3F800000, %f10, %p1;", bits(2.0f), 0, 0, bits(2.0f)},
};

// a, b → eq ne lt le gt ge, then num nan neu leu equ, a bit each.
void check_comparisons(float a, float b, unsigned expected) {
    std::string body = "ld.global.f32 %f1, [%rd0]; ld.global.f32 %f2, [%rd0+4]; mov.b32 %r1, 0;\n";
    int n = 0;
    for (const char *comparison : {"eq", "ne", "lt", "le", "gt", "ge", "num", "nan", "neu", "leu", "equ"}) {
        body += "setp." + std::string(comparison) + ".f32 %p1, %f1, %f2; selp.u32 %r2, " + std::to_string(1 << n++) +
                ", 0, %p1; or.b32 %r1, %r1, %r2;\n";
    }
    Memory in, out;
    for (unsigned thread = 0; thread < 32; ++thread) {
        in.at<float>(thread, 0) = a;
        in.at<float>(thread, 1) = b;
    }
    expect(run(body + "st.global.u32 [%rd1], %r1;", in, out) == success && out.at<uint32_t>(7, 0) == expected,
           "comparisons of " + std::to_string(a) + " and " + std::to_string(b));
}

uint16_t bfloat16(float x) { return (uint16_t)(bits(x) >> 16); } // of one that fits

void check_matrices() {
    // A (16×16) and B (16×8), small integers; in shared memory row by row, 256 and 128 numbers.
    float a[16][16], b[16][8], expected[16][8] = {};
    Memory in, out;
    uint16_t *numbers = &in.at<uint16_t>(0, 0);
    for (int i = 0; i < 16; ++i) {
        for (int j = 0; j < 16; ++j) {
            a[i][j] = (float)((3 * i + 5 * j) % 7 - 3);
            numbers[16 * i + j] = bfloat16(a[i][j]);
        }
        for (int j = 0; j < 8; ++j) {
            b[i][j] = (float)((2 * i + 3 * j + i * j) % 7 - 3);
            numbers[256 + 8 * i + j] = bfloat16(b[i][j]);
        }
    }
    for (int i = 0; i < 128; ++i) {
        for (int k = 0; k < 16; ++k) {
            expected[i / 8][i % 8] += a[i / 8][k] * b[k][i % 8];
        }
    }
    const std::string body = R"(
        mov.u64 %rd4, dynamic; cvt.u32.u64 %r1, %rd4;
        mul.lo.s32 %r2, %r0, 48; add.s32 %r2, %r1, %r2;             // each thread brings 48 bytes
        ld.param.u64 %rd5, [in]; mul.wide.u32 %rd6, %r0, 48; add.s64 %rd5, %rd5, %rd6;
        cp.async.cg.shared.global [%r2], [%rd5], 16;
        add.s32 %r3, %r2, 16; cp.async.cg.shared.global [%r3], [%rd5+16], 16;
        add.s32 %r3, %r2, 32; cp.async.cg.shared.global [%r3], [%rd5+32], 16;
        cvt.u64.u32 %rd7, %r2; ld.shared.u32 %r40, [%rd7]; st.global.u32 [%rd1+32], %r40;
        cp.async.wait_all; bar.sync 0;
        // Row (lane % 8) + 8 of every other matrix, columns from 8 on in the last two.
        and.b32 %r4, %r0, 15; shl.b32 %r4, %r4, 5; shr.u32 %r5, %r0, 4; shl.b32 %r5, %r5, 4; add.s32 %r4, %r4, %r5; add.s32 %r4, %r4, %r1;
        ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r10, %r11, %r12, %r13}, [%r4];
        and.b32 %r5, %r0, 15; shl.b32 %r5, %r5, 4; add.s32 %r5, %r5, %r1;
        ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%r14, %r15}, [%r5+512];
        mov.f32 %f1, 0f00000000; mov.f32 %f2, %f1; mov.f32 %f3, %f1; mov.f32 %f4, %f1; mov.f32 %f5, %f1;
        mov.f32 %f6, %f1; mov.f32 %f7, %f1; mov.f32 %f8, %f1;
        mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32
            {%f1, %f2, %f3, %f4}, {%r10, %r11, %r12, %r13}, {%r14, %r15}, {%f1, %f2, %f3, %f4};
        mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%f5, %f6, %f7, %f8}, {%r10, %r11}, {%r14}, {%f5, %f6, %f7, %f8};
        mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%f5, %f6, %f7, %f8}, {%r12, %r13}, {%r15}, {%f5, %f6, %f7, %f8};
        st.global.v4.f32 [%rd1], {%f1, %f2, %f3, %f4}; st.global.v4.f32 [%rd1+16], {%f5, %f6, %f7, %f8};)";
    bool same = run(body, in, out, 32, 1536) == success, early = false;
    for (unsigned lane = 0; lane < 32; ++lane) {
        for (unsigned i = 0; i < 4; ++i) {
            const float value = expected[lane / 4 + i / 2 * 8][2 * (lane % 4) + i % 2];
            same = same && out.at<float>(lane, i) == value && out.at<float>(lane, 4 + i) == value;
        }
        early = early || out.at<uint32_t>(lane, 8) != 0xFFFFFFFF;
    }
    expect(same, "fragments multiply as the matrices they are loaded from");
    expect(!early, "an asynchronous copy is not there before the wait");

    Memory turned;
    expect(run("shl.b32 %r1, %r0, 1; add.s32 %r2, %r1, 1; shl.b32 %r2, %r2, 16; or.b32 %r1, %r1, %r2; // elements 2 "
               "lane, 2 lane + 1\n"
               "movmatrix.sync.aligned.m8n8.trans.b16 %r3, %r1; st.global.u32 [%rd1], %r3;\n"
               "shfl.sync.bfly.b32 %r4, %r0, 12, 0x1f, 0xffffffff; st.global.u32 [%rd1+4], %r4;\n"
               "shfl.sync.idx.b32 %r4, %r0, 12, 0x1f, 0xffffffff; st.global.u32 [%rd1+8], %r4;",
               in, turned) == success,
           "matrices turn, lanes exchange");
    bool holds = true;
    for (unsigned lane = 0; lane < 32; ++lane) {
        const unsigned g = lane / 4, t = lane % 4;
        holds = holds && turned.at<uint32_t>(lane, 0) == ((8 * 2 * t + g) | (8 * (2 * t + 1) + g) << 16) &&
                turned.at<uint32_t>(lane, 1) == (lane ^ 12) && turned.at<uint32_t>(lane, 2) == 12;
    }
    expect(holds, "to where they should");
}

// A (16×8) and B (8×8) of small integers, with something in the 13 bits that are not read; and C (16×8), which differs
// from D.
void check_tf32() {
    const auto a = [](unsigned i, unsigned k) { return (float)((3 * i + 5 * k + i * k) % 7) - 3; };
    const auto b = [](unsigned k, unsigned j) { return (float)((2 * k + 3 * j + k * j) % 11) - 5; };
    const auto c = [](unsigned i, unsigned j) { return (float)(8 * i + j); };
    Memory in, out;
    for (unsigned lane = 0; lane < 32; ++lane) {
        const unsigned g = lane / 4, t = lane % 4;
        const float factors[] = {a(g, t), a(g + 8, t), a(g, t + 4), a(g + 8, t + 4), b(t, g), b(t + 4, g)};
        for (unsigned i = 0; i < 6; ++i) {
            in.at<uint32_t>(lane, i) = (uint32_t)bits(factors[i]) | (0x1FFF - lane);
        }
        for (unsigned i = 0; i < 4; ++i) {
            in.at<float>(lane, 6 + i) = c(g + i / 2 * 8, 2 * t + i % 2);
        }
    }
    bool same =
        run("ld.global.nc.v4.b32 {%r10, %r11, %r12, %r13}, [%rd0]; ld.global.nc.v2.u32 {%r14, %r15}, [%rd0+16];\n"
            "ld.global.v2.f32 {%f5, %f6}, [%rd0+24]; ld.global.nc.v2.f32 {%f7, %f8}, [%rd0+32];\n"
            "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32\n"
            "{%f1, %f2, %f3, %f4}, {%r10, %r11, %r12, %r13}, {%r14, %r15}, {%f5, %f6, %f7, %f8};\n"
            "st.global.v4.f32 [%rd1], {%f1, %f2, %f3, %f4};",
            in, out) == success;
    for (unsigned lane = 0; lane < 32; ++lane) {
        for (unsigned n = 0; n < 4; ++n) {
            const unsigned i = lane / 4 + n / 2 * 8, j = 2 * (lane % 4) + n % 2;
            float expected = c(i, j);
            for (unsigned k = 0; k < 8; ++k) {
                expected += a(i, k) * b(k, j);
            }
            same = same && out.at<float>(lane, n) == expected;
        }
    }
    expect(same, "tf32: fragments multiply as the matrices they are taken from");
}

// Shared memory holds 0, 1, 2 …, two bytes each; row r of the matrices begins at element 8 (5 r % 32).
void check_matrix_loads() {
    for (const unsigned matrices : {1u, 2u, 4u}) {
        for (const bool is_transposed : {false, true}) {
            std::string to = "%r10";
            for (unsigned m = 1; m < matrices; ++m) {
                to += ", %r1" + std::to_string(m);
            }
            std::string body =
                "mov.u64 %rd4, dynamic; cvt.u32.u64 %r1, %rd4; shl.b32 %r2, %r0, 4; add.s32 %r2, %r1, %r2; cvt.u64.u32 "
                "%rd5, %r2; ld.global.v4.u32 {%r4, %r5, %r6, %r7}, [%rd0]; st.shared.v4.u32 [%rd5], {%r4, %r5, %r6, "
                "%r7}; bar.sync 0;\nmul.lo.s32 %r3, %r0, 5; and.b32 %r3, %r3, 31; shl.b32 %r3, %r3, 4; add.s32 %r3, "
                "%r3, %r1; sub.s32 %r3, %r3, 32;\n";
            body += "ldmatrix.sync.aligned.m8n8.x" + std::to_string(matrices) + (is_transposed ? ".trans" : "") +
                    ".shared.b16 {" + to + "}, [%r3+32];\n";
            for (unsigned m = 0; m < matrices; ++m) {
                body += "st.global.u32 [%rd1+" + std::to_string(4 * m) + "], %r1" + std::to_string(m) + ";\n";
            }
            Memory in, out;
            for (unsigned i = 0; i < 256; ++i) {
                in.at<uint16_t>(i / 8, i % 8) = (uint16_t)i;
            }
            bool holds = run(body, in, out, 32, 512) == success;
            for (unsigned lane = 0; lane < 32; ++lane) {
                for (unsigned m = 0; m < matrices; ++m) {
                    const auto element = [&](unsigned row, unsigned column) {
                        return 8 * ((8 * m + row) * 5 % 32) + column;
                    };
                    const unsigned g = lane / 4, t = lane % 4,
                                   pair = is_transposed ? element(2 * t, g) | element(2 * t + 1, g) << 16
                                                        : element(g, 2 * t) | element(g, 2 * t + 1) << 16;
                    holds = holds && out.at<uint32_t>(lane, m) == pair;
                }
            }
            expect(holds, "ldmatrix .x" + std::to_string(matrices) + (is_transposed ? " .trans" : ""));
        }
    }
}

} // namespace

int main() {
    for (const Example &example : examples) {
        check(example);
    }
    check_comparisons(1, 2, 1 << 1 | 1 << 2 | 1 << 3 | 1 << 6 | 1 << 8 | 1 << 9);
    check_comparisons(2, 2, 1 << 0 | 1 << 3 | 1 << 5 | 1 << 6 | 1 << 9 | 1 << 10);
    check_comparisons(3, 2, 1 << 1 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 8);
    check_comparisons(nan32, 2, 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10);
    check_matrices();
    check_tf32();
    check_matrix_loads();
    std::printf("%d failures\n", failures);
    return failures != 0;
}
