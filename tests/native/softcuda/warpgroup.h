// Matrix products that a warp has begun and not yet waited for (wgmma).
#pragma once

#include <cstdint>
#include <map>
#include <vector>

namespace softcuda {

struct Instruction;
struct Warp;

// A factor as it lies in shared memory: where the sixteen bytes of each of its rows, or of its columns, begin; or a
// left one in registers.
struct Factor {
    uint64_t first;               // address of the first block of eight by sixteen bytes
    uint64_t along, across;       // how far the next block is: along what is summed over, across it
    bool sums_along_bytes;        // K-major: sixteen bytes are a half of what is summed over
    std::vector<uint32_t> values; // (rows, K), bits of floats, as they were when the product began
};

struct Product {
    const Instruction *instruction;
    bool adds;
    Factor left, right;
    std::vector<uint32_t> (*read_left)(Warp &, const Product &), (*read_right)(Warp &, const Product &); // once more
};

struct Products {
    bool is_fenced = false; // since the last wait
    bool are_committed = true;
    std::vector<Product> begun;
    std::map<uint32_t, std::vector<float>> sums; // by register: as they were, while nobody may touch them
};

} // namespace softcuda
