// The instructions that are known here, by opcode.
#pragma once

#include "warp.h"

#include <unordered_map>
#include <utility>

namespace softcuda {

using Forms = std::unordered_map<std::string, Form>;

// D = Op::of(S …) for each active lane; one loop for all where all are active: compilers make vectors of it.
template <typename Op, typename D, typename... S> void run_each(Lanes active, D *d, const S *...sources) {
    if (active == all_lanes) {
#pragma GCC ivdep
        for (unsigned lane = 0; lane < warp_lanes; ++lane) {
            d[lane] = (D)Op::of(sources[lane]...);
        }
        return;
    }
    for (unsigned lane = 0; lane < warp_lanes; ++lane) {
        if (active >> lane & 1) {
            d[lane] = (D)Op::of(sources[lane]...);
        }
    }
}

template <typename Op, typename D, typename... S> struct Each {
    template <size_t... I> static void run(Warp &warp, const Instruction &i, std::index_sequence<I...>) {
        run_each<Op, D, S...>(warp.active, warp.at<D>(i.at[0]), warp.at<S>(i.at[1 + I])...);
    }
    static void run(Warp &warp, const Instruction &i) { run(warp, i, std::index_sequence_for<S...>()); }
};

// An instruction for D = Op::of(S …): operands as wide as their types.
template <typename Op, typename D, typename... S> Form form() {
    return {Each<Op, D, S...>::run, {sizeof(D), sizeof(S)...}};
}

struct Copy {
    template <typename T> static T of(T a) { return a; }
};

void add_conversion_forms(Forms &forms);
void add_memory_forms(Forms &forms);
void add_warp_forms(Forms &forms);
void add_warpgroup_forms(Forms &forms);

} // namespace softcuda
