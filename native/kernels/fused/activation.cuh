// What lies between a convolution and the next layer, for a unit of channels at a time: max pooling 2x2, dropout, ReLU. u rises with y, or
// falls where the scale is below 0: the greatest u is that of the greatest y, or of the smallest.
#pragma once

#include "../common/dropout.cuh"
#include "element.cuh"

template <class Mode> constexpr bool in_pairs = Mode::of_unit == 8; // a word holds two elements

// All bits of a word's elements whose scale is below 0; none of NaN, which has no sign here.
template <class Mode> DEVICE_INLINE unsigned where_negative(const Values<Mode::of_unit> &scale, int word) {
    const int first = word * Mode::of_unit / 4, last = first + Mode::of_unit / 4 - 1;
    unsigned mask; // the sign of the first one's byte 3, twice, and of the last one's, twice
    asm("prmt.b32 %0, %1, %2, 0xFFBB;" : "=r"(mask) : "r"(float_bits(scale.v[first])), "r"(float_bits(scale.v[last])));
    return mask;
}

// The signs of a word's elements whose scale is below 0.
template <class Mode> DEVICE_INLINE unsigned signs_of(const Values<Mode::of_unit> &scale, int word) {
    return where_negative<Mode>(scale, word) & (in_pairs<Mode> ? 0x80008000u : 0x80000000u);
}

// The greater of each element, 0 above -0; of a number and NaN, NaN without a sign.
template <class Mode> DEVICE_INLINE unsigned greater_of(unsigned a, unsigned b) {
    unsigned most;
    if constexpr (in_pairs<Mode>) {
        asm("max.NaN.bf16x2 %0, %1, %2;" : "=r"(most) : "r"(a), "r"(b));
    } else {
        asm("max.NaN.f32 %0, %1, %2;" : "=r"(most) : "r"(a), "r"(b));
    }
    return most;
}

template <class Mode> DEVICE_INLINE unsigned smaller_of(unsigned a, unsigned b) {
    unsigned least;
    if constexpr (in_pairs<Mode>) {
        asm("min.NaN.bf16x2 %0, %1, %2;" : "=r"(least) : "r"(a), "r"(b));
    } else {
        asm("min.NaN.f32 %0, %1, %2;" : "=r"(least) : "r"(a), "r"(b));
    }
    return least;
}

// All bits of elements that have not the same bits. Pairs of bfloat16 cannot be compared before sm_90, but pairs of float16 can: where the
// bits are the same, both sides are -1.
template <class Mode> DEVICE_INLINE unsigned where_different(unsigned a, unsigned b) {
    if constexpr (in_pairs<Mode>) {
        constexpr unsigned minus_ones = 0xBC00BC00;
        unsigned mask;
        asm("set.neu.u32.f16x2 %0, %1, %2;" : "=r"(mask) : "r"(a ^ b ^ minus_ones), "r"(minus_ones));
        return mask;
    } else {
        return a != b ? ~0u : 0u;
    }
}

// The y of four pixels where their u is greatest.
template <class Mode> DEVICE_INLINE Unit pooled_unit(const Unit (&y)[4], const Values<Mode::of_unit> &scale) {
    Unit out;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const unsigned most = greater_of<Mode>(greater_of<Mode>(y[0].w[i], y[1].w[i]), greater_of<Mode>(y[2].w[i], y[3].w[i])),
                       least = smaller_of<Mode>(smaller_of<Mode>(y[0].w[i], y[1].w[i]), smaller_of<Mode>(y[2].w[i], y[3].w[i])),
                       negative = where_negative<Mode>(scale, i);
        out.w[i] = (most & ~negative) | (least & negative);
    }
    return out;
}

// All bits of elements of which the second one is above the first; greater: the greater of both.
template <class Mode> DEVICE_INLINE unsigned where_second(unsigned first, unsigned second, unsigned greater) {
    if constexpr (in_pairs<Mode>) {
        unsigned mask = where_different<Mode>(first, greater);
        asm("//@sm_90 set.gt.u32.bf16x2 %0, %1, %2;" : "+r"(mask) : "r"(second), "r"(first));
        return mask;
    } else {
        return bits_float(second) > bits_float(first) ? ~0u : 0u;
    }
}

// On the way back through pooling, of a word of four pixels: the greatest of each element, and all bits of those of the first pixel that
// has it. Elements have the other sign where u falls with y.
template <class Mode> struct FirstGreatest {
    unsigned of, is[4];

    DEVICE_INLINE FirstGreatest(const Unit (&y)[4], int word) {
        const unsigned y0 = y[0].w[word], y1 = y[1].w[word], y2 = y[2].w[word], y3 = y[3].w[word];
        const unsigned above = greater_of<Mode>(y0, y1), below = greater_of<Mode>(y2, y3);
        of = greater_of<Mode>(above, below);
        const unsigned is_below = where_second<Mode>(above, below, of), is_right = where_second<Mode>(y0, y1, above),
                       is_right_below = where_second<Mode>(y2, y3, below);
        is[0] = ~is_below & ~is_right;
        is[1] = ~is_below & is_right;
        is[2] = is_below & ~is_right_below;
        is[3] = is_below & is_right_below;
    }
};

// What dropout takes of the samples of a step: it depends on their rows of the dataset and on the epoch. Where nothing is dropped, these
// are not loaded, since a prediction need not have a dataset.
struct Digits {
    const int *order = nullptr;
    unsigned first = 0, rows = 0, epoch = 0;

    DEVICE_INLINE Digits(const StepState *state, const Dropout &dropout) {
        if (dropout.threshold > 0) {
            order = device_pointer<const int>(state->order), first = state->first, rows = state->rows, epoch = state->epoch;
        }
    }

    // Which of Count elements of sample n it takes: their bits, in order, are 0, 16, 1, 17, 2, 18 and so on. `element` is the place of the
    // first one in (H, W, C). It is a multiple of four, and so is Count. An n past the last sample stands for the last one.
    template <int Count> DEVICE_INLINE unsigned dropped(const Dropout &dropout, int element, int n) const {
        unsigned words[Count], bits = 0;
        dropout.words((unsigned)element / 4, (unsigned)dataset_row(order, rows, first + (unsigned)n), epoch, words);
#pragma unroll
        for (int i = 0; i < Count; ++i) {
            bits |= words[i] < dropout.threshold ? 1u << (i / 2 + i % 2 * 16) : 0u;
        }
        return bits;
    }
};

// y, or dropped_bits where dropout takes it; `dropped` as Digits has it.
template <class Mode> DEVICE_INLINE Unit marked_unit(const Unit &y, unsigned dropped) {
    Unit out;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        out.w[i] = y.w[i] | (in_pairs<Mode> ? (dropped >> i & 0x10001u) * 0xFFFFu : (dropped >> (i / 2 + i % 2 * 16) & 1u) * dropped_bits);
    }
    return out;
}

// relu(u) as an operand of products.
template <class Mode> DEVICE_INLINE Unit rectified_unit(Values<Mode::of_unit> u) {
    Unit out;
    if constexpr (in_pairs<Mode>) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            asm("cvt.rn.relu.bf16x2.f32 %0, %1, %2;" : "=r"(out.w[i]) : "f"(u.v[2 * i + 1]), "f"(u.v[2 * i]));
        }
    } else {
#pragma unroll
        for (int c = 0; c < Mode::of_unit; ++c) {
            u.v[c] = rectified(u.v[c]);
        }
        out = Mode::operand(u);
    }
    return out;
}

// relu(scale · y + shift), of a unit, or of one of some more numbers.
template <class Mode, int Count>
DEVICE_INLINE Unit activate(const Values<Count> &y, const Values<Count> &scale, const Values<Count> &shift, int unit = 0) {
    Values<Mode::of_unit> u;
#pragma unroll
    for (int c = 0; c < Mode::of_unit; ++c) {
        const int i = unit * Mode::of_unit + c;
        u.v[c] = fused_multiply_add(y.v[i], scale.v[i], shift.v[i]);
    }
    return rectified_unit<Mode>(u);
}

// A unit, 0 where dropout took y.
template <class Mode> DEVICE_INLINE Unit where_kept(Unit unit, const Unit &marked) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        unit.w[i] &= where_different<Mode>(marked.w[i], dropped_bits);
    }
    return unit;
}
