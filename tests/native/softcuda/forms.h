// The instructions that are known here, by opcode.
#pragma once

#include "warp.h"

#include <unordered_map>

namespace softcuda {

using Forms = std::unordered_map<std::string, Form>;

void add_memory_forms(Forms &forms);
void add_warp_forms(Forms &forms);

} // namespace softcuda
