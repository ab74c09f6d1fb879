// libcudnn.so.9: convolutions, channels last, stride 1. Algorithm 1 wants a workspace, for images that it lays out anew
// (as cuDNN's in float32 do: for many samples it is more than anyone grants), and has one order of summation;
// backward algorithm 0 is not deterministic, as in cuDNN: it begins with another sample at every call.
#include "cudnn.h"

#include <algorithm>
#include <atomic>

using namespace softcuda;

namespace {

struct Performance {
    int algorithm, status;
    float time;
    size_t memory;
    int determinism, math, reserved[3];
};

static_assert(sizeof(Performance) == 48);

struct Shape {
    int n, c, h, w, k, r, pad, oh, ow;
    bool tf32;
};

bool fits(const TensorDescriptor *x, const FilterDescriptor *w, const ConvolutionDescriptor *d,
          const TensorDescriptor *y, Shape &shape) {
    shape = {x->n,
             x->c,
             x->h,
             x->w,
             w->k,
             w->r,
             d->pad,
             x->h + 2 * d->pad - w->r + 1,
             x->w + 2 * d->pad - w->r + 1,
             d->math != 3 && x->type == Type::f32};
    return w->c == x->c && y->n == x->n && y->c == w->k && y->h == shape.oh && y->w == shape.ow && x->type == w->type &&
           x->type == y->type;
}

size_t workspace_of(int algorithm, const FilterDescriptor *w, const TensorDescriptor *x, const TensorDescriptor *y) {
    return algorithm == 1 ? w->bytes() + x->bytes() + y->bytes() + 512 : 0;
}

unsigned first_sample(int algorithm, int samples) {
    static std::atomic<unsigned> calls{(unsigned)(size_t)&calls >> 12};
    return algorithm == 0 ? (calls += 7) % (unsigned)samples : 0;
}

// y(n, oh, ow, k) = Σ x(n, oh + r − pad, …, c) · w(r, s, c, k)
void forward(const Shape &s, const float *x, const float *w, float *y) {
#pragma omp parallel for schedule(static)
    for (int row = 0; row < s.n * s.oh; ++row) {
        const int n = row / s.oh, oh = row % s.oh;
        for (int ow = 0; ow < s.ow; ++ow) {
            float *out = y + ((size_t)row * (size_t)s.ow + (size_t)ow) * (size_t)s.k;
            std::fill(out, out + s.k, 0.0f);
            for (int i = 0; i < s.r; ++i) {
                for (int j = 0; j < s.r; ++j) {
                    const int h = oh + i - s.pad, v = ow + j - s.pad;
                    if (h < 0 || h >= s.h || v < 0 || v >= s.w) {
                        continue;
                    }
                    const float *in =
                        x + (((size_t)n * (size_t)s.h + (size_t)h) * (size_t)s.w + (size_t)v) * (size_t)s.c;
                    const float *tap = w + (size_t)(i * s.r + j) * (size_t)s.c * (size_t)s.k;
                    int c = 0;
                    for (; c + 4 <= s.c; c += 4) { // fewer loads and stores of the sums, in the same order
                        const float *of[4] = {tap + c * s.k, tap + (c + 1) * s.k, tap + (c + 2) * s.k,
                                              tap + (c + 3) * s.k};
                        for (int k = 0; k < s.k; ++k) {
                            out[k] = out[k] + in[c] * of[0][k] + in[c + 1] * of[1][k] + in[c + 2] * of[2][k] +
                                     in[c + 3] * of[3][k];
                        }
                    }
                    for (; c < s.c; ++c) {
                        for (int k = 0; k < s.k; ++k) {
                            out[k] += in[c] * tap[c * s.k + k];
                        }
                    }
                }
            }
        }
    }
}

// (k, r, s, c) to (r, s, c, k), or with the window turned round and c and k exchanged.
std::vector<float> turned(const Shape &s, const std::vector<float> &w, bool transposed) {
    std::vector<float> result(w.size());
    const int taps = s.r * s.r;
    for (int k = 0; k < s.k; ++k) {
        for (int tap = 0; tap < taps; ++tap) {
            for (int c = 0; c < s.c; ++c) {
                const size_t to = transposed
                                      ? ((size_t)(taps - 1 - tap) * (size_t)s.k + (size_t)k) * (size_t)s.c + (size_t)c
                                      : ((size_t)tap * (size_t)s.c + (size_t)c) * (size_t)s.k + (size_t)k;
                result[to] = w[((size_t)k * (size_t)taps + (size_t)tap) * (size_t)s.c + (size_t)c];
            }
        }
    }
    return result;
}

// Σ over the pixels of one sample, (r, s, c, k)
void weight_gradient(const Shape &s, const float *x, const float *dy, float *dw) {
    for (int i = 0; i < s.r; ++i) {
        for (int j = 0; j < s.r; ++j) {
            for (int oh = std::max(0, s.pad - i); oh < std::min(s.oh, s.h + s.pad - i); ++oh) {
                const float *in = x + (size_t)(oh + i - s.pad) * (size_t)s.w * (size_t)s.c,
                            *out = dy + (size_t)oh * (size_t)s.ow * (size_t)s.k;
                float *to = dw + (size_t)(i * s.r + j) * (size_t)s.c * (size_t)s.k;
                int ow = std::max(0, s.pad - j);
                const int end = std::min(s.ow, s.w + s.pad - j);
                for (; ow + 4 <= end; ow += 4) { // as above
                    const float *from = in + (ow + j - s.pad) * s.c, *of = out + ow * s.k;
                    for (int c = 0; c < s.c; ++c) {
                        for (int k = 0; k < s.k; ++k) {
                            to[c * s.k + k] = to[c * s.k + k] + from[c] * of[k] + from[c + s.c] * of[k + s.k] +
                                              from[c + 2 * s.c] * of[k + 2 * s.k] + from[c + 3 * s.c] * of[k + 3 * s.k];
                        }
                    }
                }
                for (; ow < end; ++ow) {
                    const float *from = in + (ow + j - s.pad) * s.c, *of = out + ow * s.k;
                    for (int c = 0; c < s.c; ++c) {
                        for (int k = 0; k < s.k; ++k) {
                            to[c * s.k + k] += from[c] * of[k];
                        }
                    }
                }
            }
        }
    }
}

int propose(const char *call, int requested, int *returned, Performance *performance, int math, size_t workspace,
            bool zero_is_deterministic) {
    // The fastest first; what is not supported comes last, as cuDNN lists it.
    const Performance all[] = {
        {0, dnn_ok, 0.5f, 0, zero_is_deterministic, math, {}},
        {1, dnn_ok, 0.6f, workspace, 1, math, {}},
        {4, dnn_not_supported, -1, 0, 0, math, {}},
    };
    if (requested < 1) {
        return refuse_dnn(bad_param, call, "no results were asked for");
    }
    *returned = std::min(requested, 3);
    std::copy(all, all + *returned, performance);
    return dnn_ok;
}

int check(const char *call, bool fitting, const float *alpha, const float *beta, int algorithm, size_t needed,
          uint64_t workspace, size_t bytes) {
    if (!fitting || !alpha || !beta || *alpha != 1 || *beta != 0) {
        return refuse_dnn(bad_param, call, "descriptors do not fit each other");
    }
    if (algorithm != 0 && algorithm != 1) {
        return refuse_dnn(dnn_not_supported, call, "this algorithm is not supported");
    }
    if (bytes < needed || (needed > 0 && !memory(workspace, needed, call))) {
        return refuse_dnn(bad_param, call, "the workspace is too small");
    }
    return dnn_ok;
}

} // namespace

EXPORT int cudnnGetConvolution2dForwardOutputDim(const ConvolutionDescriptor *d, const TensorDescriptor *x,
                                                 const FilterDescriptor *w, int *n, int *c, int *h, int *v) {
    ENTER;
    *n = x->n;
    *c = w->k;
    *h = x->h + 2 * d->pad - w->r + 1;
    *v = x->w + 2 * d->pad - w->r + 1;
    return dnn_ok;
}

EXPORT int cudnnGetConvolutionForwardAlgorithm_v7(DnnHandle *, TensorDescriptor *x, FilterDescriptor *w,
                                                  ConvolutionDescriptor *d, TensorDescriptor *y, int requested,
                                                  int *returned, Performance *performance) {
    ENTER;
    return propose(__func__, requested, returned, performance, d->math, workspace_of(1, w, x, y), true);
}

EXPORT int cudnnGetConvolutionBackwardDataAlgorithm_v7(DnnHandle *, FilterDescriptor *w, TensorDescriptor *y,
                                                       ConvolutionDescriptor *d, TensorDescriptor *x, int requested,
                                                       int *returned, Performance *performance) {
    ENTER;
    return propose(__func__, requested, returned, performance, d->math, workspace_of(1, w, x, y), false);
}

EXPORT int cudnnGetConvolutionBackwardFilterAlgorithm_v7(DnnHandle *, TensorDescriptor *x, TensorDescriptor *y,
                                                         ConvolutionDescriptor *d, FilterDescriptor *w, int requested,
                                                         int *returned, Performance *performance) {
    ENTER;
    return propose(__func__, requested, returned, performance, d->math, workspace_of(1, w, x, y), false);
}

EXPORT int cudnnGetConvolutionForwardWorkspaceSize(DnnHandle *, TensorDescriptor *x, FilterDescriptor *w,
                                                   ConvolutionDescriptor *, TensorDescriptor *y, int algorithm,
                                                   size_t *bytes) {
    ENTER;
    *bytes = setting("SOFTCUDA_WORKSPACE", workspace_of(algorithm, w, x, y));
    return dnn_ok;
}

EXPORT int cudnnGetConvolutionBackwardDataWorkspaceSize(DnnHandle *, FilterDescriptor *w, TensorDescriptor *y,
                                                        ConvolutionDescriptor *, TensorDescriptor *x, int algorithm,
                                                        size_t *bytes) {
    ENTER;
    *bytes = setting("SOFTCUDA_WORKSPACE", workspace_of(algorithm, w, x, y));
    return dnn_ok;
}

EXPORT int cudnnGetConvolutionBackwardFilterWorkspaceSize(DnnHandle *, TensorDescriptor *x, TensorDescriptor *y,
                                                          ConvolutionDescriptor *, FilterDescriptor *w, int algorithm,
                                                          size_t *bytes) {
    ENTER;
    *bytes = setting("SOFTCUDA_WORKSPACE", workspace_of(algorithm, w, x, y));
    return dnn_ok;
}

EXPORT int cudnnConvolutionForward(DnnHandle *handle, const float *alpha, TensorDescriptor *xd, uint64_t x,
                                   FilterDescriptor *wd, uint64_t w, ConvolutionDescriptor *d, int algorithm,
                                   uint64_t workspace, size_t bytes, const float *beta, TensorDescriptor *yd,
                                   uint64_t y) {
    ENTER;
    Shape s;
    const bool fitting = fits(xd, wd, d, yd, s);
    if (const int status =
            check(__func__, fitting, alpha, beta, algorithm, workspace_of(algorithm, wd, xd, yd), workspace, bytes)) {
        return status;
    }
    return enqueue_dnn(handle, __func__, {{x, xd->bytes()}, {w, wd->bytes()}, {y, yd->bytes(), Use::writes}},
                       [=, xd = *xd, wd = *wd, yd = *yd](const std::vector<void *> &p) {
                           const std::vector<float> in = load(p[0], xd.count(), xd.type, s.tf32),
                                                    weights = turned(s, load(p[1], wd.count(), wd.type, s.tf32), false);
                           std::vector<float> out(yd.count());
                           forward(s, in.data(), weights.data(), out.data());
                           store(p[2], out, yd.type);
                       });
}

EXPORT int cudnnConvolutionBackwardData(DnnHandle *handle, const float *alpha, FilterDescriptor *wd, uint64_t w,
                                        TensorDescriptor *yd, uint64_t dy, ConvolutionDescriptor *d, int algorithm,
                                        uint64_t workspace, size_t bytes, const float *beta, TensorDescriptor *xd,
                                        uint64_t dx) {
    ENTER;
    Shape s;
    const bool fitting = fits(xd, wd, d, yd, s);
    if (const int status =
            check(__func__, fitting, alpha, beta, algorithm, workspace_of(algorithm, wd, xd, yd), workspace, bytes)) {
        return status;
    }
    return enqueue_dnn(handle, __func__, {{w, wd->bytes()}, {dy, yd->bytes()}, {dx, xd->bytes(), Use::writes}},
                       [=, xd = *xd, wd = *wd, yd = *yd](const std::vector<void *> &p) {
                           const std::vector<float> weights = turned(s, load(p[0], wd.count(), wd.type, s.tf32), true),
                                                    gradient = load(p[1], yd.count(), yd.type, s.tf32);
                           std::vector<float> out(xd.count());
                           forward({s.n, s.k, s.oh, s.ow, s.c, s.r, s.r - 1 - s.pad, s.h, s.w, s.tf32}, gradient.data(),
                                   weights.data(), out.data());
                           store(p[2], out, xd.type);
                       });
}

EXPORT int cudnnConvolutionBackwardFilter(DnnHandle *handle, const float *alpha, TensorDescriptor *xd, uint64_t x,
                                          TensorDescriptor *yd, uint64_t dy, ConvolutionDescriptor *d, int algorithm,
                                          uint64_t workspace, size_t bytes, const float *beta, FilterDescriptor *wd,
                                          uint64_t dw) {
    ENTER;
    Shape s;
    const bool fitting = fits(xd, wd, d, yd, s);
    if (const int status =
            check(__func__, fitting, alpha, beta, algorithm, workspace_of(algorithm, wd, xd, yd), workspace, bytes)) {
        return status;
    }
    return enqueue_dnn(
        handle, __func__, {{x, xd->bytes()}, {dy, yd->bytes()}, {dw, wd->bytes(), Use::writes}},
        [=, xd = *xd, wd = *wd, yd = *yd](const std::vector<void *> &p) {
            const std::vector<float> in = load(p[0], xd.count(), xd.type, s.tf32),
                                     gradient = load(p[1], yd.count(), yd.type, s.tf32);
            const size_t count = wd.count(), image = xd.count() / (size_t)s.n, out_image = yd.count() / (size_t)s.n;
            std::vector<float> each(count * (size_t)s.n,
                                    0.0f); // a sample's own sum first: what nearly cancels loses least
#pragma omp parallel for schedule(static)
            for (int n = 0; n < s.n; ++n) {
                weight_gradient(s, &in[(size_t)n * image], &gradient[(size_t)n * out_image], &each[(size_t)n * count]);
            }
            const unsigned start = first_sample(algorithm, s.n);
            std::vector<float> sums(count);
            for (int k = 0; k < s.k; ++k) {
                for (size_t tap = 0; tap < count / (size_t)s.k; ++tap) { // (r, s, c) is the same index in both layouts
                    double sum = 0;
                    float single = 0;
                    for (unsigned i = 0; i < (unsigned)s.n; ++i) {
                        const float value = each[((i + start) % (unsigned)s.n) * count + tap * (size_t)s.k + (size_t)k];
                        sum += value;
                        single += value;
                    }
                    sums[(size_t)k * (count / (size_t)s.k) + tap] = algorithm == 0 ? single : (float)sum;
                }
            }
            store(p[2], sums, wd.type);
        });
}
