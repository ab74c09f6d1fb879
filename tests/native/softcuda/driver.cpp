// libcuda.so.1: devices, the primary context and memory, as far as CudnnDigits calls them.
#include "driver.h"

#include <cstdio>
#include <cstring>

using namespace softcuda;

namespace {

int context_object; // its address is the primary context

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
