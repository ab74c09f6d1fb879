// Instructions that lanes run together, and those that say where they go on.
#include "forms.h"
#include "products.h"

#include <cstring>

namespace softcuda {

namespace {

template <typename Type> Floats part_of(Warp &warp, uint32_t at, unsigned half, unsigned k) {
    Bits bits;
    std::memcpy(&bits, warp.at<uint32_t>(at) + half * half_warp, sizeof bits);
    return Type::number(bits, k);
}

// D's registers 0 and 1 are columns 2 t and 2 t + 1 of row g, 2 and 3 those of row g + 8: each for half the rows.
template <typename Type, unsigned K, unsigned k>
void add_products(Warp &warp, const Instruction &i, Floats (&d)[4][2]) {
    constexpr unsigned a = 4 + 2 * Type::part(k), b = 4 + 2 * (Type::part(K - 1) + 1) + Type::part(k);
    constexpr unsigned quad = Type::quad(k);
    const Floats left = part_of<Type>(warp, i.at[b], 0, k), right = part_of<Type>(warp, i.at[b], 1, k);
    const Floats even = columns<quad, 0>(left, right, HalfWarp()), odd = columns<quad, 1>(left, right, HalfWarp());
    for (unsigned half = 0; half < 2; ++half) {
        const Floats above = rows<quad>(part_of<Type>(warp, i.at[a], half, k), HalfWarp()),
                     below = rows<quad>(part_of<Type>(warp, i.at[a + 1], half, k), HalfWarp());
        d[0][half] += above * even;
        d[1][half] += above * odd;
        d[2][half] += below * even;
        d[3][half] += below * odd;
    }
}

// D (16×8) = A (16×K) · B (K×8) + C, each sum in the order of k.
template <typename Type, size_t... k>
void multiply_accumulate(Warp &warp, const Instruction &i, std::index_sequence<k...>) {
    constexpr unsigned K = sizeof...(k), c = 4 + 3 * (Type::part(K - 1) + 1);
    Floats d[4][2];
    for (unsigned n = 0; n < 4; ++n) {
        std::memcpy(d[n], warp.at<float>(i.at[c + n]), sizeof d[n]);
    }
    (add_products<Type, K, k>(warp, i, d), ...);
    for (unsigned n = 0; n < 4; ++n) {
        std::memcpy(warp.at<float>(i.at[n]), d[n], sizeof d[n]);
    }
}

template <typename Type, unsigned K> void multiply(Warp &warp, const Instruction &i) {
    warp.require_whole();
    (std::is_same_v<Type, Tf32> ? warp.block->counts.tf32_products : warp.block->counts.matrix_products) += K / 8;
    multiply_accumulate<Type>(warp, i, std::make_index_sequence<K>());
}

void transpose_matrix(Warp &warp, const Instruction &i) {
    warp.require_whole();
    uint32_t before[warp_lanes];
    std::memcpy(before, warp.at<uint32_t>(i.at[1]), sizeof before);
    const auto element = [&](unsigned row, unsigned column) {
        return before[4 * row + column / 2] >> (column % 2 * 16) & 0xFFFFu;
    };
    for (unsigned lane = 0; lane < warp_lanes; ++lane) {
        const unsigned g = lane / 4, t = lane % 4;
        warp.at<uint32_t>(i.at[0])[lane] = element(2 * t, g) | element(2 * t + 1, g) << 16;
    }
}

// Of the lane whose number differs in the bits of a mask, or of one that is named.
template <bool Named> void shuffle(Warp &warp, const Instruction &i) {
    warp.require_whole();
    uint32_t before[warp_lanes];
    std::memcpy(before, warp.at<uint32_t>(i.at[1]), sizeof before);
    const uint32_t *which = warp.at<uint32_t>(i.at[2]);
    if (*warp.at<uint32_t>(i.at[3]) != 0x1F || *warp.at<uint32_t>(i.at[4]) != all_lanes) {
        throw Fault{launch_failed, "a shuffle of less than a warp"};
    }
    for (unsigned lane = 0; lane < warp_lanes; ++lane) {
        warp.at<uint32_t>(i.at[0])[lane] = before[(Named ? which[lane] : lane ^ which[lane]) % warp_lanes];
    }
}

void branch(Warp &warp, const Instruction &i) {
    Lanes taken = warp.active;
    if (i.guard >= 0) {
        const Lanes guard = *warp.at<Lanes>((uint32_t)i.guard);
        taken &= i.negated ? ~guard : guard;
    }
    warp.branch(taken, i);
}

void leave(Warp &warp, const Instruction &) { warp.leave(); }

void barrier(Warp &warp, const Instruction &) {
    warp.require_all();
    warp.state = State::at_barrier;
    ++warp.block->counts.barriers;
}

void wait_for_kernel_before(Warp &warp, const Instruction &) {
    warp.has_waited = warp.block->kernel_before_has_ended;
    if (!warp.has_waited) {
        --warp.next;
        warp.state = State::waits_for_kernel_before;
    }
}

// The next kernel waits for this one only: so this one must have waited for those before.
void let_next_kernel_begin(Warp &warp, const Instruction &) {
    if (!warp.has_waited) {
        throw Fault{launch_failed, "it lets the next kernel begin before it has waited for the one before"};
    }
}

} // namespace

void add_warp_forms(Forms &forms) {
    const std::string prefix = "mma.sync.aligned.", bfloat16 = ".row.col.f32.bf16.bf16.f32";
    forms[prefix + "m16n8k16" + bfloat16] = {multiply<Bfloat16, 16>, std::vector<uint8_t>(14, 4), 4};
    forms[prefix + "m16n8k8" + bfloat16] = {multiply<Bfloat16, 8>, std::vector<uint8_t>(11, 4), 4};
    forms[prefix + "m16n8k8.row.col.f32.tf32.tf32.f32"] = {multiply<Tf32, 8>, std::vector<uint8_t>(14, 4), 4};
    forms["movmatrix.sync.aligned.m8n8.trans.b16"] = {transpose_matrix, {4, 4}};
    forms["shfl.sync.bfly.b32"] = {shuffle<false>, {4, 4, 4, 4, 4}};
    forms["shfl.sync.idx.b32"] = {shuffle<true>, {4, 4, 4, 4, 4}};
    forms["bra"] = forms["bra.uni"] = {branch, {}};
    forms["ret"] = forms["exit"] = {leave, {}};
    forms["bar.sync"] = {barrier, {4}, 0};
    forms["griddepcontrol.wait"] = {wait_for_kernel_before, {}};
    forms["griddepcontrol.launch_dependents"] = {let_next_kernel_begin, {}};
}

} // namespace softcuda
