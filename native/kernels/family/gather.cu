// The first kernel of a training step where the first layer has batch norm: its input, and the layer's statistics, which follow from it.
#include "../common/gather_augment.cuh"
#include "batch_norm.cuh"
#include "moments.cuh"

struct GatherMoments {
    StepState *state;
    void *x; // (N, 28, 28), f32 or bfloat16
    Gathering gathering;
    const void *w; // (channels, taps), as x
    ChannelNorm norm;
    double *moments;
    int samples, side, padding;
    unsigned rounding; // what products read
};

enum Rounding { to_none, to_tf32, to_bf16 };

constexpr int gather_threads = 256, gather_warps = gather_threads / 32;

// The input in shared memory with zeros about it, in float32 in every mode: what is rounded to bfloat16 is a number of tf32 as well.
struct Windows {
    static constexpr int border = 4, pitch = 40, elements = (Picture::side + 2 * border) * pitch + 4; // four pixels are read past the end

    float *data;

    DEVICE_INLINE void set(int h, int w, float value) const { data[(h + border) * pitch + w + border] = value; }

    // From where a window begins to what a tap of it sees.
    DEVICE_INLINE static int distance(int tap, int side, int padding) {
        return (tap / side + border - padding) * pitch + tap % side + border - padding;
    }
};

// A warp's sums of products of sixteen taps with sixteen. Where the taps and the 1 are more than sixteen, each pair of taps is one of a
// warp of three: the first sixteen with themselves, with the others, and those with themselves.
struct WindowSums {
    static constexpr int side = 16, elements = side * side;

    float of[2][4] = {}; // lane 4 g + t: of row g, then g + 8; and of columns 2t and 2t + 1, then those eight further on

    template <class Mode> DEVICE_INLINE void add(const unsigned (&left)[4], const unsigned (&right)[4]) {
        typename Mode::template Factor<4> a;
        Mode::prepare(a, left);
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const unsigned eight[2] = {right[half], right[2 + half]};
            typename Mode::template Factor<2> b;
            Mode::prepare(b, eight);
            Mode::multiply(of[half], a, b);
        }
    }

    DEVICE_INLINE void store(float *to) const {
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            to[((lane() >> 2) + 8 * (i >> 1 & 1)) * side + 2 * (lane() & 3) + (i & 1) + 8 * (i >> 2)] = of[i >> 2][i & 3];
        }
    }
};

// What sixteen taps see: a lane has those of taps g and g + 8 at a pixel, then at the one below.
struct WindowReader {
    int distances[2], tap;

    DEVICE_INLINE WindowReader(const GatherMoments &p, int first_tap) : tap(first_tap + (lane() >> 2)) {
#pragma unroll
        for (int i = 0; i < 2; ++i) { // what lies past the taps goes nowhere
            distances[i] = tap + 8 * i < p.side * p.side ? Windows::distance(tap + 8 * i, p.side, p.padding) : 0;
        }
    }

    DEVICE_INLINE Unit read(const float *at, bool exists, int taps) const {
        Unit to;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const float seen = tap + 8 * (i & 1) == taps ? 1.0f : at[distances[i & 1] + (i >> 1) * Windows::pitch];
            to.w[i] = exists ? float_bits(seen) : 0;
        }
        return to;
    }
};

// Samples of a dataset to x, augmented; the moments of the windows of x, as products read them; and from those the layer's statistics.
PUBLISH(moments_of_9_taps, Moments::count(9))
PUBLISH(moments_of_25_taps, Moments::count(25))
KERNEL(gather_threads, 4) gather_moments(GatherMoments p) {
    constexpr int most = Moments::count(Moments::most_taps);
    union Memory {
        struct {
            float picture[Picture::elements], windows[Windows::elements];
        } first;
        float of_warps[gather_warps][WindowSums::elements];
        struct {
            double scratch[4 * gather_threads], totals[most];
        } last;
    };
    __shared__ Memory memory;
    const Picture picture{memory.first.picture};
    const Windows windows{memory.first.windows};
    const int thread = (int)threadIdx.x;
    const int taps = p.side * p.side, out = Picture::side + 2 * p.padding - p.side + 1; // even: so are the sides of windows not
    const bool narrow_elements = p.rounding == to_bf16;
    const auto rounded = [&](float value) {
        return p.rounding == to_tf32 ? round_to_tf32(value) : narrow_elements ? to_float(from_float<bfloat16>(value)) : value;
    };
    const int kinds = taps < WindowSums::side ? 1 : 3, kind = warp() % kinds; // of warps
    const int first_row = 2 * (warp() / kinds), rows = 2 * ((gather_warps - kind + kinds - 1) / kinds);
    const WindowReader reader(p, kind == 2 ? 16 : 0), other_reader(p, 16);
    WindowSums sums;
    picture.clear();
    for (int i = thread; i < Windows::elements; i += gather_threads) {
        windows.data[i] = 0;
    }
    wait_for_kernel_before();
    __syncthreads();
    for (int n = (int)blockIdx.x; n < p.samples; n += (int)gridDim.x) {
        gather_augment(p.state, n, p.gathering, picture, [&](int h, int w, float value) {
            const float element = rounded(value);
            const long long i = (long long)n * (Picture::side * Picture::side) + h * Picture::side + w;
            windows.set(h, w, element);
            if (narrow_elements) {
                static_cast<bfloat16 *>(p.x)[i] = {(unsigned short)(float_bits(element) >> 16)};
            } else {
                static_cast<float *>(p.x)[i] = element;
            }
        });
        __syncthreads();
        for (int row = first_row; row < out; row += rows) { // eight pixels are four of a row, and those below
            for (int column = lane() & 3; column - (lane() & 3) < out; column += 4) {
                const float *at = windows.data + row * Windows::pitch + column;
                Unit left = reader.read(at, column < out, taps), right = left;
                if (kind == 1) {
                    right = other_reader.read(at, column < out, taps);
                }
                if (p.rounding == to_none) {
                    sums.add<Fp32>(left.w, right.w);
                } else {
                    sums.add<Tf32>(left.w, right.w);
                }
            }
        }
    }
    let_next_kernel_begin();
    __syncthreads();
    sums.store(memory.of_warps[warp()]);
    __syncthreads();
    const int count = Moments::count(taps);
    float *partial = p.norm.partial + (long long)blockIdx.x * count;
    for (int i = thread; i < kinds * WindowSums::elements; i += gather_threads) {
        const int of_kind = i / WindowSums::elements, entry = i % WindowSums::elements;
        const int j = entry / WindowSums::side + (of_kind == 2 ? 16 : 0), k = entry % WindowSums::side + (of_kind == 0 ? 0 : 16);
        if (j <= taps && k <= taps && (j >= k || of_kind == 1)) {
            float sum = 0;
            for (int w = of_kind; w < gather_warps; w += kinds) {
                sum += memory.of_warps[w][entry];
            }
            partial[Moments::at(j, k)] = sum;
        }
    }
    if (thread > Moments::at(taps, taps) && thread < count) {
        partial[thread] = 0;
    }
    if (!is_last_block(p.norm.arrived)) {
        return;
    }

    double *scratch = memory.last.scratch;
    const double *totals = memory.last.totals;
    add_rows<gather_threads>(p.norm.partial, (int)gridDim.x, count, memory.last.totals, scratch);
    for (int i = thread; i < count; i += gather_threads) {
        p.moments[i] = totals[i];
    }
    // Threads share the taps of a channel.
    const int channels = p.norm.channels, shares = gather_threads / channels, first = thread % channels * taps;
    const auto weight = [&](int tap) {
        return narrow_elements ? to_float(static_cast<const bfloat16 *>(p.w)[first + tap])
                               : rounded(static_cast<const float *>(p.w)[first + tap]);
    };
    double average = 0, square = 0;
    for (int j = thread / channels; j < taps; j += shares) {
        const double of_tap = weight(j);
        double others = 0;
        for (int k = 0; k < j; ++k) {
            others += weight(k) * totals[Moments::at(j, k)];
        }
        average += of_tap * totals[Moments::at(taps, j)];
        square += of_tap * (of_tap * totals[Moments::at(j, j)] + 2 * others);
    }
    scratch[thread] = average;
    scratch[gather_threads + thread] = square;
    __syncthreads();
    if (thread < channels) {
        for (int share = 1; share < shares; ++share) {
            average += scratch[share * channels + thread];
            square += scratch[gather_threads + share * channels + thread];
        }
        average /= p.norm.values;
        use_statistics(p.norm, average, square / p.norm.values - average * average, thread);
    }
    if (thread == gather_threads - 1) {
        move_on(p.state, p.samples, p.gathering);
    }
}
