#include "module.h"

#include <cstdio>
#include <regex>

namespace softcuda {

bool parse_ptx(const std::string &text, Module &module) {
    int major = 0, minor = 0;
    const size_t version = text.find("\n.version "), target = text.find("\n.target sm_");
    if (version == std::string::npos || target == std::string::npos ||
        std::sscanf(text.c_str() + version, " .version %d.%d", &major, &minor) != 2 ||
        std::sscanf(text.c_str() + target, " .target sm_%d", &module.target) != 1) {
        return false;
    }
    module.version = 10 * major + minor;

    // A number (.param .u64 x) or a structure (.param .align 8 .b8 x[80]).
    static const std::regex parameter(R"(\.param\s+(\.align\s+\d+\s+)?\.[a-z](\d+)\s+\w+(\[(\d+)\])?)");
    for (size_t at = text.find(".visible .entry "); at != std::string::npos;
         at = text.find(".visible .entry ", at + 1)) {
        const size_t name = at + 16, open = text.find('(', name), close = text.find(')', open),
                     body = text.find('{', close);
        if (body == std::string::npos) {
            return false;
        }
        Module::Entry entry;
        const std::string parameters = text.substr(open, close - open), directives = text.substr(close, body - close);
        for (std::sregex_iterator it(parameters.begin(), parameters.end(), parameter), end; it != end; ++it) {
            const size_t count = (*it)[4].matched ? (size_t)std::stoi((*it)[4]) : 1;
            entry.parameter_sizes.push_back(count * (size_t)std::stoi((*it)[2]) / 8);
        }
        const size_t threads = directives.find(".maxntid ");
        if (threads != std::string::npos) {
            entry.max_threads = (unsigned)std::stoi(directives.substr(threads + 9));
        }
        const size_t wait = text.find("griddepcontrol.wait", body), next = text.find(".visible .entry ", body);
        entry.waits = wait != std::string::npos && wait < next;
        module.entries[text.substr(name, open - name)] = entry;
    }
    return !module.entries.empty();
}

} // namespace softcuda
