// The end of a network in one kernel, from the product y of a dense layer to the logits, and in training to the loss and to the gradient of
// y. That layer is the last hidden one: then the kernel also has its bias, ReLU and dropout, and the last layer. Or it is the last.
#include "dropout.cuh"
#include "last_block.cuh"
#include "stored.cuh"
#include "warp.cuh"

// y: (parts, N, features), of which the parts are to be added up. hidden_bias and w (classes, features) are null where y is that of the
// last layer, whose features are the classes; what comes after samples, in a prediction. logits (N, classes), dy (N, features), a block's
// sums of gradients in partial (blocks, columns), with places in a row for those of w and bias, and its loss and hits in outcome (blocks,
// 2).
struct HeadParameters {
    StepState *state;
    const float *y, *hidden_bias;
    const void *w;
    const float *bias;
    int parts, features, samples, columns, at_weights, at_bias;
    float *logits;
    void *dy;
    float *partial;
    double *outcome;
    unsigned *arrived;
    Dropout dropout;
};

// A warp takes a sample at a time. A lane has features of it in fours, as dropout draws them: from 4 (lane + 32 q) on.
constexpr int classes = 10, most_features = 256, head_warps = 8, head_threads = 32 * head_warps, fours = most_features / 128,
              of_lane = 4 * fours;

DEVICE_INLINE int four_of(int q) { return 4 * (lane() + 32 * q); }

// A lane's features out of a row of them; for those behind its end the last ones, whose weights are taken for 0.
DEVICE_INLINE void load_features(const float *row, int features, float (&to)[of_lane]) {
#pragma unroll
    for (int q = 0; q < fours; ++q) {
        const Four<float> four = *reinterpret_cast<const Four<float> *>(row + smaller(four_of(q), features - 4));
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            to[4 * q + i] = four.v[i];
        }
    }
}

DEVICE_INLINE Four<float> four_at(const float (&row)[most_features], int q) {
    return *reinterpret_cast<const Four<float> *>(row + four_of(q));
}

// relu(y + bias) of sample n.
DEVICE_INLINE void activate(const HeadParameters &p, int n, float (&z)[of_lane]) {
    constexpr int at_once = 4; // loads that are on their way together
    float bias[of_lane];
    load_features(p.hidden_bias, p.features, bias);
    for (int e = 0; e < of_lane; ++e) {
        z[e] = 0;
    }
#pragma unroll 1
    for (int first = 0; first < p.parts; first += at_once) {
        float part[at_once][of_lane];
#pragma unroll
        for (int k = 0; k < at_once; ++k) {
            const long long row = (long long)smaller(first + k, p.parts - 1) * p.samples + n; // none on a condition, which would part them
            load_features(p.y + row * p.features, p.features, part[k]);
        }
#pragma unroll
        for (int k = 0; k < at_once; ++k) {
            const float counts = first + k < p.parts ? 1 : 0;
#pragma unroll
            for (int e = 0; e < of_lane; ++e) {
                z[e] = fused_multiply_add(part[k][e], counts, z[e]);
            }
        }
    }
#pragma unroll
    for (int e = 0; e < of_lane; ++e) {
        z[e] = relu(z[e] + bias[e]);
    }
}

// Lane c gets the sum of all lanes' values of class c. The lanes halve among themselves the sums that each still makes.
DEVICE_INLINE float sum_over_lanes(float (&of_class)[classes]) {
    int count = classes;
#pragma unroll
    for (int mask = 16; mask > 0; mask /= 2) {
        const int apart = count / 2;
        count -= apart;
        const bool is_upper = lane() & mask;
#pragma unroll
        for (int i = 0; i < count; ++i) {
            const float low = of_class[i], high = of_class[i + apart];
            of_class[i] = (is_upper ? high : low) + shuffle_xor(is_upper ? low : high, mask);
        }
    }
    const int c = lane() % 5; // of five, lanes 0, 4, 8, 12 and 14 have the sums; of the others those above
    return bits_float(shuffle_from(float_bits(of_class[0]), (c < 4 ? 4 * c : 14) + (lane() < 5 ? 0 : 16)));
}

// What one warp adds up over its samples.
struct Outcome {
    double loss = 0;
    unsigned correct = 0;

    // Adds a sample with these logits, lane c having that of class c. Lane c gets the gradient of the batch's mean loss by that logit;
    // scale is 1 / samples. For the smoothing of labels see Cpu/SoftmaxCrossEntropy.
    DEVICE_INLINE float add(float own, int label, float scale, double smoothing) {
        float all[classes];
#pragma unroll
        for (int c = 0; c < classes; ++c) {
            all[c] = shuffle_from(own, c);
        }
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
        return (float)(((double)power / sum - target) * scale);
    }
};

// The epoch's sums, from those of all warps of all blocks.
DEVICE_INLINE void add_outcome(const HeadParameters &p, const Outcome &of_warp) {
    __shared__ double losses[head_threads], hits[head_threads];
    if (lane() == 0) {
        losses[warp()] = of_warp.loss;
        hits[warp()] = of_warp.correct;
    }
    __syncthreads();
    if (threadIdx.x < 2) {
        const double *of_warps = threadIdx.x == 0 ? losses : hits;
        double sum = 0;
        for (int i = 0; i < head_warps; ++i) {
            sum += of_warps[i];
        }
        p.outcome[2 * blockIdx.x + threadIdx.x] = sum;
    }
    if (!is_last_block(p.arrived)) {
        return;
    }
    losses[threadIdx.x] = threadIdx.x < gridDim.x ? p.outcome[2 * threadIdx.x] : 0.0;
    hits[threadIdx.x] = threadIdx.x < gridDim.x ? p.outcome[2 * threadIdx.x + 1] : 0.0;
#pragma unroll 1
    for (unsigned half = head_threads / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) {
            losses[threadIdx.x] += losses[threadIdx.x + half];
            hits[threadIdx.x] += hits[threadIdx.x + half];
        }
    }
    if (threadIdx.x == 0) {
        p.state->loss += losses[0];
        p.state->correct += (unsigned long long)hits[0];
    }
}

PUBLISH(head_features, most_features)
PUBLISH(head_blocks, head_threads) // one block adds up what so many leave

// At most head_blocks blocks. Where a thread stands for a feature, and not for a lane of a warp, that is k.
KERNEL(256, 1) head(HeadParameters p) {
    alignas(16) __shared__ float weights[classes][most_features], active[head_warps][most_features], gradients[head_warps][most_features];
    alignas(16) __shared__ float of_logits[head_warps][12];
    const bool hidden = p.hidden_bias, trains = p.dy, bf16 = is_bf16();
    const int k = (int)threadIdx.x, feature = smaller(k, p.features - 1);
    const StepState *state = p.state;
    const int *order = device_pointer<const int>(state->order);
    const unsigned char *labels = device_pointer<const unsigned char>(state->labels);
    const unsigned begin_of_step = state->first, rows = state->rows, epoch = state->epoch;
    const double smoothing = state->label_smoothing;
    // A prediction's logits are for the host or the caller, without those of what fills up the last batch.
    float *logits = trains ? p.logits : device_pointer<float>(state->predictions) + (long long)begin_of_step * classes;
    const int kept = trains ? p.samples : (int)(rows - begin_of_step);

    float w[classes]; // of a feature: on their way while the first sample is loaded
    if (!hidden) {
    } else if (bf16) {
#pragma unroll
        for (int c = 0; c < classes; ++c) {
            w[c] = to_float(static_cast<const bfloat16 *>(p.w)[c * p.features + feature]);
        }
    } else {
#pragma unroll
        for (int c = 0; c < classes; ++c) {
            w[c] = static_cast<const float *>(p.w)[c * p.features + feature];
        }
    }
    const float bias = lane() < classes ? p.bias[lane()] : 0.0f, scale = 1.0f / (float)p.samples;
    Outcome outcome;
    float sum_of_weights[classes] = {}, sum_of_hidden = 0, sum_of_bias = 0;
#pragma unroll 1
    for (int first = (int)blockIdx.x * head_warps; first < p.samples; first += (int)gridDim.x * head_warps) {
        const int n = smaller(first + warp(), p.samples - 1);
        const unsigned row = trains ? (unsigned)dataset_row(order, rows, begin_of_step + (unsigned)n) : 0;
        float z[of_lane];
        if (hidden) {
            activate(p, n, z);
        }
        const int label = trains ? labels[row] : 0;
        if (hidden) {
            if (p.dropout.threshold > 0) {
#pragma unroll
                for (int q = 0; q < fours; ++q) {
                    unsigned words[4];
                    p.dropout.words((unsigned)(lane() + 32 * q), row, epoch, words);
#pragma unroll
                    for (int i = 0; i < 4; ++i) {
                        z[4 * q + i] = p.dropout.apply(z[4 * q + i], words[i]);
                    }
                }
            }
            if (first == (int)blockIdx.x * head_warps) {
#pragma unroll
                for (int c = 0; c < classes; ++c) {
                    weights[c][k] = k < p.features ? w[c] : 0.0f;
                }
            }
        }
        __syncthreads();
        if (first + warp() < p.samples) {
            float own = 0;
            if (hidden) {
                float sums[classes];
#pragma unroll
                for (int c = 0; c < classes; ++c) {
                    sums[c] = lane() == c ? bias : 0.0f;
#pragma unroll
                    for (int e = 0; e < of_lane; ++e) {
                        sums[c] = fused_multiply_add(z[e], four_at(weights[c], e / 4).v[e % 4], sums[c]);
                    }
                }
                own = sum_over_lanes(sums);
            } else if (lane() < classes) {
                own = p.y[n * classes + lane()] + bias;
            }
            if (lane() < classes && n < kept) {
                logits[(long long)n * classes + lane()] = own;
            }
            if (trains) {
                const float of_logit = outcome.add(own, label, scale, smoothing);
                if (lane() < classes) {
                    of_logits[warp()][lane()] = of_logit;
                }
                if (hidden) {
                    float dz[of_lane] = {};
#pragma unroll
                    for (int c = 0; c < classes; ++c) {
                        const float d = shuffle_from(of_logit, c);
#pragma unroll
                        for (int e = 0; e < of_lane; ++e) {
                            dz[e] = fused_multiply_add(d, four_at(weights[c], e / 4).v[e % 4], dz[e]);
                        }
                    }
#pragma unroll
                    for (int q = 0; q < fours; ++q) {
                        Four<float> four, gradient;
#pragma unroll
                        for (int i = 0; i < 4; ++i) {
                            four.v[i] = z[4 * q + i];
                            gradient.v[i] = four.v[i] > 0 ? dz[4 * q + i] * p.dropout.keep_scale : 0.0f; // above 0: kept and active
                        }
                        *reinterpret_cast<Four<float> *>(active[warp()] + four_of(q)) = four;
                        *reinterpret_cast<Four<float> *>(gradients[warp()] + four_of(q)) = gradient;
                    }
                } else if (lane() < classes) {
                    gradients[warp()][lane()] = of_logit;
                }
            }
        }
        if (!trains) {
            continue;
        }
        __syncthreads();
        const int count = smaller(head_warps, p.samples - first);
#pragma unroll 1
        for (int i = 0; i < count; ++i) {
            const float gradient = gradients[i][k], z_of_feature = active[i][k];
            sum_of_hidden += gradient;
            sum_of_bias += of_logits[i][smaller(k, classes - 1)];
#pragma unroll
            for (int c = 0; c < classes; ++c) {
                sum_of_weights[c] = fused_multiply_add(of_logits[i][c], z_of_feature, sum_of_weights[c]);
            }
            if (k < p.features) {
                store(p.dy, (long long)(first + i) * p.features + k, gradient, bf16);
            }
        }
    }
    if (!trains) {
        return;
    }
    float *sums = p.partial + (long long)blockIdx.x * p.columns;
    if (hidden && k < p.features) {
        sums[k] = sum_of_hidden;
#pragma unroll
        for (int c = 0; c < classes; ++c) {
            sums[p.at_weights + c * p.features + k] = sum_of_weights[c];
        }
    }
    if (k < classes) {
        sums[p.at_bias + k] = sum_of_bias;
    }
    add_outcome(p, outcome);
}
