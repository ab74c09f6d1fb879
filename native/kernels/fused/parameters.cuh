// What each kernel for `improved` is launched with, by value. src/CudnnDigits/Cuda/Fused/FusedParameters.cs has the same fields in the same
// order.
#pragma once

#include "../common/dropout.cuh"
#include "batch_norm.cuh"

struct Conv2Forward {
    const bfloat16 *x, *w1;
    const float *coefficients1;
    const bfloat16 *w2;
    bfloat16 *y2;
    BatchNorm norm2;
    int samples;
};

struct Conv3Forward {
    const StepState *state;
    const bfloat16 *y2;
    const float *coefficients2;
    const bfloat16 *w3;
    bfloat16 *pooled2, *y3;
    BatchNorm norm3;
    Dropout dropout;
    int samples;
};

struct Conv4Forward {
    const bfloat16 *y3;
    const float *coefficients3;
    const bfloat16 *w4;
    bfloat16 *y4;
    BatchNorm norm4;
    int samples;
};

struct Pool4Forward {
    const StepState *state;
    const bfloat16 *y4;
    const float *coefficients4;
    bfloat16 *pooled4, *z4;
    Dropout dropout;
    int samples;
};

// Of the fourth convolution and the third. below: y of the layer below; pooled, where it is pooled.
struct ConvBackwardData {
    const bfloat16 *y, *du;
    const float *coefficients;
    const bfloat16 *turned, *below;
    bfloat16 *du_below;
    BatchNorm norm_below;
    float keep_scale; // of the layer below
    int samples;
};

struct Conv2BackwardData {
    const bfloat16 *y2, *du2;
    const float *coefficients2;
    const bfloat16 *turned2, *x, *w1;
    BatchNorm norm1;
    const double *moments;
    float *d_w1;
    int samples;
};

struct ConvBackwardWeights {
    const bfloat16 *y, *du;
    const float *coefficients;
    const bfloat16 *below;
    const float *coefficients_below;
    float *partial;
    float keep_scale; // of the layer below
    int samples;
};

struct Conv2BackwardWeights {
    const bfloat16 *y2, *du2;
    const float *coefficients2;
    const bfloat16 *x, *w1;
    const float *coefficients1;
    float *partial;
    int samples;
};

struct PredictFeatures {
    const bfloat16 *x, *w1;
    const float *coefficients1;
    const bfloat16 *w2;
    const float *coefficients2;
    const bfloat16 *w3;
    const float *coefficients3;
    const bfloat16 *w4;
    const float *coefficients4;
    bfloat16 *z4;
    int samples, at_once;
};

struct BatchNormRunning {
    BatchNorm norm;
    int channels;
};

struct HiddenForward {
    const bfloat16 *z4, *w;
    float *y;
    int samples, parts;
};

struct HiddenBackwardData {
    const bfloat16 *dy, *w, *pooled4;
    bfloat16 *du4;
    BatchNorm norm4;
    float keep_scale;
    int samples;
};

struct HiddenBackwardWeights {
    const bfloat16 *dy, *z4;
    float *dw;
    int samples;
};
