// Who was where in memory, so that two threads that are there without an order between them are seen.
#pragma once

#include "order.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace softcuda {

// In shared memory since all threads last met at a barrier.
class Races {
  public:
    // Of a block with so many bytes. What blocks before it have left is of older intervals.
    void start(size_t bytes);
    void meet();

    // bytes: a power of two, of which the offset is a multiple. As a rule the caller knows it when it is compiled.
    [[gnu::always_inline]] void read(size_t offset, size_t bytes, unsigned thread) {
        const uint32_t access = interval << 12 | thread;
        const bool found = at_places(offset, bytes, [&](auto width, size_t i) {
            using Places = decltype(width);
            const Places raced = races(access, load<Places>(&writes[i]));
            store(&reads[i], access | (races(access, load<Places>(&reads[i])) & several));
            return raced;
        });
        if (found) {
            refuse_read();
        }
    }

    [[gnu::always_inline]] void write(size_t offset, size_t bytes, unsigned thread) {
        const uint32_t access = interval << 12 | thread, said = fences[thread];
        const bool found = at_places(offset, bytes, [&](auto width, size_t i) {
            using Places = decltype(width);
            const Places raced = races(access, load<Places>(&writes[i])) | races(access, load<Places>(&reads[i]));
            store(&writes[i], access + Places{});
            store(&fences_before[i], said + Places{});
            return raced;
        });
        if (found) {
            refuse_write();
        }
    }

    // Tensor cores read past the way that threads write: these must have said fence.proxy.async between writing and the
    // barrier. by: the thread that stands for the group that asks.
    void read_async(size_t offset, size_t bytes, unsigned by);
    void fence(unsigned thread) { ++fences[thread]; }

  private:
    // An access: between which barriers (20 bits), and by which thread (12).
    static constexpr uint32_t several = 0xFFF; // threads have read
    // Of every two bytes, the last accesses, and how many fences who wrote had said before that.
    std::vector<uint32_t> reads, writes, fences_before;
    std::vector<uint32_t> fences, fences_met;  // of each thread, until now and until the last barrier
    uint32_t interval = 0, first_interval = 0; // now, and when the block began

    using Eight = uint32_t __attribute__((vector_size(32))); // accesses to places side by side
    template <typename Places> static Places load(const uint32_t *from) {
        Places places;
        std::memcpy(&places, from, sizeof places);
        return places;
    }
    template <typename Places> static void store(uint32_t *to, Places places) {
        std::memcpy(to, &places, sizeof places);
    }

    // Between the same barriers, by another thread: not 0.
    static uint32_t races(uint32_t access, uint32_t before) { return (access ^ before) - 1 < 0xFFF ? ~0u : 0; }
    static Eight races(uint32_t access, Eight before) { return (Eight)((access ^ before) - 1 < 0xFFF); }

    // Whether anything but 0 comes of what is done, eight places at a time where there are so many.
    template <typename Do> [[gnu::always_inline]] static bool at_places(size_t offset, size_t bytes, Do body) {
        const size_t first = offset / 2, places = (bytes + 1) / 2;
        if (places < 8) {
            uint32_t found = 0;
            for (size_t i = first; i < first + places; ++i) {
                found |= body(0u, i);
            }
            return found;
        }
        Eight found = {};
        for (size_t i = first; i < first + places; i += 8) {
            found |= body(Eight{}, i);
        }
        using Four = uint64_t __attribute__((vector_size(32)));
        const Four all = (Four)found;
        return all[0] | all[1] | all[2] | all[3];
    }

    [[noreturn]] static void refuse_read();
    [[noreturn]] static void refuse_write();
};

// The last uses of every two bytes of global memory: work (32 bits) and, where that is a kernel, its block (20) and how
// often that had released what it did (12).
struct Users {
    uint64_t *written, *read;
};

// Between works there is the order that streams and events make. Between the blocks of a launch there is no order but
// this: what a block did before it counted with an atomic instruction that releases, is done for any that counts after
// it, as the last block to end does.
class BlockRaces {
  public:
    // counted: of each block of the launch, how often it had released when it counted last.
    void start(const Order &launch, uint32_t block, std::vector<uint32_t> &counted);
    void release();
    void count(Users users, uint64_t offset, size_t bytes);

    void read(Users users, uint64_t offset, size_t bytes) {
        require_before(users.written, offset, bytes);
        leave_mine(users.read, offset, bytes); // the last one to read stands for all
    }

    // How many of these no block of this launch has used yet. This one has, from now on.
    size_t new_bytes(Users users, uint64_t offset, size_t bytes) const;
    // By any block of this launch.
    void require_unwritten(Users users, uint64_t offset, size_t bytes) const;

    void write(Users users, uint64_t offset, size_t bytes) {
        require_before(users.written, offset, bytes);
        require_before(users.read, offset, bytes);
        leave_mine(users.written, offset, bytes);
    }

  private:
    uint64_t mine = 0; // what this block leaves as a use
    const Order *order = nullptr;
    uint32_t first_in_doubt = 0, in_doubt = 0; // works that may not be done, of those before this one
    std::vector<uint32_t> *counted = nullptr;
    bool has_counted = false;

    static size_t end_of(uint64_t offset, size_t bytes) { return (offset + bytes + 1) / 2; }

    void leave_mine(uint64_t *uses, uint64_t offset, size_t bytes) const {
        std::fill(uses + offset / 2, uses + end_of(offset, bytes), mine);
    }

    void require_before(const uint64_t *uses, uint64_t offset, size_t bytes) const {
        uint64_t by_others = 0;
        for (size_t i = offset / 2; i < end_of(offset, bytes); ++i) {
            by_others |= is_by_another(uses[i]) | is_in_doubt(uses[i]);
        }
        for (size_t i = offset / 2; by_others && i < end_of(offset, bytes); ++i) {
            if (is_by_another(uses[i])) {
                require_counted(uses[i]);
            }
        }
        if (by_others) {
            require_done(uses + offset / 2, uses + end_of(offset, bytes));
        }
    }
    // Of this launch, and by another block.
    bool is_by_another(uint64_t use) const { return ((use ^ mine) >> 12) - 1 < 0xFFFFF; }
    void require_counted(uint64_t use) const;
    bool is_in_doubt(uint64_t use) const { return (uint32_t)(use >> 32) - first_in_doubt < in_doubt; }
    void require_done(const uint64_t *first, const uint64_t *end) const;
};

} // namespace softcuda
