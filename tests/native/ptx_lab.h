// What the tests of the software device's PTX share: kernels of a few instructions, and memory that the host sees.
#pragma once

#include "driver.h"
#include "expect.h"
#include "grid.h"

#include <cstdio>
#include <cstring>

using namespace softcuda;

// A kernel whose threads have 64 bytes each of what they read (at %rd0) and write (at %rd1); thread in %r0, %rd2 is 64
// times that.
inline std::shared_ptr<const Kernel> assemble(const std::string &body, const std::string &target = "sm_90a",
                                              const std::string &functions = "") {
    const Module module = parse_ptx(
        ".version 8.0\n.target " + target + "\n.address_size 64\n.extern .shared .align 16 .b8 dynamic[];\n" +
        functions +
        ".visible .entry test(.param .u64 in, .param .u64 out)\n{\n"
        ".reg .pred %p<8>; .reg .b16 %rs<16>; .reg .b32 %r<64>; .reg .b64 %rd<32>; .reg .f32 %f<32>; .reg .f64 "
        "%fd<16>;\n"
        ".shared .align 16 .b8 tile[512];\n"
        "mov.u32 %r0, %tid.x; ld.param.u64 %rd0, [in]; ld.param.u64 %rd1, [out]; mul.wide.u32 %rd2, %r0, 64;\n"
        "add.s64 %rd0, %rd0, %rd2; add.s64 %rd1, %rd1, %rd2;\n" +
        body + "\nret;\n}\n");
    return std::make_shared<Kernel>(module.kernels.at("test"));
}

struct Memory { // of the device, as the host sees it
    uint64_t address = allocate(128 * 64, true);
    unsigned char *host = static_cast<unsigned char *>(memory(address, 128 * 64, "test"));
    ~Memory() { release(address, true); }
    template <typename T> T &at(unsigned thread, unsigned i) {
        return *reinterpret_cast<T *>(host + 64 * thread + sizeof(T) * i);
    }
};

inline std::vector<unsigned char> parameters(const Memory &in, const Memory &out) {
    std::vector<unsigned char> values(16);
    std::memcpy(&values[0], &in.address, 8);
    std::memcpy(&values[8], &out.address, 8);
    return values;
}

inline Result run(const std::string &body, Memory &in, Memory &out, unsigned threads = 32, unsigned shared = 0) {
    return Launch(assemble(body), parameters(in, out), {1, 1, 1}, {threads, 1, 1}, shared).run();
}

inline Result run(const std::string &body, unsigned threads = 32) {
    Memory in, out;
    return run(body, in, out, threads);
}
