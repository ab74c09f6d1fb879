// Tensors as float arrays, whatever they are stored as.
#pragma once

#include "device.h"

#include <cmath>
#include <cstring>

namespace softcuda {

enum class Type { f32, bf16 };

inline size_t size_of(Type type) { return type == Type::f32 ? 4 : 2; }

inline float round_tf32(float x) { // 10 bits of mantissa, to nearest, ties away, as a tensor core takes its inputs
    uint32_t u;
    std::memcpy(&u, &x, 4);
    u = std::isfinite(x) ? (u + 0x1000u) & ~0x1FFFu : u;
    std::memcpy(&x, &u, 4);
    return x;
}

inline float round_bf16(float x) {
    uint32_t u;
    std::memcpy(&u, &x, 4);
    u = std::isnan(x) ? u | 0x400000u : (u + 0x7FFFu + ((u >> 16) & 1u)) & 0xFFFF0000u;
    std::memcpy(&x, &u, 4);
    return x;
}

inline std::vector<float> load(const void *from, size_t count, Type type, bool tf32 = false) {
    std::vector<float> values(count);
    if (type == Type::f32) {
        std::memcpy(values.data(), from, 4 * count);
    } else {
        for (size_t i = 0; i < count; ++i) {
            const uint32_t bits = (uint32_t) static_cast<const uint16_t *>(from)[i] << 16;
            std::memcpy(&values[i], &bits, 4);
        }
    }
    if (tf32) {
        for (float &value : values) {
            value = round_tf32(value);
        }
    }
    return values;
}

inline void store(void *to, const std::vector<float> &values, Type type) {
    if (type == Type::f32) {
        std::memcpy(to, values.data(), 4 * values.size());
        return;
    }
    for (size_t i = 0; i < values.size(); ++i) {
        const float rounded = round_bf16(values[i]);
        uint32_t bits;
        std::memcpy(&bits, &rounded, 4);
        static_cast<uint16_t *>(to)[i] = (uint16_t)(bits >> 16);
    }
}

} // namespace softcuda
