// What a PTX file says about itself.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace softcuda {

struct Module {
    int version = 0; // of the PTX language, 75 for 7.5
    int target = 0;  // 75 for sm_75
    struct Entry {
        std::vector<size_t> parameter_sizes;
        unsigned max_threads = 1024;
        bool waits = false; // for the kernel before, so that it may begin before that one has ended
    };
    std::map<std::string, Entry> entries;
};

// Reads the head of every entry; false where the text is no PTX.
bool parse_ptx(const std::string &text, Module &module);

} // namespace softcuda
