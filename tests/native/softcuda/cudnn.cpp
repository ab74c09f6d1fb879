// libcudnn.so.9: handles, descriptors, pooling and batch normalization, as far as CudnnDigits calls them.
#include "cudnn.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

using namespace softcuda;

namespace {

thread_local std::string last_error;

bool is_unit(const float *alpha, const float *beta) { return alpha && beta && *alpha == 1 && *beta == 0; }

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
            pointers.push_back(memory(operand.address, operand.bytes, name.c_str()));
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
    ENTER;
    delete handle;
    count_handle("cuDNN handles", -1);
    return dnn_ok;
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
        ENTER;                                                                                                         \
        delete descriptor;                                                                                             \
        count_handle("cuDNN descriptors", -1);                                                                         \
        return dnn_ok;                                                                                                 \
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
    return enqueue_dnn(handle, __func__, {{x, xd->bytes()}, {y, yd->bytes()}},
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
    return enqueue_dnn(handle, __func__, {{y, yd->bytes()}, {dy, dyd->bytes()}, {x, xd->bytes()}, {dx, dxd->bytes()}},
                       [d = *d, xd = *xd, yd = *yd](const std::vector<void *> &p) {
                           const std::vector<float> pooled = load(p[0], yd.count(), yd.type),
                                                    gradient = load(p[1], yd.count(), yd.type);
                           const std::vector<float> in = load(p[2], xd.count(), xd.type);
                           std::vector<float> out(xd.count(), 0.0f);
                           for_each_window(d, xd, in, [&](size_t from, size_t to) {
                               out[to] =
                                   pooled[from] == in[to] ? gradient[from] : NAN; // y must be what forward made of x
                           });
                           store(p[3], out, xd.type);
                       });
}

// ---- batch normalization over N, H, W

static bool normalises(const TensorDescriptor *x, const TensorDescriptor *y, const TensorDescriptor *bn) {
    return x->count() == y->count() && x->type == y->type && bn->c == x->c && bn->count() == (size_t)x->c &&
           bn->type == Type::f32;
}

template <typename Body> static void for_each_channel(const TensorDescriptor &x, Body body) {
    const int channels = x.c;
    const size_t pixels = x.count() / (size_t)channels;
#pragma omp parallel for schedule(static)
    for (int c = 0; c < channels; ++c) {
        body((size_t)c, pixels, (size_t)channels);
    }
}

constexpr int persistent = 2, alone = 0; // the mode and the operations that there are
constexpr size_t workspace_needed = 4096, reserve_needed = 64;
constexpr unsigned reserve_mark = 0x5AFEBEEF; // forward leaves it, backward looks for it

EXPORT int cudnnGetBatchNormalizationForwardTrainingExWorkspaceSize(DnnHandle *, int, int, void *, void *, void *,
                                                                    void *, void *, size_t *bytes) {
    ENTER;
    *bytes = workspace_needed;
    return dnn_ok;
}

EXPORT int cudnnGetBatchNormalizationBackwardExWorkspaceSize(DnnHandle *, int, int, void *, void *, void *, void *,
                                                             void *, void *, void *, size_t *bytes) {
    ENTER;
    *bytes = workspace_needed;
    return dnn_ok;
}

EXPORT int cudnnGetBatchNormalizationTrainingExReserveSpaceSize(DnnHandle *, int, int, void *, void *, size_t *bytes) {
    ENTER;
    *bytes = reserve_needed;
    return dnn_ok;
}

EXPORT int cudnnBatchNormalizationForwardTrainingEx(DnnHandle *handle, int mode, int operations, const float *alpha,
                                                    const float *beta, TensorDescriptor *xd, uint64_t x,
                                                    TensorDescriptor *, uint64_t z, TensorDescriptor *yd, uint64_t y,
                                                    TensorDescriptor *bn, uint64_t scale, uint64_t bias, double factor,
                                                    uint64_t running_mean, uint64_t running_variance, double epsilon,
                                                    uint64_t saved_mean, uint64_t saved_inverse, void *,
                                                    uint64_t workspace, size_t workspace_bytes, uint64_t reserve,
                                                    size_t reserve_bytes) {
    ENTER;
    if (!normalises(xd, yd, bn) || mode != persistent || operations != alone || z || !is_unit(alpha, beta) ||
        workspace_bytes < workspace_needed || reserve_bytes < reserve_needed) {
        return refuse_dnn(bad_param, __func__, "descriptors do not fit each other, or a workspace is too small");
    }
    const size_t b = bn->bytes();
    return enqueue_dnn(handle, __func__,
                       {{x, xd->bytes()},
                        {y, yd->bytes()},
                        {scale, b},
                        {bias, b},
                        {running_mean, b},
                        {running_variance, b},
                        {saved_mean, b},
                        {saved_inverse, b},
                        {reserve, reserve_bytes},
                        {workspace, workspace_bytes}},
                       [xd = *xd, factor, epsilon](const std::vector<void *> &p) {
                           const std::vector<float> in = load(p[0], xd.count(), xd.type);
                           std::vector<float> out(in.size());
                           for_each_channel(xd, [&](size_t c, size_t pixels, size_t channels) {
                               double mean = 0, squares = 0;
                               for (size_t i = 0; i < pixels; ++i) {
                                   mean += in[i * channels + c];
                               }
                               mean /= (double)pixels;
                               for (size_t i = 0; i < pixels; ++i) {
                                   const double d = in[i * channels + c] - mean;
                                   squares += d * d;
                               }
                               const double inverse = 1 / std::sqrt(squares / (double)pixels + epsilon);
                               const double gain = static_cast<float *>(p[2])[c] * inverse;
                               for (size_t i = 0; i < pixels; ++i) {
                                   out[i * channels + c] =
                                       (float)((in[i * channels + c] - mean) * gain + static_cast<float *>(p[3])[c]);
                               }
                               float *running = static_cast<float *>(p[4]) + c,
                                     *variance = static_cast<float *>(p[5]) + c;
                               *running = (float)(*running * (1 - factor) + mean * factor);
                               *variance = (float)(*variance * (1 - factor) + squares / (double)(pixels - 1) * factor);
                               static_cast<float *>(p[6])[c] = (float)mean;
                               static_cast<float *>(p[7])[c] = (float)inverse;
                           });
                           store(p[1], out, xd.type);
                           *static_cast<unsigned *>(p[8]) = reserve_mark;
                           std::memset(p[9], 0xFF, workspace_needed);
                       });
}

EXPORT int cudnnBatchNormalizationForwardInference(DnnHandle *handle, int mode, const float *alpha, const float *beta,
                                                   TensorDescriptor *xd, uint64_t x, TensorDescriptor *yd, uint64_t y,
                                                   TensorDescriptor *bn, uint64_t scale, uint64_t bias, uint64_t mean,
                                                   uint64_t variance, double epsilon) {
    ENTER;
    if (!normalises(xd, yd, bn) || mode == 0 || !is_unit(alpha, beta)) {
        return refuse_dnn(bad_param, __func__, "descriptors do not fit each other");
    }
    const size_t b = bn->bytes();
    return enqueue_dnn(
        handle, __func__, {{x, xd->bytes()}, {y, yd->bytes()}, {scale, b}, {bias, b}, {mean, b}, {variance, b}},
        [xd = *xd, epsilon](const std::vector<void *> &p) {
            const std::vector<float> in = load(p[0], xd.count(), xd.type);
            std::vector<float> out(in.size());
            for_each_channel(xd, [&](size_t c, size_t pixels, size_t channels) {
                const double gain = static_cast<float *>(p[2])[c] / std::sqrt(static_cast<float *>(p[5])[c] + epsilon);
                for (size_t i = 0; i < pixels; ++i) {
                    out[i * channels + c] =
                        (float)((in[i * channels + c] - (double)static_cast<float *>(p[4])[c]) * gain +
                                static_cast<float *>(p[3])[c]);
                }
            });
            store(p[1], out, xd.type);
        });
}

EXPORT int cudnnBatchNormalizationBackwardEx(DnnHandle *handle, int mode, int operations, const float *alpha,
                                             const float *beta, const float *alpha_p, const float *beta_p,
                                             TensorDescriptor *xd, uint64_t x, TensorDescriptor *, uint64_t y,
                                             TensorDescriptor *dyd, uint64_t dy, TensorDescriptor *, uint64_t dz,
                                             TensorDescriptor *dxd, uint64_t dx, TensorDescriptor *bn, uint64_t scale,
                                             uint64_t, uint64_t d_scale, uint64_t d_bias, double, uint64_t saved_mean,
                                             uint64_t saved_inverse, void *, uint64_t workspace, size_t workspace_bytes,
                                             uint64_t reserve, size_t reserve_bytes) {
    ENTER;
    if (!normalises(xd, dyd, bn) || !normalises(xd, dxd, bn) || mode != persistent || operations != alone || y || dz ||
        !is_unit(alpha, beta) || !is_unit(alpha_p, beta_p) || dx == x || dx == dy ||
        workspace_bytes < workspace_needed || reserve_bytes < reserve_needed) {
        return refuse_dnn(bad_param, __func__,
                          "descriptors do not fit each other, dx overwrites an input, or a workspace is too small");
    }
    const size_t b = bn->bytes();
    return enqueue_dnn(
        handle, __func__,
        {{x, xd->bytes()},
         {dy, dyd->bytes()},
         {dx, dxd->bytes()},
         {scale, b},
         {d_scale, b},
         {d_bias, b},
         {saved_mean, b},
         {saved_inverse, b},
         {reserve, reserve_bytes},
         {workspace, workspace_bytes}},
        [xd = *xd](const std::vector<void *> &p) {
            const std::vector<float> in = load(p[0], xd.count(), xd.type), gradient = load(p[1], xd.count(), xd.type);
            std::vector<float> out(in.size());
            const double reserved = *static_cast<unsigned *>(p[8]) == reserve_mark ? 0 : NAN;
            std::memset(p[9], 0xFF, workspace_needed);
            for_each_channel(xd, [&](size_t c, size_t pixels, size_t channels) {
                const double mean = static_cast<float *>(p[6])[c], inverse = static_cast<float *>(p[7])[c];
                double sum = reserved, product = 0;
                for (size_t i = 0; i < pixels; ++i) {
                    sum += gradient[i * channels + c];
                    product += gradient[i * channels + c] * (in[i * channels + c] - mean) * inverse;
                }
                const double gain = static_cast<float *>(p[3])[c] * inverse;
                for (size_t i = 0; i < pixels; ++i) {
                    const double normal = (in[i * channels + c] - mean) * inverse;
                    out[i * channels + c] = (float)(gain * (gradient[i * channels + c] - sum / (double)pixels -
                                                            normal * product / (double)pixels));
                }
                static_cast<float *>(p[4])[c] = (float)product;
                static_cast<float *>(p[5])[c] = (float)sum;
            });
            store(p[2], out, xd.type);
        });
}
