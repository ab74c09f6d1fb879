// The kernels of native/kernels, compiled as host C++ and found by name.
#include "kernels.cu"
#include "device.h"
#include "fused.cu"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <tuple>
#include <type_traits>

void *device_address(unsigned long long address) {
    void *host = softcuda::memory(address, 1, "a kernel");
    if (!host) {
        std::abort(); // a fiber cannot be unwound
    }
    return host;
}

namespace {

// Structures hold device addresses as integers: whoever reads them translates.
template <typename T> bool translate(const softcuda::Parameter &parameter, T &value, const char *kernel) {
    static_assert(sizeof(T) <= sizeof parameter);
    if constexpr (std::is_pointer_v<T>) {
        uint64_t slot;
        std::memcpy(&slot, &parameter, sizeof slot);
        value = slot ? static_cast<T>(softcuda::memory(slot, 1, kernel)) : nullptr;
        return value || !slot;
    } else {
        std::memcpy(&value, &parameter, sizeof value);
        return true;
    }
}

template <typename... A, size_t... I>
softcuda::Kernel describe(const char *name, void (*kernel)(A...), std::index_sequence<I...>) {
    auto bind = [=](const std::vector<softcuda::Parameter> &parameters) -> std::function<void()> {
        std::tuple<std::remove_const_t<A>...> values;
        if (!(translate(parameters[I], std::get<I>(values), name) && ...)) {
            return nullptr;
        }
        return [=] { std::apply(kernel, values); };
    };
    return {name, {sizeof(A)...}, bind};
}

template <typename... A> softcuda::Kernel describe(const char *name, void (*kernel)(A...)) {
    return describe(name, kernel, std::index_sequence_for<A...>());
}

#define ENTRY(name) describe(#name, name)

const std::vector<softcuda::Kernel> &kernels() {
    static const std::vector<softcuda::Kernel> table = {
        ENTRY(begin_training_step),
        ENTRY(begin_prediction_step),
        ENTRY(begin_image_step),
        ENTRY(gather_augment_f32),
        ENTRY(gather_augment_bf16),
        ENTRY(gather_images_f32),
        ENTRY(gather_images_bf16),
        ENTRY(activation_forward_f32),
        ENTRY(activation_forward_bf16),
        ENTRY(activation_backward_f32),
        ENTRY(activation_backward_bf16),
        ENTRY(column_sums),
        ENTRY(head_training_f32),
        ENTRY(head_training_bf16),
        ENTRY(head_prediction_f32),
        ENTRY(head_prediction_bf16),
        ENTRY(adam),
        ENTRY(round_weights),
        ENTRY(window_moments),
        ENTRY(batch_norm_running),
        ENTRY(conv2_forward),
        ENTRY(conv3_forward),
        ENTRY(conv4_forward),
        ENTRY(pool4_forward),
        ENTRY(predict_features),
        ENTRY(pool4_backward),
        ENTRY(conv4_backward_data),
        ENTRY(conv3_backward_data),
        ENTRY(conv2_backward_data),
        ENTRY(conv4_backward_weights),
        ENTRY(conv3_backward_weights),
        ENTRY(conv2_backward_weights),
    };
    return table;
}

} // namespace

namespace softcuda {

const Kernel *find_kernel(const std::string &name) {
    for (const Kernel &kernel : kernels()) {
        if (name == kernel.name) {
            return &kernel;
        }
    }
    return nullptr;
}

} // namespace softcuda
