// Matrix products that a warp has begun and not yet waited for (wgmma).
#pragma once

#include <cstdint>
#include <vector>

namespace softcuda {

struct Instruction;
struct Warp;

// A factor as it lies in shared memory: where its blocks of eight by sixteen bytes begin.
struct Factor {
    uint64_t first;         // address of the first block
    uint64_t along, across; // how far the next block is: along what is summed over, across it
    bool sums_along_bytes;  // K-major: sixteen bytes are a half of what is summed over
};

struct Product {
    const Instruction *instruction;
    bool adds, is_left_in_registers;
    Factor left, right;
    size_t values; // where among Products::values both factors are, block by block
    void (*make)(Warp &, const Product &);
};

struct Products {
    bool is_fenced = false; // since the last wait
    bool are_committed = true;
    std::vector<Product> begun;
    std::vector<unsigned char> values; // of factors, as they were when their products began
    struct Sum {
        uint32_t at; // the register
        float values[32];
    };
    std::vector<Sum> sums; // as they were, while nobody may touch them

    // Room is kept for the next ones.
    void clear() {
        is_fenced = false;
        are_committed = true;
        begun.clear();
        values.clear();
        sums.clear();
    }
};

} // namespace softcuda
