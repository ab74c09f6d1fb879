// Gradients of the weights of a convolution: dW (outs, side, side, channels) is the sum over all pixels of dY times what each tap sees of
// the input. Both are made in shared memory. Pixels are what is summed over: sixteen neighbouring positions of the tall image at a time,
// where dY is zero between images and rows. A block has 64 outputs, 32 channels and nine taps, a warp eight of these channels.
#include "first_activation.cuh"

struct ConvBackwardWeights {
    Batch batch;
    Convolution shape; // the forward one; rows, slots: of dY's tall image, and of the input's
    GradientLayer layer;
    PreviousLayer before;
    float *partial; // (gridDim.x, outs, taps, channels)
    FirstInput first;
    const float *first_w; // as of ConvForward
};

constexpr int taps_of_block = 9, outs_of_block = 64, channels_of_block = 32;

template <class Mode> struct WeightGradient {
    static constexpr int out_units = outs_of_block / Mode::of_unit, channel_units = channels_of_block / Mode::of_unit,
                         most_fragments = outs_of_block / 16;

    // Where tensor cores turn both factors: those of bfloat16 alone, and by four warps together.
    DEVICE_INLINE static bool by_warpgroups() { return Mode::of_unit == 8 && Mode::by_warpgroups(); }

    // Of bfloat16, what two taps see is loaded together, by half of the lanes each.
    static constexpr int offset_count = Mode::of_unit == 8 ? (taps_of_block + 1) / 2 : taps_of_block;

    float sums[taps_of_block][most_fragments][4] = {}; // of sixteen outputs by eight channels, each fragment

    // dy and input: the planes of a tile. So many fragments of outputs and so many channels are left: a warp may have none of these.
    template <class Products>
    DEVICE_INLINE void add(const Convolution &c, int first_tap, unsigned dy, unsigned input, int fragments, int channels) {
        const unsigned plane = c.plane_bytes();
        const int positions = by_warpgroups() || 8 * warp() < channels ? c.rows * c.pitch : 0;
        const bool has_more = c.taps() > 1; // than one tap
        if constexpr (Mode::of_unit == 8) {
            if (by_warpgroups()) {
                if (!has_more) {
                    add_by_warpgroups<1>(c, 0, dy, input, plane, positions);
                } else if (has_pairs(c)) {
                    add_by_warpgroups<taps_of_block, 2>(c, here(first_tap), dy, input, plane, positions);
                } else {
                    add_by_warpgroups<taps_of_block>(c, here(first_tap), dy, input, plane, positions);
                }
                return;
            }
        }
        unsigned offsets[offset_count]; // of the lane's taps: what is beyond the last tap is not stored
        const int lanes_tap = here(first_tap) + (Mode::of_unit == 8 ? lane() / 16 : 0);
#pragma unroll
        for (int k = 0; k < offset_count; ++k) {
            offsets[k] = place_of(c, lanes_tap + (Mode::of_unit == 8 ? 2 * k : k)) * 16;
        }
        if constexpr (Mode::of_unit == 8) {
            const unsigned matrix = lane() / 8, row = lane() % 8;
            dy += matrix % 2 * plane + (matrix / 2 * 8 + row) * 16;
            input += warp() * plane + (matrix % 2 * 8 + row) * 16;
            for (int first = 0; first < positions; first += 16, dy += 256, input += 256) {
                unsigned left[most_fragments][4];
#pragma unroll
                for (int m = 0; m < most_fragments; ++m) {
                    if (m < fragments) {
                        load_blocks_turned(left[m], dy + 2 * m * plane);
                    }
                }
#pragma unroll
                for (int tap = 0; tap < taps_of_block; tap += 2) {
                    if (tap == 0 || has_more) {
                        unsigned loaded[4];
                        load_blocks_turned(loaded, input + offsets[tap / 2]);
#pragma unroll
                        for (int k = 0; k < 2 && tap + k < taps_of_block; ++k) {
#pragma unroll
                            for (int m = 0; m < most_fragments; ++m) {
                                if (m < fragments && (tap + k == 0 || has_more)) {
                                    Products::multiply(sums[tap + k][m], left[m], {loaded[2 * k], loaded[2 * k + 1]});
                                }
                            }
                        }
                    }
                }
            }
        } else {
            const unsigned g = lane() / 4, t = lane() % 4;
            dy += g / 4 * plane + t * 16 + g % 4 * 4;
            input += (2 * warp() + g / 4) * plane + t * 16 + g % 4 * 4;
            for (int first = 0; first < positions; first += 8, dy += 128, input += 128) {
                typename Products::template Factor<4> left[most_fragments];
#pragma unroll
                for (int m = 0; m < most_fragments; ++m) {
                    if (m < fragments) {
                        const unsigned at = dy + 4 * m * plane;
                        Products::prepare(left[m],
                                          {load_word(at), load_word(at + 2 * plane), load_word(at + 64), load_word(at + 2 * plane + 64)});
                    }
                }
#pragma unroll
                for (int tap = 0; tap < taps_of_block; ++tap) {
                    if (tap == 0 || has_more) {
                        typename Products::template Factor<2> right;
                        Products::prepare(right, {load_word(input + offsets[tap]), load_word(input + offsets[tap] + 64)});
#pragma unroll
                        for (int m = 0; m < most_fragments; ++m) {
                            if (m < fragments) {
                                Products::multiply(sums[tap][m], left[m], right);
                            }
                        }
                    }
                }
            }
        }
    }

    // Where taps are in pairs, the lower two warps get the last of each three taps from the upper ones. The planes are no longer needed.
    DEVICE_INLINE void put_together(const Convolution &c) {
        if (Mode::of_unit == 8 && by_warpgroups() && has_pairs(c)) {
            Four<float> *shared = reinterpret_cast<Four<float> *>(dynamic_shared_memory) + threadIdx.x % 64;
            __syncthreads();
#pragma unroll
            for (int i = 0; i < 3 * most_fragments && warp() > 1; ++i) {
                const float(&from)[4] = sums[i / most_fragments * 3 + 1][i % most_fragments];
                shared[i * 64] = {from[0], from[1], from[2], from[3]};
            }
            __syncthreads();
#pragma unroll
            for (int i = 0; i < 3 * most_fragments && warp() < 2; ++i) {
                const Four<float> last = shared[i * 64];
#pragma unroll
                for (int k = 0; k < 4; ++k) {
                    sums[i / most_fragments * 3 + 2][i % most_fragments][k] = last.v[k];
                }
            }
        }
    }

    // To (outs, taps, channels) from this block's first ones on, of which so many are left.
    DEVICE_INLINE void store(const Convolution &c, float *to, int outs, int taps, int channels) const {
        const bool warps_have_outs = by_warpgroups(), has_more = c.taps() > 1, has_all = taps >= taps_of_block;
        const int sixteen = warps_have_outs ? warp() : 0, eight = warps_have_outs ? 0 : warp();
        const auto first = (unsigned long long)to;
#pragma unroll
        for (int m = 0; m < most_fragments; ++m) {
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const int out = 16 * sixteen + 8 * half + lane() / 4 + (warps_have_outs ? 0 : 16 * m);
                const int channel = 8 * eight + lane() % 4 * 2 + (warps_have_outs ? 8 * m : 0);
                if (out < outs && channel < channels) {
                    unsigned long long at = first + (unsigned long long)(unsigned)(out * c.taps() * c.channels + channel) * sizeof(float);
                    if (has_more) {
                        store_taps<0, last_taps>(at, c.channels, m, half);
                        if (has_all) {
                            store_taps<last_taps, taps_of_block>(at, c.channels, m, half);
                        }
                        continue;
                    }
                    store_float(at, sums[0][m][2 * half]);
                    if (channel + 1 < channels) { // one tap may have an odd number of channels
                        store_float(at + sizeof(float), sums[0][m][2 * half + 1]);
                    }
                }
            }
        }
    }

  private:
    static constexpr int last_taps = 25 % taps_of_block; // of five by five

    template <int First, int End> DEVICE_INLINE void store_taps(unsigned long long &at, int channels, int m, int half) const {
#pragma unroll
        for (int k = First; k < End; ++k) {
            store_floats(at, sums[k][m][2 * half], sums[k][m][2 * half + 1]);
            at += (unsigned)channels * (unsigned)sizeof(float);
        }
    }

    // Positions from the first tap to another, or to the last one.
    DEVICE_INLINE static unsigned place_of(const Convolution &c, int tap) {
        const int existing = smaller(tap, c.taps() - 1), row = existing * (c.side == 3 ? 86 : 52) >> 8; // of side 3, 5, or 1
        return (unsigned)(row * (c.pitch - c.side) + existing);
    }

    // Four warps have 64 outputs. Where there are but 32, the upper two warps have the same ones, for the tap to the right of that of the
    // lower two: of what one tap sees, they multiply each position by dY of the position before. Rows of dY must end with a zero for that.
    DEVICE_INLINE static bool has_half(const Convolution &c) { return c.outs <= outs_of_block / 2; }
    DEVICE_INLINE static bool has_pairs(const Convolution &c) { return has_half(c) && c.side == 3 && c.out_width < c.pitch; }

    // A warp has sixteen outputs and all channels. Of each three taps, so many are multiplied: all, or the first two for pairs.
    template <int Taps, int OfThree = 3>
    DEVICE_INLINE void add_by_warpgroups(const Convolution &c, int first_tap, unsigned dy, unsigned input, unsigned plane, int positions) {
        const unsigned long long first_view = right_factor(input, 128, plane);
        unsigned long long views[Taps];
#pragma unroll
        for (int tap = 0; tap < Taps; ++tap) {
            const int place = Taps == 1 ? 0 : OfThree == 2 ? tap / 3 * c.pitch + tap % 3 : place_of(c, first_tap + tap);
            views[tap] = first_view + (unsigned)place; // of sixteen bytes each
        }
        const int sixteen = warp() % (has_half(c) ? 2 : 4), before = OfThree == 2 ? warp() / 2 : 0;
        dy += (2 * sixteen + lane() / 8 % 2) * plane + (lane() / 16 * 8 + lane() % 8 - before) * 16;
        int first = 0;
        for (; first + 48 < positions; first += 64) { // few waits for products
            add_sixteens<4, OfThree>(views, dy, first);
        }
#pragma unroll 1
        for (; first < positions; first += 16) {
            add_sixteens<1, OfThree>(views, dy, first);
        }
    }

    // Products of so many times sixteen positions from the first on.
    template <int Sixteens, int OfThree, int Taps>
    DEVICE_INLINE void add_sixteens(const unsigned long long (&views)[Taps], unsigned dy, unsigned first) {
        unsigned left[Sixteens][4];
#pragma unroll
        for (int k = 0; k < Sixteens; ++k) {
            load_blocks_turned(left[k], dy + 16 * first + 256 * k);
        }
        begin_products();
#pragma unroll
        for (int k = 0; k < Sixteens; ++k) {
#pragma unroll
            for (int tap = 0; tap < Taps; ++tap) {
                if (tap % 3 < OfThree) {
                    begin_bf16_turned(sums[tap], left[k], views[tap], 16 * first + 256 * k);
                }
            }
        }
        end_products();
#pragma unroll
        for (int tap = 0; tap < Taps; ++tap) {
            if (tap % 3 < OfThree) {
                settle(sums[tap]);
            }
        }
    }
};

template <class Mode> DEVICE_INLINE void conv_backward_weights(const ConvBackwardWeights &p) {
    using Gradient = WeightGradient<Mode>;
    const Convolution &c = p.shape;
    const int channel_groups = (c.channels + channels_of_block - 1) / channels_of_block,
              out_groups = (c.outs + outs_of_block - 1) / outs_of_block, taps = c.taps();
    const int first_channel = (int)blockIdx.y % channel_groups * channels_of_block,
              first_out = (int)blockIdx.y / channel_groups % out_groups * outs_of_block,
              first_tap = (int)blockIdx.y / channel_groups / out_groups * taps_of_block;
    const int out_units = c.outs <= outs_of_block / 2 ? Gradient::out_units / 2 : Gradient::out_units;
    unsigned char *input = dynamic_shared_memory,
                  *dy = input + Gradient::channel_units * c.plane_bytes(); // dY of the position before the first is 0
    const unsigned planes_bytes = (out_units + Gradient::channel_units) * c.plane_bytes();
#pragma unroll 1
    for (unsigned at = threadIdx.x * 16; at < planes_bytes; at += conv_threads * 16) {
        store_unit(input + at, zero_unit());
    }
    const ConvolutionInput<Mode, true> source{p.before, p.first, p.first_w, c.channels, input + planes_bytes};
    source.begin();
    const int fragments = (smaller(c.outs - first_out, outs_of_block) + 15) / 16;
    Gradient gradient;
    int tile = (int)blockIdx.x;
    do { // for each block has a tile at least: else the sums of none are copied
        const int samples = here(p.batch.samples), padding = here(c.padding), pitch = here(c.pitch), plane = here(c.plane),
                  first_slot = tile * c.rows;
        const Divisor by_period = {here(c.height) + padding, c.period_factor};
        // dY as it lies in the tall image of the input, each pixel where its window begins.
        const TallRows of_dy = {samples, here(c.out_height), here(c.out_width), here(c.outs), 0,     0, pitch,
                                plane,   c.by_across(),      by_period,         first_slot,   c.rows};
        const TallRows of_input = {samples, here(c.height), here(c.width), here(c.channels), padding,    padding,
                                   pitch,   plane,          c.by_pairs(),  by_period,        first_slot, c.slots};
        __syncthreads();
        GradientInput<Mode>{p.layer}.fill(of_dy, here(first_out), out_units, true, dy);
        source.fill(of_input, here(first_channel), Gradient::channel_units, true, input);
        let_products_see_writes();
        __syncthreads();
        Mode::with_products([&](auto how) __attribute__((always_inline)) {
            gradient.template add<decltype(how)>(c, first_tap, SHARED_ADDRESS(dy), SHARED_ADDRESS(input), fragments,
                                                 c.channels - first_channel);
        });
        tile += (int)gridDim.x;
    } while (tile < p.batch.tiles);
    gradient.put_together(c);
    float *partial = p.partial + (((long long)blockIdx.x * c.outs + first_out) * taps + first_tap) * c.channels + first_channel;
    gradient.store(c, partial, c.outs - first_out, taps - first_tap, c.channels - first_channel);
}

KERNELS_OF_MODES(conv_backward_weights, ConvBackwardWeights, conv_threads, 2)
