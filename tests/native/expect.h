// What tests of the software CUDA device expect, and how much of it does not hold.
#pragma once

#include <cstdio>
#include <string>

inline int failures = 0;

inline void expect(bool holds, const std::string &what) {
    std::printf("%s: %s\n", holds ? "holds " : "BROKEN", what.c_str());
    failures += !holds;
}
