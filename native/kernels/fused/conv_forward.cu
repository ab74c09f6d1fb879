// A convolution forward. What it reads is normalized and activated on the way into shared memory, or windows of the input, or the first
// layer's activation, which it makes itself. It leaves its output before batch norm, the same pooled and marked by dropout where a pooling
// follows, and the batch's statistics, or these alone; or in predictions, its activation alone.
#include "first_activation.cuh"

struct ConvForward {
    Batch batch;
    Convolution shape;
    PreviousLayer before;
    const void *w;
    void *y;      // none where only what is pooled is wanted
    void *pooled; // (N, out_height / 2, out_width / 2, outs), where the shape pools
    const StepState *state;
    Dropout dropout;    // behind the pooling
    const float *gamma; // of the batch norm behind: y whose u is greatest. None: the greatest y
    Affine activation;  // with a shift: what comes out is activated
    ChannelNorm norm;
    FirstInput first;     // itself of blocks of 32 outputs
    const float *first_w; // (outs, taps) of the first layer, if the convolution is the second one and makes its activation
};

template <class Mode, int Groups> struct ForwardOutput {
    using Element = typename Mode::Element;

    static constexpr int units = 8 / Mode::of_unit; // of eight channels

    const ConvForward &p;
    WarpSums<Groups> sums;

    DEVICE_INLINE void clear() const {}
    DEVICE_INLINE void begin(const Convolution &, const TileRows &) const {}

    // The window of two by two that a lane has of a pair of fragments: of which image, and where in (N, H, W) of what is pooled.
    struct Window {
        int image, pixel;

        DEVICE_INLINE Window(const Convolution &c, const TileRows &rows, int pair, int part) {
            const Divisor across = c.by_across(), down = c.by_down();
            const int number = TileColumns::first(c, pair, part) / 2 + here(lane()) / 4, line = across.quotient(number);
            image = down.quotient(rows.first + line);
            pixel = (rows.first + line - image * (c.out_height % 2)) * (c.out_width / 2) + number - line * across.divisor;
        }
    };

    // Which channels dropout takes in the windows of a lane. The lane has eight channels of each group of a pair: the first ones have the
    // bits that Digits gives them, and each next eight have theirs four bits further on.
    DEVICE_INLINE unsigned dropped(const Convolution &c, const Window (&windows)[most_pairs]) const {
        unsigned bits = 0;
        if (c.pools && p.dropout.threshold > 0) {
            const Digits digits(p.state, p.dropout);
#pragma unroll 1
            for (int k = 0; k < here(most_pairs * Groups); ++k) {
                const bool is_second = k >= Groups;
                const int image = is_second ? windows[1].image : windows[0].image, place = is_second ? windows[1].pixel : windows[0].pixel;
                const int pixel = place - image * (c.out_height / 2) * (c.out_width / 2);
                const int channel = ((int)blockIdx.y * Groups + k % Groups) * 32 + (lane() & 3) * 8;
                bits |= digits.dropped<8>(p.dropout, pixel * c.outs + channel, image) << 4 * k;
            }
        }
        return bits;
    }

    DEVICE_INLINE void take(const Convolution &c, const TileRows &rows, const TileColumns &columns, int part, const Sums<Groups> &made) {
        const Window windows[most_pairs] = {{c, rows, 0, part}, {c, rows, 1, part}};
        const unsigned dropped = this->dropped(c, windows);
#pragma unroll
        for (int group = 0; group < Groups; ++group) {
            const int channel = ((int)blockIdx.y * Groups + group) * 32 + (here(lane()) & 3) * 8;
            const bool exists = channel < c.outs;
            const Pixels<Mode> outputs(p.y, c.outs, channel), maxima(p.pooled, c.outs, channel);
            const Values<8> scale = p.activation.scales<8>(exists ? channel : 0),
                            shift = Affine::of<8>(p.activation.shift, exists ? channel : 0, 0);
            ChannelSums of_tile;
#pragma unroll
            for (int pair = 0; pair < most_pairs; ++pair) {
                Unit narrow[units][4];
                int count = 2; // of the shorter column
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    const TwoPixels pixels(columns, pair, half);
                    typename Mode::Element *y_of_column = outputs.at(pixels.upper);
                    count = smaller(count, pixels.count);
#pragma unroll
                    for (int row = 0; row < 2; ++row) {
                        if (row < pixels.count && exists) {
                            const Eight y = made.eight(2 * pair + row, half, group);
                            if (p.norm.partial) {
                                of_tile.add(y, y);
                            }
#pragma unroll
                            for (int i = 0; i < units; ++i) {
                                narrow[i][2 * row + half] =
                                    p.activation.shift ? activate<Mode>(y, scale, shift, i) : narrow_unit<Mode>(y, i);
                                if (p.y) {
                                    store_unit(y_of_column + row * c.out_width * c.outs + i * Mode::of_unit, narrow[i][2 * row + half]);
                                }
                            }
                        }
                    }
                }
                if (c.pools && count == 2 && exists) {
#pragma unroll
                    for (int i = 0; i < units; ++i) {
                        const auto sign = Affine::of<Mode::of_unit>(p.gamma, channel + i * Mode::of_unit, 1);
                        const Unit unit = pooled_unit<Mode>(narrow[i], sign);
                        store_unit(maxima.at(windows[pair].pixel) + i * Mode::of_unit,
                                   p.dropout.threshold > 0
                                       ? marked_unit<Mode>(unit, dropped >> (4 * (pair * Groups + group) + i * Mode::of_unit / 2))
                                       : unit);
                    }
                }
            }
            if (p.norm.partial) {
                sums.add(group, of_tile);
            }
        }
    }

    DEVICE_INLINE void finish(const Convolution &) {
        if (p.norm.partial) {
            sums.leave();
            ::finish<false>(p.norm, (int)blockIdx.y * 32 * Groups, 32 * Groups);
        }
    }
};

template <class Mode, int Groups> DEVICE_INLINE void conv_forward(const ConvForward &p) {
    const Convolution &c = p.shape;
    unsigned char *behind = dynamic_shared_memory + units_of_chunk * c.plane_bytes() + c.ring * c.side * piece_bytes * Groups;
    const ConvolutionInput<Mode, Groups == 1> input{p.before, p.first, p.first_w, c.channels, behind};
    input.begin();
    ForwardOutput<Mode, Groups> output{p, {}};
    convolve<Mode, Groups>(p.batch, p.shape, p.w, input, output);
}

CONVOLUTIONS(conv_forward, ConvForward)
