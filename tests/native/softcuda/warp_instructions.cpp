// Instructions that lanes run together, and those that say where they go on.
#include "forms.h"

#include <cstring>

namespace softcuda {

namespace {

float low(uint32_t pair) {
    const uint32_t bits = pair << 16;
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}

float high(uint32_t pair) { return low(pair >> 16); }

using Row = float __attribute__((vector_size(32)));

// A (16×K) and B (K×8) of a product D (16×8) = A · B + C, taken from the registers of a warp.
template <unsigned K> struct Factors {
    float a[16][K];
    union {
        Row rows[K];
        float at[K][8];
    } b;
};

// Lane 4 g + t holds rows g and g + 8 of A, and column g of B, two neighbours at a time.
template <unsigned K> struct Bfloat16 : Factors<K> {
    static constexpr unsigned of_a = K / 4, of_b = K / 8; // registers

    Bfloat16(Warp &warp, const Instruction &i) {
        warp.block->counts.matrix_products += K / 8;
        for (unsigned half = 0; half < of_b; ++half) {
            const uint32_t *above = warp.at<uint32_t>(i.at[4 + 2 * half]),
                           *below = warp.at<uint32_t>(i.at[5 + 2 * half]),
                           *right = warp.at<uint32_t>(i.at[4 + of_a + half]);
            for (unsigned g = 0; g < 8; ++g) {
                for (unsigned t = 0; t < 4; ++t) {
                    const unsigned k = 8 * half + 2 * t;
                    this->a[g][k] = low(above[4 * g + t]);
                    this->a[g][k + 1] = high(above[4 * g + t]);
                    this->a[g + 8][k] = low(below[4 * g + t]);
                    this->a[g + 8][k + 1] = high(below[4 * g + t]);
                    this->b.at[k][g] = low(right[4 * g + t]);
                    this->b.at[k + 1][g] = high(right[4 * g + t]);
                }
            }
        }
    }
};

// Lane 4 g + t holds columns t and t + 4 of rows g and g + 8 of A, and rows t and t + 4 of column g of B.
template <unsigned K> struct Tf32 : Factors<K> {
    static constexpr unsigned of_a = K / 2, of_b = K / 4;

    static float number(uint32_t bits) { // 13 bits fewer than a float
        bits &= ~0x1FFFu;
        float x;
        std::memcpy(&x, &bits, sizeof x);
        return x;
    }

    Tf32(Warp &warp, const Instruction &i) {
        warp.block->counts.tf32_products += K / 8;
        for (unsigned quarter = 0; quarter < of_b; ++quarter) {
            const uint32_t *above = warp.at<uint32_t>(i.at[4 + 2 * quarter]),
                           *below = warp.at<uint32_t>(i.at[5 + 2 * quarter]),
                           *right = warp.at<uint32_t>(i.at[4 + of_a + quarter]);
            for (unsigned g = 0; g < 8; ++g) {
                for (unsigned t = 0; t < 4; ++t) {
                    const unsigned k = 4 * quarter + t;
                    this->a[g][k] = number(above[4 * g + t]);
                    this->a[g + 8][k] = number(below[4 * g + t]);
                    this->b.at[k][g] = number(right[4 * g + t]);
                }
            }
        }
    }
};

// Lane 4 g + t holds columns 2 t and 2 t + 1 of rows g and g + 8 of C and D.
template <unsigned K, template <unsigned> class Type> void multiply_accumulate(Warp &warp, const Instruction &i) {
    warp.require_whole();
    const Type<K> factors(warp, i);
    constexpr unsigned c = 4 + Type<K>::of_a + Type<K>::of_b;
    union {
        Row rows[16];
        float at[16][8];
    } d;
    for (unsigned half = 0; half < 2; ++half) {
        const float *left = warp.at<float>(i.at[c + 2 * half]), *right = warp.at<float>(i.at[c + 1 + 2 * half]);
        for (unsigned g = 0; g < 8; ++g) {
            for (unsigned t = 0; t < 4; ++t) {
                d.at[8 * half + g][2 * t] = left[4 * g + t];
                d.at[8 * half + g][2 * t + 1] = right[4 * g + t];
            }
        }
    }
    for (unsigned half = 0; half < 16; half += 8) { // eight sums side by side: one would wait for itself
        Row sums[8];
        std::memcpy(sums, d.rows + half, sizeof sums);
        for (unsigned k = 0; k < K; ++k) {
            for (unsigned row = 0; row < 8; ++row) {
                sums[row] += factors.a[half + row][k] * factors.b.rows[k];
            }
        }
        std::memcpy(d.rows + half, sums, sizeof sums);
    }
    for (unsigned half = 0; half < 2; ++half) {
        float *left = warp.at<float>(i.at[2 * half]), *right = warp.at<float>(i.at[2 * half + 1]);
        for (unsigned g = 0; g < 8; ++g) {
            for (unsigned t = 0; t < 4; ++t) {
                left[4 * g + t] = d.at[8 * half + g][2 * t];
                right[4 * g + t] = d.at[8 * half + g][2 * t + 1];
            }
        }
    }
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
    const std::string multiply = "mma.sync.aligned.", bfloat16 = ".row.col.f32.bf16.bf16.f32";
    forms[multiply + "m16n8k16" + bfloat16] = {multiply_accumulate<16, Bfloat16>, std::vector<uint8_t>(14, 4)};
    forms[multiply + "m16n8k8" + bfloat16] = {multiply_accumulate<8, Bfloat16>, std::vector<uint8_t>(11, 4)};
    forms[multiply + "m16n8k8.row.col.f32.tf32.tf32.f32"] = {multiply_accumulate<8, Tf32>, std::vector<uint8_t>(14, 4)};
    forms["movmatrix.sync.aligned.m8n8.trans.b16"] = {transpose_matrix, {4, 4}};
    forms["shfl.sync.bfly.b32"] = {shuffle<false>, {4, 4, 4, 4, 4}};
    forms["shfl.sync.idx.b32"] = {shuffle<true>, {4, 4, 4, 4, 4}};
    forms["bra"] = forms["bra.uni"] = {branch, {}};
    forms["ret"] = {leave, {}};
    forms["bar.sync"] = {barrier, {4}};
    forms["griddepcontrol.wait"] = {wait_for_kernel_before, {}};
    forms["griddepcontrol.launch_dependents"] = {let_next_kernel_begin, {}};
}

} // namespace softcuda
