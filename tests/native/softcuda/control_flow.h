// The ways that lanes can take through a kernel.
#pragma once

#include "ptx.h"

namespace softcuda {

// Instructions between which no way leads in or out, and where it leads from the last of them. The exit comes after
// all.
struct Stretches {
    std::vector<size_t> begins;
    std::vector<std::vector<size_t>> next, before;

    explicit Stretches(const std::vector<Instruction> &code);

    size_t exit() const { return begins.size(); }
    size_t last(size_t stretch) const { return (stretch + 1 < exit() ? begins[stretch + 1] : end) - 1; }

  private:
    size_t end;

    size_t at(size_t instruction) const;
};

} // namespace softcuda
