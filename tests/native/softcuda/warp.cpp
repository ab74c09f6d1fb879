// How the lanes of a warp go on, part and meet again, and what their accesses to memory must keep to.
#include "warp.h"

#include <algorithm>
#include <cstdio>

namespace softcuda {

namespace {

std::string hexadecimal(uint64_t address) {
    char text[32];
    std::snprintf(text, sizeof text, "0x%llx", (unsigned long long)address);
    return text;
}

[[noreturn]] void misaligned(uint64_t address, size_t bytes) {
    throw Fault{misaligned_address,
                std::to_string(bytes) + " bytes at " + hexadecimal(address) + ", which is no multiple of that"};
}

} // namespace

void Warp::run() {
    state = State::running;
    const Instruction *code = block->kernel->code.data();
    while (state == State::running) {
        if (next == meets) {
            go_on();
        }
        const Instruction &instruction = code[next++];
        ++block->counts.instructions;
        if (!block->counts.of_lines.empty()) {
            ++block->counts.of_lines[(size_t)instruction.line];
        }
        block->counts.double_instructions += instruction.is_double;
        instruction.run(*this, instruction);
    }
}

// Those who wait for the active lanes take over.
void Warp::go_on() {
    do {
        const Group group = others.back();
        others.pop_back();
        next = group.next;
        active = group.lanes;
        meets = group.meets;
    } while (next == meets || active == 0);
}

void Warp::branch(Lanes taken, const Instruction &instruction) {
    const uint32_t to = (uint32_t)instruction.displacement;
    if (taken == active) {
        next = to;
    } else if (taken) {
        if (instruction.meets != meets) {
            others.push_back({instruction.meets, active, meets});
        }
        others.push_back({next, active & ~taken, instruction.meets});
        active = taken;
        next = to;
        meets = instruction.meets;
    }
}

void Warp::leave() {
    bool is_last = true;
    for (Group &group : others) {
        group.lanes &= ~active;
        is_last = is_last && group.lanes == 0;
    }
    if (is_last) {
        if (!products.begun.empty()) {
            throw Fault{launch_failed, "a warp ends with products on their way"};
        }
        state = State::finished;
    } else {
        go_on();
    }
}

void Warp::require_all() const {
    if (active != everyone) {
        throw Fault{launch_failed, "lanes of a warp come here without others, which are elsewhere or have left"};
    }
}

void Warp::require_whole() const {
    if (everyone != all_lanes) {
        throw Fault{launch_failed, "an instruction of a whole warp in a block whose last warp is not whole"};
    }
    require_all();
}

void Warp::stray_parameter(uint64_t address) { throw Fault{illegal_address, "a parameter at " + hexadecimal(address)}; }

const AllocationRange *Warp::known_range(uint64_t address, size_t bytes) {
    AllocationRange(&ranges)[8] = block->ranges;
    if (!ranges[0].holds(address, bytes)) {
        const auto known = std::find_if(std::begin(ranges) + 1, std::end(ranges),
                                        [&](const AllocationRange &range) { return range.holds(address, bytes); });
        if (known == std::end(ranges)) {
            return nullptr;
        }
        std::rotate(std::begin(ranges), known, known + 1);
    }
    return &ranges[0];
}

const AllocationRange &Warp::range_of(uint64_t address, size_t bytes) {
    if (const AllocationRange *known = known_range(address, bytes)) {
        return *known;
    }
    const AllocationRange found = allocation_at(address, bytes);
    if (found.bytes == 0) {
        throw Fault{illegal_address,
                    std::to_string(bytes) + " bytes at " + hexadecimal(address) + " lie in no live allocation"};
    }
    AllocationRange(&ranges)[8] = block->ranges;
    std::move_backward(std::begin(ranges), std::end(ranges) - 1, std::end(ranges));
    return ranges[0] = found;
}

// multiple_of: a power of two.
unsigned char *Warp::use(const AllocationRange &range, uint64_t address, size_t bytes, size_t multiple_of,
                         Access access) {
    if ((address & (multiple_of - 1)) != 0) {
        misaligned(address, multiple_of);
    }
    if ((access == Access::writes || access == Access::counts) && !block->kernel_before_has_ended) {
        throw Fault{launch_failed, "it writes to global memory before it has waited for the kernel before"};
    }
    const uint64_t offset = address - range.first;
    if (is_counting() && access != Access::counts) {
        block->counts.bytes += block->block_races.new_bytes(range.users, offset, bytes);
    }
    if (access == Access::counts) {
        block->block_races.count(range.users, offset, bytes);
    } else if (access == Access::writes) {
        block->block_races.write(range.users, offset, bytes);
    } else {
        if (access == Access::reads_constant) {
            block->block_races.require_unwritten(range.users, offset, bytes);
        }
        block->block_races.read(range.users, offset, bytes);
    }
    return static_cast<unsigned char *>(range.host) + offset;
}

unsigned char *Warp::global(uint64_t address, size_t bytes, size_t multiple_of, Access access) {
    return use(range_of(address, bytes), address, bytes, multiple_of, access);
}

unsigned char *Warp::side_by_side(const uint64_t *addresses, int64_t displacement, size_t bytes, Access access) {
    uint64_t elsewhere = active ^ all_lanes;
    for (unsigned lane = 0; lane < warp_lanes; ++lane) {
        elsewhere |= addresses[lane] ^ (addresses[0] + lane * bytes);
    }
    const uint64_t first = addresses[0] + (uint64_t)displacement;
    const AllocationRange *range = elsewhere ? nullptr : known_range(first, warp_lanes * bytes);
    return range ? use(*range, first, warp_lanes * bytes, bytes, access) : nullptr;
}

void Warp::stray_shared(uint64_t address, size_t bytes) const {
    const uint64_t offset = address - shared_base;
    if (offset > block->shared_bytes || block->shared_bytes - offset < bytes) {
        throw Fault{illegal_address, std::to_string(bytes) + " bytes at " + hexadecimal(address) +
                                         " of shared memory, which has " + std::to_string(block->shared_bytes) +
                                         " from " + hexadecimal(shared_base)};
    }
    misaligned(address, bytes);
}

} // namespace softcuda
