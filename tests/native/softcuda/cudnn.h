// What the files of libcudnn share.
#pragma once

#include "tensors.h"

namespace softcuda {

enum DnnStatus {
    dnn_ok = 0,
    dnn_not_initialised = 1001,
    bad_param = 2000,
    dnn_not_supported = 3000,
    dnn_execution_failed = 5000
};

struct TensorDescriptor {
    Type type = Type::f32;
    int n = 0, c = 0, h = 0, w = 0; // stored (n, h, w, c)

    size_t count() const { return (size_t)n * (size_t)c * (size_t)h * (size_t)w; }
    size_t bytes() const { return count() * size_of(type); }
};

struct FilterDescriptor {
    Type type = Type::f32;
    int k = 0, c = 0, r = 0, s = 0; // stored (k, r, s, c)

    size_t count() const { return (size_t)k * (size_t)c * (size_t)r * (size_t)s; }
    size_t bytes() const { return count() * size_of(type); }
};

struct ConvolutionDescriptor {
    int pad = 0;
    int math = 0; // 3 = true FP32; 0 and 1 round inputs to TF32
};

struct PoolingDescriptor {
    int window = 0;
};

struct DnnHandle {
    Stream *stream = nullptr;
};

// Whether a result replaces what was there, as it is.
inline bool is_unit(const float *alpha, const float *beta) { return alpha && beta && *alpha == 1 && *beta == 0; }

DnnStatus refuse_dnn(DnnStatus status, const char *call, const std::string &why);

// Queues work after checking that every operand lies in live device memory; checks again when it runs.
struct Operand {
    uint64_t address;
    size_t bytes;
    Use use = Use::reads;
};

int enqueue_dnn(DnnHandle *handle, const char *call, std::vector<Operand> operands,
                std::function<void(const std::vector<void *> &)> body);

} // namespace softcuda

#define EXPORT extern "C" __attribute__((visibility("default")))
#define ENTER                                                                                                          \
    if (const int status = softcuda::planned_failure(__func__))                                                        \
    return softcuda::returned(status)

// For what gives something back: it does so whatever it returns.
#define ENTER_TO_GIVE_BACK const int status = softcuda::returned(softcuda::planned_failure(__func__))
