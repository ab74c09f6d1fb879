// A 3×3 convolution of images of 14 by 14 to 64 channels by four warpgroups, a quarter of the image each.
#pragma once

#include "tile.cuh"

constexpr int convolution_threads = 4 * warpgroup_threads;

template <int In> struct WarpgroupConvolution {
    using T = Planes<In, true>;

    static constexpr int strips = 7; // of eight pixels, of the image's 28, two to a row: a warpgroup's share
    float sums[strips][4];

    DEVICE_INLINE static int first_pixel() { return warpgroup() * (8 * strips); }

    DEVICE_INLINE void begin(const T &tile, const SharedWeights<In> &weights) {
        begin_products();
        const MatrixDescriptor pixels = tile.pixels_by_channels(first_pixel()).here(),
                               of_weights = weights.first_step().here();
#pragma unroll
        for (int tap = 0; tap < taps; ++tap) {
#pragma unroll
            for (int step = 0; step < In / 16; ++step) {
                const unsigned view = 16 * (tap / 3 * T::columns + tap % 3);
                multiply_async(sums, of_weights.plus((unsigned)(tap * weights.steps + step) * weights.step_bytes),
                               pixels.plus(view + 2 * step * T::plane_bytes), tap + step > 0);
            }
        }
        end_products();
    }

    // The lane's, once sums are by_pixel; two of sixteen lie right of the image.
    DEVICE_INLINE static int pixel(int strip) { return first_pixel() + 8 * strip + (lane() >> 2); }

    // epilogue(strip, row and column of its pixel, sums).
    template <class Epilogue> DEVICE_INLINE void finish(const Epilogue &epilogue) {
        wait_for_products();
        take(sums);
#pragma unroll
        for (int strip = 0; strip < strips; ++strip) {
            epilogue(strip, pixel(strip) / T::columns, pixel(strip) % T::columns, sums[strip]);
        }
    }

    // The sixteen channels of a warp, of which a lane has four.
    DEVICE_INLINE static int first_channel() { return warp() % 4 * 16 + 4 * (lane() & 3); }
};
