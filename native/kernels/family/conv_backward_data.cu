// Gradients of data. dY is made from y and the gradient of u on the way into shared memory and convolved with the weights turned round;
// what comes out goes back through dropout and ReLU of the layer below, and leaves as that layer's gradient of u, with the sums for its
// parameters.
#include "fill.cuh"

struct TileBackwardData {
    Convolution shape;
    GradientLayer layer;
    const void *turned;
    const void *below; // y of the layer below, or `marked`
    Affine affine_below;
    float keep_scale; // of its dropout
    void *du_below;
    ChannelNorm norm_below;
};

template <class Mode, int Groups> struct MaskedOutput {
    using Element = typename Mode::Element;

    const TileBackwardData &p;
    WarpSums<Groups> sums;

    DEVICE_INLINE void take(const Convolution &c, const TileRows &rows, const Sums<Groups> &made) {
        const int pixels = rows.count * c.out_width, row = here(lane()) / 4;
        const long long first = (long long)rows.first * c.out_width;
#pragma unroll
        for (int group = 0; group < Groups; ++group) {
            const int channel = ((int)blockIdx.y * Groups + group) * 32 + here(lane()) % 4 * 8;
            const bool exists = channel < c.outs;
            const Values<8> a = p.affine_below.scales<8>(exists ? channel : 0), b = p.affine_below.shifts<8>(exists ? channel : 0);
            ChannelSums of_tile;
#pragma unroll
            for (int m = 0; m < most_fragments; ++m) {
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    const int pixel = pixel_of(c.fragments, m, 8 * half + row);
                    if (m < c.fragments && pixel < pixels && exists) {
                        const long long at = (first + pixel) * c.outs + channel;
                        Eight y = load_eight<Mode>(static_cast<const Element *>(p.below) + at), du = made.eight(m, half, group);
#pragma unroll
                        for (int i = 0; i < 8; ++i) { // what was dropped is NaN, and no u above 0
                            const bool is_active = fused_multiply_add(y.v[i], a.v[i], b.v[i]) > 0;
                            du.v[i] = is_active ? du.v[i] * p.keep_scale : 0.0f;
                            y.v[i] = is_active ? y.v[i] : 0.0f;
                        }
                        store_eight<Mode>(static_cast<Element *>(p.du_below) + at, du);
                        of_tile.add(du, y);
                    }
                }
            }
            sums.add(group, of_tile);
        }
    }

    DEVICE_INLINE void finish(const Convolution &) {
        ::finish<conv_threads, true>(p.norm_below, sums.of_block(), (int)blockIdx.y * 32 * Groups, 32 * Groups,
                                     reinterpret_cast<double *>(dynamic_shared_memory));
    }
};

template <class Mode, int Groups> DEVICE_INLINE void conv_backward_data(const TileBackwardData &p) {
    GradientInput<Mode> input{p.layer};
    MaskedOutput<Mode, Groups> output{p, {}};
    convolve<Mode, Groups>(p.shape, p.turned, input, output);
}

CONVOLUTIONS(conv_backward_data, TileBackwardData)
