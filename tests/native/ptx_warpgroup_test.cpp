// Products by warpgroups on the software CUDA device (wgmma, sm_90a): where the PTX ISA has the elements of the
// factors, and what a kernel must not do with them.
#include "ptx_lab.h"

#include <cmath>

namespace {

constexpr unsigned group = 128, rows = 64, columns = 32, sums = columns / 2;
constexpr uint64_t left_at = 0, right_at = 4096, bytes = 8192; // in shared memory
const std::string barrier = "bar.sync 0;\n";

// Small whole numbers: bfloat16 has them, and sums of their products are exact.
int number(uint64_t at) { return (int)(at * 7 % 13) - 6; }

uint16_t narrow(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return (uint16_t)(bits >> 16);
}

// Where element (row, k) of a factor lies, by the descriptor's two distances.
uint64_t place(bool k_major, uint64_t leading, uint64_t stride, unsigned row, unsigned k) {
    return row / 8 * stride + k / 8 * leading + (k_major ? row % 8 * 16 + k % 8 * 2 : k % 8 * 16 + row % 8 * 2);
}

// %rd10 = the descriptor of a factor at a place in dynamic shared memory; %r9 is where that begins.
std::string descriptor(const std::string &name, uint64_t at, uint64_t leading, uint64_t stride, uint64_t more = 0) {
    return "add.s32 %r10, %r9, " + std::to_string(at) + "; shr.u32 %r10, %r10, 4; cvt.u64.u32 " + name +
           ", %r10; or.b64 " + name + ", " + name + ", " +
           std::to_string((leading >> 4) << 16 | (stride >> 4) << 32 | more) + ";\n";
}

std::string product(const std::string &a, const std::string &b, bool adds, bool transposed_a, bool transposed_b) {
    std::string text = "mov.b32 %r11, " + std::to_string(adds) + ";\n{.reg .pred p; setp.ne.b32 p, %r11, 0;\n" +
                       "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 {";
    for (unsigned i = 0; i < sums; ++i) {
        text += (i ? ", %f" : "%f") + std::to_string(i);
    }
    return text + "}, " + a + ", " + b + ", p, 1, 1, " + std::to_string(transposed_a) + ", " +
           std::to_string(transposed_b) + ";}\n";
}

// Each thread writes 64 bytes of shared memory from what it reads, and clears its sums.
const std::string fill = [] {
    std::string text = "mov.u32 %r9, dynamic; mov.u64 %rd12, dynamic; add.s64 %rd12, %rd12, %rd2;\n";
    for (unsigned i = 0; i < 16; ++i) {
        const std::string at = std::to_string(4 * i);
        text += "ld.global.u32 %r13, [%rd0+" + at + "]; st.shared.u32 [%rd12+" + at + "], %r13;\n";
    }
    for (unsigned i = 0; i < sums; ++i) {
        text += "mov.f32 %f" + std::to_string(i) + ", 0f3F800000;\n";
    }
    return text;
}();
const std::string fence = "fence.proxy.async.shared::cta;\n", begin = "wgmma.fence.sync.aligned;\n",
                  end = "wgmma.commit_group.sync.aligned;\n", wait = "wgmma.wait_group.sync.aligned 0;\n";

std::string store_from(unsigned first) {
    std::string text;
    for (unsigned i = 0; i < sums; ++i) {
        text += "st.global.f32 [%rd1+" + std::to_string(4 * i) + "], %f" + std::to_string(first + i) + ";\n";
    }
    return text;
}
const std::string store = store_from(0);

// Both factors K-major, one behind the other.
const std::string factors = descriptor("%rd10", left_at, 1024, 128) + descriptor("%rd11", right_at, 512, 128),
                  ready = fill + fence + barrier + factors, one = product("%rd10", "%rd11", false, false, false);

Result run_group(const std::string &body, Memory &out) {
    Memory in;
    for (unsigned i = 0; i < bytes / 2; ++i) {
        reinterpret_cast<uint16_t *>(in.host)[i] = narrow((float)number(i));
    }
    return Launch(assemble(body), parameters(in, out), {1, 1, 1}, {group, 1, 1}, bytes).run();
}

Result run_group(const std::string &body) {
    Memory out;
    return run_group(body, out);
}

void check_product(bool k_major_a, bool k_major_b, bool adds, const std::string &what) {
    // Distances that differ, so that none can be taken for the other; blocks of K next to each other or far apart.
    const uint64_t leading_a = k_major_a ? 1040 : 128, stride_a = k_major_a ? 128 : 272,
                   leading_b = k_major_b ? 528 : 128, stride_b = k_major_b ? 128 : 272;
    Memory out;
    const Result status = run_group(fill + fence + barrier + descriptor("%rd10", left_at + 16, leading_a, stride_a) +
                                        descriptor("%rd11", right_at + 48, leading_b, stride_b) + begin +
                                        product("%rd10", "%rd11", adds, !k_major_a, !k_major_b) + end + wait + store,
                                    out);
    bool holds = status == success;
    for (unsigned row = 0; row < rows; ++row) {
        for (unsigned column = 0; column < columns; ++column) {
            float expected = adds ? 1.0f : 0.0f;
            for (unsigned k = 0; k < 16; ++k) {
                expected += (float)(number((left_at + 16 + place(k_major_a, leading_a, stride_a, row, k)) / 2) *
                                    number((right_at + 48 + place(k_major_b, leading_b, stride_b, column, k)) / 2));
            }
            const unsigned thread = row / 16 * 32 + row % 8 * 4 + column % 8 / 2,
                           i = column / 8 * 4 + row % 16 / 8 * 2 + column % 2;
            holds = holds && out.at<float>(thread, i) == expected;
        }
    }
    expect(holds, what);
}

// The left factor in registers %r20 to %r23, the first sixteen bytes that a thread reads.
const std::string left_in_registers = [] {
    std::string text;
    for (unsigned i = 0; i < 4; ++i) {
        text += "ld.global.u32 %r" + std::to_string(20 + i) + ", [%rd0+" + std::to_string(4 * i) + "];\n";
    }
    return text;
}();

std::string product_of_registers(unsigned n, bool is_tf32, bool transposed) {
    std::string text = "{.reg .pred p; setp.eq.u32 p, 0, 0; wgmma.mma_async.sync.aligned.m64n" + std::to_string(n) +
                       (is_tf32 ? "k8.f32.tf32.tf32" : "k16.f32.bf16.bf16") + " {";
    for (unsigned i = 0; i < n / 2; ++i) {
        text += (i ? ", %f" : "%f") + std::to_string(i);
    }
    return text + "}, {%r20, %r21, %r22, %r23}, %rd11, p, 1, 1" + (is_tf32 ? "" : transposed ? ", 1" : ", 0") + ";}\n";
}

// The last 32 of n columns.
void check_product_of_registers(unsigned n, bool is_tf32, bool transposed, const std::string &what) {
    const uint64_t leading = transposed ? 128 : 528, stride = transposed ? 272 : 128, at = right_at + 48;
    const unsigned in_half = is_tf32 ? 4 : 8, in_register = in_half / 4, first = n - columns;
    Memory in, out;
    for (unsigned i = 0; i < bytes / 4; ++i) { // of tf32, with bits that it has not
        const float x = (float)number(i);
        uint32_t bits;
        std::memcpy(&bits, &x, sizeof bits);
        reinterpret_cast<uint32_t *>(in.host)[i] =
            is_tf32 ? bits | 0x1FFF : narrow((float)number(2 * i)) | (uint32_t)narrow((float)number(2 * i + 1)) << 16;
    }
    std::string cleared;
    for (unsigned i = 0; i < n / 2; ++i) {
        cleared += "mov.f32 %f" + std::to_string(i) + ", 0f3F800000;\n";
    }
    const Result status =
        Launch(assemble(fill + cleared + left_in_registers + fence + barrier +
                        descriptor("%rd11", at, leading, stride) + begin +
                        product_of_registers(n, is_tf32, transposed) + end + wait + store_from(first / 2)),
               parameters(in, out), {1, 1, 1}, {group, 1, 1}, bytes)
            .run();
    bool holds = status == success;
    for (unsigned row = 0; row < rows; ++row) {
        for (unsigned column = first; column < n; ++column) {
            float expected = 1;
            for (unsigned k = 0; k < 2 * in_half; ++k) {
                const unsigned lane = row % 8 * 4 + k % in_half / in_register,
                               word = (row / 16 * 32 + lane) * 16 + row % 16 / 8 + k / in_half * 2;
                const uint64_t from =
                    at + (is_tf32 ? column / 8 * stride + k / 4 * leading + column % 8 * 16 + k % 4 * 4
                                  : place(!transposed, leading, stride, column, k));
                expected += (float)(number(word * in_register + k % in_register) * number(from / (is_tf32 ? 4 : 2)));
            }
            const unsigned thread = row / 16 * 32 + row % 8 * 4 + column % 8 / 2,
                           i = (column - first) / 8 * 4 + row % 16 / 8 * 2 + column % 2;
            holds = holds && out.at<float>(thread, i) == expected;
        }
    }
    expect(holds, what);
}

} // namespace

int main() {
    check_product_of_registers(32, false, false, "a left factor in registers");
    check_product_of_registers(64, false, false, "64 columns");
    check_product_of_registers(32, false, true, "N-major");
    check_product_of_registers(32, true, false, "tf32");
    check_product_of_registers(64, true, false, "64 columns of it");
    const std::string of_registers = product_of_registers(32, false, false);
    expect(run_group(left_in_registers + ready + begin + of_registers + end + "mov.b32 %r22, 5;\n" + wait) ==
               launch_failed,
           "a left factor in registers must not be written to meanwhile");
    try {
        assemble(ready + begin + left_in_registers + of_registers + end + wait);
        expect(false, "nor between wgmma.fence and the product");
    } catch (const std::runtime_error &) {
        expect(true, "nor between wgmma.fence and the product");
    }
    check_product(true, true, false, "a product, both factors K-major");
    check_product(true, true, true, "added to what was there");
    check_product(false, false, false, "M- and N-major");
    check_product(false, true, true, "one of each");
    Memory out;
    expect(run_group(ready + begin + one + product("%rd10", "%rd11", true, false, false) + end + wait + store, out) ==
                   success &&
               std::fmod(out.at<float>(5, 3), 2.0f) == 0,
           "two on the same sums follow each other");

    expect(run_group(ready + one + end + wait) == launch_failed, "no product without wgmma.fence");
    expect(run_group(ready + begin + one + wait) == launch_failed, "no wait without a commit");
    expect(run_group(ready + begin + one + end) == launch_failed, "no end without a wait");
    expect(run_group(ready + begin + one + end + "mov.f32 %f3, 0f00000000;\n" + wait) == launch_failed,
           "sums must not be written to meanwhile");
    expect(run_group(ready + begin + one + end + "st.global.f32 [%rd1], %f3;\n" + wait, out) == success &&
               std::isnan(out.at<float>(7, 0)),
           "who reads them meanwhile reads no number");
    expect(run_group(ready + begin + one + end + barrier + "mov.b32 %r13, 5; st.shared.u32 [%rd12], %r13;\n" + fence +
                     barrier + wait) == launch_failed,
           "nor what is being multiplied");
    expect(run_group(fill + barrier + factors + begin + one + end + wait) == launch_failed,
           "what threads write is not there without a fence");
    expect(run_group(fill + barrier + fence + factors + begin + one + end + wait) == launch_failed,
           "nor with one after the barrier");
    expect(run_group(fill + fence + factors + begin + one + end + wait) == launch_failed, "nor without the barrier");
    const std::string turned = descriptor("%rd10", left_at, 1024, 128, 1ull << 62);
    expect(run_group(ready + turned + begin + one + end + wait) == launch_failed, "swizzling is not known");
    expect(run_group(ready + "cvt.u64.u32 %rd13, %r0; add.s64 %rd10, %rd10, %rd13;\n" + begin + one + end + wait) ==
               launch_failed,
           "lanes agree about factors");
    expect(run_group(ready + descriptor("%rd11", bytes - 16, 512, 128) + begin + one + end + wait) == illegal_address,
           "factors lie in shared memory");
    std::printf("%d failures\n", failures);
    return failures != 0;
}
