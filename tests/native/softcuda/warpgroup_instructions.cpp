// Products of matrices in shared memory by four warps together (wgmma, sm_90a). They are made when the warp waits for
// them; what they read must then still be what it was when they began, and nobody may have touched the sums.
#include "forms.h"

#include <algorithm>
#include <cstring>

namespace softcuda {

namespace {

using Strip = float __attribute__((vector_size(32)));
constexpr unsigned most_strips = 32; // 256 columns

constexpr uint32_t poison = 0xFFFFFFFF; // NaN: what sums are while products on them are on their way

float widen(uint16_t bf16) {
    const uint32_t bits = (uint32_t)bf16 << 16;
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}

// The matrix descriptor of the PTX ISA, without swizzling: bits 0 … 13 the address, 16 … 29 the leading dimension's
// byte offset, 32 … 45 the stride dimension's, each without its last four bits. Where what is summed over lies in one
// piece (K-major), `leading` is from its first eight to the next and `stride` from eight rows to the next; where rows
// do, the other way round. (CUTLASS, mma_traits_sm90_gmma.hpp: canonical layouts of INTERLEAVE.)
Factor factor_of(uint64_t descriptor, bool is_transposed) {
    if (descriptor >> 46) {
        throw Fault{launch_failed, "a matrix descriptor with swizzling, or with an offset of its base: not known here"};
    }
    const uint64_t leading = (descriptor >> 16 & 0x3FFF) << 4, stride = (descriptor >> 32 & 0x3FFF) << 4;
    return {(descriptor & 0x3FFF) << 4, leading, stride, !is_transposed, {}};
}

// (rows, 16) from row `first` on. is_new: whether this warp has not read it before, and so leaves a trace of that.
std::vector<uint16_t> read(Warp &warp, const Factor &factor, unsigned first, unsigned rows, bool is_new) {
    constexpr uint64_t block_bytes = 128;
    std::vector<uint16_t> values(rows * 16);
    for (unsigned group = 0; group < rows / 8; ++group) {
        for (unsigned half = 0; half < 2; ++half) {
            const uint64_t offset =
                factor.first + half * factor.along + (first / 8 + group) * factor.across - shared_base;
            if (offset > warp.block->shared_bytes || warp.block->shared_bytes - offset < block_bytes) {
                throw Fault{illegal_address, "a factor of a product lies outside shared memory"};
            }
            if (is_new) {
                warp.block->races.read_async(offset, block_bytes, warp.first_thread);
            }
            uint16_t block[8][8];
            std::memcpy(block, warp.block->shared + offset, sizeof block);
            for (unsigned i = 0; i < 8; ++i) {
                for (unsigned j = 0; j < 8; ++j) {
                    values[(8 * group + i) * 16 + 8 * half + j] = factor.sums_along_bytes ? block[i][j] : block[j][i];
                }
            }
        }
    }
    return values;
}

unsigned rows_of_warp(const Warp &warp) { return warp.first_thread / warp_lanes % 4 * 16; }

void begin_products(Warp &warp, const Instruction &) {
    warp.require_whole();
    warp.products.is_fenced = true;
}

// {d …}, a, b, adds, 1, 1, whether a is transposed, whether b is.
template <unsigned N> void multiply_async(Warp &warp, const Instruction &i) {
    warp.require_whole();
    constexpr unsigned sums = N / 2;
    Products &products = warp.products;
    if (!products.is_fenced) {
        throw Fault{launch_failed, "a product by a warpgroup without wgmma.fence before it"};
    }
    const auto constant = [&](unsigned operand) { return *warp.at<uint32_t>(i.all[operand]); };
    if (constant(sums + 3) != 1 || constant(sums + 4) != 1) {
        throw Fault{launch_failed, "a product of a factor with its sign turned: not known here"};
    }
    const Lanes adds = *warp.at<Lanes>(i.all[sums + 2]);
    Product product = {&i, adds != 0, factor_of(*warp.at<uint64_t>(i.all[sums]), constant(sums + 5) != 0),
                       factor_of(*warp.at<uint64_t>(i.all[sums + 1]), constant(sums + 6) != 0)};
    const uint64_t *left = warp.at<uint64_t>(i.all[sums]), *right = warp.at<uint64_t>(i.all[sums + 1]);
    for (unsigned lane = 1; lane < warp_lanes; ++lane) {
        if (left[lane] != left[0] || right[lane] != right[0] || (adds != 0 && adds != all_lanes)) {
            throw Fault{launch_failed, "lanes of a warp do not agree about a product"};
        }
    }
    product.left.values = read(warp, product.left, rows_of_warp(warp), 16, true);
    product.right.values =
        read(warp, product.right, 0, N, rows_of_warp(warp) == 0); // the first warp stands for all four
    for (unsigned k = 0; k < sums; ++k) {
        auto [held, is_new] = products.sums.try_emplace(i.all[k]);
        if (is_new) {
            held->second.assign(warp.at<float>(i.all[k]), warp.at<float>(i.all[k]) + warp_lanes);
            std::fill_n(warp.at<uint32_t>(i.all[k]), warp_lanes, poison);
        }
    }
    products.begun.push_back(std::move(product));
    products.are_committed = false;
    warp.block->counts.warpgroup_products += N / 8 * 2;
    // What one warp has of the left factor; the right one is read once for all four.
    const uint64_t passes = 16 * 32 / 128 + (rows_of_warp(warp) == 0 ? N * 32 / 128 : 0);
    warp.block->counts.shared_passes += passes;
    warp.block->counts.shared_passes_least += passes;
}

void end_products(Warp &warp, const Instruction &) {
    warp.require_whole();
    warp.products.are_committed = true;
}

void make(Warp &warp, const Product &product) {
    const unsigned n = (unsigned)product.right.values.size() / 16;
    if (read(warp, product.left, rows_of_warp(warp), 16, false) != product.left.values ||
        read(warp, product.right, 0, n, false) != product.right.values) {
        throw Fault{launch_failed, "a factor of a product was written to while that was on its way"};
    }
    const unsigned strips = n / 8;
    Strip columns[16][most_strips]; // (16, N)
    for (unsigned column = 0; column < n; ++column) {
        for (unsigned k = 0; k < 16; ++k) {
            columns[k][column / 8][column % 8] = widen(product.right.values[column * 16 + k]);
        }
    }
    float *sums[4 * most_strips]; // of strip s: row g at columns 2t and 2t + 1, then row g + 8
    for (unsigned k = 0; k < n / 2; ++k) {
        sums[k] = warp.products.sums.at(product.instruction->all[k]).data();
    }
    for (unsigned row = 0; row < 16; ++row) {
        Strip made[most_strips] = {};
        const auto sum = [&](unsigned strip, unsigned column) -> float & {
            return sums[strip * 4 + row / 8 * 2 + column % 2][row % 8 * 4 + column / 2];
        };
        for (unsigned strip = 0; product.adds && strip < strips; ++strip) {
            for (unsigned column = 0; column < 8; ++column) {
                made[strip][column] = sum(strip, column);
            }
        }
        for (unsigned k = 0; k < 16; ++k) {
            const float left = widen(product.left.values[row * 16 + k]);
            for (unsigned strip = 0; strip < strips; ++strip) {
                made[strip] += left * columns[k][strip];
            }
        }
        for (unsigned strip = 0; strip < strips; ++strip) {
            for (unsigned column = 0; column < 8; ++column) {
                sum(strip, column) = made[strip][column];
            }
        }
    }
}

void wait_for_products(Warp &warp, const Instruction &i) {
    warp.require_whole();
    Products &products = warp.products;
    if (*warp.at<uint32_t>(i.at[0]) != 0 || !products.are_committed) {
        throw Fault{launch_failed, "products are waited for that were not committed, or for some of them"};
    }
    for (const auto &[at, values] : products.sums) {
        const uint32_t *now = warp.at<uint32_t>(at);
        if (std::any_of(now, now + warp_lanes, [](uint32_t bits) { return bits != poison; })) {
            throw Fault{launch_failed, "sums were written to while products on them were on their way"};
        }
    }
    for (const Product &product : products.begun) {
        make(warp, product);
    }
    for (const auto &[at, values] : products.sums) {
        std::copy(values.begin(), values.end(), warp.at<float>(at));
    }
    products = {};
}

void let_products_see_writes(Warp &warp, const Instruction &) {
    for (unsigned lane = 0; lane < warp_lanes; ++lane) {
        if (warp.active >> lane & 1) {
            warp.block->races.fence(warp.first_thread + lane);
        }
    }
}

template <unsigned N> void add_product(Forms &forms) {
    std::vector<uint8_t> operands(N / 2, 4);
    operands.insert(operands.end(), {8, 8, 0, 4, 4, 4, 4});
    forms["wgmma.mma_async.sync.aligned.m64n" + std::to_string(N) + "k16.f32.bf16.bf16"] = {multiply_async<N>, operands,
                                                                                            N / 2, true};
}

} // namespace

void add_warpgroup_forms(Forms &forms) {
    add_product<32>(forms);
    add_product<56>(forms);
    add_product<64>(forms);
    add_product<112>(forms);
    add_product<128>(forms);
    forms["wgmma.fence.sync.aligned"] = {begin_products, {}};
    forms["wgmma.commit_group.sync.aligned"] = {end_products, {}};
    forms["wgmma.wait_group.sync.aligned"] = {wait_for_products, {4}, 0};
    forms["fence.proxy.async.shared::cta"] = {let_products_see_writes, {}};
}

} // namespace softcuda
