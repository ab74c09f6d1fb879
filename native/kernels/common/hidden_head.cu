// The end of the network in one kernel: the last hidden layer's bias, ReLU and dropout, the last dense layer, softmax, cross-entropy, and
// the way back to the gradient of the hidden layer's product. A lane holds a sample's features in fours, as dropout draws them, and all
// weights that meet them.
#include "dropout.cuh"
#include "head.cuh"

template <typename T> struct HeadTraining {
    HeadResults results;
    const float *y;
    int parts;
    const float *hidden_bias;
    const T *w;
    const float *bias;
    T *dy;
    int features, at_weights, at_bias;
    Dropout dropout;
};

template <typename T> struct HeadPrediction {
    const StepState *state;
    const float *y;
    int parts;
    const float *hidden_bias;
    const T *w;
    const float *bias;
    int samples, features;
};

constexpr int of_lane = most_features / 32, fours = of_lane / 4;

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

struct Head {
    float w[classes][of_lane], bias;
    const float *hidden_bias; // loaded with each sample: registers are for weights
    int features;

    // w (classes, features), biases f32. Lane c keeps the bias of class c.
    template <typename T> DEVICE_INLINE void load(const float *of_hidden, const T *weights, const float *of_classes, int count) {
        features = count;
        bias = lane() < classes ? of_classes[lane()] : 0.0f;
        hidden_bias = of_hidden;
#pragma unroll
        for (int c = 0; c < classes; ++c) {
            load_features(weights + c * features, features, w[c]);
        }
    }

    // relu(y + bias) of sample n of so many. y: the hidden layer's product (parts, N, features), of which the parts are to be added up.
    DEVICE_INLINE void activate(const float *y, int parts, int n, int samples, float (&z)[of_lane]) const {
        constexpr int at_once = 4; // loads that are on their way together
        float biases[of_lane];
        load_features(hidden_bias, features, biases);
        load_features(y + (long long)n * features, features, z);
        for (int first = 1; first < parts; first += at_once) {
            float more[at_once][of_lane];
#pragma unroll
            for (int k = 0; k < at_once; ++k) {
                const long long part = first + k;
                load_features(y + (part * samples + n) * features, part < parts ? features : 0, more[k]);
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
            z[e] = relu(z[e] + biases[e]);
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

// The same, and the sums of the gradients of the last layer's weights and of the hidden bias.
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
                        of_warps[c - first][warp()][four_of(e / 4) + e % 4] = c < 0 ? hidden_bias[e] : w[c < 0 ? 0 : c][e];
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

// The hidden layer's product → logits (N, classes), its gradient dY (N, features), and each block's sums of the gradients of the two biases
// and the weights. At most 256 blocks.
template <typename T> DEVICE_INLINE void head_training(const HeadTraining<T> &p) {
    const HeadResults &to = p.results;
    Head head;
    HeadSums sums;
    const int first = head_sample(), stride = head_stride();
    const unsigned char *labels = device_pointer<const unsigned char>(to.state->labels);
    const double smoothing = to.state->label_smoothing;
    const unsigned epoch = to.state->epoch;
    int next_row = dataset_row(to.state, first < to.samples ? first : 0), next_label = labels[next_row]; // loaded ahead
    head.load(p.hidden_bias, p.w, p.bias, p.features);
    const float scale = 1.0f / (float)to.samples;
    for (int n = first; n < to.samples; n += stride) {
        const int row = next_row, label = next_label;
        if (n + stride < to.samples) {
            next_row = dataset_row(to.state, n + stride);
            next_label = labels[next_row];
        }
        float z[of_lane], all[classes];
        head.activate(p.y, p.parts, n, to.samples, z);
#pragma unroll
        for (int q = 0; q < fours; ++q) {
            unsigned words[4] = {~0u, ~0u, ~0u, ~0u};
            if (p.dropout.threshold > 0) {
                p.dropout.words((unsigned)(lane() + 32 * q), (unsigned)row, epoch, words);
            }
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                z[4 * q + i] = p.dropout.apply(z[4 * q + i], words[i]);
            }
        }
        const float own = head.logits(z, all);
        if (lane() < classes) {
            to.logits[(long long)n * classes + lane()] = own;
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
                const float gradient = z[e] > 0 ? dz[e] * p.dropout.keep_scale : 0.0f; // what is above 0 was kept and active
                sums.hidden_bias[e] += gradient;
                gradients.v[i] = from_float<T>(gradient);
            }
            if (four_of(q) < p.features) {
                *reinterpret_cast<Four<T> *>(p.dy + (long long)n * p.features + four_of(q)) = gradients;
            }
        }
    }
    sums.store(to.partial + (long long)blockIdx.x * to.columns, p.features, p.at_weights, p.at_bias);
    add_outcome(to, sums);
}

// The same as far as the logits, and without dropout.
template <typename T> DEVICE_INLINE void head_prediction(const HeadPrediction<T> &p) {
    Head head;
    head.load(p.hidden_bias, p.w, p.bias, p.features);
    for (int n = head_sample(); n < p.samples; n += head_stride()) {
        float z[of_lane], all[classes];
        head.activate(p.y, p.parts, n, p.samples, z);
        store_prediction(p.state, n, head.logits(z, all));
    }
}

PUBLISH(head_features, most_features)
PUBLISH(head_blocks, 32 * head_warps) // one block adds up what so many leave

KERNELS(head_training, HeadTraining, 256)
KERNELS(head_prediction, HeadPrediction, 256)
