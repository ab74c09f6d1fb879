// A convolution forward. What it reads is normalized and activated on the way into shared memory. It leaves its output before batch norm,
// the same pooled where a pooling follows, and the batch's statistics.
#include "fill.cuh"

struct TileForward {
    Convolution shape;
    PreviousLayer before;
    const void *w;
    void *y;            // none where only what is pooled is wanted
    void *pooled;       // (N, out_height / 2, out_width / 2, outs), where the shape pools
    const float *gamma; // of the batch norm behind: y whose u is greatest. None: the greatest y
    ChannelNorm norm;
};

// Four pixels of a tile that a lane has in two fragments: a window, or two times two that are eight and sixteen apart.
struct FourPixels {
    int first, down, right;         // the number of one in (N, H, W), and how far it is to the others
    int end, most_down, most_right; // those that exist are before the end, and so many
    int swapped;                    // the right one comes first
    int pooled;                     // the window's place in (N, H / 2, W / 2)

    DEVICE_INLINE FourPixels(const Convolution &c, const TileRows &rows, int fragment, int g) {
        if (c.pools) {
            const Divisor across = c.by_across(), by_down = c.by_down();
            const int number = window_of(c.fragments, fragment, g), line = across.quotient(number), column = number - line * across.divisor;
            const int image = by_down.quotient(rows.first + line), row = rows.first + line - image * by_down.divisor;
            first = (image * c.out_height + 2 * row) * c.out_width + 2 * column, down = c.out_width, right = 1;
            end = line < rows.count ? first + 2 * c.out_width : 0;
            most_down = c.out_height - 2 * row, most_right = c.out_width - 2 * column;
            swapped = right_of(0, g);
            pooled = (image * (c.out_height / 2) + row) * (c.out_width / 2) + column;
        } else {
            first = rows.first * c.out_width + pixel_of(c.fragments, fragment, g), down = 16, right = 8;
            end = (rows.first + rows.count) * c.out_width;
            most_down = most_right = 2;
            swapped = pooled = 0;
        }
        most_down = fragment + 1 < c.fragments ? most_down : 1;
        end = fragment < c.fragments ? end : 0;
    }

    DEVICE_INLINE int operator[](int k) const { return first + k / 2 * down + (k % 2 ^ swapped) * right; }
    DEVICE_INLINE bool has(int k) const {
        const bool before_end = (*this)[k] < end, in_height = k / 2 < most_down, in_width = (k % 2 ^ swapped) < most_right;
        return before_end & in_height & in_width;
    }
    DEVICE_INLINE bool has_all() const {
        const bool exists = first < end, in_height = most_down > 1, in_width = most_right > 1;
        return exists & in_height & in_width;
    }
};

template <class Mode, int Groups> struct ForwardOutput {
    using Element = typename Mode::Element;

    static constexpr int units = 8 / Mode::of_unit; // of eight channels

    const TileForward &p;
    WarpSums<Groups> sums;

    DEVICE_INLINE void clear() const {}
    DEVICE_INLINE void begin(const Convolution &, const TileRows &) const {}

    DEVICE_INLINE void take(const Convolution &c, const TileRows &rows, const Sums<Groups> &made) {
#pragma unroll
        for (int group = 0; group < Groups; ++group) {
            const int channel = ((int)blockIdx.y * Groups + group) * 32 + (here(lane()) & 3) * 8;
            ChannelSums of_tile;
#pragma unroll
            for (int m = 0; m < most_fragments; m += 2) {
                const FourPixels pixels(c, rows, m, here(lane()) >> 2);
                Unit narrow[units][4];
#pragma unroll
                for (int k = 0; k < 4; ++k) {
                    if (pixels.has(k) && channel < c.outs) {
                        const Eight y = made.eight(m + k / 2, k % 2, group);
                        if (p.norm.partial) {
                            of_tile.add(y, y);
                        }
#pragma unroll
                        for (int i = 0; i < units; ++i) {
                            narrow[i][k] = narrow_unit<Mode>(y, i);
                            if (p.y) {
                                store_unit(address(p.y, pixels[k], c.outs, channel, i), narrow[i][k]);
                            }
                        }
                    }
                }
                if (c.pools && pixels.has_all() && channel < c.outs) {
#pragma unroll
                    for (int i = 0; i < units; ++i) {
                        const auto sign = Affine::of<Mode::of_unit>(p.gamma, channel + i * Mode::of_unit, 1);
                        store_unit(address(p.pooled, pixels.pooled, c.outs, channel, i), pooled_unit<Mode>(narrow[i], sign));
                    }
                }
            }
            if (p.norm.partial) {
                sums.add(group, of_tile);
            }
        }
    }

    DEVICE_INLINE static void *address(void *images, int pixel, int channels, int channel, int unit) {
        return static_cast<Element *>(images) + (long long)pixel * channels + channel + unit * Mode::of_unit;
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
