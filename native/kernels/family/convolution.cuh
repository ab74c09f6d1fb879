// A convolution of images in shared memory on tensor cores. Pixels are rows of the left factor, a lane points at its own, wherever they
// lie; outputs are columns of the right one. Weights come from the second-level cache in stages of one tap by 64 bytes of input channels.
#pragma once

#include "tall.cuh"

constexpr int units_of_chunk = 4; // a chunk of channels is 64 bytes

template <class Mode> constexpr int chunk_channels = units_of_chunk * Mode::of_unit;

// Weights lie as StageOrder says, in TileShape.cs: (32 outputs at a time, stages, 2 steps, 4 tiles of eight outputs, 2 halves of a step, 8
// outputs, 16 bytes of input channels). Output 8 i + 2 j + k of 32 is number 2 i + k of tile j: so a lane's sums are those of eight
// neighbours.
constexpr unsigned step_bytes = 1024, stage_bytes = 2 * step_bytes, ring_stages = 4;
static_assert(stage_bytes == 16 * conv_threads, "every thread copies sixteen bytes of a stage");
PUBLISH(ring_bytes_of_group, ring_stages *stage_bytes)

// The stages of a block's outputs again and again, three of them on the way. In the ring, the groups of outputs of a step follow each
// other.
template <int Groups> struct WeightStream {
    const unsigned char *from;
    unsigned ring;
    int stages, next = 0, slot = 0; // next to be asked for, and into which part of the ring

    DEVICE_INLINE WeightStream(const void *weights, int count, unsigned memory)
        : from(static_cast<const unsigned char *>(weights) + (long long)blockIdx.y * Groups * count * stage_bytes + threadIdx.x * 16),
          ring(memory), stages(count) {
#pragma unroll
        for (int i = 0; i < (int)ring_stages - 1; ++i) {
            ask();
        }
    }

    // Where the next stage is, by all threads. The last one is no longer needed.
    DEVICE_INLINE unsigned take() {
        wait_for_copies<(int)ring_stages - 2>();
        let_products_see_writes();
        __syncthreads();
        const unsigned taken = place((slot + 1) % (int)ring_stages);
        ask();
        return taken;
    }

  private:
    DEVICE_INLINE unsigned place(int of_slot) const { return ring + (unsigned)of_slot * (Groups * stage_bytes); }

    DEVICE_INLINE void ask() {
#pragma unroll
        for (int group = 0; group < Groups; ++group) {
            copy_unit(place(slot) + threadIdx.x / 64 * (Groups - 1) * step_bytes + group * step_bytes + threadIdx.x * 16,
                      from + ((long long)group * stages + next) * stage_bytes);
        }
        close_copies();
        next = next + 1 == stages ? 0 : next + 1;
        slot = (slot + 1) % (int)ring_stages;
    }
};

constexpr int most_fragments = 4; // sixteens of pixels of a warp
PUBLISH(most_fragments_of_warp, most_fragments)

// Sums of a warp's pixels and a block's outputs.
template <int Groups> struct Sums {
    float of[most_fragments][4 * Groups][4];

    // Eight neighbouring outputs of a pixel: those from 32 group + 8 t on, of pixel g or g + 8 of a fragment.
    DEVICE_INLINE Eight eight(int fragment, int half, int group) const {
        Eight out;
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            out.v[i] = of[fragment][4 * group + i / 2][2 * half + i % 2];
        }
        return out;
    }
};

// One stage: 64 bytes of channels of what a tap sees. pixels: where a lane's rows lie for the first tap; distance: of this tap from there.
template <class Products, int Groups>
DEVICE_INLINE void multiply_stage(Sums<Groups> &sums, const unsigned (&pixels)[most_fragments], int fragments, unsigned distance,
                                  unsigned two_planes, unsigned weights, int steps) {
#pragma unroll
    for (int step = 0; step < 2; ++step) {
        if (step < steps) {
            typename Products::template Factor<2> right[4 * Groups];
#pragma unroll
            for (int pair = 0; pair < 2 * Groups; ++pair) {
                unsigned loaded[4];
                load_blocks(loaded, weights + step * Groups * step_bytes + pair * 512 + lane() * 16);
                Products::prepare(right[2 * pair], {loaded[0], loaded[1]});
                Products::prepare(right[2 * pair + 1], {loaded[2], loaded[3]});
            }
#pragma unroll
            for (int m = 0; m < most_fragments; ++m) {
                if (m < fragments) {
                    unsigned loaded[4];
                    typename Products::template Factor<4> left;
                    load_blocks(loaded, pixels[m] + distance + step * two_planes);
                    Products::prepare(left, loaded);
#pragma unroll
                    for (int tile = 0; tile < 4 * Groups; ++tile) {
                        Products::multiply(sums.of[m][tile], left, right[tile]);
                    }
                }
            }
        }
    }
}

// The same by warpgroups, a fragment of each warp at a time.
template <class Mode, int Groups>
DEVICE_INLINE void multiply_stage_by_warpgroups(Sums<Groups> &sums, const unsigned (&pixels)[most_fragments], int fragments,
                                                unsigned distance, unsigned two_planes, unsigned weights, int steps) {
#pragma unroll
    for (int step = 0; step < 2; ++step) {
        if (step < steps) {
            unsigned left[most_fragments][4];
#pragma unroll
            for (int m = 0; m < most_fragments; ++m) {
                if (m < fragments) {
                    load_blocks(left[m], pixels[m] + distance + step * two_planes);
                }
            }
            begin_products();
#pragma unroll
            for (int m = 0; m < most_fragments; ++m) {
                if (m < fragments) {
                    Mode::begin(sums.of[m], left[m], right_factor(weights + step * Groups * step_bytes, 128, 256));
                }
            }
            end_products();
#pragma unroll
            for (int m = 0; m < most_fragments; ++m) {
                settle(sums.of[m]);
            }
        }
    }
}

// The pixel of a tile that a lane has in a fragment, g or g + 8.
DEVICE_INLINE int pixel_of(int fragments, int fragment, int row) { return (warp() * fragments + fragment) * 16 + row; }

// Where output is made in windows: the window of a tile whose upper pixels a lane has as g and g + 8 of an even fragment, its lower ones of
// the next. Eight windows side by side have each second pixel of a row: as g and g + 8, half of them take the left and the right one, the
// other half the right and the left one, so that those with one g lie in different banks.
DEVICE_INLINE int right_of(int half, int g) { return half ^ (g >> 2 & 1); }
DEVICE_INLINE int window_of(int fragments, int fragment, int g) { return ((warp() * fragments + fragment) >> 1) * 8 + g; }

// Tile after tile: input.fill(rows, first channel, units, planes) makes a chunk of channels of the rows that a tile reads;
// output.begin(shape, rows) may fill memory of its own, and output.take(shape, rows, sums) gets all sums of it.
template <class Mode, int Groups, class Input, class Output>
DEVICE_INLINE void convolve(const Convolution &c, const void *weights, Input &input, Output &output) {
    unsigned char *planes = dynamic_shared_memory;
    const unsigned plane = c.plane_bytes(), first_byte = SHARED_ADDRESS(planes);
    const int chunks = (c.channels + chunk_channels<Mode> - 1) / chunk_channels<Mode>;
    WeightStream<Groups> stream(weights, chunks * c.taps(), first_byte + units_of_chunk * plane);
    for (unsigned i = threadIdx.x; i < units_of_chunk * (unsigned)c.plane; i += conv_threads) {
        store_unit(planes + i * 16, {{0, 0, 0, 0}});
    }
    output.clear();
    wait_for_kernel_before();
    for (int tile = (int)blockIdx.x; tile < c.tiles; tile += (int)gridDim.x) {
        const TileRows rows(c, tile);
        const Divisor across = c.by_across();
        unsigned places[most_fragments];
#pragma unroll
        for (int m = 0; m < most_fragments; ++m) {
            const int wanted = c.pools ? window_of(c.fragments, m, lane() % 8) : pixel_of(c.fragments, m, lane() % 16);
            const int one = smaller(wanted, rows.count * across.divisor - 1), row = across.quotient(one);
            int slot = rows.slot_of(c, rows.first + row) - rows.first_slot, column = one - row * across.divisor;
            if (c.pools) {
                slot += m % 2;
                column = smaller(2 * column + right_of(lane() / 8 % 2, lane() % 8), c.out_width - 1);
            }
            places[m] = first_byte + (unsigned)(slot * c.pitch() + column) * 16 + lane() / 16 * plane;
        }
        Sums<Groups> sums = {};
        for (int chunk = 0; chunk < chunks; ++chunk) {
            __syncthreads();
            if (chunk == 0) {
                output.begin(c, rows);
            }
            const TallRows read = {c.samples, c.height, c.width,      c.channels,    c.padding,       c.padding,
                                   c.pitch(), c.plane,  c.by_width(), c.by_period(), rows.first_slot, rows.slots};
            input.fill(read, chunk * chunk_channels<Mode>, units_of_chunk, planes);
            const int steps = c.channels - chunk * chunk_channels<Mode> > chunk_channels<Mode> / 2 ? 2 : 1;
            for (int y = 0; y < c.side; ++y) {
                for (int x = 0; x < c.side; ++x) {
                    const unsigned distance = (unsigned)(y * c.pitch() + x) * 16, weights_of_tap = stream.take();
                    if (Mode::by_warpgroups()) {
                        multiply_stage_by_warpgroups<Mode>(sums, places, c.fragments, distance, 2 * plane, weights_of_tap, steps);
                    } else {
                        Mode::with_products([&](auto how) __attribute__((always_inline)) {
                            multiply_stage<decltype(how)>(sums, places, c.fragments, distance, 2 * plane, weights_of_tap, steps);
                        });
                    }
                }
            }
        }
        output.take(c, rows, sums);
    }
    let_next_kernel_begin();
    wait_for_copies<0>();
    output.finish(c);
}

// Two sums per channel over a thread's pixels of a tile, of the eight channels of one group.
struct ChannelSums {
    float of[16] = {}; // the first of each channel, then the second

    DEVICE_INLINE void add(const Eight &a, const Eight &b) {
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            of[i] += a.v[i];
            of[8 + i] = fused_multiply_add(a.v[i], b.v[i], of[8 + i]);
        }
    }
};

// The same over a warp's pixels of all tiles. Lanes share them: what eight lanes have of sixteen sums, they add up and keep two each.
template <int Groups> struct WarpSums {
    float of[Groups][2] = {};

    DEVICE_INLINE void add(int group, ChannelSums &sums) {
        share<8>(sums);
        share<4>(sums);
        share<2>(sums);
        of[group][0] += sums.of[0];
        of[group][1] += sums.of[1];
    }

    static constexpr int most_scratch = 4 * conv_threads; // doubles; the sums of the block stand behind

    // Those of the block, (2, channels), in shared memory, after a barrier.
    DEVICE_INLINE float *of_block() const {
        constexpr int width = 32 * Groups;
        float(&of_warps)[conv_warps][2 * width] = *reinterpret_cast<float(*)[conv_warps][2 * width]>(dynamic_shared_memory);
        float *total = reinterpret_cast<float *>(dynamic_shared_memory + 8 * most_scratch);
        __syncthreads();
#pragma unroll
        for (int group = 0; group < Groups; ++group) {
#pragma unroll
            for (int k = 0; k < 2; ++k) {
                const int kept = (lane() & 16) / 2 + (lane() & 8) / 2 + (lane() & 4) / 2 + k; // of sixteen
                of_warps[warp()][kept / 8 * width + 32 * group + lane() % 4 * 8 + kept % 8] = of[group][k];
            }
        }
        __syncthreads();
        if (threadIdx.x < 2 * width) {
            float sum = 0;
            for (int w = 0; w < conv_warps; ++w) {
                sum += of_warps[w][threadIdx.x];
            }
            total[threadIdx.x] = sum;
        }
        return total;
    }

  private:
    // Of twice as many sums, a lane keeps one half, and the lane 2 · Kept from it the other.
    template <int Kept> DEVICE_INLINE static void share(ChannelSums &sums) {
        const bool upper = lane() & 2 * Kept;
#pragma unroll
        for (int i = 0; i < Kept; ++i) {
            const float first = sums.of[i], second = sums.of[Kept + i]; // not their addresses: those would be in memory
            sums.of[i] = (upper ? second : first) + shuffle_xor(upper ? first : second, 2 * Kept);
        }
    }
};

// A kernel for 32 outputs a block and one for 64, in each mode.
#define CONVOLUTIONS_OF_MODE(name, Parameters, Mode, mode)                                                                                 \
    KERNEL(conv_threads, 3) name##_32_##mode(Parameters p) { name<Mode, 1>(p); }                                                           \
    KERNEL(conv_threads, 2) name##_64_##mode(Parameters p) { name<Mode, 2>(p); }
#define CONVOLUTIONS(name, Parameters)                                                                                                     \
    CONVOLUTIONS_OF_MODE(name, Parameters, Bf16, bf16)                                                                                     \
    CONVOLUTIONS_OF_MODE(name, Parameters, F32, f32)
