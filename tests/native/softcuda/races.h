// Who was where in memory, so that two threads that are there without an order between them are seen.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace softcuda {

// In shared memory since all threads last met at a barrier.
class Races {
  public:
    void clear(size_t bytes);
    void meet();
    void read(size_t offset, size_t bytes, unsigned thread);
    void write(size_t offset, size_t bytes, unsigned thread);

    // Tensor cores read past the way that threads write: these must have said fence.proxy.async between writing and the
    // barrier. by: the thread that stands for the group that asks.
    void read_async(size_t offset, size_t bytes, unsigned by);
    void fence(unsigned thread) { ++fences[thread]; }

  private:
    // An access: between which barriers (20 bits), and by which thread (12).
    static constexpr uint32_t several = 0xFFF; // threads have read
    // Of every two bytes, the last accesses, and how many fences who wrote had said before that.
    std::vector<uint32_t> reads, writes, fences_before;
    std::vector<uint32_t> fences, fences_met; // of each thread, until now and until the last barrier
    uint32_t interval = 0;
};

// The last uses of two bytes of global memory: launch (32 bits), block (20), and how often the block had released what
// it did (12).
struct Users {
    uint64_t written, read;
};

// Between the blocks of a launch there is no order but this: what a block did before it counted with an atomic
// instruction that releases, is done for any that counts after it, as the last block to end does.
class BlockRaces {
  public:
    // counted: of each block of the launch, how often it had released when it counted last.
    void start(uint32_t launch, uint32_t block, std::vector<uint32_t> &counted);
    void release();
    void count();

    void read(Users *first, uint64_t offset, size_t bytes) {
        for (Users *users = first + offset / 2; users <= first + (offset + bytes - 1) / 2; ++users) {
            require_before(users->written);
            users->read = mine; // the last one to read stands for all
        }
    }

    // How many of these no block of this launch has used yet. This one has, from now on.
    size_t new_bytes(Users *first, uint64_t offset, size_t bytes) const;
    // By any block of this launch.
    void require_unwritten(const Users *first, uint64_t offset, size_t bytes) const;

    void write(Users *first, uint64_t offset, size_t bytes) {
        for (Users *users = first + offset / 2; users <= first + (offset + bytes - 1) / 2; ++users) {
            require_before(users->written);
            require_before(users->read);
            users->written = mine;
        }
    }

  private:
    uint64_t mine = 0; // what this block leaves as a use
    std::vector<uint32_t> *counted = nullptr;
    bool has_counted = false;

    void require_before(uint64_t use) const {
        if (use >> 32 == mine >> 32 && use >> 12 != mine >> 12) { // of this launch, and of another block
            require_counted(use);
        }
    }
    void require_counted(uint64_t use) const;
};

} // namespace softcuda
