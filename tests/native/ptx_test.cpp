// How the software CUDA device runs PTX: what instructions compute, how lanes part and meet, and what breaks the rules.
// Its complaints on standard error are expected.
#include "driver.h"
#include "grid.h"
#include "warp.h"

#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <omp.h>
#include <stdexcept>

using namespace softcuda;

extern "C" int softcuda_tensor(uint64_t address, size_t bytes);

namespace {

int failures = 0;

void expect(bool holds, const std::string &what) {
    std::printf("%s: %s\n", holds ? "holds " : "BROKEN", what.c_str());
    failures += !holds;
}

// A kernel whose threads have 64 bytes each of what they read (at %rd0) and write (at %rd1); thread in %r0.
Module assemble(const std::string &body) {
    return parse_ptx(
        ".version 7.8\n.target sm_90\n.address_size 64\n.extern .shared .align 16 .b8 dynamic[];\n"
        ".visible .entry test(.param .u64 in, .param .u64 out)\n{\n"
        ".reg .pred %p<8>; .reg .b16 %rs<16>; .reg .b32 %r<64>; .reg .b64 %rd<32>; .reg .f32 %f<32>; .reg .f64 "
        "%fd<16>;\n"
        ".shared .align 16 .b8 tile[512];\n"
        "mov.u32 %r0, %tid.x; ld.param.u64 %rd0, [in]; ld.param.u64 %rd1, [out]; mul.wide.u32 %rd2, %r0, 64;\n"
        "add.s64 %rd0, %rd0, %rd2; add.s64 %rd1, %rd1, %rd2;\n" +
        body + "\nret;\n}\n");
}

struct Memory { // of the device, as the host sees it
    uint64_t address = allocate(64 * 64, true);
    unsigned char *host = static_cast<unsigned char *>(memory(address, 64 * 64, "test"));
    ~Memory() { release(address, true); }
    template <typename T> T &at(unsigned thread, unsigned i) {
        return *reinterpret_cast<T *>(host + 64 * thread + sizeof(T) * i);
    }
};

std::vector<unsigned char> parameters(const Memory &in, const Memory &out) {
    std::vector<unsigned char> values(16);
    std::memcpy(&values[0], &in.address, 8);
    std::memcpy(&values[8], &out.address, 8);
    return values;
}

Result run(const std::string &body, Memory &in, Memory &out, unsigned threads = 32, unsigned shared = 0) {
    const Module module = assemble(body);
    return Launch(module.kernels.at("test"), parameters(in, out), {1, 1, 1}, {threads, 1, 1}, shared).run();
}

Result run(const std::string &body, unsigned threads = 32) {
    Memory in, out;
    return run(body, in, out, threads);
}

bool is_refused(const std::string &body) {
    try {
        assemble(body);
        return false;
    } catch (const std::runtime_error &) {
        return true;
    }
}

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
    {"prmt.b32 %r10, %r1, %r2, 0x7051;", 0x33221100, 0x77665544, 0, 0x77005511},
    {"prmt.b32 %r10, %r1, %r2, 0xBB99;", 0x80FF7FFF, 0, 0, 0xFFFF0000},
    {"mov.b64 %rd10, {%r1, %r2};", 1, 2, 0, 0x200000001},
    {"{ .reg .b32 low; mov.b64 {low, %r10}, %rd11; }", 0x200000001, 0, 0, 2},
    {"mov.b32 %r10, {%rs1, %rs2};", 1, 2, 0, 0x20001},
    {"cvt.s64.s32 %rd10, %r1;", 0x80000000, 0, 0, 0xFFFFFFFF80000000},
    {"cvt.s64.s32 %rd10, %rd11;", 0x7FFFFFFF80000000, 0, 0, 0xFFFFFFFF80000000},
    {"cvt.u64.u32 %rd10, %r1;", 0x80000000, 0, 0, 0x80000000},
    {"cvt.u16.u32 %rs10, %r1;", 0x12345, 0, 0, 0x2345},
    {"cvt.rzi.s32.f32 %r10, %f1;", bits(-2.9f), 0, 0, minus(2)},
    {"cvt.rzi.s32.f32 %r10, %f1;", bits(1e20f), 0, 0, 0x7FFFFFFF},
    {"cvt.rzi.s32.f32 %r10, %f1;", bits(nan32), 0, 0, 0},
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
    {"max.NaN.f32 %f10, %f1, %f2;", bits(-1.0f), bits(-2.0f), 0, bits(-1.0f)},
    {"max.NaN.f32 %f10, %f1, %f2;", bits(-1.0f), bits(nan32), 0, bits(nan32)},
    {"fma.rn.f32 %f10, %f1, %f2, %f3;", bits(1 + 0x1p-23f), bits(1 - 0x1p-23f), bits(-1.0f), bits(-0x1p-46f)},
    {"fma.rn.f32 %f10, %f1, 0f40000000, 0f3F800000;", bits(3.0f), 0, 0, bits(7.0f)},
    {"fma.rn.f64 %fd10, %fd1, %fd2, %fd3;", bits(1 + 0x1p-52), bits(1 - 0x1p-52), bits(-1.0), bits(-0x1p-104)},
    {"div.rn.f32 %f10, %f1, %f2;", bits(1.0f), bits(3.0f), 0, bits(1.0f / 3)},
    {"rcp.rn.f64 %fd10, %fd1;", bits(3.0), 0, 0, bits(1.0 / 3)},
    {"sqrt.rn.f32 %f10, %f1;", bits(2.0f), 0, 0, bits(std::sqrt(2.0f))},
    {"neg.f32 %f10, %f1;", bits(0.0f), 0, 0, bits(-0.0f)},
    {"abs.f32 %f10, %f1;", bits(-2.0f), 0, 0, bits(2.0f)},
    {"selp.f32 %f10, 0f3F800000, %f1, %p7;", bits(2.0f), 0, 0, bits(1.0f)}, // %p7 is true in active lanes
};

// a, b → eq ne lt le gt ge, then num nan neu leu, a bit each.
void check_comparisons(float a, float b, unsigned expected) {
    std::string body = "ld.global.f32 %f1, [%rd0]; ld.global.f32 %f2, [%rd0+4]; mov.b32 %r1, 0;\n";
    int n = 0;
    for (const char *comparison : {"eq", "ne", "lt", "le", "gt", "ge", "num", "nan", "neu", "leu"}) {
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
        mov.f32 %f1, 0f00000000; mov.f32 %f2, %f1; mov.f32 %f3, %f1; mov.f32 %f4, %f1; mov.f32 %f5, %f1; mov.f32 %f6, %f1; mov.f32 %f7, %f1; mov.f32 %f8, %f1;
        mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f1, %f2, %f3, %f4}, {%r10, %r11, %r12, %r13}, {%r14, %r15}, {%f1, %f2, %f3, %f4};
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
               "shfl.sync.bfly.b32 %r4, %r0, 12, 0x1f, 0xffffffff; st.global.u32 [%rd1+4], %r4;",
               in, turned) == success,
           "matrices turn, lanes exchange");
    bool holds = true;
    for (unsigned lane = 0; lane < 32; ++lane) {
        const unsigned g = lane / 4, t = lane % 4;
        holds = holds && turned.at<uint32_t>(lane, 0) == ((8 * 2 * t + g) | (8 * (2 * t + 1) + g) << 16) &&
                turned.at<uint32_t>(lane, 1) == (lane ^ 12);
    }
    expect(holds, "to where they should");
}

void check_lanes() {
    // Each lane counts to its own number, odd ones by a detour, and then all exchange.
    Memory in, out;
    const Result result = run(R"(
        mov.u32 %r1, 0;
        and.b32 %r2, %r0, 1; setp.eq.s32 %p1, %r2, 0;
    ROUND: setp.ge.u32 %p2, %r1, %r0; @%p2 bra DONE;
        @%p1 bra EVEN;
        add.s32 %r1, %r1, 1; bra.uni ROUND;
    EVEN: add.s32 %r1, %r1, 1; bra.uni ROUND;
    DONE: shfl.sync.bfly.b32 %r3, %r1, 1, 0x1f, 0xffffffff; st.global.u32 [%rd1], %r3;)",
                              in, out);
    bool holds = result == success;
    for (unsigned lane = 0; lane < 32; ++lane) {
        holds = holds && out.at<uint32_t>(lane, 0) == (lane ^ 1);
    }
    expect(holds, "lanes that part meet again");
    // Lanes whose way leads back past the others: they wait for them where all are needed.
    holds = run("setp.lt.u32 %p1, %r0, 8; @%p1 bra AROUND;\nTOGETHER: shfl.sync.bfly.b32 %r3, %r0, 1, 0x1f, "
                "0xffffffff; st.global.u32 [%rd1], %r3; ret;\n"
                "AROUND: bra.uni TOGETHER;",
                in, out) == success;
    expect(holds && out.at<uint32_t>(31, 0) == 30, "also where the way of some is longer");

    // A loop whose end stands before its body, as compilers like to have it: lanes that part within meet there.
    holds = run(R"(
        mov.u32 %r1, 0; mov.u32 %r4, 0; and.b32 %r2, %r0, 1; setp.eq.s32 %p1, %r2, 0; bra.uni BODY;
    END: shfl.sync.bfly.b32 %r3, %r4, 1, 0x1f, 0xffffffff; add.s32 %r1, %r1, 1; setp.lt.u32 %p2, %r1, 3; @%p2 bra BODY; bra.uni OUT;
    BODY: @%p1 bra EVEN; add.s32 %r4, %r4, 2; bra.uni END;
    EVEN: add.s32 %r4, %r4, 1; bra.uni END;
    OUT: st.global.u32 [%rd1], %r3;)",
                in, out) == success;
    expect(holds && out.at<uint32_t>(0, 0) == 6 && out.at<uint32_t>(1, 0) == 3,
           "and at the end of a loop that stands before its body");

    const std::string exchange = "shfl.sync.bfly.b32 %r3, %r0, 1, 0x1f, 0xffffffff;\n";
    expect(run(exchange, 16) == launch_failed, "a warp that is not whole cannot run its instructions");
    expect(run("setp.lt.u32 %p1, %r0, 8; @%p1 bra OTHER;\n" + exchange +
               "bra.uni END;\nOTHER: movmatrix.sync.aligned.m8n8.trans.b16 %r3, %r0;\nEND:") == launch_failed,
           "lanes at different instructions are seen");
    expect(run("setp.lt.u32 %p1, %r0, 8; @%p1 bra END;\n" + exchange + "END:") == launch_failed,
           "and lanes that have left");
    expect(run("setp.ge.u32 %p1, %r0, 32; @%p1 bra END; bar.sync 0;\nEND:", 64) == launch_failed,
           "a barrier that some threads miss is seen");
    expect(run(exchange, 64) == success, "and then everything runs again");
}

void check_memory() {
    expect(run("ld.global.u32 %r1, [%rd0+2];") == misaligned_address,
           "an address that is no multiple of the access is refused");
    expect(run("ld.global.v4.f32 {%f1, %f2, %f3, %f4}, [%rd0+8];") == misaligned_address, "a vector's too");
    expect(run("ld.global.u32 %r1, [%rd0+2048];", 32) == success &&
               run("ld.global.u32 %r1, [%rd0+2112];", 32) == illegal_address,
           "what lies behind an allocation cannot be read");
    expect(run("mov.u64 %rd3, 64; st.u32 [%rd3], %r0;") == illegal_address, "nor written through a stray pointer");
    expect(run("mov.u64 %rd3, tile; ld.shared.u32 %r1, [%rd3+508];") == success &&
               run("mov.u64 %rd3, tile; ld.shared.u32 %r1, [%rd3+512];") == illegal_address,
           "nor what lies behind shared memory");
    expect(run("ld.shared.u32 %r1, [%rd2];") == illegal_address, "and shared memory does not begin at 0");

    Memory divided, out;
    softcuda_tensor(divided.address, 64 * 32 - 4);
    expect(run("ld.global.u32 %r1, [%rd0+56];", divided, out) == success &&
               run("ld.global.u32 %r1, [%rd0+60];", divided, out) == illegal_address,
           "nor what lies between tensors, once it is known where they are");

    const std::string mine =
                          "shl.b32 %r1, %r0, 2; cvt.u64.u32 %rd3, %r1; mov.u64 %rd4, tile; add.s64 %rd3, %rd4, %rd3;\n",
                      next = "xor.b32 %r2, %r1, 4; cvt.u64.u32 %rd5, %r2; add.s64 %rd5, %rd4, %rd5;\n",
                      write = "st.shared.u32 [%rd3], %r0;\n", read = "ld.shared.u32 %r3, [%rd5];\n",
                      barrier = "bar.sync 0;\n";
    expect(run(mine + next + write + barrier + read, 64) == success, "threads hand on what lies in shared memory");
    expect(run(mine + next + write + read, 64) == launch_failed, "a read without a barrier is a race");
    expect(run(mine + next + read + write, 64) == launch_failed, "a write after it as well");
    expect(run(mine + "st.shared.u32 [%rd4], %r0;", 64) == launch_failed, "and two writes to one place");
    expect(run(mine + next + write + barrier + read + barrier + write, 64) == success, "with barriers there is none");
}

// Two blocks of one thread each: what one leaves for the other.
void check_blocks() {
    const auto run_two = [](const std::string &body) {
        Memory in, out;
        std::memset(in.host, 0, 64 * 64);
        const Module module = assemble(body);
        return Launch(module.kernels.at("test"), parameters(in, out), {2, 1, 1}, {1, 1, 1}, 0).run();
    };
    // Each writes its own number to its own place.
    const std::string
        write =
            "mov.u32 %r1, %ctaid.x; mul.wide.u32 %rd3, %r1, 4; add.s64 %rd4, %rd1, %rd3; st.global.u32 [%rd4], %r1;\n",
        read = "ld.global.u32 %r2, [%rd1]; ld.global.u32 %r3, [%rd1+4];\n", fence = "membar.gl;\n",
        count = "mov.u32 %r4, 1; atom.inc.u32 %r5, [%rd0], %r4; setp.ne.s32 %p1, %r5, 1; @%p1 bra END;\n", end = "END:";
    expect(run_two(write) == success, "blocks write side by side");
    expect(run_two("st.global.u32 [%rd1], %r0;") == launch_failed, "two blocks that write to one place are a race");
    expect(run_two(write + read) == launch_failed, "as is one that reads what another writes");
    expect(run_two(write + fence + read) == launch_failed, "a fence alone does not help");
    expect(run_two(write + count + read + end) == launch_failed, "nor does counting without a fence");
    expect(run_two(write + count + fence + read + end) == launch_failed, "nor a fence that comes later");
    expect(run_two(write + fence + count + read + end) == success,
           "the last to count reads what all have left before a fence");
}

// A kernel that may begin before the one before it has ended.
void check_beginning() {
    const std::string early = "ld.global.u32 %r1, [%rd0]; griddepcontrol.wait; ld.global.u32 %r2, [%rd0]; "
                              "st.global.v2.u32 [%rd1], {%r1, %r2};";
    const Module module = assemble(early);
    Memory in, out;
    Launch launch(module.kernels.at("test"), parameters(in, out), {1, 1, 1}, {32, 1, 1}, 0);
    in.at<uint32_t>(3, 0) = 1;
    const bool begun = launch.begin() == success;
    in.at<uint32_t>(3, 0) = 2;
    expect(begun && launch.run() == success && out.at<uint32_t>(3, 0) == 1 && out.at<uint32_t>(3, 1) == 2,
           "before its wait a kernel sees what was, then what is");
    expect(launch.run() == success && out.at<uint32_t>(3, 0) == 2, "launched in order, it sees what is");

    const auto begin = [&](const std::string &body) {
        const Module other = assemble(body);
        return Launch(other.kernels.at("test"), parameters(in, out), {1, 1, 1}, {32, 1, 1}, 0).begin();
    };
    expect(begin("st.global.u32 [%rd1], %r0; griddepcontrol.wait;") == launch_failed, "it must not write before");
    expect(run("griddepcontrol.launch_dependents; griddepcontrol.wait;") == launch_failed, "nor let the next begin");
    expect(run("griddepcontrol.wait; griddepcontrol.launch_dependents;") == success, "but may do so afterwards");
}

// Accesses `step` bytes apart from lane to lane.
void expect_passes(uint64_t step, unsigned bytes, uint64_t passes, uint64_t least, uint64_t sectors) {
    uint64_t addresses[warp_lanes];
    for (unsigned lane = 0; lane < warp_lanes; ++lane) {
        addresses[lane] = 1024 + step * lane;
    }
    Counts counts;
    counts.count_shared(addresses, all_lanes, bytes);
    counts.count_global(addresses, all_lanes, bytes);
    expect(counts.shared_passes == passes && counts.shared_passes_least == least && counts.sectors == sectors,
           std::to_string(bytes) + " bytes a lane, " + std::to_string(step) +
               " apart: passes through shared memory and sectors");
}

} // namespace

int main() {
    omp_set_num_threads(1); // two threads of the host at the very same place may miss each other
    expect_passes(4, 4, 1, 1, 4);
    expect_passes(0, 4, 1, 1, 1);
    expect_passes(2, 2, 1, 1, 2);
    expect_passes(8, 4, 2, 1, 8);
    expect_passes(128, 4, 32, 1, 32);
    expect_passes(132, 4, 1, 1, 32);
    expect_passes(8, 8, 2, 2, 8);
    expect_passes(16, 16, 4, 4, 16);
    expect_passes(80, 16, 4, 4, 32); // eight rows of a tile whose pitch is 40 numbers
    expect_passes(64, 16, 16, 4, 32);

    for (const Example &example : examples) {
        check(example);
    }
    check_comparisons(1, 2, 1 << 1 | 1 << 2 | 1 << 3 | 1 << 6 | 1 << 8 | 1 << 9);
    check_comparisons(2, 2, 1 << 0 | 1 << 3 | 1 << 5 | 1 << 6 | 1 << 9);
    check_comparisons(3, 2, 1 << 1 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 8);
    check_comparisons(nan32, 2, 1 << 7 | 1 << 8 | 1 << 9);
    check_matrices();
    check_lanes();
    check_memory();
    check_blocks();
    check_beginning();

    expect(is_refused("tanh.approx.f32 %f1, %f2;"), "an instruction that is not known is refused");
    expect(is_refused("add.s32 %r1, %r2;"), "one that lacks an operand");
    expect(is_refused("add.s32 %rd1, %r2, %r3;"), "a register of another width");
    expect(is_refused("add.s32 %r1, %r99, %r3;"), "a register that is not there");
    expect(is_refused("bra NOWHERE;"), "a label that is not there");
    std::printf("%d failures\n", failures);
    return failures != 0;
}
