// libcudnn.so.9: handles, descriptors and pooling, as far as CudnnDigits calls them.
#include "cudnn.h"

#include <algorithm>
#include <cstdio>

using namespace softcuda;

namespace {

thread_local std::string last_error;

} // namespace

namespace softcuda {

DnnStatus refuse_dnn(DnnStatus status, const char *call, const std::string &why) {
    last_error = std::string(call) + ": " + why;
    refuse(invalid_value, call, why);
    return status;
}

int enqueue_dnn(DnnHandle *handle, const char *call, std::vector<Operand> operands,
                std::function<void(const std::vector<void *> &)> body) {
    for (const Operand &operand : operands) {
        if (operand.address % 16 != 0 || !memory(operand.address, operand.bytes, call)) {
            return refuse_dnn(bad_param, call, "an operand is misaligned or lies in no live allocation");
        }
    }
    const std::string name = call;
    const Result status = enqueue(handle->stream, call, [=]() -> Result {
        std::vector<void *> pointers;
        for (const Operand &operand : operands) {
            pointers.push_back(used_memory(operand.address, operand.bytes, name.c_str(), operand.use));
            if (!pointers.back()) {
                return illegal_address;
            }
        }
        body(pointers);
        return success;
    });
    return status == success ? dnn_ok : dnn_execution_failed;
}

} // namespace softcuda

// ---- versions, errors, handles

EXPORT size_t cudnnGetVersion() { return setting("SOFTCUDA_CUDNN_VERSION", 91000); }
EXPORT size_t cudnnGetCudartVersion() { return setting("SOFTCUDA_CUDNN_CUDART", 12090); }

EXPORT const char *cudnnGetErrorString(int status) {
    switch (status) {
    case dnn_ok:
        return "CUDNN_STATUS_SUCCESS";
    case dnn_not_initialised:
        return "CUDNN_STATUS_NOT_INITIALIZED";
    case 1002:
        return "CUDNN_STATUS_SUBLIBRARY_VERSION_MISMATCH";
    case bad_param:
        return "CUDNN_STATUS_BAD_PARAM";
    case dnn_not_supported:
        return "CUDNN_STATUS_NOT_SUPPORTED";
    case dnn_execution_failed:
        return "CUDNN_STATUS_EXECUTION_FAILED";
    default:
        return "CUDNN_STATUS_UNKNOWN";
    }
}

EXPORT void cudnnGetLastErrorString(char *text, size_t length) {
    std::snprintf(text, length, "%s", last_error.c_str());
}

EXPORT int cudnnCreate(DnnHandle **handle) {
    ENTER;
    if (!has_current_context()) {
        return refuse_dnn(dnn_not_initialised, __func__, "no context is current on this thread");
    }
    *handle = new DnnHandle;
    count_handle("cuDNN handles", 1);
    return dnn_ok;
}

EXPORT int cudnnDestroy(DnnHandle *handle) {
    ENTER_TO_GIVE_BACK;
    delete handle;
    count_handle("cuDNN handles", -1);
    return status;
}

EXPORT int cudnnSetStream(DnnHandle *handle, Stream *stream) {
    ENTER;
    handle->stream = stream;
    return is_live(stream) ? dnn_ok : refuse_dnn(bad_param, __func__, "unknown stream");
}

#define DESCRIPTOR(name)                                                                                               \
    EXPORT int cudnnCreate##name##Descriptor(name##Descriptor **descriptor) {                                          \
        ENTER;                                                                                                         \
        *descriptor = new name##Descriptor;                                                                            \
        count_handle("cuDNN descriptors", 1);                                                                          \
        return dnn_ok;                                                                                                 \
    }                                                                                                                  \
    EXPORT int cudnnDestroy##name##Descriptor(name##Descriptor *descriptor) {                                          \
        ENTER_TO_GIVE_BACK;                                                                                            \
        delete descriptor;                                                                                             \
        count_handle("cuDNN descriptors", -1);                                                                         \
        return status;                                                                                                 \
    }

DESCRIPTOR(Tensor)
DESCRIPTOR(Filter)
DESCRIPTOR(Convolution)
DESCRIPTOR(Pooling)

static bool type_of(int code, Type &type) {
    type = code == 9 ? Type::bf16 : Type::f32;
    return code == 0 || code == 9;
}

EXPORT int cudnnSetTensor4dDescriptor(TensorDescriptor *d, int format, int type, int n, int c, int h, int w) {
    ENTER;
    if (!type_of(type, d->type) || n <= 0 || c <= 0 || h <= 0 || w <= 0 || (format != 1 && h * w != 1)) {
        return refuse_dnn(bad_param, __func__, "type, format or size out of range");
    }
    d->n = n;
    d->c = c;
    d->h = h;
    d->w = w;
    return dnn_ok;
}

EXPORT int cudnnSetFilter4dDescriptor(FilterDescriptor *d, int type, int format, int k, int c, int r, int s) {
    ENTER;
    if (!type_of(type, d->type) || format != 1 || k <= 0 || c <= 0 || r <= 0 || s != r) {
        return refuse_dnn(bad_param, __func__, "type, format or size out of range");
    }
    d->k = k;
    d->c = c;
    d->r = r;
    d->s = s;
    return dnn_ok;
}

EXPORT int cudnnSetConvolution2dDescriptor(ConvolutionDescriptor *d, int pad_h, int pad_w, int u, int v, int dilation_h,
                                           int dilation_w, int mode, int compute) {
    ENTER;
    if (pad_h != pad_w || pad_h < 0 || u != 1 || v != 1 || dilation_h != 1 || dilation_w != 1 || mode != 1 ||
        compute != 0) {
        return refuse_dnn(dnn_not_supported, __func__, "only stride 1, cross-correlation, float");
    }
    d->pad = pad_h;
    return dnn_ok;
}

EXPORT int cudnnSetConvolutionMathType(ConvolutionDescriptor *d, int math) {
    ENTER;
    d->math = math;
    return math >= 0 && math <= 3 ? dnn_ok : bad_param;
}

EXPORT int cudnnSetPooling2dDescriptor(PoolingDescriptor *d, int mode, int, int win_h, int win_w, int pad_v, int pad_h,
                                       int str_v, int str_h) {
    ENTER;
    if ((mode != 0 && mode != 3) || win_h != win_w || str_v != win_h || str_h != win_h || pad_v || pad_h) {
        return refuse_dnn(dnn_not_supported, __func__, "only max-pooling with window = stride");
    }
    d->window = win_h;
    return dnn_ok;
}

EXPORT int cudnnDeriveBNTensorDescriptor(TensorDescriptor *out, const TensorDescriptor *x, int mode) {
    ENTER;
    *out = {Type::f32, 1, x->c, 1, 1};
    return mode == 1 || mode == 2 ? dnn_ok : bad_param;
}

// ---- max-pooling

static bool pools(const PoolingDescriptor *d, const TensorDescriptor *x, const TensorDescriptor *y) {
    return d->window > 0 && y->n == x->n && y->c == x->c && y->h == x->h / d->window && y->w == x->w / d->window &&
           x->type == y->type;
}

// Calls body(index of y, index of the first maximum in x).
template <typename Body>
static void for_each_window(const PoolingDescriptor &d, const TensorDescriptor &x, const std::vector<float> &values,
                            Body body) {
    const int oh = x.h / d.window, ow = x.w / d.window;
#pragma omp parallel for schedule(static)
    for (int n = 0; n < x.n; ++n) {
        for (int h = 0; h < oh; ++h) {
            for (int w = 0; w < ow; ++w) {
                for (int c = 0; c < x.c; ++c) {
                    auto at = [&](int i, int j) {
                        return (((size_t)n * (size_t)x.h + (size_t)(h * d.window + i)) * (size_t)x.w +
                                (size_t)(w * d.window + j)) *
                                   (size_t)x.c +
                               (size_t)c;
                    };
                    size_t best = at(0, 0);
                    for (int i = 0; i < d.window; ++i) {
                        for (int j = 0; j < d.window; ++j) {
                            best = values[at(i, j)] > values[best] ? at(i, j) : best;
                        }
                    }
                    body((((size_t)n * (size_t)oh + (size_t)h) * (size_t)ow + (size_t)w) * (size_t)x.c + (size_t)c,
                         best);
                }
            }
        }
    }
}

EXPORT int cudnnPoolingForward(DnnHandle *handle, PoolingDescriptor *d, const float *alpha, TensorDescriptor *xd,
                               uint64_t x, const float *beta, TensorDescriptor *yd, uint64_t y) {
    ENTER;
    if (!pools(d, xd, yd) || !is_unit(alpha, beta)) {
        return refuse_dnn(bad_param, __func__, "descriptors do not fit each other");
    }
    return enqueue_dnn(handle, __func__, {{x, xd->bytes()}, {y, yd->bytes(), Use::writes}},
                       [d = *d, xd = *xd, yd = *yd](const std::vector<void *> &p) {
                           const std::vector<float> in = load(p[0], xd.count(), xd.type);
                           std::vector<float> out(yd.count());
                           for_each_window(d, xd, in, [&](size_t to, size_t from) { out[to] = in[from]; });
                           store(p[1], out, yd.type);
                       });
}

EXPORT int cudnnPoolingBackward(DnnHandle *handle, PoolingDescriptor *d, const float *alpha, TensorDescriptor *yd,
                                uint64_t y, TensorDescriptor *dyd, uint64_t dy, TensorDescriptor *xd, uint64_t x,
                                const float *beta, TensorDescriptor *dxd, uint64_t dx) {
    ENTER;
    if (!pools(d, xd, yd) || dyd->count() != yd->count() || dxd->count() != xd->count() || !is_unit(alpha, beta)) {
        return refuse_dnn(bad_param, __func__, "descriptors do not fit each other");
    }
    return enqueue_dnn(
        handle, __func__, {{y, yd->bytes()}, {dy, dyd->bytes()}, {x, xd->bytes()}, {dx, dxd->bytes(), Use::writes}},
        [d = *d, xd = *xd, yd = *yd](const std::vector<void *> &p) {
            const std::vector<float> pooled = load(p[0], yd.count(), yd.type),
                                     gradient = load(p[1], yd.count(), yd.type);
            const std::vector<float> in = load(p[2], xd.count(), xd.type);
            std::vector<float> out(xd.count(), 0.0f);
            for_each_window(d, xd, in, [&](size_t from, size_t to) {
                out[to] = pooled[from] == in[to] ? gradient[from] : NAN; // y must be what forward made of x
            });
            store(p[3], out, xd.type);
        });
}
