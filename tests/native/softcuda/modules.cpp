// libcuda.so.1: modules and kernels.
#include "counts.h"
#include "driver.h"
#include "grid.h"

#include <cstdio>
#include <cstring>

using namespace softcuda;

namespace softcuda {

int capability() { return (int)setting("SOFTCUDA_COMPUTE_CAPABILITY", 90); }

// Source: CUDA C++ Programming Guide, technical specifications per
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

} // namespace softcuda

namespace {

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

Result refuse_shared(const char *call, const Kernel &kernel, uint64_t bytes, uint64_t most) {
    return refuse(invalid_value, call,
                  kernel.name + ": " + std::to_string(kernel.shared_bytes) + " + " + std::to_string(bytes) +
                      " bytes of shared memory; a block may have " + std::to_string(most) + " of the " +
                      std::to_string(most_shared()) + " that a GPU of compute capability " +
                      std::to_string(capability() / 10) + "." + std::to_string(capability() % 10) + " gives it");
}

} // namespace

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
