// What kernels ask of a multiprocessor, counted where SOFTCUDA_COUNTS names a file for it: a table with a line for each
// kernel of each PTX, which are numbered, written when the process ends. None of it depends on a clock. SOFTCUDA_LINES
// names one for how often warps ran each line of the PTX, which lies beside it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace softcuda {

struct Kernel;

struct Counts {
    uint64_t launches = 0, blocks = 0;
    uint64_t instructions = 0;        // of warps, one issue slot each
    uint64_t double_instructions = 0; // those of them that compute in double
    // Units of 16×8×8, by mma.sync in bfloat16 and in tf32, and by warpgroups.
    uint64_t matrix_products = 0, tf32_products = 0, warpgroup_products = 0;
    uint64_t barriers = 0; // of warps
    // Passes through shared memory, 32 banks of 4 bytes each, and how many they were without conflicts.
    uint64_t shared_passes = 0, shared_passes_least = 0;
    // 32-byte sectors of global memory, and how many they were if all bytes of each were used; 128-byte lines, each of
    // which an access has to find in the first-level cache; and how many bytes there are, each counted once for a
    // launch.
    uint64_t sectors = 0, sectors_least = 0, lines = 0, bytes = 0;

    std::vector<uint64_t> of_lines; // instructions by their lines, or none

    void operator+=(const Counts &other);

    // An access of a warp, `bytes` by each active lane.
    void count_shared(const uint64_t (&addresses)[32], uint32_t active, unsigned bytes);
    void count_global(const uint64_t (&addresses)[32], uint32_t active, unsigned bytes);
};

bool is_counting();
bool is_counting_lines();
void keep_text(size_t number, const char *ptx); // for those who count lines
void add_counts(const Kernel &kernel, const Counts &counts);

} // namespace softcuda
