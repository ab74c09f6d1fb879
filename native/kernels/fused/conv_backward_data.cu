// Gradients of data. dY is made from y and the gradient of u on the way into shared memory and convolved with the weights turned round;
// what comes out goes back through dropout and ReLU of the layer below, and leaves as that layer's gradient of u, with the sums for its
// parameters. Where the layer below is the first one and y of it is not stored, neither is du: what leaves is the sums from which the
// gradients of all its parameters follow.
#include "first_sums.cuh"

struct ConvBackwardData {
    Batch batch;
    Convolution shape;
    GradientLayer layer;
    const void *turned;
    const void *below; // y of the layer below, or `marked`
    Affine affine_below;
    float keep_scale; // of its dropout
    void *du_below;
    ChannelNorm norm_below;
    FirstGradient first; // the layer below, of blocks of 32 outputs, in place of its y, du and norm
};

template <class Mode, int Groups> struct MaskedOutput {
    using Element = typename Mode::Element;

    const ConvBackwardData &p;
    FirstSums<Mode> first;
    WarpSums<Groups> sums;

    DEVICE_INLINE bool is_first() const { return Groups == 1 && p.first.input.x; }

    DEVICE_INLINE void clear() const {
        if (is_first()) {
            first.clear();
        }
    }

    DEVICE_INLINE void begin(const Convolution &c, const TileRows &rows) const {
        if (is_first()) {
            // Zeros beside images, where scratch was.
            for (int slot = (int)threadIdx.x / units_of_chunk; slot <= c.slots; slot += conv_threads / units_of_chunk) {
                const int end = slot * c.pitch + c.padding; // of zeros, which begin where the row above ends
                for (int place = slot == 0 ? 0 : end - (c.pitch - c.width); place < end; ++place) {
                    store_unit(dynamic_shared_memory + threadIdx.x % units_of_chunk * c.plane_bytes() + place * 16, zero_unit());
                }
            }
            first.fill(first.rows(rows), p.batch.samples);
        }
    }

    DEVICE_INLINE void take(const Convolution &c, const TileRows &rows, const TileColumns &columns, int, const Sums<Groups> &made) {
        if (is_first()) {
            take_first(c, rows, made);
            return;
        }
#pragma unroll
        for (int group = 0; group < Groups; ++group) {
            const int channel = ((int)blockIdx.y * Groups + group) * 32 + here(lane()) % 4 * 8;
            const bool exists = channel < c.outs;
            const Values<8> a = p.affine_below.scales<8>(exists ? channel : 0), b = p.affine_below.shifts<8>(exists ? channel : 0);
            const Pixels<Mode> below(p.below, c.outs, channel), du_below(p.du_below, c.outs, channel);
            ChannelSums of_tile;
#pragma unroll
            for (int pair = 0; pair < most_pairs; ++pair) {
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    const TwoPixels pixels(columns, pair, half);
                    Element *y_of_column = below.at(pixels.upper), *du_of_column = du_below.at(pixels.upper);
#pragma unroll
                    for (int row = 0; row < 2; ++row) {
                        const int of_row = row * c.out_width * c.outs;
                        if (row < pixels.count && exists) {
                            Eight du = made.eight(2 * pair + row, half, group), y = load_eight<Mode>(y_of_column + of_row);
#pragma unroll
                            for (int i = 0; i < 8; ++i) { // what was dropped is NaN, and no u above 0
                                const bool is_active = fused_multiply_add(y.v[i], a.v[i], b.v[i]) > 0;
                                du.v[i] = is_active ? du.v[i] * p.keep_scale : 0.0f;
                                y.v[i] = is_active ? y.v[i] : 0.0f;
                            }
                            store_eight<Mode>(du_of_column + of_row, du);
                            of_tile.add(du, y);
                        }
                    }
                }
            }
            sums.add(group, of_tile);
        }
    }

    DEVICE_INLINE void finish(const Convolution &) {
        if (is_first()) {
            __syncthreads();
            first.finish();
            return;
        }
        sums.leave();
        ::finish<true>(p.norm_below, (int)blockIdx.y * 32 * Groups, 32 * Groups);
    }

  private:
    // Pixels that do not exist have du of another one. They add nothing, since their windows see zeros.
    DEVICE_INLINE void take_first(const Convolution &c, const TileRows &rows, const Sums<Groups> &made) {
        __syncthreads(); // the planes are free
        const TileRows of_first = first.rows(rows);
        const auto active = first.where_active(c, of_first, p.affine_below);
#pragma unroll
        for (int fragment = 0; fragment < most_fragments; ++fragment) {
            if (fragment < c.fragments) {
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    Eight du = made.eight(fragment, half, 0);
#pragma unroll
                    for (int i = 0; i < 8; ++i) {
                        du.v[i] = active.is(fragment, half, i) ? du.v[i] : 0.0f;
                    }
#pragma unroll
                    for (int i = 0; i < FirstSums<Mode>::units; ++i) {
                        first.put(fragment, 8 * half + lane() / 4, i, narrow_unit<Mode>(du, i));
                    }
                }
            }
        }
        first.add(c, of_first);
    }
};

static_assert(units_of_chunk == conv_warps, "each warp has a plane of scratch");

template <class Mode, int Groups> DEVICE_INLINE void conv_backward_data(const ConvBackwardData &p) {
    const GradientInput<Mode> input{p.layer};
    const unsigned plane = p.shape.plane_bytes();
    MaskedOutput<Mode, Groups> output{
        p,
        {p.first, dynamic_shared_memory, plane, dynamic_shared_memory + units_of_chunk * plane + p.shape.ring * p.shape.side * piece_bytes},
        {}};
    convolve<Mode, Groups>(p.batch, p.shape, p.turned, input, output);
}

CONVOLUTIONS(conv_backward_data, ConvBackwardData)
