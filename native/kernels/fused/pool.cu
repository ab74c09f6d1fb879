// What follows the last convolution of `improved` in training.
#include "fill.cuh"
#include "parameters.cuh"

// y4 → pooled4 and z4, (N, 7, 7, 64): what the dense layers read. A thread per eight channels of a pooled pixel.
KERNEL(256) pool4_forward(Pool4Forward p) {
    using T = Tile<14, 64>;
    const long long i = (long long)blockIdx.x * image_threads + threadIdx.x;
    wait_for_kernel_before();
    let_next_kernel_begin();
    const int n = (int)(i / (49 * T::octets)), pixel = (int)(i / T::octets % 49), octet = (int)(i % T::octets);
    if (n < p.samples) {
        const Eight a = load_eight(p.coefficients4 + scale + 8 * octet), b = load_eight(p.coefficients4 + shift + 8 * octet);
        const Octet pooled = pool_octet<T>(Digits(p.state).of(n), Packed<T>{p.y4 + (long long)n * (196 * 64)}, {pixel / 7, pixel % 7},
                                           octet, signs_of(a), p.dropout);
        store_octet(p.pooled4 + 8 * i, pooled);
        store_octet(p.z4 + 8 * i, activate_pooled(pooled, a, b, p.dropout.keep_scale));
    }
}
