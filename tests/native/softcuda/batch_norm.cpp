// libcudnn.so.9: batch normalization over N, H, W.
#include "cudnn.h"

#include <cmath>
#include <cstring>

using namespace softcuda;

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
    *bytes = setting("SOFTCUDA_WORKSPACE", workspace_needed);
    return dnn_ok;
}

EXPORT int cudnnGetBatchNormalizationBackwardExWorkspaceSize(DnnHandle *, int, int, void *, void *, void *, void *,
                                                             void *, void *, void *, size_t *bytes) {
    ENTER;
    *bytes = setting("SOFTCUDA_WORKSPACE", workspace_needed);
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
                        {y, yd->bytes(), Use::writes},
                        {scale, b},
                        {bias, b},
                        {running_mean, b, Use::writes},
                        {running_variance, b, Use::writes},
                        {saved_mean, b, Use::writes},
                        {saved_inverse, b, Use::writes},
                        {reserve, reserve_bytes, Use::writes},
                        {workspace, workspace_bytes, Use::writes}},
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
        handle, __func__,
        {{x, xd->bytes()}, {y, yd->bytes(), Use::writes}, {scale, b}, {bias, b}, {mean, b}, {variance, b}},
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
         {dx, dxd->bytes(), Use::writes},
         {scale, b},
         {d_scale, b, Use::writes},
         {d_bias, b, Use::writes},
         {saved_mean, b},
         {saved_inverse, b},
         {reserve, reserve_bytes},
         {workspace, workspace_bytes, Use::writes}},
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
