// Which registers of a kernel can lie in one place: those whose values no lane needs at the same time.
#include "control_flow.h"

#include <algorithm>
#include <queue>

namespace softcuda {

namespace {

class Set {
  public:
    explicit Set(size_t count) : words((count + 63) / 64) {}

    void add(size_t i) { words[i / 64] |= (uint64_t)1 << i % 64; }
    bool has(size_t i) const { return words[i / 64] >> i % 64 & 1; }
    // What `first` has, and `then` without `written`; whether that is more than before.
    bool add(const Set &first, const Set &then, const Set &written) {
        bool is_more = false;
        for (size_t i = 0; i < words.size(); ++i) {
            const uint64_t now = words[i] | first.words[i] | (then.words[i] & ~written.words[i]);
            is_more |= now != words[i];
            words[i] = now;
        }
        return is_more;
    }
    template <typename Body> void each(Body body) const {
        for (size_t i = 0; i < words.size(); ++i) {
            for (uint64_t rest = words[i]; rest; rest &= rest - 1) {
                body(64 * i + (size_t)__builtin_ctzll(rest));
            }
        }
    }

  private:
    std::vector<uint64_t> words;
};

// From the first instruction at which a register is needed to the last one.
struct Interval {
    size_t first = ~(size_t)0, last = 0;

    void add(size_t instruction) {
        first = std::min(first, instruction);
        last = std::max(last, instruction);
    }
};

// Places of one size, and until when each is taken.
struct Places {
    using Taken = std::pair<size_t, uint32_t>;
    std::priority_queue<Taken, std::vector<Taken>, std::greater<>> taken;
    uint32_t count = 0;

    uint32_t take(const Interval &interval) {
        uint32_t place = count;
        if (!taken.empty() && taken.top().first < interval.first) {
            place = taken.top().second;
            taken.pop();
        } else {
            ++count;
        }
        taken.emplace(interval.last, place);
        return place;
    }
};

} // namespace

void place_registers(Kernel &kernel, std::vector<Register> &registers, const std::vector<const Form *> &forms) {
    std::vector<Instruction> &code = kernel.code;
    const Stretches stretches(code);
    const auto each_operand = [&](size_t i, auto body) { // what is read first
        const size_t results = std::min(forms[i]->results, forms[i]->operands.size());
        if (code[i].guard >= 0) {
            body((size_t)code[i].guard, false);
        }
        for (size_t k = results; k < forms[i]->operands.size(); ++k) {
            body(code[i].operand(k), false);
        }
        for (size_t k = 0; k < results; ++k) {
            body(code[i].operand(k), true);
        }
    };
    // What the instructions of a stretch read before they write it, what they write, and what is needed where it
    // begins.
    std::vector<Set> reads(stretches.exit(), Set(registers.size())), writes = reads, needed = reads;
    std::vector<Interval> intervals(registers.size());
    for (size_t s = 0; s < stretches.exit(); ++s) {
        for (size_t i = stretches.begins[s]; i <= stretches.last(s); ++i) {
            each_operand(i, [&](size_t name, bool is_result) {
                intervals[name].add(i);
                registers[name].is_fixed |= forms[i]->keeps;
                if (is_result) {
                    writes[s].add(name);
                } else if (!writes[s].has(name)) {
                    reads[s].add(name);
                }
            });
        }
    }
    const Set nothing(registers.size());
    for (bool changed = true; changed;) {
        changed = false;
        for (size_t s = stretches.exit(); s-- > 0;) {
            for (const size_t to : stretches.next[s]) {
                changed |= needed[s].add(reads[s], to == stretches.exit() ? nothing : needed[to], writes[s]);
            }
        }
    }
    for (size_t s = 0; s < stretches.exit(); ++s) {
        needed[s].each([&](size_t name) { intervals[name].add(stretches.begins[s]); });
        for (const size_t to : stretches.next[s]) {
            if (to != stretches.exit()) {
                needed[to].each([&](size_t name) { intervals[name].add(stretches.last(s)); });
            }
        }
    }
    needed[0].each([&](size_t name) { registers[name].is_fixed = true; }); // never written: it stays the NaN that it is

    // Fixed ones come first, in their order; then the places for the others, by their sizes.
    std::vector<size_t> order;
    const auto reserve = [&](uint32_t bytes) {
        const uint32_t at = kernel.register_bytes;
        kernel.register_bytes += (bytes + 63) / 64 * 64;
        return at;
    };
    for (size_t i = 0; i < registers.size(); ++i) {
        if (registers[i].is_fixed) {
            registers[i].at = reserve(registers[i].size());
        } else if (intervals[i].first <= intervals[i].last) {
            order.push_back(i);
        }
    }
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return intervals[a].first < intervals[b].first; });
    Places places[9];
    for (const size_t i : order) {
        registers[i].at = places[registers[i].bytes].take(intervals[i]);
    }
    uint32_t begins[9];
    for (unsigned bytes = 0; bytes < 9; ++bytes) {
        begins[bytes] = reserve(places[bytes].count * Register{bytes}.size());
    }
    for (const size_t i : order) {
        registers[i].at = begins[registers[i].bytes] + registers[i].at * registers[i].size();
    }
    for (size_t i = 0; i < code.size(); ++i) {
        if (code[i].guard >= 0) {
            code[i].guard = (int32_t)registers[(size_t)code[i].guard].at;
        }
        for (size_t k = 0; k < forms[i]->operands.size(); ++k) {
            code[i].operand(k) = registers[code[i].operand(k)].at;
        }
    }
    for (Kernel::Constant &constant : kernel.constants) {
        constant.at = registers[constant.at].at;
    }
}

} // namespace softcuda
