// The gradient of the first layer's weights from the sums that were made with its du.
#include "first_sums.cuh"

struct FirstWeights {
    const float *sums; // of all blocks
    const float *w;    // the masters, (outs, taps), and so is what comes out
    Affine affine;
    float *dw;
    unsigned outs, taps;
};

// In double, since sums over all pixels are subtracted.
template <class Mode> DEVICE_INLINE void first_weights(const FirstWeights &p) {
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x, out = i / p.taps, tap = i % p.taps;
    if (out >= p.outs) {
        return;
    }
    const FirstBlocks blocks(p.taps);
    double sum = p.sums[blocks.sum(out, tap)];
    if (p.affine.scale) {
        double of_y = 0;
        for (unsigned k = 0; k < p.taps; ++k) {
            const Unit weight = Mode::operand(Values<Mode::of_unit>{{p.w[out * p.taps + k]}}); // as y was made with it
            of_y += (double)Mode::widen(weight).v[0] * p.sums[blocks.moment(k, tap)];
        }
        sum = p.affine.scale[out] * sum + p.affine.from_y[out] * of_y + (double)p.affine.constant[out] * p.sums[blocks.moment(tap, p.taps)];
    }
    p.dw[i] = (float)sum;
}

KERNELS_OF_MODES(first_weights, FirstWeights, 256)
