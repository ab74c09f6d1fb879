// The gradients of the first layer's parameters from the sums that were made with its du.
#include "../common/columns.cuh"
#include "../common/last_block.cuh"
#include "../common/stored.cuh"
#include "first_sums.cuh"

struct FirstWeights {
    const float *partial; // (rows, columns): sums as blocks left them
    float *sums;          // (columns)
    unsigned *arrived;    // 0 before a launch and after it
    const float *w;       // the masters, (outs, taps), and so is what comes out
    ChannelNorm norm;
    float *dw;
    int rows, columns;
    unsigned outs;
};

// Of one tap. In double, since sums over all pixels are subtracted.
DEVICE_INLINE void first_weight(const FirstWeights &p, unsigned out, unsigned tap) {
    constexpr unsigned taps = FirstBlocks::taps;
    const bool bf16 = is_bf16();
    double of_y = 0, du_y = 0;
    for (unsigned k = 0; k < taps; ++k) {
        const float w = p.w[out * taps + k]; // as y was made with it
        const double weight = bf16 ? to_float(from_float<bfloat16>(w)) : bits_float(F32::operand(w));
        du_y += weight * p.sums[FirstBlocks::sum(out, k)];
        of_y += weight * p.sums[FirstBlocks::moment(k, tap)];
    }
    const NormGradients made = gradients_of(p.norm, p.sums[FirstBlocks::sum(out, taps)], du_y, (int)out);
    if (tap == 0) {
        made.store(p.norm, (int)out);
    }
    const double scale_of_du = p.norm.gamma ? *p.norm.of(scale, (int)out) : 1.0;
    p.dw[out * taps + tap] = (float)(scale_of_du * p.sums[FirstBlocks::sum(out, tap)] + made.from_y * of_y +
                                     (double)made.constant * p.sums[FirstBlocks::moment(tap, taps)]);
}

// A block adds up 32 columns; the last one to end makes the gradients.
KERNEL(256) first_weights(FirstWeights p) {
    const int column = (int)(blockIdx.x * lanes + lane());
    const double sum = sum_of_groups(sum_of_rows<17>(p.partial, p.rows, p.columns, column));
    if (warp() == 0 && column < p.columns) {
        p.sums[column] = (float)sum;
    }
    if (is_last_block(p.arrived)) {
#pragma unroll 1
        for (unsigned i = threadIdx.x; i < p.outs * FirstBlocks::taps; i += blockDim.x) {
            first_weight(p, i / FirstBlocks::taps, i % FirstBlocks::taps);
        }
    }
}
