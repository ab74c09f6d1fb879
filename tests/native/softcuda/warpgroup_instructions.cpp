// Products of matrices by four warps together, the right one in shared memory (wgmma, sm_90a). They are made when the
// warp waits for them; what they read must then still be what it was when they began, and nobody may have touched the
// sums.
#include "forms.h"

#include <algorithm>
#include <cstring>

namespace softcuda {

namespace {

using Strip = float __attribute__((vector_size(32)));
constexpr unsigned most_strips = 32; // 256 columns

const char *const disagreement = "lanes of a warp do not agree about a product";

constexpr uint32_t poison = 0xFFFFFFFF; // NaN: what sums are while products on them are on their way

// What factors consist of: how many of them are summed over, and the float of the same value.
struct Bfloat16 {
    using Bits = uint16_t;
    static constexpr unsigned sums_over = 16;
    static uint32_t widen(Bits bits) { return (uint32_t)bits << 16; }
};
struct Tf32 { // 13 bits fewer than a float
    using Bits = uint32_t;
    static constexpr unsigned sums_over = 8;
    static uint32_t widen(Bits bits) { return bits & ~0x1FFFu; }
};

float number(uint32_t bits) {
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

// (rows, K) from row `first` on. is_new: whether this warp has not read it before, and so leaves a trace of that.
template <typename Type>
std::vector<uint32_t> read(Warp &warp, const Factor &factor, unsigned first, unsigned rows, bool is_new) {
    constexpr uint64_t block_bytes = 128;
    constexpr unsigned in_half = Type::sums_over / 2;
    std::vector<uint32_t> values(rows * Type::sums_over);
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
            typename Type::Bits block[8 * in_half];
            std::memcpy(block, warp.block->shared + offset, sizeof block);
            for (unsigned i = 0; i < 8; ++i) {
                for (unsigned j = 0; j < in_half; ++j) {
                    values[(8 * group + i) * Type::sums_over + half * in_half + j] =
                        Type::widen(block[factor.sums_along_bytes ? i * in_half + j : j * 8 + i]);
                }
            }
        }
    }
    return values;
}

// The same of a warp's sixteen rows in four registers: rows g and g + 8 of the t-th four bytes of a half, then both of
// the other half.
template <typename Type> std::vector<uint32_t> read_registers(Warp &warp, const uint32_t *registers) {
    constexpr unsigned in_half = Type::sums_over / 2, in_register = in_half / 4;
    std::vector<uint32_t> values(16 * Type::sums_over);
    for (unsigned i = 0; i < 4; ++i) {
        typename Type::Bits held[warp_lanes * in_register];
        std::memcpy(held, warp.at<uint32_t>(registers[i]), sizeof held);
        for (unsigned k = 0; k < warp_lanes * in_register; ++k) {
            values[(k / in_half + i % 2 * 8) * Type::sums_over + i / 2 * in_half + k % in_half] = Type::widen(held[k]);
        }
    }
    return values;
}

unsigned rows_of_warp(const Warp &warp) { return warp.first_thread / warp_lanes % 4 * 16; }

void begin_products(Warp &warp, const Instruction &) {
    warp.require_whole();
    warp.products.is_fenced = true;
}

// {d …}, a, b, adds, 1, 1, and of bfloat16 whether a is transposed, where it lies in shared memory, and whether b is.
template <typename Type, unsigned N, bool InRegisters> void multiply_async(Warp &warp, const Instruction &i) {
    warp.require_whole();
    constexpr unsigned sums = N / 2, right = sums + (InRegisters ? 4 : 1), signs = right + 2;
    constexpr bool is_bfloat16 = std::is_same_v<Type, Bfloat16>;
    Products &products = warp.products;
    if (!products.is_fenced) {
        throw Fault{launch_failed, "a product by a warpgroup without wgmma.fence before it"};
    }
    const auto constant = [&](unsigned operand) { return *warp.at<uint32_t>(i.all[operand]); };
    if (constant(signs) != 1 || constant(signs + 1) != 1) {
        throw Fault{launch_failed, "a product of a factor with its sign turned: not known here"};
    }
    const auto factor = [&](unsigned operand, unsigned transposed) {
        const uint64_t *of_lanes = warp.at<uint64_t>(i.all[operand]);
        if (std::any_of(of_lanes, of_lanes + warp_lanes, [&](uint64_t bits) { return bits != of_lanes[0]; })) {
            throw Fault{launch_failed, disagreement};
        }
        return factor_of(of_lanes[0], is_bfloat16 && constant(transposed) != 0);
    };
    const Lanes adds = *warp.at<Lanes>(i.all[right + 1]);
    if (adds != 0 && adds != all_lanes) {
        throw Fault{launch_failed, disagreement};
    }
    Product product = {&i, adds != 0, {}, factor(right, signs + (InRegisters ? 2 : 3)), nullptr, nullptr};
    if constexpr (InRegisters) {
        product.left.values = read_registers<Type>(warp, &i.all[sums]);
        product.read_left = [](Warp &w, const Product &p) {
            return read_registers<Type>(w, &p.instruction->all[sums]);
        };
    } else {
        product.left = factor(sums, signs + 2);
        product.left.values = read<Type>(warp, product.left, rows_of_warp(warp), 16, true);
        product.read_left = [](Warp &w, const Product &p) { return read<Type>(w, p.left, rows_of_warp(w), 16, false); };
    }
    product.right.values =
        read<Type>(warp, product.right, 0, N, rows_of_warp(warp) == 0); // the first warp stands for all four
    product.read_right = [](Warp &w, const Product &p) { return read<Type>(w, p.right, 0, N, false); };
    for (unsigned k = 0; k < sums; ++k) {
        auto [held, is_new] = products.sums.try_emplace(i.all[k]);
        if (is_new) {
            held->second.assign(warp.at<float>(i.all[k]), warp.at<float>(i.all[k]) + warp_lanes);
            std::fill_n(warp.at<uint32_t>(i.all[k]), warp_lanes, poison);
        }
    }
    products.begun.push_back(std::move(product));
    products.are_committed = false;
    warp.block->counts.warpgroup_products += N / 8 * 2; // of tf32, half as many take as long
    // What one warp has of the left factor; the right one is read once for all four.
    const uint64_t passes = (InRegisters ? 0 : 16 * 32 / 128) + (rows_of_warp(warp) == 0 ? N * 32 / 128 : 0);
    warp.block->counts.shared_passes += passes;
    warp.block->counts.shared_passes_least += passes;
}

void end_products(Warp &warp, const Instruction &) {
    warp.require_whole();
    warp.products.are_committed = true;
}

void make(Warp &warp, const Product &product) {
    if (product.read_left(warp, product) != product.left.values ||
        product.read_right(warp, product) != product.right.values) {
        throw Fault{launch_failed, "a factor of a product was written to while that was on its way"};
    }
    const unsigned sums_over = (unsigned)product.left.values.size() / 16,
                   n = (unsigned)product.right.values.size() / sums_over, strips = n / 8;
    Strip columns[16][most_strips]; // (K, N)
    for (unsigned column = 0; column < n; ++column) {
        for (unsigned k = 0; k < sums_over; ++k) {
            columns[k][column / 8][column % 8] = number(product.right.values[column * sums_over + k]);
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
        for (unsigned k = 0; k < sums_over; ++k) {
            const float left = number(product.left.values[row * sums_over + k]);
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

// Of a left factor in shared memory or in registers.
template <typename Type, unsigned N, bool InRegisters> void add_product(Forms &forms) {
    constexpr bool is_bfloat16 = std::is_same_v<Type, Bfloat16>;
    std::vector<uint8_t> operands(N / 2 + (InRegisters ? 4 : 0), 4);
    if (!InRegisters) {
        operands.push_back(8);
    }
    operands.insert(operands.end(), {8, 0, 4, 4});
    operands.insert(operands.end(), is_bfloat16 ? (InRegisters ? 1 : 2) : 0, 4);
    forms["wgmma.mma_async.sync.aligned.m64n" + std::to_string(N) +
          (is_bfloat16 ? "k16.f32.bf16.bf16" : "k8.f32.tf32.tf32") + (InRegisters ? ".registers" : "")] = {
        multiply_async<Type, N, InRegisters>, operands, N / 2, true};
}

} // namespace

void add_warpgroup_forms(Forms &forms) {
    add_product<Bfloat16, 32, false>(forms);
    add_product<Bfloat16, 56, false>(forms);
    add_product<Bfloat16, 64, false>(forms);
    add_product<Bfloat16, 112, false>(forms);
    add_product<Bfloat16, 128, false>(forms);
    add_product<Bfloat16, 32, true>(forms);
    add_product<Bfloat16, 64, true>(forms);
    add_product<Tf32, 32, true>(forms);
    add_product<Tf32, 64, true>(forms);
    forms["wgmma.fence.sync.aligned"] = {begin_products, {}};
    forms["wgmma.commit_group.sync.aligned"] = {end_products, {}};
    forms["wgmma.wait_group.sync.aligned"] = {wait_for_products, {4}, 0};
    forms["fence.proxy.async.shared::cta"] = {let_products_see_writes, {}};
}

} // namespace softcuda
