// The 32 lanes of a warp, and the block that it belongs to, while a kernel runs.
#pragma once

#include "counts.h"
#include "device.h"
#include "ptx.h"
#include "races.h"
#include "warpgroup.h"

namespace softcuda {

using Lanes = uint32_t; // one bit each
constexpr Lanes all_lanes = ~0u;

// What is wrong with what a kernel does.
struct Fault {
    Result status;
    std::string why;
};

struct Block {
    const Kernel *kernel = nullptr;
    const unsigned char *parameters = nullptr;
    unsigned char *shared = nullptr;
    size_t shared_bytes = 0;
    bool kernel_before_has_ended = true;
    AllocationRange ranges[8] = {}; // where the last accesses to global memory were, the last one first
    Races races;
    BlockRaces block_races;
    Counts counts;
};

// counts: in one step with reading. reads_constant: by a way that does not see what the kernel writes.
enum class Access { reads, reads_constant, writes, counts };

enum class State { running, at_barrier, waits_for_kernel_before, finished };

struct Warp {
    Block *block;
    unsigned first_thread; // of the block
    unsigned char *registers;
    Lanes everyone = 0;             // who began
    Lanes active = 0;               // who is at `next`
    uint32_t next = 0, meets = ~0u; // meets: where they are to meet those that they have parted from
    State state = State::running;
    bool has_waited = false; // for the kernel before

    // Lanes that go on when the active ones have come to where they meet, the last ones first.
    struct Group {
        uint32_t next;
        Lanes lanes;
        uint32_t meets;
    };
    std::vector<Group> others;

    struct Copy { // on its way to shared memory
        uint32_t lane, to, bytes, group;
        unsigned char values[16];
    };
    std::vector<Copy> copies;
    std::array<uint32_t, warp_lanes> copy_groups; // that each lane has committed
    Products products;                            // on their way

    template <typename T> T *at(uint32_t offset) { return reinterpret_cast<T *>(registers + offset); }

    // Runs until its state is another.
    void run();

    void require_all() const;                                 // lanes that began: for a barrier
    void require_whole() const;                               // 32 lanes
    void leave();                                             // the active lanes
    void branch(Lanes taken, const Instruction &instruction); // taken: of the active ones

    // Where a lane's access goes, checked.
    unsigned char *global(uint64_t address, size_t bytes, Access access) {
        return global(address, bytes, bytes, access);
    }
    unsigned char *global(uint64_t address, size_t bytes, size_t multiple_of, Access access);
    // bytes: a power of two.
    [[gnu::always_inline]] unsigned char *shared(uint64_t address, size_t bytes, unsigned lane, bool writes) {
        const uint64_t offset = address - shared_base;
        if (offset > block->shared_bytes || block->shared_bytes - offset < bytes || (address & (bytes - 1)) != 0) {
            stray_shared(address, bytes);
        }
        writes ? block->races.write(offset, bytes, first_thread + lane)
               : block->races.read(offset, bytes, first_thread + lane);
        return block->shared + offset;
    }
    // The same for all 32 lanes at once, where they are side by side and in one tensor; null where they are not.
    unsigned char *side_by_side(const uint64_t *addresses, int64_t displacement, size_t bytes, Access access);
    const unsigned char *parameter(uint64_t address, size_t bytes) const {
        if (address + bytes > block->kernel->parameter_bytes) {
            stray_parameter(address);
        }
        return block->parameters + address;
    }

  private:
    const AllocationRange *known_range(uint64_t address, size_t bytes);
    const AllocationRange &range_of(uint64_t address, size_t bytes);
    unsigned char *use(const AllocationRange &range, uint64_t address, size_t bytes, size_t multiple_of, Access access);
    [[noreturn]] static void stray_parameter(uint64_t address);
    [[noreturn]] void stray_shared(uint64_t address, size_t bytes) const;
    void go_on();
};

} // namespace softcuda
