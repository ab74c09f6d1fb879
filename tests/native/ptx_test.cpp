// How the software CUDA device runs PTX: how lanes part and meet, and what breaks the rules. Its complaints on standard
// error are expected.
#include "ptx_lab.h"
#include "warp.h"

#include <algorithm>
#include <cmath>
#include <omp.h>
#include <stdexcept>

extern "C" int softcuda_tensor(uint64_t address, size_t bytes);

namespace {

bool is_refused(const std::string &body, const std::string &target = "sm_90a", const std::string &functions = "") {
    try {
        assemble(body, target, functions);
        return false;
    } catch (const std::runtime_error &) {
        return true;
    }
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

// Registers that are not needed at the same time share a place, and no lane sees another's value in it.
void check_registers() {
    const auto chain = [](unsigned from, unsigned to) {
        std::string text;
        for (unsigned i = from; i < to; ++i) {
            text += "add.s32 %r" + std::to_string(i + 1) + ", %r" + std::to_string(i) + ", 1;\n";
        }
        return text;
    };
    const auto bytes = [&](unsigned to) {
        return assemble("mov.u32 %r1, %r0;\n" + chain(1, to) + "st.global.u32 [%rd1], %r" + std::to_string(to) + ";")
            ->register_bytes;
    };
    expect(bytes(50) == bytes(5), "values that follow each other have one place");

    // Odd lanes keep %r1 while the others count in registers of their own, and the other way round; then in a loop.
    Memory in, out;
    bool holds =
        run("mul.lo.s32 %r1, %r0, 3; add.s32 %r40, %r1, 7; and.b32 %r2, %r0, 1; setp.eq.s32 %p1, %r2, 0; @%p1 "
            "bra EVEN;\nmov.u32 %r3, %r1;\n" +
                chain(3, 9) + "st.global.u32 [%rd1], %r9; bra.uni END;\nEVEN: mov.u32 %r13, %r40;\n" + chain(13, 20) +
                "st.global.u32 [%rd1], %r20;\nEND: mov.u32 %r30, 0; mov.u32 %r31, 0;\nROUND: add.s32 %r32, "
                "%r31, %r40; add.s32 %r33, %r30, 1;\nmov.u32 %r30, %r33; mov.u32 %r31, %r32; setp.lt.u32 "
                "%p2, %r30, %r0; @%p2 bra ROUND;\nst.global.u32 [%rd1+4], %r31;",
            in, out) == success;
    for (unsigned lane = 0; lane < 32; ++lane) {
        holds = holds && out.at<uint32_t>(lane, 0) == 3 * lane + (lane % 2 ? 6 : 14) &&
                out.at<uint32_t>(lane, 1) == (lane ? lane : 1) * (3 * lane + 7);
    }
    expect(holds, "lanes that part keep what is theirs");
    holds =
        Launch(assemble("mov.u32 %r1, %ctaid.x; setp.eq.s32 %p1, %r1, 0; @%p1 bra LATER; st.global.f32 [%rd1], %f2;\n"
                        "LATER: mov.f32 %f3, 0f3F800000; mov.f32 %f4, %f3;"),
               parameters(in, out), {2, 1, 1}, {32, 1, 1}, 0)
            .run() == success;
    expect(holds && std::isnan(out.at<float>(3, 0)), "what is never written is no number, in the next block neither");
}

// A function's text stands in the place of each call.
void check_functions() {
    const std::string head = ".visible .func count(.param .b64 count_0, .param .b32 count_1)\n{\n",
                      registers = ".reg .pred %p<2>; .reg .b32 %r<9>; .reg .b64 %rd<3>;\n", text = R"(
        ld.param.u64 %rd1, [count_0]; ld.param.u32 %r1, [count_1]; mov.u32 %r2, %tid.x; mov.u32 %r3, 0;
        setp.ge.u32 %p1, %r2, 16; @%p1 bra END;
    ROUND: add.s32 %r3, %r3, %r1; setp.lt.u32 %p1, %r3, %r2; @%p1 bra ROUND;
        setp.eq.u32 %p1, %r2, 5; @%p1 bra LEAVE;
        st.global.u32 [%rd1], %r3; ret;
    LEAVE: exit;
    END: ret;
    })";
    const auto call = [](const std::string &address, const std::string &step) {
        return "{ .param .b64 param0; st.param.b64 [param0+0], " + address +
               "; .param .b32 param1; st.param.b32 [param1+0], " + step + "; call.uni count, ( param0, param1 ); }\n";
    };
    const std::string body = "mov.u32 %r1, 77; add.s64 %rd3, %rd1, 4;\n" + call("%rd1", "4") +
                             "bra.uni END;\nEND: " + call("%rd3", "%r1") + "st.global.u32 [%rd1+8], %r1;";
    Memory in, out;
    bool holds =
        Launch(assemble(body, "sm_90a", head + registers + text), parameters(in, out), {1, 1, 1}, {32, 1, 1}, 0)
            .run() == success;
    for (unsigned lane = 0; lane < 32; ++lane) {
        const bool counts = lane < 16 && lane != 5;
        holds = holds && out.at<uint32_t>(lane, 0) == (counts ? (std::max(lane, 1u) + 3) / 4 * 4 : ~0u) &&
                out.at<uint32_t>(lane, 1) == (counts ? 77 : ~0u) && out.at<uint32_t>(lane, 2) == (lane == 5 ? ~0u : 77);
    }
    expect(holds, "a function has its parameters, and registers and labels of its own");
    const auto refuses = [&](const std::string &call, const std::string &functions) {
        return is_refused(call, "sm_90a", functions);
    };
    expect(refuses(body, "") && refuses("call.uni count, ( %rd1, %r0 );", head + registers + text) &&
               refuses("{ .param .b64 a; call.uni count, ( a ); }", head + registers + text) &&
               refuses("{ .param .b64 a; .param .b32 b; call.uni count, ( a, b, b ); }", head + registers + text) &&
               refuses(body, head + text) && refuses(body, head + registers + call("%rd1", "4") + "}\n") &&
               refuses(body, ".func (.param .b32 out) count()\n{ ret; }\n") &&
               refuses(body, head + ".shared .b32 own; ret; }\n"),
           "but nothing else of the kernel's, and what functions cannot do here is refused");
}

void check_memory() {
    expect(run("ld.global.u32 %r1, [%rd0+2];") == misaligned_address,
           "an address that is no multiple of the access is refused");
    expect(run("ld.global.v4.f32 {%f1, %f2, %f3, %f4}, [%rd0+8];") == misaligned_address, "a vector's too");
    expect(run("ld.global.u32 %r1, [%rd0+6144];", 32) == success &&
               run("ld.global.u32 %r1, [%rd0+6208];", 32) == illegal_address,
           "what lies behind an allocation cannot be read");
    expect(run("mov.u64 %rd3, 64; st.u32 [%rd3], %r0;") == illegal_address, "nor written through a stray pointer");
    expect(run("mov.u64 %rd3, tile; ld.shared.u32 %r1, [%rd3+508];") == success &&
               run("mov.u64 %rd3, tile; ld.shared.u32 %r1, [%rd3+512];") == illegal_address,
           "nor what lies behind shared memory");
    expect(run("ld.shared.u32 %r1, [%rd2];") == illegal_address, "and shared memory does not begin at 0");

    expect(run("mov.u64 %rd3, -1; mov.u64 %rd4, dynamic; setp.eq.s64 %p1, %rd3, %rd4; @%p1 bra SAME; bra.uni END;\n"
               "SAME: ld.shared.u32 %r1, [%rd3];\nEND:") == success &&
               run("mov.u64 %rd4, dynamic; ld.shared.u32 %r1, [%rd4+-4]; mov.u64 %rd3, -1;") == success,
           "the address of dynamic shared memory is that of its end, and no other number");
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

// Each thread has 16 bytes of dynamic shared memory for every copy, from its numbers in memory: thread + 1 times 1, 2,
// 3 …
void check_copies() {
    Memory in, out;
    for (unsigned thread = 0; thread < 32; ++thread) {
        for (unsigned i = 0; i < 16; ++i) {
            in.at<uint32_t>(thread, i) = (thread + 1) * (i + 1);
        }
    }
    const std::string places =
                          "mov.u64 %rd4, dynamic; cvt.u32.u64 %r1, %rd4; shl.b32 %r2, %r0, 6; add.s32 %r2, %r1, %r2; "
                          "cvt.u64.u32 %rd5, %r2;\n",
                      commit = "cp.async.commit_group;\n";
    const auto copy = [](unsigned at, unsigned from, const std::string &size, const std::string &way = "cg") {
        return "cp.async." + way + ".shared.global [%r2+" + std::to_string(at) + "], [%rd0+" + std::to_string(from) +
               "], " + size + ";\n";
    };
    // What is in shared memory at these places, after what was done.
    const auto holds = [&](const std::string &body, std::initializer_list<std::pair<unsigned, uint32_t>> expected) {
        std::string text = places + body;
        for (const auto &[at, value] : expected) {
            text += "ld.shared.u32 %r3, [%rd5+" + std::to_string(at) + "]; st.global.u32 [%rd1+" + std::to_string(at) +
                    "], %r3;\n";
        }
        bool all = run(text, in, out, 32, 64 * 32) == success;
        for (unsigned thread = 0; thread < 32; ++thread) {
            for (const auto &[at, value] : expected) {
                all = all && out.at<uint32_t>(thread, at / 4) == (value == ~0u ? value : value * (thread + 1));
            }
        }
        return all;
    };
    constexpr uint32_t unknown = ~0u;
    const std::string two = copy(0, 32, "16") + commit + copy(16, 16, "16") + commit;
    expect(holds(two, {{0, unknown}, {16, unknown}}), "a copy that nobody waited for is not there");
    expect(holds("mov.b32 %r4, 5; st.shared.u32 [%rd5], %r4;\n" + two, {{0, unknown}}), "nor is what was there before");
    expect(holds(two + "cp.async.wait_group 2;", {{0, unknown}, {16, unknown}}),
           "nor with as many groups left as there are");
    expect(holds(two + "cp.async.wait_group 1;", {{0, 9}, {12, 12}, {16, unknown}}), "groups arrive in their order");
    expect(holds(two + "cp.async.wait_group 0;", {{0, 9}, {16, 5}, {28, 8}}), "until none is left");
    expect(holds(copy(0, 32, "16") + commit + commit + "cp.async.wait_group 1;", {{0, 9}}), "an empty group is one");
    expect(holds(two + copy(32, 0, "16") + "cp.async.wait_group 0;", {{16, 5}, {32, unknown}}),
           "who has not committed does not wait");
    expect(holds(two + copy(32, 0, "16") + "cp.async.wait_all;", {{0, 9}, {16, 5}, {32, 1}}), "but with wait_all");
    // Threads from 8 on have one group less: what has not come yet, ~0, they make into what is expected.
    expect(holds(copy(0, 0, "16") + commit + "setp.lt.u32 %p1, %r0, 8; @!%p1 bra NEXT;\n" + commit +
                     "NEXT: cp.async.wait_group 1; @%p1 bra SAME;\n"
                     "ld.shared.u32 %r4, [%rd5]; add.s32 %r4, %r4, 2; add.s32 %r4, %r4, %r0; st.shared.u32 [%rd5], "
                     "%r4;\nSAME:",
                 {{0, 1}}),
           "every thread counts its own groups");

    const std::string wait = "cp.async.wait_all;\n";
    expect(holds(copy(0, 8, "4", "ca") + copy(8, 32, "8", "ca") + copy(16, 16, "16", "ca") + wait,
                 {{0, 3}, {8, 9}, {12, 10}, {16, 5}, {28, 8}}),
           "copies of 4, 8 and 16 bytes");
    expect(holds("mov.b32 %r4, 8;\n" + copy(0, 16, "16, %r4") + copy(16, 0, "16, 0") + copy(32, 4, "4, 0", "ca") + wait,
                 {{0, 5}, {4, 6}, {8, 0}, {12, 0}, {16, 0}, {28, 0}, {32, 0}}),
           "what is not read is 0");
    expect(holds("mov.b64 %rd0, 0;\n" + copy(0, 0, "16, 0") + wait, {{0, 0}}), "nothing is read from nowhere");
    const auto fails = [&](const std::string &body) { return run(places + body + wait, in, out, 32, 64 * 32); };
    expect(fails(copy(0, 0, "8")) == launch_failed, "past the first cache go 16 bytes alone");
    expect(fails(copy(0, 0, "4, 8", "ca")) == launch_failed, "no more is read than written");
    expect(fails(copy(8, 0, "16")) == misaligned_address && fails(copy(0, 8, "16")) == misaligned_address &&
               fails(copy(0, 8, "16, 4")) == misaligned_address,
           "both addresses are multiples of what is copied");
    expect(fails(copy(0, 6208, "16")) == illegal_address && fails(copy(0, 6192, "16")) == success,
           "a copy reads what is there");
    expect(fails(copy(0, 0, "16") +
                 "bar.sync 0; xor.b32 %r4, %r2, 64; cvt.u64.u32 %rd6, %r4; ld.shared.u32 %r5, [%rd6];\n") ==
               launch_failed,
           "a copy that is waited for after the barrier is a race");

    expect(run("ld.global.nc.f32 %f1, [%rd1]; st.global.f32 [%rd1], %f1;", in, out) == success &&
               run("st.global.u32 [%rd1], %r0; ld.global.nc.f32 %f1, [%rd1];", in, out) == launch_failed,
           "a kernel does not read as constant what it has written");
}

// What a GPU of the target does not have.
void check_targets() {
    const struct {
        const char *before, *first, *instruction;
    } all[] = {
        {"sm_75", "sm_80",
         "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%f1, %f2, %f3, %f4}, {%r1, %r2, %r3, %r4}, {%r5, %r6}, "
         "{%f1, %f2, %f3, %f4};"},
        {"sm_75", "sm_80",
         "mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%f1, %f2, %f3, %f4}, {%r1, %r2}, {%r5}, {%f1, %f2, %f3, "
         "%f4};"},
        {"sm_75", "sm_80", "cp.async.cg.shared.global [%r1], [%rd1], 16;"},
        {"sm_75", "sm_80", "cp.async.wait_group 0;"},
        {"sm_75", "sm_80", "cvt.rna.tf32.f32 %r1, %f1;"},
        {"sm_75", "sm_80", "cvt.rn.bf16x2.f32 %r1, %f1, %f2;"},
        {"sm_75", "sm_80", "cvt.rn.relu.bf16x2.f32 %r1, %f1, %f2;"},
        {"sm_75", "sm_80", "max.bf16x2 %r1, %r2, %r3;"},
        {"sm_75", "sm_80", "max.NaN.f32 %f1, %f2, %f3;"},
        {"sm_89", "sm_90", "set.gt.u32.bf16x2 %r1, %r2, %r3;"},
        {"sm_89", "sm_90", "griddepcontrol.wait;"},
        {"sm_89", "sm_90", "fence.proxy.async.shared::cta;"},
        {"sm_90", "sm_90a", "wgmma.fence.sync.aligned;"},
        {"sm_100", "sm_90a", "wgmma.fence.sync.aligned;"},
    };
    for (const auto &[before, first, instruction] : all) {
        expect(is_refused(instruction, before) && !is_refused(instruction, first),
               std::string(first) + " is the first to have " + std::string(instruction).substr(0, 24));
    }
    expect(!is_refused("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r1, %r2, %r3, %r4}, [%r5]; "
                       "movmatrix.sync.aligned.m8n8.trans.b16 "
                       "%r3, %r1; max.f32 %f1, %f2, %f3; ld.global.nc.f32 %f1, [%rd0];",
                       "sm_75"),
           "Turing loads and turns matrices");
}

// Two blocks of one thread each: what one leaves for the other.
void check_blocks() {
    const auto run_two = [](const std::string &body) {
        Memory in, out;
        std::memset(in.host, 0, 64 * 64);
        return Launch(assemble(body), parameters(in, out), {2, 1, 1}, {1, 1, 1}, 0).run();
    };
    // Each writes its own number to its own place.
    const std::string
        write =
            "mov.u32 %r1, %ctaid.x; mul.wide.u32 %rd3, %r1, 4; add.s64 %rd4, %rd1, %rd3; st.global.u32 [%rd4], %r1;\n",
        read = "ld.global.u32 %r2, [%rd1]; ld.global.u32 %r3, [%rd1+4];\n", end = "END:";
    const auto count = [](const std::string &order) {
        return "mov.u32 %r4, 1; atom." + order +
               ".gpu.global.inc.u32 %r5, [%rd0], %r4; setp.ne.s32 %p1, %r5, 1; @%p1 bra END;\n";
    };
    expect(run_two(write) == success, "blocks write side by side");
    expect(run_two("st.global.u32 [%rd1], %r0;") == launch_failed, "two blocks that write to one place are a race");
    expect(run_two(write + read) == launch_failed, "as is one that reads what another writes");
    expect(run_two(write + count("relaxed") + read + end) == launch_failed, "counting alone does not help");
    expect(run_two("mov.u32 %r4, 1; atom.acq_rel.gpu.global.inc.u32 %r5, [%rd0], %r4;\n" + write + count("relaxed") +
                   read + end) == launch_failed,
           "nor does a release of what was before");
    expect(run_two(write + count("acq_rel") + read + end) == success,
           "the last to count reads what all have left before they released it");
}

// A kernel that may begin before the one before it has ended.
void check_beginning() {
    const std::string early = "ld.global.u32 %r1, [%rd0]; griddepcontrol.wait; ld.global.u32 %r2, [%rd0]; "
                              "st.global.v2.u32 [%rd1], {%r1, %r2};";
    Memory in, out;
    Launch launch(assemble(early), parameters(in, out), {1, 1, 1}, {32, 1, 1}, 0);
    in.at<uint32_t>(3, 0) = 1;
    const bool begun = launch.begin() == success;
    in.at<uint32_t>(3, 0) = 2;
    expect(begun && launch.run() == success && out.at<uint32_t>(3, 0) == 1 && out.at<uint32_t>(3, 1) == 2,
           "before its wait a kernel sees what was, then what is");
    expect(launch.run() == success && out.at<uint32_t>(3, 0) == 2, "launched in order, it sees what is");

    const auto begin = [&](const std::string &body) {
        return Launch(assemble(body), parameters(in, out), {1, 1, 1}, {32, 1, 1}, 0).begin();
    };
    expect(begin("st.global.u32 [%rd1], %r0; griddepcontrol.wait;") == launch_failed, "it must not write before");
    expect(run("griddepcontrol.launch_dependents; griddepcontrol.wait;") == launch_failed, "nor let the next begin");
    expect(run("griddepcontrol.wait; griddepcontrol.launch_dependents;") == success, "but may do so afterwards");
}

// Accesses `step` bytes apart from lane to lane.
void expect_passes(uint64_t step, unsigned bytes, uint64_t passes, uint64_t least, uint64_t sectors, uint64_t lines) {
    uint64_t addresses[warp_lanes];
    for (unsigned lane = 0; lane < warp_lanes; ++lane) {
        addresses[lane] = 1024 + step * lane;
    }
    Counts counts;
    counts.count_shared(addresses, all_lanes, bytes);
    counts.count_global(addresses, all_lanes, bytes);
    expect(counts.shared_passes == passes && counts.shared_passes_least == least && counts.sectors == sectors &&
               counts.lines == lines,
           std::to_string(bytes) + " bytes a lane, " + std::to_string(step) +
               " apart: passes through shared memory, sectors and lines");
}

// For the test of the file of counts: two warps in each of two blocks. All blocks read the same 2 KiB; each warp reads
// 128 bytes of shared memory four times.
void run_what_is_counted() {
    Memory in, out;
    Launch(
        assemble(
            "ld.global.v4.u32 {%r10, %r11, %r12, %r13}, [%rd0]; ld.global.v4.u32 {%r14, %r15, %r16, %r17}, [%rd0+16];\n"
            "mov.f32 %f1, 0f00000000; cvt.f64.f32 %fd1, %f1; add.f64 %fd2, %fd1, %fd1; bar.sync 0;\n"
            "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%f1, %f1, %f1, %f1}, {%r10, %r11, %r12, %r13}, {%r14, "
            "%r15}, {%f1, %f1, %f1, %f1};\n"
            "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f1, %f1, %f1, %f1}, {%r10, %r11, %r12, %r13}, "
            "{%r14, "
            "%r15}, {%f1, %f1, %f1, %f1};\n"
            "mov.u64 %rd4, tile; cvt.u32.u64 %r1, %rd4; and.b32 %r2, %r0, 7; shl.b32 %r2, %r2, 4; add.s32 %r2, %r2, "
            "%r1;\n"
            "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r10, %r11, %r12, %r13}, [%r2];"),
        parameters(in, out), {2, 1, 1}, {64, 1, 1}, 0)
        .run();
}

} // namespace

int main(int argc, char **) {
    if (argc > 1) {
        run_what_is_counted();
        return 0;
    }
    omp_set_num_threads(1); // two threads of the host at the very same place may miss each other
    expect_passes(4, 4, 1, 1, 4, 1);
    expect_passes(0, 4, 1, 1, 1, 1);
    expect_passes(2, 2, 1, 1, 2, 1);
    expect_passes(8, 4, 2, 1, 8, 2);
    expect_passes(128, 4, 32, 1, 32, 32);
    expect_passes(132, 4, 1, 1, 32, 32);
    expect_passes(8, 8, 2, 2, 8, 2);
    expect_passes(16, 16, 4, 4, 16, 4);
    expect_passes(80, 16, 4, 4, 32, 20); // eight rows of a tile whose pitch is 40 numbers
    expect_passes(64, 16, 16, 4, 32, 16);

    check_lanes();
    check_registers();
    check_functions();
    check_memory();
    check_copies();
    check_targets();
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
