// A convolution forward: what it reads is normalized, activated, pooled and dropped on the way into shared memory; it leaves its output
// before batch norm, and the batch's statistics of it.
#include "fill.cuh"

struct TileForward {
    Convolution shape;
    PreviousLayer before;
    const void *w;
    void *y;
    ChannelNorm norm;
};

template <class Mode, int Groups> struct ForwardOutput {
    const TileForward &p;
    WarpSums<Groups> sums;

    DEVICE_INLINE void take(const Convolution &c, const TileRows &rows, const Sums<Groups> &made) {
        const int pixels = rows.count * c.out_width, row = here(lane()) / 4;
#pragma unroll
        for (int group = 0; group < Groups; ++group) {
            const int channel = ((int)blockIdx.y * Groups + group) * 32 + here(lane()) % 4 * 8;
            ChannelSums of_tile;
#pragma unroll
            for (int m = 0; m < most_fragments; ++m) {
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    const int pixel = pixel_of(c.fragments, m, 8 * half + row);
                    if (m < c.fragments && pixel < pixels && channel < c.outs) {
                        auto *to =
                            static_cast<typename Mode::Element *>(p.y) + ((long long)rows.first * c.out_width + pixel) * c.outs + channel;
                        const Eight y = made.eight(m, half, group);
                        store_eight<Mode>(to, y);
                        of_tile.add(y, y);
                    }
                }
            }
            sums.add(group, of_tile);
        }
    }

    DEVICE_INLINE void finish(const Convolution &) {
        if (p.norm.partial) {
            ::finish<conv_threads, false>(p.norm, sums.of_block(), (int)blockIdx.y * 32 * Groups, 32 * Groups,
                                          reinterpret_cast<double *>(dynamic_shared_memory));
        }
    }
};

template <class Mode, int Groups> DEVICE_INLINE void conv_forward(const TileForward &p) {
    ActivatedInput<Mode> input{p.before};
    ForwardOutput<Mode, Groups> output{p, {}};
    convolve<Mode, Groups>(p.shape, p.w, input, output);
}

CONVOLUTIONS(conv_forward, TileForward)
