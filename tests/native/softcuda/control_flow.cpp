// Where the ways of lanes that part at a branch meet again: the branch's immediate post-dominator. Source of the
// iteration: Cooper, Harvey, Kennedy, "A simple, fast dominance algorithm", 2001, on the reversed graph.
#include "ptx.h"

#include <algorithm>

namespace softcuda {

void find_meeting_points(Kernel &kernel, const std::vector<size_t> &branches) {
    std::vector<Instruction> &code = kernel.code;
    const size_t end = code.size();
    std::vector<bool> is_branch(end), is_end(end);
    for (const size_t branch : branches) {
        is_branch[branch] = true;
    }
    std::vector<size_t> begins = {0}; // of stretches without a branch
    for (size_t i = 0; i < end; ++i) {
        is_end[i] = is_branch[i] || code[i].leaves;
        if (is_branch[i]) {
            begins.push_back((size_t)code[i].displacement);
        }
        if (is_end[i]) {
            begins.push_back(i + 1);
        }
    }
    std::sort(begins.begin(), begins.end());
    begins.erase(std::unique(begins.begin(), begins.end()), begins.end());
    begins.erase(std::remove_if(begins.begin(), begins.end(), [&](size_t i) { return i >= end; }), begins.end());
    const size_t count = begins.size(), exit = count;
    const auto stretch_at = [&](size_t instruction) {
        return instruction >= end
                   ? exit
                   : (size_t)(std::lower_bound(begins.begin(), begins.end(), instruction) - begins.begin());
    };
    std::vector<std::vector<size_t>> next(count), before(count + 1);
    for (size_t s = 0; s < count; ++s) {
        const size_t last = (s + 1 < count ? begins[s + 1] : end) - 1;
        if (is_branch[last]) {
            next[s].push_back(stretch_at((size_t)code[last].displacement));
        }
        if (code[last].leaves) {
            next[s].push_back(exit);
        } else if (!is_branch[last] || code[last].guard >= 0) {
            next[s].push_back(stretch_at(last + 1));
        }
        for (const size_t to : next[s]) {
            before[to].push_back(s);
        }
    }

    // Numbers such that a stretch comes after those that it leads to, but for loops.
    std::vector<size_t> order, number(count + 1, count + 1);
    std::vector<std::pair<size_t, size_t>> path = {{exit, 0}};
    std::vector<bool> seen(count + 1);
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
    std::vector<size_t> meets(count + 1, unknown);
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
    for (size_t s = 0; s < count; ++s) {
        const size_t last = (s + 1 < count ? begins[s + 1] : end) - 1;
        code[last].meets = meets[s] == unknown || meets[s] == exit ? (uint32_t)end : (uint32_t)begins[meets[s]];
    }
}

} // namespace softcuda
