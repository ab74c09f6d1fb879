// The software CUDA device must be strict where a GPU is silent. Each rule is broken once, on purpose; its complaints
// on standard error are expected.
#include "cuda_calls.h"
#include "expect.h"

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

namespace {

std::string read_ptx() {
    std::ifstream file(PTX_FILE);
    return {std::istreambuf_iterator<char>(file), {}};
}

// Runs a body in a process of its own and gives what it said on standard error.
template <typename Body> std::string errors_of(Body body) {
    int ends[2];
    if (pipe(ends) != 0) {
        return "";
    }
    if (fork() == 0) {
        dup2(ends[1], 2);
        body();
        std::exit(0); // static destructors report leaks
    }
    close(ends[1]);
    std::string said;
    char buffer[512];
    for (ssize_t n; (n = read(ends[0], buffer, sizeof buffer)) > 0;) {
        said.append(buffer, (size_t)n);
    }
    wait(nullptr);
    return said;
}

void *open_device() {
    void *context = nullptr, *stream = nullptr;
    cuInit(0);
    cuDevicePrimaryCtxRetain(&context, 0);
    expect(cuProfilerStart() == 201, "a profiler is started in a context");
    cuCtxPushCurrent_v2(context);
    cuStreamCreate(&stream, 1);
    return stream;
}

// A kernel that writes 1, and one that copies what it sees before and after it has waited: launched so that it may
// begin early, it must see the difference, and only where nothing forbids that.
void check_overlap(void *stream, void *branch, uint64_t memory, void *pinned) {
    const char *text = R"(.version 7.8
.target sm_90
.address_size 64
.visible .entry writes(.param .u64 at) { .reg .b32 %r<2>; .reg .b64 %rd<2>;
    ld.param.u64 %rd1, [at]; griddepcontrol.wait; mov.u32 %r1, 1; st.global.u32 [%rd1], %r1; griddepcontrol.launch_dependents; ret; }
.visible .entry keeps(.param .u64 at) { .reg .b32 %r<2>; .reg .b64 %rd<2>;
    ld.param.u64 %rd1, [at]; mov.u32 %r1, 1; st.global.u32 [%rd1], %r1; ret; }
.visible .entry reads(.param .u64 at) { .reg .b32 %r<3>; .reg .b64 %rd<2>;
    ld.param.u64 %rd1, [at]; ld.global.u32 %r1, [%rd1]; griddepcontrol.wait;
    ld.global.u32 %r2, [%rd1]; st.global.v2.u32 [%rd1+8], {%r1, %r2}; ret; }
)";
    void *module, *writes, *keeps, *reads, *event, *graph, *executable;
    cuModuleLoadDataEx(&module, text, 0, nullptr, nullptr);
    cuModuleGetFunction(&writes, module, "writes");
    cuModuleGetFunction(&keeps, module, "keeps");
    cuModuleGetFunction(&reads, module, "reads");
    cuEventCreate(&event, 2);
    unsigned *values = static_cast<unsigned *>(pinned);
    void *parameters[] = {&memory};
    LaunchAttribute attribute = {6, 0, 1, {}};
    const auto launch = [&](void *kernel, unsigned attributes) {
        const LaunchConfig config = {{1, 1, 1}, {1, 1, 1}, 0, stream, &attribute, attributes};
        return cuLaunchKernelEx(&config, kernel, parameters, nullptr);
    };
    const auto clear = [&] {
        values[0] = values[2] = values[3] = 0;
        cuMemcpyHtoDAsync_v2(memory, pinned, 16, stream);
    };
    const auto sees = [&](unsigned before, unsigned after) {
        cuMemcpyDtoHAsync_v2(pinned, memory, 16, stream);
        return cuStreamSynchronize(stream) == 0 && values[2] == before && values[3] == after;
    };
    clear();
    launch(writes, 0);
    launch(reads, 0);
    expect(sees(1, 1), "kernels run one after the other");
    clear();
    launch(writes, 0);
    launch(reads, 1);
    expect(sees(0, 1), "one that may begin early does");
    clear();
    launch(writes, 0);
    cuEventRecord(event, branch);
    cuStreamWaitEvent(stream, event, 0);
    launch(reads, 1);
    expect(sees(1, 1), "but not before what the stream waits for in between");
    clear();
    launch(keeps, 0);
    launch(reads, 1);
    expect(sees(1, 1), "nor where the one before does not let it");
    for (const bool waits : {false, true}) {
        clear();
        cuStreamSynchronize(stream);
        cuStreamBeginCapture_v2(stream, 1);
        cuEventRecord(event, stream);
        cuStreamWaitEvent(branch, event, 0);
        launch(writes, 0);
        cuMemcpyHtoDAsync_v2(memory + 16, pinned, 16, branch);
        cuEventRecord(event, branch);
        if (waits) {
            cuStreamWaitEvent(stream, event, 0);
        }
        launch(reads, 1);
        if (!waits) {
            cuStreamWaitEvent(stream, event, 0);
        }
        cuStreamEndCapture(stream, &graph);
        cuGraphInstantiateWithFlags(&executable, graph, 0);
        cuGraphLaunch(executable, stream);
        expect(sees(waits ? 1 : 0, 1), waits ? "nor in a graph where a branch joins" : "it begins early in a graph");
    }
}

// A block may have as much shared memory as one of the GPU that is named, and no more.
void check_shared_memory(void *stream) {
    const char *text = R"(.version 7.5
.target sm_75
.address_size 64
.extern .shared .align 16 .b8 dynamic[];
.visible .entry small() { .reg .b64 %rd<2>; .shared .align 16 .b8 tile[1024]; mov.u64 %rd1, tile; mov.u64 %rd1, dynamic; ret; }
)";
    const struct {
        const char *capability, *dotted;
        int kibibytes;
    } all[] = {{"75", "7.5", 64},  {"80", "8.0", 163},   {"86", "8.6", 99},    {"87", "8.7", 163}, {"89", "8.9", 99},
               {"90", "9.0", 227}, {"100", "10.0", 227}, {"103", "10.3", 227}, {"120", "12.0", 99}};
    for (const auto &[capability, dotted, kibibytes] : all) {
        setenv("SOFTCUDA_COMPUTE_CAPABILITY", capability, 1);
        int most, rest = (kibibytes - 1) << 10; // 1 KiB is declared
        void *module, *function;
        cuModuleLoadDataEx(&module, text, 0, nullptr, nullptr);
        cuModuleGetFunction(&function, module, "small");
        const auto launch = [&](int shared) {
            const LaunchConfig config = {{1, 1, 1}, {32, 1, 1}, (unsigned)shared, stream, nullptr, 0};
            return cuLaunchKernelEx(&config, function, nullptr, nullptr);
        };
        expect(cuDeviceGetAttribute(&most, 97, 0) == 0 && most == kibibytes << 10 && launch(rest) != 0 &&
                   cuFuncSetAttribute(function, 8, rest) == 0 && launch(rest) == 0 && launch(rest + 1) != 0 &&
                   cuFuncSetAttribute(function, 8, rest + 1) != 0,
               (std::to_string(kibibytes) + " KiB for " + dotted).c_str());
        const std::string says = "small: 1024 + " + std::to_string(rest + 1) +
                                 " bytes of shared memory; a block may have " + std::to_string(most) + " of the " +
                                 std::to_string(most) + " that a GPU of compute capability " + dotted + " gives it";
        expect(errors_of([&] {
                   cuFuncSetAttribute(function, 8, rest + 1);
                   _exit(0);
               }).find(says) != std::string::npos,
               "and it is said who asks for more");
        cuStreamSynchronize(stream);
        cuModuleUnload(module);
    }
    unsetenv("SOFTCUDA_COMPUTE_CAPABILITY");
}

} // namespace

int main(int argc, char **) {
    if (argc > 1) { // as a process of its own: see the end
        open_device();
        uint64_t memory;
        cuMemAlloc_v2(&memory, 16);
        std::fprintf(stderr, "second allocation: %d\n", cuMemAlloc_v2(&memory, 16));
        return 0;
    }
    expect(errors_of([] { open_device(); }).find("leak: 1 streams") != std::string::npos,
           "a stream that is not destroyed is reported");

    uint64_t early;
    expect(cuMemAlloc_v2(&early, 16) != 0, "nothing works before cuInit");
    void *stream = open_device(), *pinned;
    uint64_t memory;
    expect(cuMemAlloc_v2(&memory, 1000) == 0 && cuMemHostAlloc(&pinned, 1000, 0) == 0, "memory can be had");
    float *values = static_cast<float *>(pinned);

    // Waiting, poison, and pages that are not pinned.
    values[0] = 1;
    expect(cuMemcpyDtoHAsync_v2(pinned, memory, 1000, stream) == 0 && values[0] == 1,
           "nothing arrives before the host waits");
    expect(cuStreamSynchronize(stream) == 0 && std::isnan(values[0]), "fresh memory is full of NaN");
    float pageable[4];
    expect(cuMemcpyDtoHAsync_v2(pageable, memory, 16, stream) != 0, "copies from and to pageable memory are refused");
    expect(cuMemcpyDtoHAsync_v2(pinned, memory, 16, nullptr) != 0, "the legacy stream is refused");

    // Descriptors and sizes.
    void *dnn, *x, *y, *pooling;
    cudnnCreate(&dnn);
    cudnnSetStream(dnn, stream);
    cudnnCreateTensorDescriptor(&x);
    cudnnCreateTensorDescriptor(&y);
    cudnnCreatePoolingDescriptor(&pooling);
    cudnnSetTensor4dDescriptor(x, 1, 0, 1, 1, 10, 10);
    cudnnSetTensor4dDescriptor(y, 1, 0, 1, 1, 5, 4);
    cudnnSetPooling2dDescriptor(pooling, 3, 1, 2, 2, 0, 0, 2, 2);
    const float one = 1, zero = 0;
    uint64_t output;
    cuMemAlloc_v2(&output, 4 * 25);
    expect(cudnnPoolingForward(dnn, pooling, &one, x, memory, &zero, y, output) != 0,
           "descriptors that do not fit each other are refused");
    cudnnSetTensor4dDescriptor(y, 1, 0, 1, 1, 5, 5);
    expect(cudnnPoolingForward(dnn, pooling, &one, x, memory, &zero, y, output) == 0, "those that fit are not");
    expect(cudnnPoolingForward(dnn, pooling, &one, x, memory + 640, &zero, y, output) != 0,
           "a tensor that ends after its allocation is refused");
    expect(cudnnPoolingForward(dnn, pooling, &one, x, reinterpret_cast<uint64_t>(pinned), &zero, y, output) != 0,
           "a host address is no device address");

    // Kernels: their parameters are those of the PTX, and their pointers must be live.
    void *module, *function;
    const std::string ptx = read_ptx();
    expect(cuModuleLoadDataEx(&module, ptx.c_str(), 0, nullptr, nullptr) == 0, "the PTX is read");
    expect(cuModuleGetFunction(&function, module, "no_such_kernel") != 0, "a kernel that is not there is not found");
    expect(cuModuleGetFunction(&function, module, "column_sums") == 0, "one that is there is");
    struct { // ColumnSums of activation.cu
        uint64_t x, sums;
        int rows, channels, narrow;
    } sums = {memory, output, 5, 5, 0};
    void *parameters[] = {&sums};
    LaunchAttribute overlapped = {6, 0, 1, {}};
    const auto launch = [&](unsigned warps, unsigned shared, unsigned attributes = 0) {
        const LaunchConfig config = {{1, 1, 1}, {32 * warps, 1, 1}, shared, stream, &overlapped, attributes};
        return cuLaunchKernelEx(&config, function, parameters, nullptr);
    };
    expect(launch(32, 0) != 0, "more threads than the kernel allows are refused");
    expect(launch(8, 64 << 10) != 0, "more than 48 KiB of shared memory must be asked for first");
    expect(launch(8, 0, 1) != 0, "a kernel that does not wait for the one before must not begin before that one ends");
    expect(cuFuncSetAttribute(function, 8, 256 << 10) != 0, "and there is not more than a multiprocessor has");
    expect(cuFuncSetAttribute(function, 8, 64 << 10) == 0, "what it has can be had");
    void *head; // declares more than 28 KiB
    cuModuleGetFunction(&head, module, "head");
    expect(cuFuncSetAttribute(head, 8, 200 << 10) != 0, "what a kernel declares counts, too");
    expect(cuFuncSetAttribute(head, 8, 180 << 10) == 0, "what is left beside it can be had");

    // Capture.
    void *graph;
    cuStreamBeginCapture_v2(stream, 1);
    expect(cuMemAlloc_v2(&early, 16) == 900, "capture forbids to allocate");
    expect(cuStreamSynchronize(stream) == 900, "capture forbids to wait");
    expect(cuStreamEndCapture(stream, &graph) == 901, "and is broken afterwards");

    void *empty, *executable, *event;
    cuStreamBeginCapture_v2(stream, 1);
    cuStreamEndCapture(stream, &empty);
    cuGraphInstantiateWithFlags(&executable, empty, 0);
    cuStreamBeginCapture_v2(stream, 1);
    expect(cuGraphLaunch(executable, stream) == 900, "a graph cannot be launched into a capture");
    cuStreamEndCapture(stream, &graph);
    cuEventCreate(&event, 2);
    cuEventRecord(event, stream);
    cuStreamBeginCapture_v2(stream, 1);
    expect(cuStreamWaitEvent(stream, event, 0) == 905, "a capture cannot wait for what lies outside it");
    cuStreamEndCapture(stream, &graph);
    void *branch;
    cuStreamCreate(&branch, 1);
    for (const bool joins : {true, false}) {
        cuStreamBeginCapture_v2(stream, 1);
        cuEventRecord(event, stream);
        cuStreamWaitEvent(branch, event, 0);
        cuMemcpyHtoDAsync_v2(memory, pinned, 16, branch);
        cuEventRecord(event, branch);
        if (joins) {
            cuStreamWaitEvent(stream, event, 0);
        }
        expect(cuStreamEndCapture(stream, &graph) == (joins ? 0 : 904), "a capture takes in a branch, which must join");
    }
    cuStreamSynchronize(stream);
    expect(cuMemcpyHtoDAsync_v2(memory, pinned, 16, branch) == 0 && cuStreamSynchronize(branch) == 0,
           "and is on its own again");
    expect(cuEventSynchronize(event) == 1, "nobody can wait for an event of a capture, even when that has ended");
    expect(cuEventRecord(event, stream) == 0 && cuEventSynchronize(event) == 0, "but for one recorded anew");
    int capturing;
    expect(cuStreamIsCapturing(nullptr, &capturing) != 0, "the legacy stream is not even asked about");

    check_overlap(stream, branch, memory, pinned);
    check_shared_memory(stream);

    cuMemFree_v2(output);
    expect(launch(8, 0) == 0 && cuStreamSynchronize(stream) == 700,
           "a kernel that is given freed memory fails, when it runs");
    expect(cuMemAlloc_v2(&early, 16) == 700, "and so does everything after it");

    // Failures that are planned while the process runs.
    softcuda_fail("");
    expect(cuMemAlloc_v2(&early, 16) == 0, "until it is forgotten");
    softcuda_fail("*:2:2");
    expect(cuEventRecord(event, stream) == 0 && cuEventRecord(event, stream) == 2 && cuEventRecord(event, stream) == 0,
           "the nth of all calls fails");
    void *none = nullptr;
    softcuda_fail("cuStreamCreate:1:0");
    expect(cuStreamCreate(&none, 1) == 0 && !none, "a call says that it succeeded, and has done nothing");
    softcuda_fail("cuMemFree_v2:1:719");
    expect(cuMemFree_v2(early) == 719 && cuMemAlloc_v2(&early, 16) == 719,
           "a status stays that no device recovers from");
    expect(cuStreamDestroy_v2(branch) == 719, "what gives something back says so, too");
    softcuda_fail("");
    expect(cuMemFree_v2(early) == 1 && cuStreamDestroy_v2(branch) == 400, "and has done it");
    char text[512];
    softcuda_called(text, sizeof text);
    expect(std::string(text) == "cuMemFree_v2 1\ncuStreamDestroy_v2 1\n", "calls are counted by their names");
    softcuda_alive(text, sizeof text);
    expect(std::string(text).find("1 streams\n") != std::string::npos, "and what is not given back by its kind");

    expect(errors_of([] {
               setenv("SOFTCUDA_FAIL", "cuMemAlloc_v2:2:2", 1);
               execl("/proc/self/exe", "softcuda_test", "fail", nullptr);
           }).find("second allocation: 2") != std::string::npos,
           "the nth call fails as asked");
    std::printf("%d failures\n", failures);
    return failures != 0;
}
