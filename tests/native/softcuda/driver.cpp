// libcuda.so.1: devices, the primary context, memory, modules and kernels, as far as CudnnDigits calls them.
#include "driver.h"
#include "counts.h"
#include "grid.h"

#include <cstdio>
#include <cstring>

using namespace softcuda;

namespace {

int context_object; // its address is the primary context

struct LoadedFunction {
    std::shared_ptr<Kernel> kernel;
    unsigned most_shared = 0; // dynamic shared memory that a launch may ask for, beyond 48 KiB with what is declared
};

struct LoadedModule {
    std::shared_ptr<Module> ptx = std::make_shared<Module>(); // shared with launches that have not run
    std::map<std::string, LoadedFunction> functions;
};

// A text is read once, as a driver compiles once; each module has a copy, because they end one by one. Whoever calls
// has locked the driver.
Module known_ptx(const char *text) {
    static std::map<std::string, Module> known;
    auto found = known.find(text);
    if (found == known.end()) {
        found = known.emplace(text, parse_ptx(text)).first;
        for (auto &[name, kernel] : found->second.kernels) {
            kernel.text = known.size();
        }
        keep_text(known.size(), text);
    }
    return found->second;
}

int capability() { return (int)setting("SOFTCUDA_COMPUTE_CAPABILITY", 90); } // 86 for 8.6

// What a block may have of shared memory, in bytes. Source: CUDA C++ Programming Guide, technical specifications per
// compute capability.
unsigned most_shared() {
    const struct {
        int first, last;
        unsigned kibibytes;
    } all[] = {{75, 75, 64}, {80, 80, 163}, {86, 86, 99}, {87, 87, 163}, {89, 89, 99}, {90, 110, 227}, {120, 129, 99}};
    unsigned kibibytes = 48;
    for (const auto &[first, last, most] : all) {
        kibibytes = first <= capability() && capability() <= last ? most : kibibytes;
    }
    return (unsigned)setting("SOFTCUDA_SHARED_BYTES", kibibytes << 10);
}

Result refuse_shared(const char *call, const Kernel &kernel, uint64_t bytes, uint64_t most) {
    return refuse(invalid_value, call,
                  kernel.name + ": " + std::to_string(kernel.shared_bytes) + " + " + std::to_string(bytes) +
                      " bytes of shared memory; a block may have " + std::to_string(most) + " of the " +
                      std::to_string(most_shared()) + " that a GPU of compute capability " +
                      std::to_string(capability() / 10) + "." + std::to_string(capability() % 10) + " gives it");
}

struct ErrorName {
    int status;
    const char *name, *text;
};

const ErrorName errors[] = {
    {0, "CUDA_SUCCESS", "no error"},
    {1, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {2, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {3, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {100, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {101, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {200, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {201, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {209, "CUDA_ERROR_NO_BINARY_FOR_GPU", "no kernel image is available for execution on the device"},
    {222, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION", "the provided PTX was compiled with an unsupported toolchain."},
    {400, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {500, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {700, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {719, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    {803, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", "system has unsupported display driver / cuda driver combination"},
    {900, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "operation not permitted when stream is capturing"},
    {901, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", "operation failed due to a previous error during capture"},
    {999, "CUDA_ERROR_UNKNOWN", "unknown error"},
};

} // namespace

// ---- initialisation, errors, devices

EXPORT cuInit(unsigned) {
    std::lock_guard lock(driver().mutex);
    if (const int status = planned_failure(__func__)) {
        return returned(status);
    }
    driver().initialised = true;
    return success;
}

EXPORT cuDriverGetVersion(int *version) {
    if (const int status = planned_failure(__func__)) {
        return returned(status);
    }
    *version = (int)setting("SOFTCUDA_DRIVER_VERSION", 12090);
    return success;
}

EXPORT cuGetErrorName(int status, const char **name) {
    for (const ErrorName &error : errors) {
        if (error.status == status) {
            *name = error.name;
            return success;
        }
    }
    return invalid_value;
}

EXPORT cuGetErrorString(int status, const char **text) {
    for (const ErrorName &error : errors) {
        if (error.status == status) {
            *text = error.text;
            return success;
        }
    }
    return invalid_value;
}

EXPORT cuDeviceGetCount(int *count) {
    ENTER(nothing)
    *count = (int)setting("SOFTCUDA_DEVICES", 1);
    return success;
}

EXPORT cuDeviceGet(int *device, int ordinal) {
    ENTER(nothing)
    if (ordinal < 0 || ordinal >= (int)setting("SOFTCUDA_DEVICES", 1)) {
        return invalid_device;
    }
    *device = ordinal;
    return success;
}

EXPORT cuDeviceGetName(char *name, int length, int) {
    ENTER(nothing)
    std::snprintf(name, (size_t)length, "software CUDA device (for tests)");
    return success;
}

EXPORT cuDeviceTotalMem_v2(size_t *bytes, int) {
    ENTER(nothing)
    *bytes = memory_info().total;
    return success;
}

EXPORT cuDeviceGetAttribute(int *value, int attribute, int) {
    ENTER(nothing)
    switch (attribute) {
    case 16:
        *value = (int)setting("SOFTCUDA_MULTIPROCESSORS", 2);
        return success;
    case 81: // a multiprocessor's: the driver takes one KiB of it for a block
        *value = (int)most_shared() + 1024;
        return success;
    case 97:
        *value = (int)most_shared();
        return success;
    case 75:
        *value = capability() / 10;
        return success;
    case 76:
        *value = capability() % 10;
        return success;
    default:
        return refuse(invalid_value, __func__, "unknown attribute");
    }
}

// ---- the primary context

EXPORT cuDevicePrimaryCtxRetain(void **result, int) {
    ENTER(nothing)
    ++driver().retained;
    count_handle("primary contexts", 1);
    *result = &context_object;
    return success;
}

EXPORT cuDevicePrimaryCtxRelease_v2(int) {
    ENTER_TO_GIVE_BACK(nothing)
    if (driver().retained == 0) {
        return refuse(invalid_context, __func__, "the primary context was released too often");
    }
    --driver().retained;
    count_handle("primary contexts", -1);
    return status;
}

EXPORT cuCtxPushCurrent_v2(void *pushed) {
    ENTER(nothing)
    if (pushed != &context_object || driver().retained == 0) {
        return refuse(invalid_context, __func__, "no such context");
    }
    current_contexts().push_back(pushed);
    return success;
}

EXPORT cuCtxPopCurrent_v2(void **popped) {
    ENTER(nothing)
    if (current_contexts().empty()) {
        return refuse(invalid_context, __func__, "no context is current on this thread");
    }
    *popped = current_contexts().back();
    current_contexts().pop_back();
    return success;
}

EXPORT cuCtxGetDevice(int *device) {
    ENTER(context)
    *device = 0;
    return success;
}

EXPORT cuCtxGetCurrent(void **result) {
    *result = current_contexts().empty() ? nullptr : current_contexts().back();
    return success;
}

// ---- memory

EXPORT cuMemGetInfo_v2(size_t *free, size_t *total) {
    ENTER(context)
    const MemoryInfo info = memory_info();
    *free = info.free;
    *total = info.total;
    return success;
}

EXPORT cuMemAlloc_v2(uint64_t *address, size_t bytes) {
    ENTER(context_outside_capture)
    if (bytes == 0) {
        return refuse(invalid_value, __func__, "0 bytes");
    }
    *address = bytes <= memory_info().free ? allocate(bytes, true) : 0;
    return *address ? success : out_of_memory;
}

EXPORT cuMemFree_v2(uint64_t address) {
    ENTER_TO_GIVE_BACK(context_outside_capture)
    run_everything(); // a driver waits for work that is under way
    return release(address, true) ? status : refuse(invalid_value, __func__, "no such allocation");
}

EXPORT cuMemHostAlloc(void **host, size_t bytes, unsigned) {
    ENTER(context_outside_capture)
    *host = reinterpret_cast<void *>(allocate(bytes, false));
    return *host ? success : out_of_memory;
}

EXPORT cuMemFreeHost(void *host) {
    ENTER_TO_GIVE_BACK(context_outside_capture)
    run_everything();
    return release(reinterpret_cast<uint64_t>(host), false) ? status
                                                            : refuse(invalid_value, __func__, "no such allocation");
}

static int copy(const char *call, Stream *stream, uint64_t to, uint64_t from, size_t bytes, bool to_host,
                bool from_host) {
    const void *host = reinterpret_cast<const void *>(to_host ? to : from);
    if ((to_host || from_host) && !is_pinned(host, bytes)) {
        return refuse(invalid_value, call, "the host memory is not pinned");
    }
    return enqueue(stream, call, [=]() -> Result {
        void *target = to_host ? reinterpret_cast<void *>(to) : used_memory(to, bytes, call, Use::writes, false);
        const void *source =
            from_host ? reinterpret_cast<const void *>(from) : used_memory(from, bytes, call, Use::reads, false);
        if (!target || !source) {
            return illegal_address;
        }
        std::memcpy(target, source, bytes);
        return success;
    });
}

EXPORT cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, Stream *stream) {
    ENTER(context)
    return copy(__func__, stream, to, reinterpret_cast<uint64_t>(from), bytes, false, true);
}

EXPORT cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, Stream *stream) {
    ENTER(context)
    return copy(__func__, stream, reinterpret_cast<uint64_t>(to), from, bytes, true, false);
}

EXPORT cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, Stream *stream) {
    ENTER(context)
    return copy(__func__, stream, to, from, bytes, false, false);
}

EXPORT cuMemsetD8Async(uint64_t to, unsigned char value, size_t bytes, Stream *stream) {
    ENTER(context)
    return enqueue(stream, __func__, [=]() -> Result {
        void *target = used_memory(to, bytes, "cuMemsetD8Async", Use::writes, false);
        if (!target) {
            return illegal_address;
        }
        std::memset(target, value, bytes);
        return success;
    });
}

// ---- modules and kernels

EXPORT cuModuleLoadDataEx(LoadedModule **module, const char *image, unsigned options, int *names, void **values) {
    ENTER(context_outside_capture)
    char *log = nullptr;
    size_t log_bytes = 0;
    for (unsigned i = 0; i < options; ++i) {
        log = names[i] == 5 ? static_cast<char *>(values[i]) : log;
        log_bytes = names[i] == 6 ? reinterpret_cast<size_t>(values[i]) : log_bytes;
    }
    auto loaded = std::make_unique<LoadedModule>();
    try {
        *loaded->ptx = known_ptx(image);
    } catch (const std::runtime_error &error) {
        return refuse(invalid_image, __func__, std::string("the PTX cannot be read: ") + error.what());
    }
    const int newest = (int)setting("SOFTCUDA_PTX_VERSION", 88);
    if (loaded->ptx->version > newest) {
        if (log) {
            std::snprintf(
                log, log_bytes,
                "ptxas application ptx input, line 5; fatal   : Unsupported .version %d.%d; current version is '%d.%d'",
                loaded->ptx->version / 10, loaded->ptx->version % 10, newest / 10, newest % 10);
        }
        return unsupported_ptx_version;
    }
    if (loaded->ptx->target > capability() || (loaded->ptx->is_specific && loaded->ptx->target != capability())) {
        return no_binary_for_gpu;
    }
    count_handle("modules", 1);
    *module = loaded.release();
    return success;
}

EXPORT cuModuleGetFunction(LoadedFunction **function, LoadedModule *module, const char *name) {
    ENTER(context)
    const auto kernel = module->ptx->kernels.find(name);
    if (kernel == module->ptx->kernels.end()) {
        return refuse(not_found, __func__, std::string(name) + " is not in the PTX");
    }
    LoadedFunction &loaded = module->functions[name];
    loaded = {{module->ptx, &kernel->second}};
    *function = &loaded;
    return success;
}

EXPORT cuFuncSetAttribute(LoadedFunction *function, int attribute, int value) {
    ENTER(context)
    if (attribute != 8 || value < 0) {
        return refuse(invalid_value, __func__, "the attribute is not known here");
    }
    if (function->kernel->shared_bytes + (unsigned)value > most_shared()) {
        return refuse_shared(__func__, *function->kernel, (unsigned)value, most_shared());
    }
    function->most_shared = (unsigned)value;
    return success;
}

EXPORT cuModuleUnload(LoadedModule *module) {
    ENTER_TO_GIVE_BACK(context_outside_capture)
    for (auto &[name, kernel] : module->ptx->kernels) {
        kernel.is_unloaded = true; // nothing says that a driver waits for those that have not run
    }
    count_handle("modules", -1);
    delete module;
    return status;
}

struct LaunchAttribute {
    int id, padding, value;
    unsigned char rest[60];
};

struct LaunchConfig {
    Dimensions grid, block;
    unsigned shared;
    Stream *stream;
    const LaunchAttribute *attributes;
    unsigned attribute_count;
};

EXPORT cuLaunchKernelEx(const LaunchConfig *config, LoadedFunction *function, void **parameters, void **extra) {
    ENTER(context)
    const auto [grid, block, shared, stream, attributes, attribute_count] = *config;
    const unsigned threads = block.x * block.y * block.z;
    if (!grid.x || !grid.y || !grid.z || grid.y > 65535 || grid.z > 65535 || threads == 0 ||
        threads > function->kernel->max_threads || extra) {
        return refuse(invalid_value, __func__, function->kernel->name + ": grid or block out of range");
    }
    const unsigned most = std::max(function->kernel->shared_bytes + function->most_shared, 48u << 10);
    if ((uint64_t)function->kernel->shared_bytes + shared > std::min(most, most_shared())) {
        return refuse_shared(__func__, *function->kernel, shared, most);
    }
    for (unsigned i = 0; i < attribute_count; ++i) {
        constexpr int programmatic_stream_serialization = 6, captured_since = 12030;
        if (setting("SOFTCUDA_DRIVER_VERSION", 12090) < captured_since) {
            return refuse(invalid_value, __func__, "no driver before CUDA 12.3 captures kernels that begin early");
        }
        if (attributes[i].id != programmatic_stream_serialization || attributes[i].value != 1 ||
            !function->kernel->waits) {
            return refuse(invalid_value, __func__,
                          function->kernel->name +
                              ": an attribute that is not known here, or the kernel never waits for the one before");
        }
    }
    const Kernel &kernel = *function->kernel;
    std::vector<unsigned char> values(kernel.parameter_bytes);
    for (size_t i = 0; i < kernel.parameter_sizes.size(); ++i) {
        std::memcpy(&values[kernel.parameter_offsets[i]], parameters[i], kernel.parameter_sizes[i]);
    }
    const auto launch = std::make_shared<Launch>(function->kernel, std::move(values), grid, block, shared);
    const auto run = [=]() -> Result {
        const int status = planned_failure(launch->name().c_str());
        return status ? (Result)returned(status) : launch->run();
    };
    std::function<Result()> begin;
    if (attribute_count > 0) {
        begin = [=] { return launch->begin(); };
    }
    return enqueue_kernel(stream, __func__, run, begin, kernel.lets_next_begin);
}
