// Products of matrices by four warps together, the right one in shared memory (wgmma, sm_90a). They are made when the
// warp waits for them; what they read must then still be what it was when they began, and nobody may have touched the
// sums.
#include "forms.h"
#include "products.h"

#include <algorithm>
#include <cstring>

namespace softcuda {

namespace {

const char *const disagreement = "lanes of a warp do not agree about a product";

constexpr uint32_t poison = 0xFFFFFFFF; // NaN: what sums are while products on them are on their way

constexpr size_t block_bytes = 128;            // eight rows, or columns, of sixteen bytes: a register of a warp
constexpr size_t left_bytes = 4 * block_bytes; // of a warp: sixteen rows, two halves of what is summed over

// The matrix descriptor of the PTX ISA, without swizzling: bits 0 … 13 the address, 16 … 29 the leading dimension's
// byte offset, 32 … 45 the stride dimension's, each without its last four bits. Where what is summed over lies in one
// piece (K-major), `leading` is from its first eight to the next and `stride` from eight rows to the next; where rows
// do, the other way round. (CUTLASS, mma_traits_sm90_gmma.hpp: canonical layouts of INTERLEAVE.)
Factor factor_of(uint64_t descriptor, bool is_transposed) {
    if (descriptor >> 46) {
        throw Fault{launch_failed, "a matrix descriptor with swizzling, or with an offset of its base: not known here"};
    }
    const uint64_t leading = (descriptor >> 16 & 0x3FFF) << 4, stride = (descriptor >> 32 & 0x3FFF) << 4;
    return {(descriptor & 0x3FFF) << 4, leading, stride, !is_transposed};
}

// The blocks of rows from `first` on, both halves of eight rows side by side. is_new: whether this warp has not read
// them before, and so leaves a trace of that.
void read(Warp &warp, const Factor &factor, unsigned first, unsigned rows, bool is_new, unsigned char *to) {
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
            std::memcpy(to + (2 * group + half) * block_bytes, warp.block->shared + offset, block_bytes);
        }
    }
}

// The same of a warp's sixteen rows in four registers: rows g and g + 8 of a half, then both of the other half.
void read_registers(Warp &warp, const uint32_t *registers, unsigned char *to) {
    for (unsigned i = 0; i < 4; ++i) {
        std::memcpy(to + (i % 2 * 2 + i / 2) * block_bytes, warp.at<unsigned char>(registers[i]), block_bytes);
    }
}

unsigned rows_of_warp(const Warp &warp) { return warp.first_thread / warp_lanes % 4 * 16; }

// Both factors of a product of N columns.
void read(Warp &warp, const Product &product, unsigned n, bool is_new, unsigned char *to) {
    if (product.is_left_in_registers) {
        read_registers(warp, &product.instruction->all[n / 2], to);
    } else {
        read(warp, product.left, rows_of_warp(warp), 16, is_new, to);
    }
    // The first warp stands for all four.
    read(warp, product.right, 0, n, is_new && rows_of_warp(warp) == 0, to + left_bytes);
}

// Which of the first sums that are held is that of a register, or `among`; as a rule, the one behind the one before.
size_t place_of(const Products &products, uint32_t at, size_t expected, size_t among) {
    const auto begin = products.sums.begin(), end = begin + (ptrdiff_t)among;
    if (expected < among && begin[(ptrdiff_t)expected].at == at) {
        return expected;
    }
    return (size_t)(std::find_if(begin, end, [at](const auto &sum) { return sum.at == at; }) - begin);
}

Bits load(const unsigned char *from) {
    Bits bits;
    std::memcpy(&bits, from, sizeof bits);
    return bits;
}

// Two neighbours of bfloat16 in each of four words, for each of four rows.
Bits four_times(const unsigned char *from) {
    uint32_t words[4];
    std::memcpy(words, from, sizeof words);
    Bits bits;
    for (unsigned lane = 0; lane < half_warp; ++lane) {
        bits[lane] = words[lane % 4];
    }
    return bits;
}

// Element k of eight rows, four lanes for each. Where rows lie side by side, k has sixteen bytes of its own.
template <typename Type, unsigned k> void spread_rows(const unsigned char *block, bool is_k_major, Floats (&a)[2]) {
    for (unsigned half = 0; half < 2; ++half) {
        if (is_k_major) {
            a[half] = rows<Type::quad(k)>(Type::number(load(block + half * sizeof(Bits)), k), HalfWarp());
        } else {
            uint16_t of_k[8];
            std::memcpy(of_k, block + k % 8 * sizeof of_k, sizeof of_k);
            Bits bits;
            for (unsigned lane = 0; lane < half_warp; ++lane) {
                bits[lane] = of_k[4 * half + lane / 4];
            }
            a[half] = Type::number(bits, 0);
        }
    }
}

template <unsigned N> constexpr size_t right_bytes = N / 8 * 2 * block_bytes;

// Each sum in the order of k.
template <typename Type, unsigned N, size_t... k>
void make(Warp &warp, const Product &product, std::index_sequence<k...>) {
    unsigned char now[left_bytes + right_bytes<N>];
    read(warp, product, N, false, now);
    if (std::memcmp(now, &warp.products.values[product.values], sizeof now) != 0) {
        throw Fault{launch_failed, "a factor of a product was written to while that was on its way"};
    }
    const bool left_is_k_major = product.is_left_in_registers || product.left.sums_along_bytes;
    Floats above[Type::sums_over][2], below[Type::sums_over][2];
    ((spread_rows<Type, k>(now + Type::part(k) * block_bytes, left_is_k_major, above[k]),
      spread_rows<Type, k>(now + (2 + Type::part(k)) * block_bytes, left_is_k_major, below[k])),
     ...);
    size_t place = 0;
    for (unsigned strip = 0; strip < N / 8; ++strip) { // row g at columns 2 t and 2 t + 1, then row g + 8
        float *sums[4];
        Floats d[4][2] = {};
        for (unsigned n = 0; n < 4; ++n) {
            place = place_of(warp.products, product.instruction->all[4 * strip + n], place, warp.products.sums.size());
            sums[n] = warp.products.sums[place++].values;
            if (product.adds) {
                std::memcpy(d[n], sums[n], sizeof d[n]);
            }
        }
        const unsigned char *right = now + left_bytes + strip * 2 * block_bytes;
        const auto add = [&](unsigned row, Floats even, Floats odd) {
            for (unsigned half = 0; half < 2; ++half) {
                d[0][half] += above[row][half] * even;
                d[1][half] += above[row][half] * odd;
                d[2][half] += below[row][half] * even;
                d[3][half] += below[row][half] * odd;
            }
        };
        const auto add_k_major = [&](auto row) {
            constexpr unsigned quad = Type::quad(row);
            const unsigned char *block = right + Type::part(row) * block_bytes;
            const Floats left_half = Type::number(load(block), row),
                         right_half = Type::number(load(block + sizeof(Bits)), row);
            add(row, columns<quad, 0>(left_half, right_half, HalfWarp()),
                columns<quad, 1>(left_half, right_half, HalfWarp()));
        };
        if (product.right.sums_along_bytes) {
            (add_k_major(std::integral_constant<unsigned, k>()), ...);
        } else {
            for (unsigned row = 0; row < Type::sums_over; ++row) {
                const Bits both = four_times(right + row * 16);
                add(row, Type::number(both, 0), Type::number(both, 1));
            }
        }
        for (unsigned n = 0; n < 4; ++n) {
            std::memcpy(sums[n], d[n], sizeof d[n]);
        }
    }
}

template <typename Type, unsigned N> void make(Warp &warp, const Product &product) {
    make<Type, N>(warp, product, std::make_index_sequence<Type::sums_over>());
}

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
    Product product = {
        &i,           adds != 0, InRegisters, {}, factor(right, signs + (InRegisters ? 2 : 3)), products.values.size(),
        make<Type, N>};
    if (!InRegisters) {
        product.left = factor(sums, signs + 2);
    }
    products.values.resize(product.values + left_bytes + right_bytes<N>);
    read(warp, product, N, true, &products.values[product.values]);
    const size_t held = products.sums.size();
    size_t place = 0;
    for (unsigned k = 0; k < sums; ++k) {
        place = place_of(products, i.all[k], place, held);
        if (place == held) {
            products.sums.emplace_back().at = i.all[k];
            std::memcpy(products.sums.back().values, warp.at<float>(i.all[k]), sizeof(float) * warp_lanes);
            std::fill_n(warp.at<uint32_t>(i.all[k]), warp_lanes, poison);
        }
        ++place;
    }
    products.begun.push_back(product);
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

void wait_for_products(Warp &warp, const Instruction &i) {
    warp.require_whole();
    Products &products = warp.products;
    if (*warp.at<uint32_t>(i.at[0]) != 0 || !products.are_committed) {
        throw Fault{launch_failed, "products are waited for that were not committed, or for some of them"};
    }
    for (const Products::Sum &sum : products.sums) {
        const uint32_t *now = warp.at<uint32_t>(sum.at);
        uint32_t touched = 0;
        for (unsigned lane = 0; lane < warp_lanes; ++lane) {
            touched |= now[lane] ^ poison;
        }
        if (touched) {
            throw Fault{launch_failed, "sums were written to while products on them were on their way"};
        }
    }
    for (const Product &product : products.begun) {
        product.make(warp, product);
    }
    for (const Products::Sum &sum : products.sums) {
        std::memcpy(warp.at<float>(sum.at), sum.values, sizeof sum.values);
    }
    products.clear();
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
