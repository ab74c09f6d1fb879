// The kernels' Philox, compiled for the host, against the known answers of the authors' Random123 distribution. The C#
// tests check the same answers, so the two sides draw the same words.
#include "philox.cuh"

#include <cstdio>

int main() {
    struct {
        unsigned long long seed;
        unsigned counter[4], expected[4];
    } const answers[] = {
        {0, {0, 0, 0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {~0ull, {~0u, ~0u, ~0u, ~0u}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {0x299f31d0a4093822ull,
         {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    int failures = 0;
    for (const auto &a : answers) {
        const PhiloxBlock b = philox_block(a.seed, a.counter[0], a.counter[1], a.counter[2], a.counter[3]);
        const unsigned words[4] = {b.x, b.y, b.z, b.w};
        for (int i = 0; i < 4; ++i) {
            if (words[i] != a.expected[i]) {
                std::printf("seed %llx, word %d: %08x, expected %08x\n", a.seed, i, words[i], a.expected[i]);
                ++failures;
            }
        }
    }
    if (philox_uniform(0) != 0.0f || philox_uniform(~0u) >= 1.0f) {
        std::printf("philox_uniform leaves [0, 1)\n");
        ++failures;
    }
    return failures;
}
