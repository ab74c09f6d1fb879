// A software CUDA device: what libcuda, libcublas and libcudnn share. An instrument for tests: it runs on the CPU just
// the calls that CudnnDigits makes, and is strict where a GPU is silent.
//
// - A device address is a host address with a tag that no processor accepts, so that using one on the host crashes.
// - Work is queued and runs when the host waits for it, no sooner: a missing wait shows as poisoned memory.
// - Fresh memory is full of NaN; an allocation ends at a guard page.
// - Kernels run as the PTX they are loaded from; every access is checked, and races in shared memory, between blocks
// and
//   between streams are seen.
// - What work still needs is not saved for it: kernels whose module is unloaded, and streams that are destroyed, before
//   that work has run make it fail.
// - SOFTCUDA_FAIL=name:n:status[,…] makes the nth call of an entry point (or the nth run of a kernel) fail; the name *
// stands
//   for all of them. A status from which a device does not recover stays; the status 0 says success where nothing was
//   done. softcuda_fail plans the same while a process runs.
// - What gives something back does so whatever it returns. What was not given back is said when the process ends, or by
//   softcuda_alive.
#pragma once

#include "races.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace softcuda {

enum Result {
    success = 0,
    invalid_value = 1,
    out_of_memory = 2,
    not_initialized = 3,
    invalid_device = 101,
    invalid_image = 200,
    invalid_context = 201,
    no_binary_for_gpu = 209,
    unsupported_ptx_version = 222,
    invalid_handle = 400,
    not_found = 500,
    illegal_address = 700,
    misaligned_address = 716,
    launch_failed = 719,
    capture_unsupported = 900,
    capture_invalidated = 901,
    capture_unjoined = 904,
    capture_isolation = 905,
    capture_wrong_thread = 908,
};

struct Stream;

// Says on standard error what is wrong with a call, and returns the status it fails with.
Result refuse(Result status, const char *call, const std::string &why);

// To be called first in every entry point: a status that was asked for by SOFTCUDA_FAIL, or 0. For cuBLAS and cuDNN any
// status other than 0 is returned as it is.
int planned_failure(const char *call);
constexpr int nothing_done = -1; // planned: to be returned as success, without doing anything
constexpr int returned(int planned) { return planned == nothing_done ? 0 : planned; }
Result sticky_error();

// The host address of `bytes` of device memory, or null with a message where they do not lie in one live allocation.
// Or, where tests have said which tensors lie there, in one tensor.
void *memory(uint64_t address, size_t bytes, const char *call, bool in_a_tensor = true);

// The same for the work that runs, which is known to have been there from now on.
enum class Use { reads, writes };
void *used_memory(uint64_t address, size_t bytes, const char *call, Use use, bool in_a_tensor = true);

// The live allocation or tensor that holds `bytes` of device memory; one of no bytes where there is none.
struct AllocationRange {
    uint64_t first;
    size_t bytes;
    void *host;
    Users users; // of every two bytes: who has used them last

    bool holds(uint64_t address, size_t count) const {
        return address - first <= bytes && bytes - (address - first) >= count;
    }
};
AllocationRange allocation_at(uint64_t address, size_t bytes);

bool is_pinned(const void *host, size_t bytes);

Result enqueue(Stream *stream, const char *call, std::function<Result()> run);
bool is_live(Stream *stream);
bool is_capturing(Stream *stream);
bool thread_is_capturing();
bool has_current_context();

// Things that must be given back before the process ends.
void count_handle(const char *kind, int change);

// A number from the environment.
uint64_t setting(const char *name, uint64_t otherwise);

struct Dimensions {
    unsigned x, y, z;
};

} // namespace softcuda
