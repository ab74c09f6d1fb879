// Where the ways of lanes that part at a branch meet again: the branch's immediate post-dominator. Source of the
// iteration: Cooper, Harvey, Kennedy, "A simple, fast dominance algorithm", 2001, on the reversed graph.
#include "control_flow.h"

#include <algorithm>

namespace softcuda {

Stretches::Stretches(const std::vector<Instruction> &code) : begins({0}), end(code.size()) {
    for (size_t i = 0; i < end; ++i) {
        if (code[i].branches) {
            begins.push_back((size_t)code[i].displacement);
        }
        if (code[i].branches || code[i].leaves) {
            begins.push_back(i + 1);
        }
    }
    std::sort(begins.begin(), begins.end());
    begins.erase(std::unique(begins.begin(), begins.end()), begins.end());
    begins.erase(std::lower_bound(begins.begin(), begins.end(), end), begins.end());
    next.resize(exit());
    before.resize(exit() + 1);
    for (size_t s = 0; s < exit(); ++s) {
        const Instruction &instruction = code[last(s)];
        if (instruction.branches) {
            next[s].push_back(at((size_t)instruction.displacement));
        }
        if (instruction.leaves) {
            next[s].push_back(exit());
        } else if (!instruction.branches || instruction.guard >= 0) {
            next[s].push_back(at(last(s) + 1));
        }
        for (const size_t to : next[s]) {
            before[to].push_back(s);
        }
    }
}

size_t Stretches::at(size_t instruction) const {
    return instruction >= end ? exit()
                              : (size_t)(std::lower_bound(begins.begin(), begins.end(), instruction) - begins.begin());
}

void find_meeting_points(Kernel &kernel) {
    const Stretches stretches(kernel.code);
    const auto &begins = stretches.begins;
    const auto &next = stretches.next, &before = stretches.before;
    const size_t exit = stretches.exit(), end = kernel.code.size();

    // Numbers such that a stretch comes after those that it leads to, but for loops.
    std::vector<size_t> order, number(exit + 1, exit + 1);
    std::vector<std::pair<size_t, size_t>> path = {{exit, 0}};
    std::vector<bool> seen(exit + 1);
    seen[exit] = true;
    while (!path.empty()) {
        auto &[at, i] = path.back();
        if (i < before[at].size()) {
            const size_t to = before[at][i++];
            if (!seen[to]) {
                seen[to] = true;
                path.emplace_back(to, 0);
            }
        } else {
            number[at] = order.size();
            order.push_back(at);
            path.pop_back();
        }
    }
    constexpr size_t unknown = ~(size_t)0;
    std::vector<size_t> meets(exit + 1, unknown);
    meets[exit] = exit;
    for (bool changed = true; changed;) {
        changed = false;
        for (size_t i = order.size(); i-- > 0;) {
            const size_t s = order[i];
            size_t found = unknown;
            for (const size_t to : s == exit ? std::vector<size_t>{} : next[s]) {
                if (meets[to] == unknown) {
                    continue;
                }
                size_t other = to;
                while (found != unknown && found != other) {
                    while (number[found] < number[other]) {
                        found = meets[found];
                    }
                    while (number[other] < number[found]) {
                        other = meets[other];
                    }
                }
                found = other;
            }
            if (s != exit && found != meets[s]) {
                meets[s] = found;
                changed = true;
            }
        }
    }
    for (size_t s = 0; s < exit; ++s) {
        kernel.code[stretches.last(s)].meets =
            meets[s] == unknown || meets[s] == exit ? (uint32_t)end : (uint32_t)begins[meets[s]];
    }
}

} // namespace softcuda
