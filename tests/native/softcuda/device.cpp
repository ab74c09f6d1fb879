// Memory, streams, failures on demand, and the account of what was not given back.
#include "device.h"
#include "driver.h"
#include "races.h"
#include "warp.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <sys/mman.h>
#include <tuple>
#include <unistd.h>

namespace softcuda {

namespace {

constexpr uint64_t device_tag = 1ull << 60; // makes an address that no x86-64 or Arm processor accepts
constexpr size_t alignment = 256;

struct Allocation {
    uint64_t first;
    size_t bytes;
    void *mapping;
    size_t mapped;
    Users users;
    std::map<uint64_t, size_t> tensors; // what callers have said lies in it: nothing but these may be touched then
};

struct PlannedFailure {
    std::string call;
    uint64_t countdown;
    int status;
};

struct State {
    std::recursive_mutex mutex;
    std::map<uint64_t, Allocation> device, pinned; // by first address
    std::map<std::string, int> handles;
    std::vector<PlannedFailure> failures;
    std::map<std::string, uint64_t> calls;
    uint64_t used = 0;
    Result sticky = success;

    State() {
        const char *failing = std::getenv("SOFTCUDA_FAIL");
        plan(failing ? failing : "");
    }

    void plan(std::string rest) {
        failures.clear();
        while (!rest.empty()) {
            const size_t comma = rest.find(',');
            const std::string item = rest.substr(0, comma);
            char call[128];
            unsigned long long n;
            int status;
            if (std::sscanf(item.c_str(), "%127[^:]:%llu:%d", call, &n, &status) == 3) {
                failures.push_back({call, n, status});
            } else {
                std::fprintf(stderr, "softcuda: SOFTCUDA_FAIL: '%s' is not name:n:status\n", item.c_str());
            }
            rest = comma == std::string::npos ? "" : rest.substr(comma + 1);
        }
    }

    ~State() {
        for (const auto &[kind, count] : handles) {
            if (count != 0) {
                std::fprintf(stderr, "softcuda: leak: %d %s not given back\n", count, kind.c_str());
            }
        }
    }
};

// After these a driver returns the same from every call.
bool is_sticky(int status) {
    return status == illegal_address || status == misaligned_address || status == launch_failed;
}

// As many bytes of a text as there is room for, and how many there are.
size_t give(const std::string &text, char *to, size_t length) {
    std::snprintf(to, length, "%s", text.c_str());
    return text.size();
}

State &state() {
    static State instance;
    return instance;
}

size_t users_bytes(size_t allocated) { return (allocated + 1) / 2 * 2 * sizeof(uint64_t); } // who wrote, then who read

// Zeros, of which only those that are touched take memory; null where there are none to be had.
char *map(size_t bytes, int protection) {
    void *zeros = mmap(nullptr, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (zeros == MAP_FAILED) {
        return nullptr;
    }
    madvise(zeros, bytes, MADV_HUGEPAGE); // or half of the time goes into getting pages
    return static_cast<char *>(zeros);
}

size_t up(size_t value, size_t to) { return (value + to - 1) / to * to; }

const Allocation *find(const std::map<uint64_t, Allocation> &from, uint64_t address, size_t bytes) {
    auto at = from.upper_bound(address);
    if (at == from.begin()) {
        return nullptr;
    }
    --at;
    return address - at->first + bytes <= at->second.bytes ? &at->second : nullptr;
}

// The tensor or, where its allocation is not divided, the allocation that holds so many bytes.
AllocationRange find_on_device(uint64_t address, size_t bytes, bool in_a_tensor) {
    const uint64_t untagged = address & ~device_tag;
    const Allocation *allocation = address & device_tag ? find(state().device, untagged, bytes) : nullptr;
    if (!allocation) {
        return {};
    }
    uint64_t first = allocation->first;
    size_t length = allocation->bytes;
    if (in_a_tensor && !allocation->tensors.empty()) {
        const auto after = allocation->tensors.upper_bound(untagged);
        if (after == allocation->tensors.begin()) {
            return {};
        }
        std::tie(first, length) = *std::prev(after);
    }
    return untagged - first + bytes <= length
               ? AllocationRange{first | device_tag,
                                 length,
                                 reinterpret_cast<void *>(first),
                                 {allocation->users.written + (first - allocation->first) / 2,
                                  allocation->users.read + (first - allocation->first) / 2}}
               : AllocationRange{};
}

} // namespace

Result refuse(Result status, const char *call, const std::string &why) {
    std::fprintf(stderr, "softcuda: %s: %s\n", call, why.c_str());
    return status;
}

int planned_failure(const char *call) {
    std::lock_guard lock(state().mutex);
    ++state().calls[call];
    for (PlannedFailure &failure : state().failures) {
        if ((failure.call == call || failure.call == "*") && failure.countdown > 0 && --failure.countdown == 0) {
            set_sticky_error(is_sticky(failure.status) ? (Result)failure.status : success);
            return failure.status == 0 ? nothing_done : failure.status;
        }
    }
    return 0;
}

// For tests that make calls fail: the plan from now on, written as SOFTCUDA_FAIL is. The device is as after a start:
// what has failed before is forgotten, the calls so far are not counted.
extern "C" void softcuda_fail(const char *plan) {
    std::lock_guard lock(state().mutex);
    state().plan(plan);
    state().sticky = success;
    state().calls.clear();
}

// The calls so far, a line "name n" for each entry point and kernel.
extern "C" size_t softcuda_called(char *text, size_t length) {
    std::lock_guard lock(state().mutex);
    std::string lines;
    for (const auto &[name, calls] : state().calls) {
        lines += name + " " + std::to_string(calls) + "\n";
    }
    return give(lines, text, length);
}

// What is not given back yet, a line "n kind" for each kind of it.
extern "C" size_t softcuda_alive(char *text, size_t length) {
    std::lock_guard lock(state().mutex);
    std::string lines;
    for (const auto &[kind, count] : state().handles) {
        lines += count == 0 ? "" : std::to_string(count) + " " + kind + "\n";
    }
    return give(lines, text, length);
}

// For tests that count calls: how often an entry point was called, or all of them where there is no name.
extern "C" uint64_t softcuda_calls(const char *call) {
    std::lock_guard lock(state().mutex);
    uint64_t count = 0;
    for (const auto &[name, calls] : state().calls) {
        count += !call || name == call ? calls : 0;
    }
    return count;
}

Result sticky_error() { return state().sticky; }

void set_sticky_error(Result status) { state().sticky = state().sticky ? state().sticky : status; }

uint64_t setting(const char *name, uint64_t otherwise) {
    const char *text = std::getenv(name);
    return text ? std::strtoull(text, nullptr, 0) : otherwise;
}

void count_handle(const char *kind, int change) {
    std::lock_guard lock(state().mutex);
    state().handles[kind] += change;
}

MemoryInfo memory_info() {
    const uint64_t total = setting("SOFTCUDA_MEMORY", 8ull << 30), taken = setting("SOFTCUDA_MEMORY_TAKEN", 0);
    std::lock_guard lock(state().mutex);
    const uint64_t used = state().used + taken;
    return {used < total ? total - used : 0, total};
}

void *memory(uint64_t address, size_t bytes, const char *call, bool in_a_tensor) {
    std::lock_guard lock(state().mutex);
    if (find_on_device(address, bytes, in_a_tensor).bytes == 0) {
        char text[160];
        std::snprintf(text, sizeof text, "%zu bytes at 0x%llx lie in no live allocation of the device", bytes,
                      (unsigned long long)address);
        refuse(illegal_address, call, text);
        return nullptr;
    }
    return reinterpret_cast<void *>(address & ~device_tag);
}

void *used_memory(uint64_t address, size_t bytes, const char *call, Use use, bool in_a_tensor) {
    void *host = memory(address, bytes, call, in_a_tensor);
    if (!host) {
        return nullptr;
    }
    const AllocationRange range = find_on_device(address, bytes, in_a_tensor);
    try {
        std::vector<uint32_t> counted(1);
        BlockRaces races;
        const auto order = running_work();
        order->set_name(call);
        races.start(*order, 0, counted);
        const size_t first = std::min<size_t>(bytes, 64 << 10); // stand for all: to know of each byte takes four
        use == Use::writes ? races.write(range.users, address - range.first, first)
                           : races.read(range.users, address - range.first, first);
        return host;
    } catch (const Fault &fault) {
        refuse(fault.status, call, fault.why);
        return nullptr;
    }
}

AllocationRange allocation_at(uint64_t address, size_t bytes) {
    std::lock_guard lock(state().mutex);
    return find_on_device(address, bytes, true);
}

// For tests: a tensor lies here. Kernels and libraries that touch the same allocation outside of its tensors are
// refused.
extern "C" int softcuda_tensor(uint64_t address, size_t bytes) {
    std::lock_guard lock(state().mutex);
    const auto at = state().device.upper_bound(address & ~device_tag);
    if (!find(state().device, address & ~device_tag, bytes)) {
        return invalid_value;
    }
    std::prev(at)->second.tensors[address & ~device_tag] = bytes;
    return success;
}

bool is_pinned(const void *host, size_t bytes) {
    std::lock_guard lock(state().mutex);
    return find(state().pinned, reinterpret_cast<uint64_t>(host), bytes) != nullptr;
}

uint64_t allocate(size_t bytes, bool on_device) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), body = up(up(bytes, alignment), page), mapped = body + 2 * page;
    char *mapping = map(mapped, PROT_NONE);
    auto *users = reinterpret_cast<uint64_t *>(on_device ? map(users_bytes(mapped), PROT_READ | PROT_WRITE) : nullptr);
    if (!mapping || (on_device && !users) || mprotect(mapping + page, body, PROT_READ | PROT_WRITE) != 0) {
        return 0;
    }
    std::memset(mapping + page, 0xFF, body); // NaN in every format
    const uint64_t first = reinterpret_cast<uint64_t>(mapping + page + body - up(bytes, alignment));
    std::lock_guard lock(state().mutex);
    (on_device ? state().device
               : state().pinned)[first] = {first, bytes, mapping, mapped, {users, users + (mapped + 1) / 2}, {}};
    state().used += on_device ? bytes : 0;
    count_handle(on_device ? "device allocations" : "pinned allocations", 1);
    return on_device ? first | device_tag : first;
}

bool release(uint64_t address, bool on_device) {
    std::lock_guard lock(state().mutex);
    auto &from = on_device ? state().device : state().pinned;
    const auto at = from.find(on_device ? address & ~device_tag : address);
    if (at == from.end() || (on_device && !(address & device_tag))) {
        return false;
    }
    munmap(at->second.mapping, at->second.mapped);
    if (on_device) {
        munmap(at->second.users.written, users_bytes(at->second.mapped));
    }
    state().used -= on_device ? at->second.bytes : 0;
    from.erase(at);
    count_handle(on_device ? "device allocations" : "pinned allocations", -1);
    return true;
}

} // namespace softcuda
