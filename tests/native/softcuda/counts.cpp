#include "counts.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <set>

namespace softcuda {

namespace {

struct Table {
    std::mutex mutex;
    std::map<std::string, Counts> kernels;
    const char *file = std::getenv("SOFTCUDA_COUNTS");

    ~Table() {
        FILE *to = file ? std::fopen(file, "w") : nullptr;
        if (!to) {
            if (file) {
                std::fprintf(stderr, "softcuda: SOFTCUDA_COUNTS: %s cannot be written\n", file);
            }
            return;
        }
        std::fprintf(to, "kernel\tlaunches\tblocks\tinstructions\tmatrix products\ttf32 products\tbarriers\tshared "
                         "passes\twithout conflicts\tsectors\tif all were used\tlines\n");
        for (const auto &[name, counts] : kernels) {
            std::fprintf(to, "%s", name.c_str());
            for (const uint64_t count :
                 {counts.launches, counts.blocks, counts.instructions, counts.matrix_products, counts.tf32_products,
                  counts.barriers, counts.shared_passes, counts.shared_passes_least, counts.sectors,
                  counts.sectors_least, counts.lines}) {
                std::fprintf(to, "\t%llu", (unsigned long long)count);
            }
            std::fprintf(to, "\n");
        }
        std::fclose(to);
    }
};

Table &table() {
    static Table instance;
    return instance;
}

} // namespace

bool is_counting() {
    static const bool counting = table().file != nullptr;
    return counting;
}

void add_counts(const std::string &kernel, const Counts &counts) {
    std::lock_guard lock(table().mutex);
    table().kernels[kernel] += counts;
}

void Counts::operator+=(const Counts &other) {
    launches += other.launches;
    blocks += other.blocks;
    instructions += other.instructions;
    matrix_products += other.matrix_products;
    tf32_products += other.tf32_products;
    barriers += other.barriers;
    shared_passes += other.shared_passes;
    shared_passes_least += other.shared_passes_least;
    sectors += other.sectors;
    sectors_least += other.sectors_least;
    lines += other.lines;
}

// As many lanes at a time as 128 bytes serve; in one pass a bank gives one word, to whoever wants it.
void Counts::count_shared(const uint64_t (&addresses)[32], uint32_t active, unsigned bytes) {
    const unsigned together = std::min(32u, 128 / bytes);
    for (unsigned first = 0; first < 32; first += together) {
        std::set<uint64_t> words;
        for (unsigned lane = first; lane < first + together; ++lane) {
            for (uint64_t word = addresses[lane] / 4; (active >> lane & 1) && 4 * word < addresses[lane] + bytes;
                 ++word) {
                words.insert(word);
            }
        }
        unsigned of_bank[32] = {}, most = 0;
        for (const uint64_t word : words) {
            most = std::max(most, ++of_bank[word % 32]);
        }
        shared_passes += most;
        shared_passes_least += (words.size() + 31) / 32;
    }
}

void Counts::count_global(const uint64_t (&addresses)[32], uint32_t active, unsigned bytes) {
    std::set<uint64_t> touched, touched_lines, places;
    for (unsigned lane = 0; lane < 32; ++lane) {
        if (active >> lane & 1) {
            touched.insert(addresses[lane] / 32);
            touched_lines.insert(addresses[lane] / 128);
            places.insert(addresses[lane]);
        }
    }
    sectors += touched.size();
    lines += touched_lines.size();
    sectors_least += (places.size() * bytes + 31) / 32;
}

} // namespace softcuda
