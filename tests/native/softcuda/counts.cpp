#include "counts.h"
#include "ptx.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <set>

namespace softcuda {

namespace {

const struct {
    const char *name;
    uint64_t Counts::*of;
} columns[] = {
    {"launches", &Counts::launches},
    {"blocks", &Counts::blocks},
    {"instructions", &Counts::instructions},
    {"in double", &Counts::double_instructions},
    {"matrix products", &Counts::matrix_products},
    {"tf32 products", &Counts::tf32_products},
    {"warpgroup products", &Counts::warpgroup_products},
    {"barriers", &Counts::barriers},
    {"shared passes", &Counts::shared_passes},
    {"without conflicts", &Counts::shared_passes_least},
    {"sectors", &Counts::sectors},
    {"if all were used", &Counts::sectors_least},
    {"lines", &Counts::lines},
    {"bytes", &Counts::bytes},
};

struct Table {
    std::mutex mutex;
    std::map<std::pair<size_t, std::string>, Counts> kernels; // by the numbers of texts and by names
    const char *file = std::getenv("SOFTCUDA_COUNTS"), *lines = std::getenv("SOFTCUDA_LINES");

    static FILE *open(const char *name, const char *path) {
        FILE *to = path ? std::fopen(path, "w") : nullptr;
        if (path && !to) {
            std::fprintf(stderr, "softcuda: %s: %s cannot be written\n", name, path);
        }
        return to;
    }

    ~Table() {
        if (FILE *to = open("SOFTCUDA_COUNTS", file)) {
            write_counts(to);
        }
        if (FILE *to = open("SOFTCUDA_LINES", lines)) {
            write_lines(to);
        }
    }

    void write_lines(FILE *to) const {
        for (const auto &[kernel, counts] : kernels) {
            for (size_t line = 0; line < counts.of_lines.size(); ++line) {
                if (counts.of_lines[line] > 0) {
                    std::fprintf(to, "%zu\t%s\t%zu\t%llu\n", kernel.first, kernel.second.c_str(), line,
                                 (unsigned long long)counts.of_lines[line]);
                }
            }
        }
        std::fclose(to);
    }

    void write_counts(FILE *to) const {
        std::fprintf(to, "text\tkernel");
        for (const auto &[name, of] : columns) {
            std::fprintf(to, "\t%s", name);
        }
        for (const auto &[kernel, counts] : kernels) {
            std::fprintf(to, "\n%zu\t%s", kernel.first, kernel.second.c_str());
            for (const auto &[name, of] : columns) {
                std::fprintf(to, "\t%llu", (unsigned long long)(counts.*of));
            }
        }
        std::fprintf(to, "\n");
        std::fclose(to);
    }
};

Table &table() {
    static Table instance;
    return instance;
}

} // namespace

bool is_counting() {
    static const bool counting = table().file != nullptr || is_counting_lines();
    return counting;
}

bool is_counting_lines() {
    static const bool counting = table().lines != nullptr;
    return counting;
}

void keep_text(size_t number, const char *ptx) {
    const std::string file = is_counting_lines() ? table().lines + ("." + std::to_string(number) + ".ptx") : "";
    if (FILE *to = Table::open("SOFTCUDA_LINES", file.empty() ? nullptr : file.c_str())) {
        std::fputs(ptx, to);
        std::fclose(to);
    }
}

void add_counts(const Kernel &kernel, const Counts &counts) {
    std::lock_guard lock(table().mutex);
    table().kernels[{kernel.text, kernel.name}] += counts;
}

void Counts::operator+=(const Counts &other) {
    for (const auto &[name, of] : columns) {
        this->*of += other.*of;
    }
    of_lines.resize(std::max(of_lines.size(), other.of_lines.size()));
    for (size_t line = 0; line < other.of_lines.size(); ++line) {
        of_lines[line] += other.of_lines[line];
    }
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
