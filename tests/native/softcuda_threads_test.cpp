// The software CUDA device under many threads at once, and things given back while work that uses them still waits.
#include "cuda_calls.h"
#include "expect.h"

#include <cstdint>
#include <cstdio>
#include <iterator>
#include <thread>
#include <vector>

namespace {

// Every thread of every block writes a number of its own place.
const char *ptx = R"(.version 7.5
.target sm_75
.address_size 64
.visible .entry mark(.param .u64 at, .param .u32 number) { .reg .b32 %r<6>; .reg .b64 %rd<4>;
    ld.param.u64 %rd1, [at]; ld.param.u32 %r1, [number]; mov.u32 %r2, %ctaid.x; mov.u32 %r3, %tid.x;
    shl.b32 %r4, %r2, 5; add.s32 %r5, %r4, %r3; mul.wide.u32 %rd2, %r5, 4; add.s64 %rd3, %rd1, %rd2;
    st.global.u32 [%rd3], %r1; ret; }
)";

constexpr unsigned blocks = 32, values = 32 * blocks;

int launch(void *kernel, void *stream, uint64_t memory, unsigned number) {
    const LaunchConfig config = {{blocks, 1, 1}, {32, 1, 1}, 0, stream, nullptr, 0};
    void *parameters[] = {&memory, &number};
    return cuLaunchKernelEx(&config, kernel, parameters, nullptr);
}

// Each thread makes, uses and destroys what is its own, again and again.
bool work(void *context, unsigned number) {
    constexpr size_t bytes = values * sizeof(unsigned);
    bool right = cuCtxPushCurrent_v2(context) == 0;
    for (int round = 0; round < 500 && right; ++round) {
        void *stream, *other, *event, *module, *kernel, *dnn, *blas, *host, *graph;
        uint64_t memory;
        right = cuStreamCreate(&stream, 1) == 0 && cuStreamCreate(&other, 1) == 0 && cuEventCreate(&event, 2) == 0 &&
                cuMemAlloc_v2(&memory, bytes) == 0 && cuMemHostAlloc(&host, bytes, 0) == 0 && cudnnCreate(&dnn) == 0 &&
                cublasCreate_v2(&blas) == 0 && cuModuleLoadDataEx(&module, ptx, 0, nullptr, nullptr) == 0 &&
                cuModuleGetFunction(&kernel, module, "mark") == 0 && cudnnSetStream(dnn, stream) == 0 &&
                cublasSetStream_v2(blas, stream) == 0;
        right = right && launch(kernel, stream, memory, number) == 0 && cuEventRecord(event, stream) == 0 &&
                cuStreamWaitEvent(other, event, 0) == 0 && cuMemcpyDtoHAsync_v2(host, memory, bytes, other) == 0 &&
                cuStreamSynchronize(other) == 0 && static_cast<unsigned *>(host)[values - 1] == number;
        right = right && cuStreamBeginCapture_v2(stream, 1) == 0 && cuMemsetD8Async(memory, 0, bytes, stream) == 0 &&
                cublasSetStream_v2(blas, stream) == 0 && cuStreamEndCapture(stream, &graph) == 0 &&
                cuGraphDestroy(graph) == 0;
        right = right && cuModuleUnload(module) == 0 && cublasDestroy_v2(blas) == 0 && cudnnDestroy(dnn) == 0 &&
                cuMemFreeHost(host) == 0 && cuMemFree_v2(memory) == 0 && cuEventDestroy_v2(event) == 0 &&
                cuStreamDestroy_v2(other) == 0 && cuStreamDestroy_v2(stream) == 0;
    }
    return right;
}

void check_threads(void *context) {
    bool right[8] = {};
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < std::size(right); ++i) {
        threads.emplace_back([&, i] { right[i] = work(context, i + 1); });
    }
    bool all = true;
    for (unsigned i = 0; i < std::size(right); ++i) {
        threads[i].join();
        all = all && right[i];
    }
    expect(all, "threads make, use and destroy what is theirs beside each other");
}

void check_given_back_early() {
    void *stream, *event, *module, *kernel;
    uint64_t memory;
    cuStreamCreate(&stream, 1);
    cuMemAlloc_v2(&memory, values * sizeof(unsigned));
    cuModuleLoadDataEx(&module, ptx, 0, nullptr, nullptr);
    cuModuleGetFunction(&kernel, module, "mark");
    cuEventCreate(&event, 0);
    expect(launch(kernel, stream, memory, 1) == 0 && cuEventRecord(event, stream) == 0 &&
               cuEventDestroy_v2(event) == 0 && cuStreamSynchronize(stream) == 0,
           "an event may be destroyed before its time has come");
    expect(launch(kernel, stream, memory, 1) == 0 && cuModuleUnload(module) == 0 && cuStreamSynchronize(stream) == 719,
           "a module must not be unloaded before its kernels have run");
    cuMemFree_v2(memory);
    cuStreamDestroy_v2(stream);
}

} // namespace

int main() {
    void *context;
    cuInit(0);
    cuDevicePrimaryCtxRetain(&context, 0);
    cuCtxPushCurrent_v2(context);
    check_threads(context);
    check_given_back_early();
    cuDevicePrimaryCtxRelease_v2(0);
    std::printf("%d failures\n", failures);
    return failures != 0;
}
