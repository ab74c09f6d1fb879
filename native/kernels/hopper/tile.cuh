// What products of warpgroups read: an image and a layer's weights in shared memory, in blocks of eight by eight.
#pragma once

#include "../fused/masked_gradient.cuh"
#include "../warpgroup.cuh"

// An image of 14 by 14, channels in eights: for each eight a plane of pixels of sixteen bytes, rows of sixteen. Eight
// neighbours of a row are one block of a product, from whichever pixel on, so that a window's nine views of the image
// are nine addresses. Beside a border of zeros, left, above and below, and two columns right of the image that nobody
// asks for; what a view has of the row below lies in those.
template <int Channels, bool Border> struct Planes {
    static constexpr int side = 14, channels = Channels, octets = Channels / 8, columns = 16;
    static constexpr int border = Border ? 1 : 0;
    // Neighbouring planes begin in other banks: 48 bytes on for eight of them, 32 for four and two pixels.
    static constexpr int pixels = Border ? columns * columns + (octets == 8 ? 3 : 2) : columns * side + 1;
    static constexpr unsigned plane_bytes = 16 * pixels;
    static constexpr int elements = 8 * pixels * octets;

    bfloat16 *data;

    // Row and column count from the border, where there is one or not: the image begins at (1, 1).
    DEVICE_INLINE bfloat16 *octet_at(int row, int column, int octet) const {
        return data + 8 * (octet * pixels + (row - 1 + border) * columns + column - 1 + border);
    }

    template <int Threads> DEVICE_INLINE void clear() const {
        for (int i = (int)threadIdx.x; i < elements / 8; i += Threads) {
            store_octet(data + 8 * i, {{0, 0, 0, 0}});
        }
    }

    // Pixels from one on as the right factor's columns, sixteen channels to be summed over.
    DEVICE_INLINE MatrixDescriptor pixels_by_channels(int first_pixel) const {
        return MatrixDescriptor::of(data + 8 * first_pixel, plane_bytes, 128);
    }

    // Sixteen pixels, to be summed over, by all channels.
    DEVICE_INLINE MatrixDescriptor channels_by_pixels() const { return MatrixDescriptor::of(data, 128, plane_bytes); }
};

// Weights of a convolution to 64 channels as left factors, (taps, In / 16) of 64 by 16: what a lane has of a fragment
// (Weights, convolution.cuh) is what it has here, and channels of sums stand in the same order.
template <int In> struct SharedWeights {
    static constexpr int steps = In / 16, elements = taps * In * 64;
    static constexpr unsigned step_bytes = 64 * 16 * 2, half_bytes = step_bytes / 2;

    bfloat16 *data;

    template <int Threads> DEVICE_INLINE void load(const bfloat16 *fragments) const {
        constexpr int count = 4 * of_group, whole = count / Threads, rest = count % Threads;
        const Fragment *from = reinterpret_cast<const Fragment *>(fragments) + threadIdx.x;
        Fragment loaded[whole]; // all on their way at once
#pragma unroll
        for (int k = 0; k < whole; ++k) {
            loaded[k] = from[k * Threads];
        }
#pragma unroll
        for (int k = 0; k < whole; ++k) {
            store((int)threadIdx.x + k * Threads, loaded[k]);
        }
        if ((int)threadIdx.x < rest) {
            store((int)threadIdx.x + whole * Threads, from[whole * Threads]);
        }
    }

    // The first of them; each of the others is step_bytes behind the one before.
    DEVICE_INLINE MatrixDescriptor first_step() const { return MatrixDescriptor::of(data, half_bytes, 128); }

  private:
    static constexpr int of_group = taps * steps * 32; // fragments of sixteen channels

    DEVICE_INLINE void store(int i, const Fragment &fragment) const {
        unsigned *to = reinterpret_cast<unsigned *>(data);
        const int group = i / of_group, step = i % of_group / 32;
#pragma unroll
        for (int part = 0; part < 4; ++part) { // rows 0 … 7 of sixteen, then 8 … 15; then the same eight columns on
            to[((step * 2 + part / 2) * 8 + 2 * group + part % 2) * 32 + lane()] = fragment.a[part];
        }
    }
};

// Two of them: one is read while the other is made.
template <int Channels> struct Tiles {
    using T = Planes<Channels, true>;

    static constexpr int elements = 2 * T::elements;

    bfloat16 *data;

    DEVICE_INLINE T of(int which) const { return {data + which * T::elements}; }

    template <int Threads> DEVICE_INLINE void clear() const {
        of(0).template clear<Threads>();
        of(1).template clear<Threads>();
    }
};

// Quads of an image, each by the thread that makes a pooled octet of it: T is the tile of the layer before pooling.
template <int Threads, class T> DEVICE_INLINE void fetch_quads(bfloat16 *shared, const bfloat16 *image) {
    constexpr int half = T::side / 2;
    const int octet = (int)threadIdx.x % T::octets;
    for (unsigned i = threadIdx.x; i < half * half * T::octets; i += Threads) {
        const int pooled = (int)(i / T::octets);
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            const int pixel = (pooled / half * 2 + k / 2) * T::side + pooled % half * 2 + k % 2;
            copy_async(shared + pixel * T::channels + 8 * octet, image + pixel * T::channels + 8 * octet);
        }
    }
}

// The activation of a layer that is pooled, from its pooled y.
template <int Threads, class T>
DEVICE_INLINE void fill_activated_pooled(const T &tile, const bfloat16 *pooled, const float *coefficients,
                                         float keep_scale) {
    const int octet = (int)threadIdx.x % T::octets;
    for (int i = (int)threadIdx.x; i < T::side * T::side * T::octets; i += Threads) {
        const int pixel = i / T::octets;
        const Eight a = load_eight(coefficients + scale + 8 * octet), b = load_eight(coefficients + shift + 8 * octet);
        store_octet(tile.octet_at(pixel / T::side + 1, pixel % T::side + 1, octet),
                    activate_pooled(load_octet(pooled + 8 * i), a, b, keep_scale));
    }
}

// The samples of a block, one after another. While the tensor cores multiply one, all threads make the next: fetch(n)
// asks for what the thread will itself use of sample n, so that there is one barrier a sample; make(n, which) makes its
// tiles, one pair of two; begin(n, which) begins its products, and finish(n) takes them. To be called when a barrier
// has set the tiles free and the first sample is being fetched.
template <class Fetch, class Make, class Begin, class Finish>
DEVICE_INLINE void for_every_sample(int samples, const Fetch &fetch, const Make &make, const Begin &begin,
                                    const Finish &finish) {
    const int stride = (int)gridDim.x;
    const auto prepare = [&](int n, int which) {
        if (n < samples) {
            wait_for_copies();
            make(n, which);
            if (n + stride < samples) {
                fetch(n + stride);
            }
            let_products_see_writes();
        }
    };
    int which = 0;
    prepare((int)blockIdx.x, which);
    for (int n = (int)blockIdx.x; n < samples; n += stride, which ^= 1) {
        __syncthreads();
        begin(n, which);
        prepare(n + stride, which ^ 1);
        finish(n);
    }
}
