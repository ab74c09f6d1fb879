// What two streams do to the same memory must have an order, whatever the order is that the software CUDA device runs
// it in. Its complaints on standard error are expected.
#include "cuda_calls.h"
#include "expect.h"

#include <cstdint>
#include <cstdio>
#include <functional>

namespace {

const char *ptx = R"(.version 7.8
.target sm_90
.address_size 64
.visible .entry writes(.param .u64 at) { .reg .b32 %r<2>; .reg .b64 %rd<2>;
    ld.param.u64 %rd1, [at]; griddepcontrol.wait; mov.u32 %r1, 1; st.global.u32 [%rd1], %r1; griddepcontrol.launch_dependents; ret; }
.visible .entry reads(.param .u64 at) { .reg .b32 %r<2>; .reg .b64 %rd<2>;
    ld.param.u64 %rd1, [at]; ld.global.u32 %r1, [%rd1]; ret; }
.visible .entry counts(.param .u64 at) { .reg .b32 %r<3>; .reg .b64 %rd<2>;
    ld.param.u64 %rd1, [at]; mov.u32 %r1, 7; atom.acq_rel.gpu.global.inc.u32 %r2, [%rd1], %r1; ret; }
)";

enum Outcome { ordered, raced };
void *stream, *branch, *other_branch, *event, *pinned, *writes, *reads, *counts;
uint64_t memory;

void launch(void *kernel, void *to, uint64_t at = memory, unsigned early = 0) {
    LaunchAttribute attribute = {6, 0, 1, {}};
    const LaunchConfig config = {{1, 1, 1}, {1, 1, 1}, 0, to, &attribute, early};
    void *parameters[] = {&at};
    cuLaunchKernelEx(&config, kernel, parameters, nullptr);
}

void fork(void *from, void *to) {
    cuEventRecord(event, from);
    cuStreamWaitEvent(to, event, 0);
}

using Calls = std::function<void()>;

Outcome run(const Calls &calls) {
    softcuda_fail("");
    calls();
    return cuStreamSynchronize(stream) == 0 && cuStreamSynchronize(branch) == 0 ? ordered : raced;
}

// Branches that are forked from the stream, and that it waits for at the end.
Calls forked(const Calls &calls) {
    return [calls] {
        fork(stream, branch);
        fork(stream, other_branch);
        calls();
        fork(branch, stream);
        fork(other_branch, stream);
    };
}

Outcome captured(const Calls &calls) {
    void *graph, *executable;
    softcuda_fail("");
    cuStreamBeginCapture_v2(stream, 1);
    calls();
    cuStreamEndCapture(stream, &graph);
    cuGraphInstantiateWithFlags(&executable, graph, 0);
    const Outcome outcome = run([&] {
        launch(writes, stream);
        cuGraphLaunch(executable, stream);
        cuGraphLaunch(executable, stream);
        launch(writes, stream);
    });
    cuGraphExecDestroy(executable);
    cuGraphDestroy(graph);
    return outcome;
}

// Eager and captured.
void expect_both(Outcome outcome, const char *what, const Calls &calls) {
    expect(run(forked(calls)) == outcome && captured(forked(calls)) == outcome, what);
}

} // namespace

int main() {
    void *context, *module;
    cuInit(0);
    cuDevicePrimaryCtxRetain(&context, 0);
    cuCtxPushCurrent_v2(context);
    cuStreamCreate(&stream, 1);
    cuStreamCreate(&branch, 1);
    cuStreamCreate(&other_branch, 1);
    cuEventCreate(&event, 2);
    cuMemAlloc_v2(&memory, 4096);
    cuMemHostAlloc(&pinned, 4096, 0);
    cuModuleLoadDataEx(&module, ptx, 0, nullptr, nullptr);
    cuModuleGetFunction(&writes, module, "writes");
    cuModuleGetFunction(&reads, module, "reads");
    cuModuleGetFunction(&counts, module, "counts");

    expect(run([] {
               launch(writes, stream);
               launch(writes, branch);
           }) == raced,
           "two streams must not write to the same place");
    expect(run([] {
               launch(writes, stream);
               cuStreamSynchronize(stream);
               launch(writes, branch);
           }) == ordered,
           "unless the host waits in between");
    expect(run([] {
               launch(writes, stream);
               fork(stream, branch);
               launch(reads, branch);
               fork(branch, stream);
               launch(writes, stream);
           }) == ordered,
           "or an event says which is first");
    expect(run([] {
               cuEventRecord(event, stream);
               launch(writes, stream);
               cuStreamWaitEvent(branch, event, 0);
               launch(reads, branch);
           }) == raced,
           "an event says nothing of what comes after it");

    expect_both(ordered, "branches may write side by side", [] {
        launch(writes, stream);
        launch(writes, branch, memory + 64);
        launch(writes, other_branch, memory + 128);
    });
    expect_both(ordered, "and read the same", [] {
        launch(reads, stream);
        launch(reads, branch);
        launch(reads, other_branch);
    });
    expect_both(raced, "one must not write what another reads", [] {
        launch(reads, branch);
        launch(writes, other_branch);
    });
    expect_both(raced, "nor read what the stream writes beside it", [] {
        launch(writes, stream);
        launch(reads, branch);
    });
    expect_both(ordered, "but for what the stream wrote before", [] {
        launch(writes, stream);
        fork(stream, branch);
        launch(reads, branch);
    });
    expect_both(raced, "or with a kernel that began early in between", [] {
        launch(writes, stream, memory + 64);
        cuEventRecord(event, stream);
        launch(writes, stream, memory, 1);
        cuStreamWaitEvent(branch, event, 0);
        launch(reads, branch);
    });
    expect_both(ordered, "one branch may wait for another", [] {
        launch(writes, branch);
        fork(branch, other_branch);
        launch(reads, other_branch);
    });
    expect_both(raced, "two must not count in the same place", [] {
        launch(counts, branch);
        launch(counts, other_branch);
    });
    expect_both(raced, "nor copy to where another reads", [] {
        launch(reads, branch);
        cuMemcpyHtoDAsync_v2(memory, pinned, 4, other_branch);
    });
    expect_both(raced, "nor from where another writes", [] {
        cuMemsetD8Async(memory, 0, 4, branch);
        cuMemcpyDtoHAsync_v2(pinned, memory, 4, other_branch);
    });
    std::printf("%d failures\n", failures);
    return failures != 0;
}
