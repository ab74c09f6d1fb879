// The end of the network in one kernel: the last hidden layer's bias, ReLU and dropout, the last dense layer, softmax,
// cross-entropy, and the way back to the gradient of the hidden layer's product. A warp takes a sample at a time; a
// lane holds its features in fours, as dropout draws them, and all weights that meet them. The kernels logit_head_...
// begin one layer later, with the product of the last dense layer.
#include "last_block.cuh"
#include "numbers.cuh"
#include "philox.cuh"
#include "step_state.cuh"
#include "warp.cuh"

// What each kernel is launched with, by value. The struct of the same name in src/CudnnDigits/Cuda has the same fields
// in the same order.
template <typename T> struct HeadTraining {
    StepState *state;
    const float *y;
    int parts;
    const float *hidden_bias;
    const T *w;
    const float *bias;
    T *dy;
    float *logits;
    float *partial;
    double *outcome;
    unsigned *arrived;
    int samples;
    int features;
    int at_weights;
    int at_bias;
    int columns;
    unsigned threshold;
    float keep_scale;
    unsigned long long seed;
    unsigned layer;
};

template <typename T> struct HeadPrediction {
    const StepState *state;
    const float *y;
    int parts;
    const float *hidden_bias;
    const T *w;
    const float *bias;
    int samples;
    int features;
};

template <typename T> struct LogitHeadTraining {
    StepState *state;
    const float *y;
    const float *bias;
    T *dy;
    float *logits;
    float *partial;
    double *outcome;
    unsigned *arrived;
    int samples;
    int columns;
};

struct LogitHeadPrediction {
    const StepState *state;
    const float *y;
    const float *bias;
    int samples;
};

namespace {

constexpr int classes = 10, most_features = 256, of_lane = most_features / 32, fours = of_lane / 4, head_warps = 8;

// Where a lane's q-th four features begin. There is a multiple of four of them.
DEVICE_INLINE int four_of(int q) { return 4 * (lane() + 32 * q); }

// A lane's features out of a row of them; 0 behind its end.
template <typename T> DEVICE_INLINE void load_features(const T *row, int features, float (&to)[of_lane]) {
#pragma unroll
    for (int q = 0; q < fours; ++q) {
        Four<T> four = {};
        if (four_of(q) < features) {
            four = *reinterpret_cast<const Four<T> *>(row + four_of(q));
        }
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            to[4 * q + i] = to_float(four.v[i]);
        }
    }
}

// The hidden layer's product, (parts, N, features): the sum of the parts is what it would be in one piece.
struct Product {
    const float *y;
    int parts;
};

struct Head {
    float w[classes][of_lane], bias;
    const float *hidden_bias; // loaded with each product: registers are for weights
    int features;

    // w (classes, features), biases f32. Lane c keeps the bias of class c.
    template <typename T>
    DEVICE_INLINE void load(const float *of_hidden, const T *weights, const float *of_classes, int count) {
        features = count;
        bias = lane() < classes ? of_classes[lane()] : 0.0f;
        hidden_bias = of_hidden;
#pragma unroll
        for (int c = 0; c < classes; ++c) {
            load_features(weights + c * features, features, w[c]);
        }
    }

    // relu(y + bias) of sample n of so many.
    DEVICE_INLINE void activate(const Product &product, int n, int samples, float (&z)[of_lane]) const {
        constexpr int at_once = 4; // loads that are on their way together
        float biases[of_lane];
        load_features(hidden_bias, features, biases);
        load_features(product.y + (long long)n * features, features, z);
        for (int first = 1; first < product.parts; first += at_once) {
            float more[at_once][of_lane];
#pragma unroll
            for (int k = 0; k < at_once; ++k) {
                const long long part = first + k;
                load_features(product.y + (part * samples + n) * features, part < product.parts ? features : 0,
                              more[k]);
            }
#pragma unroll
            for (int k = 0; k < at_once; ++k) {
#pragma unroll
                for (int e = 0; e < of_lane; ++e) {
                    z[e] += more[k][e];
                }
            }
        }
#pragma unroll
        for (int e = 0; e < of_lane; ++e) {
            const float value = z[e] + biases[e];
            z[e] = value > 0 ? value : value != value ? value : 0.0f; // NaN stays, so that a run that diverged says so
        }
    }

    // Lane c gets the logit of class c; every lane gets the others too.
    DEVICE_INLINE float logits(const float (&z)[of_lane], float (&all)[classes]) const {
        float own = 0;
#pragma unroll
        for (int c = 0; c < classes; ++c) {
            float sum = lane() == c ? bias : 0.0f;
#pragma unroll
            for (int e = 0; e < of_lane; ++e) {
                sum = fused_multiply_add(z[e], w[c][e], sum);
            }
#pragma unroll
            for (int mask = 16; mask > 0; mask /= 2) {
                sum += shuffle_xor(sum, mask);
            }
            all[c] = sum;
            own = lane() == c ? sum : own;
        }
        return own;
    }
};

// What one warp adds up over its samples for the loss, the hits and the last layer's bias.
struct LossSums {
    float bias = 0; // lane c: of class c
    double loss = 0;
    unsigned correct = 0;

    // Adds a sample with these logits, lane c having its own of class c. Lane c gets the gradient of the batch's mean
    // loss by that logit; scale is 1 / samples. For the smoothing of labels see Cpu/SoftmaxCrossEntropy.
    DEVICE_INLINE float add(float own, const float (&all)[classes], int label, float scale, double smoothing) {
        int best = 0;
        float most = all[0], of_label = all[0], sum = 0;
#pragma unroll
        for (int c = 1; c < classes; ++c) {
            best = all[c] > most ? c : best;
            most = all[c] > most ? all[c] : most;
            of_label = c == label ? all[c] : of_label;
        }
        // Lane c computes for class c; all lanes sum in the order of the classes.
        const float power = exp_nonpositive(own - most);
#pragma unroll
        for (int c = 0; c < classes; ++c) {
            sum += shuffle_from(power, c);
        }
        loss += (double)log_positive(sum) + (double)most - (double)of_label;
        if (smoothing > 0) {
            double apart = 0;
            for (int c = 0; c < classes; ++c) {
                apart += (double)of_label - (double)all[c];
            }
            loss += smoothing * apart / classes;
        }
        correct += best == label ? 1 : 0;
        // In double: where the network is sure, 1 is taken from what is nearly 1.
        const double target = (lane() == label ? 1 - smoothing : 0) + smoothing / classes;
        const float of_logit = (float)(((double)power / sum - target) * scale);
        bias += lane() < classes ? of_logit : 0.0f;
        return of_logit;
    }

    // The block's sum of the gradients of the bias; of_warps: room that a barrier has set free.
    DEVICE_INLINE void store_bias(float *to, float (&of_warps)[head_warps][most_features]) const {
        of_warps[warp()][lane()] = bias;
        __syncthreads();
        if (threadIdx.x < classes) {
            to[threadIdx.x] = total(of_warps, (int)threadIdx.x);
        }
    }

    DEVICE_INLINE static float total(const float (&of_warps)[head_warps][most_features], int k) {
        float sum = 0;
        for (int i = 0; i < head_warps; ++i) {
            sum += of_warps[i][k];
        }
        return sum;
    }
};

// The same with the sums for the rest of the head.
struct HeadSums : LossSums {
    float w[classes][of_lane] = {}, hidden_bias[of_lane] = {};

    // To this block's row of partial: hidden bias, weights, bias, as far apart as in the buffer of all gradients.
    DEVICE_INLINE void store(float *row, int features, int at_weights, int at_bias) const {
        constexpr int at_once = 4; // classes, -1 being the hidden bias: barriers are what this takes
        __shared__ float of_warps[at_once][head_warps][most_features];
#pragma unroll
        for (int first = -1; first < classes; first += at_once) {
            __syncthreads();
#pragma unroll
            for (int c = first; c < first + at_once; ++c) {
#pragma unroll
                for (int e = 0; e < of_lane; ++e) {
                    if (c < classes) {
                        of_warps[c - first][warp()][four_of(e / 4) + e % 4] =
                            c < 0 ? hidden_bias[e] : w[c < 0 ? 0 : c][e];
                    }
                }
            }
            __syncthreads();
            const int k = (int)threadIdx.x;
#pragma unroll
            for (int c = first; c < first + at_once; ++c) {
                if (c < classes && k < features) {
                    row[c < 0 ? k : at_weights + c * features + k] = total(of_warps[c - first], k);
                }
            }
        }
        __syncthreads();
        store_bias(row + at_bias, of_warps[0]);
    }
};

// The epoch's sums, from those of all warps of all blocks: outcome (blocks, 2), loss and hits.
DEVICE_INLINE void add_outcome(StepState *state, const LossSums &sums, double *outcome, unsigned *arrived) {
    constexpr int threads = 32 * head_warps;
    __shared__ double losses[threads], hits[threads];
    if (lane() == 0) {
        losses[warp()] = sums.loss;
        hits[warp()] = sums.correct;
    }
    __syncthreads();
    if (threadIdx.x < 2) {
        const double *of_warps = threadIdx.x == 0 ? losses : hits;
        double sum = 0;
        for (int i = 0; i < head_warps; ++i) {
            sum += of_warps[i];
        }
        outcome[2 * blockIdx.x + threadIdx.x] = sum;
    }
    if (!is_last_block(arrived)) {
        return;
    }
    losses[threadIdx.x] = threadIdx.x < gridDim.x ? outcome[2 * threadIdx.x] : 0.0;
    hits[threadIdx.x] = threadIdx.x < gridDim.x ? outcome[2 * threadIdx.x + 1] : 0.0;
    for (unsigned half = threads / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) {
            losses[threadIdx.x] += losses[threadIdx.x + half];
            hits[threadIdx.x] += hits[threadIdx.x + half];
        }
    }
    if (threadIdx.x == 0) {
        state->loss += losses[0];
        state->correct += (unsigned long long)hits[0];
    }
}

// The hidden layer's product → logits (N, classes), its gradient dY (N, features), and sums of the gradients of the two
// biases and the weights: partial (blocks, columns). Features are dropped where their random word is below the
// threshold, rate · 2^32. At most 256 blocks.
template <typename T> DEVICE_INLINE void head_training(const HeadTraining<T> &p) {
    const Product product = {p.y, p.parts};
    Head head;
    HeadSums sums;
    const int first = (int)blockIdx.x * head_warps + warp(), stride = (int)gridDim.x * head_warps;
    const unsigned char *labels = device_pointer<const unsigned char>(p.state->labels);
    const double smoothing = p.state->label_smoothing;
    const unsigned epoch = p.state->epoch;
    int next_row = dataset_row(p.state, first < p.samples ? first : 0), next_label = labels[next_row]; // loaded ahead
    head.load(p.hidden_bias, p.w, p.bias, p.features);
    const float scale = 1.0f / (float)p.samples;
    for (int n = first; n < p.samples; n += stride) {
        const int row = next_row, label = next_label;
        if (n + stride < p.samples) {
            next_row = dataset_row(p.state, n + stride);
            next_label = labels[next_row];
        }
        float z[of_lane], all[classes];
        head.activate(product, n, p.samples, z);
#pragma unroll
        for (int q = 0; q < fours; ++q) {
            unsigned words[4] = {~0u, ~0u, ~0u, ~0u};
            if (p.threshold > 0) {
                const PhiloxBlock block =
                    philox_block(p.seed, (unsigned)(lane() + 32 * q), (unsigned)row, epoch, dropout_purpose + p.layer);
                words[0] = block.x, words[1] = block.y, words[2] = block.z, words[3] = block.w;
            }
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                z[4 * q + i] = words[i] < p.threshold ? 0.0f : z[4 * q + i] * p.keep_scale;
            }
        }
        const float own = head.logits(z, all);
        if (lane() < classes) {
            p.logits[(long long)n * classes + lane()] = own;
        }
        const float of_logit = sums.add(own, all, label, scale, smoothing);
        float dz[of_lane] = {};
#pragma unroll
        for (int c = 0; c < classes; ++c) {
            const float d = shuffle_from(of_logit, c);
#pragma unroll
            for (int e = 0; e < of_lane; ++e) {
                sums.w[c][e] = fused_multiply_add(d, z[e], sums.w[c][e]);
                dz[e] = fused_multiply_add(d, head.w[c][e], dz[e]);
            }
        }
#pragma unroll
        for (int q = 0; q < fours; ++q) {
            Four<T> gradients;
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int e = 4 * q + i;
                const float gradient = z[e] > 0 ? dz[e] * p.keep_scale : 0.0f; // what is above 0 was kept and active
                sums.hidden_bias[e] += gradient;
                gradients.v[i] = from_float<T>(gradient);
            }
            if (four_of(q) < p.features) {
                *reinterpret_cast<Four<T> *>(p.dy + (long long)n * p.features + four_of(q)) = gradients;
            }
        }
    }
    sums.store(p.partial + (long long)blockIdx.x * p.columns, p.features, p.at_weights, p.at_bias);
    add_outcome(p.state, sums, p.outcome, p.arrived);
}

// A prediction's logits to where the host or the caller will read them: row first + n. What fills up the last batch is
// left out.
DEVICE_INLINE void store_prediction(const StepState *state, int n, float own) {
    if (lane() < classes && state->first + (unsigned)n < state->rows) {
        const long long row = (long long)state->first + n;
        device_pointer<float>(state->predictions)[row * classes + lane()] = own;
    }
}

// The same as far as the logits, and without dropout.
template <typename T> DEVICE_INLINE void head_prediction(const HeadPrediction<T> &p) {
    const Product product = {p.y, p.parts};
    Head head;
    head.load(p.hidden_bias, p.w, p.bias, p.features);
    for (int n = (int)blockIdx.x * head_warps + warp(); n < p.samples; n += (int)gridDim.x * head_warps) {
        float z[of_lane], all[classes];
        head.activate(product, n, p.samples, z);
        store_prediction(p.state, n, head.logits(z, all));
    }
}

// The same from the product y (N, classes) of the last dense layer: its bias is all that is left to add.
struct LogitHead {
    float bias;

    DEVICE_INLINE explicit LogitHead(const float *of_classes) : bias(lane() < classes ? of_classes[lane()] : 0.0f) {}

    // Lane c gets the logit of class c.
    DEVICE_INLINE float logit(const float *y, int n) const {
        return lane() < classes ? y[(long long)n * classes + lane()] + bias : 0.0f;
    }
};

template <typename T> DEVICE_INLINE void logit_head_training(const LogitHeadTraining<T> &p) {
    __shared__ float of_warps[head_warps][most_features];
    const LogitHead head(p.bias);
    LossSums sums;
    const unsigned char *labels = device_pointer<const unsigned char>(p.state->labels);
    const double smoothing = p.state->label_smoothing;
    const float scale = 1.0f / (float)p.samples;
    for (int n = (int)blockIdx.x * head_warps + warp(); n < p.samples; n += (int)gridDim.x * head_warps) {
        const float own = head.logit(p.y, n);
        float all[classes];
#pragma unroll
        for (int c = 0; c < classes; ++c) {
            all[c] = shuffle_from(own, c);
        }
        const float of_logit = sums.add(own, all, labels[(unsigned)dataset_row(p.state, n)], scale, smoothing);
        if (lane() < classes) {
            const long long at = (long long)n * classes + lane();
            p.logits[at] = own;
            p.dy[at] = from_float<T>(of_logit);
        }
    }
    sums.store_bias(p.partial + (long long)blockIdx.x * p.columns, of_warps);
    add_outcome(p.state, sums, p.outcome, p.arrived);
}

} // namespace

PUBLISH(head_features, most_features)
PUBLISH(head_blocks, 32 * head_warps) // one block adds up what so many leave

KERNEL(256) head_training_f32(HeadTraining<float> p) { head_training(p); }

KERNEL(256) head_training_bf16(HeadTraining<bfloat16> p) { head_training(p); }

KERNEL(256) head_prediction_f32(HeadPrediction<float> p) { head_prediction(p); }

KERNEL(256) head_prediction_bf16(HeadPrediction<bfloat16> p) { head_prediction(p); }

KERNEL(256) logit_head_training_f32(LogitHeadTraining<float> p) { logit_head_training(p); }

KERNEL(256) logit_head_training_bf16(LogitHeadTraining<bfloat16> p) { logit_head_training(p); }

KERNEL(256) logit_head_prediction(LogitHeadPrediction p) {
    const LogitHead head(p.bias);
    for (int n = (int)blockIdx.x * head_warps + warp(); n < p.samples; n += (int)gridDim.x * head_warps) {
        store_prediction(p.state, n, head.logit(p.y, n));
    }
}
