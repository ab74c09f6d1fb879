// The threads of a block as fibers of one host thread. A thread runs until it ends or waits, for its block or for its
// warp; only then does another fiber take over, so a kernel that never waits costs no switch at all.
#include "device.cuh"
#include "device.h"
#include "warp.h"

#include <csetjmp>
#include <cstring>
#include <sys/mman.h>
#include <ucontext.h>

OF_HOST_THREAD DeviceIndex threadIdx, blockIdx, blockDim, gridDim;
OF_HOST_THREAD unsigned char *dynamic_shared_memory;

namespace {

constexpr size_t stack_bytes = 128 << 10;

struct Fiber {
    ucontext_t context = {};
    jmp_buf resume = {};
    DeviceIndex thread = {};
    bool is_started = false;
};

// Lanes of a warp that wait for the others at one collective instruction.
struct Warp {
    void *lanes[warp_lanes] = {};
    Fiber *waiting[warp_lanes] = {};
    unsigned arrived = 0;
    const void *instruction = nullptr;
};

struct Block {
    std::vector<std::unique_ptr<Fiber>> fibers; // kept from block to block
    std::vector<Fiber *> idle, ready, at_barrier;
    std::vector<Warp> warps;
    unsigned char *shared_end = nullptr; // of what blocks have as dynamic shared memory: a page that cannot be touched
    const std::function<void()> *body = nullptr;
    Fiber *running = nullptr;
    jmp_buf scheduler = {};
    unsigned next = 0, total = 0, finished = 0;
    bool diverged = false;
};

OF_HOST_THREAD Block *current; // made with the first kernel of a host thread

// What a fiber does for ever: take the next thread of whichever block is running.
void fiber_main() {
    for (;;) {
        while (current->next < current->total) {
            const unsigned i = current->next++, x = blockDim.x, y = blockDim.y;
            threadIdx = {i % x, i / x % y, i / x / y};
            (*current->body)();
            ++current->finished;
        }
        current->idle.push_back(current->running);
        if (!_setjmp(current->running->resume)) {
            _longjmp(current->scheduler, 1);
        }
    }
}

void switch_to(Fiber *fiber) {
    current->running = fiber;
    threadIdx = fiber->thread;
    if (_setjmp(current->scheduler)) {
        return;
    }
    if (fiber->is_started) {
        _longjmp(fiber->resume, 1);
    }
    fiber->is_started = true;
    setcontext(&fiber->context);
}

Fiber *idle_fiber() {
    if (!current->idle.empty()) {
        Fiber *fiber = current->idle.back();
        current->idle.pop_back();
        return fiber;
    }
    auto fiber = std::make_unique<Fiber>();
    getcontext(&fiber->context);
    fiber->context.uc_stack.ss_sp =
        mmap(nullptr, stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    fiber->context.uc_stack.ss_size = stack_bytes;
    makecontext(&fiber->context, fiber_main, 0);
    current->fibers.push_back(std::move(fiber));
    return current->fibers.back().get();
}

// Fresh shared memory of so many bytes, full of NaN; what reaches past its end crashes.
unsigned char *fresh_shared(unsigned bytes) {
    constexpr size_t most = 256 << 10, guard = 4096;
    if (!current->shared_end) {
        void *region = mmap(nullptr, most + guard, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        current->shared_end = static_cast<unsigned char *>(region) + most;
        mprotect(current->shared_end, guard, PROT_NONE);
    }
    unsigned char *begin = current->shared_end - (bytes + 15) / 16 * 16;
    std::memset(begin, 0xFF, (size_t)(current->shared_end - begin));
    return begin;
}

// Leaves the running thread until someone puts its fiber among those that are ready.
void wait() {
    Fiber *self = current->running;
    self->thread = threadIdx;
    if (!_setjmp(self->resume)) {
        _longjmp(current->scheduler, 1);
    }
}

bool run_block(const std::function<void()> &body) {
    current->body = &body;
    current->next = current->finished = 0;
    current->total = blockDim.x * blockDim.y * blockDim.z;
    current->warps.assign((current->total + warp_lanes - 1) / warp_lanes, {});
    current->ready.clear(); // a block that failed has left its threads where they were
    current->at_barrier.clear();
    current->diverged = false;
    while (current->finished < current->total && !current->diverged) {
        if (!current->ready.empty()) {
            Fiber *fiber = current->ready.back();
            current->ready.pop_back();
            switch_to(fiber);
        } else if (current->next < current->total) {
            switch_to(idle_fiber());
        } else if (current->at_barrier.size() == current->total) {
            current->ready.swap(current->at_barrier);
        } else {
            return false; // some wait for others that have left, or that wait elsewhere
        }
    }
    return !current->diverged;
}

} // namespace

void __syncthreads() {
    current->at_barrier.push_back(current->running);
    wait();
}

unsigned thread_of_block() { return threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z); }

void warp_collective(void *mine, void (*all)(void **lanes)) {
    const unsigned thread = thread_of_block();
    Warp &warp = current->warps[thread / warp_lanes];
    const void *instruction = reinterpret_cast<const void *>(all);
    if (warp.arrived > 0 && warp.instruction != instruction) {
        current->diverged = true; // lanes of one warp at different instructions
        wait();
    }
    warp.instruction = instruction;
    warp.lanes[thread % warp_lanes] = mine;
    if (warp.arrived + 1 < warp_lanes) {
        warp.waiting[warp.arrived++] = current->running;
        wait();
        return;
    }
    all(warp.lanes);
    current->ready.insert(current->ready.end(), warp.waiting, warp.waiting + warp.arrived);
    warp.arrived = 0;
}

namespace softcuda {

bool run_kernel(const std::function<void()> &body, Dimensions grid, Dimensions threads, unsigned shared_bytes) {
    const long blocks = (long)grid.x * grid.y * grid.z;
    bool ok = true;
#pragma omp parallel for schedule(static) if (blocks >= 8 || (blocks > 1 && shared_bytes > 0)) reduction(&& : ok)
    for (long i = 0; i < blocks; ++i) {
        gridDim = {grid.x, grid.y, grid.z};
        blockDim = {threads.x, threads.y, threads.z};
        blockIdx = {(unsigned)(i % grid.x), (unsigned)(i / grid.x % grid.y), (unsigned)(i / grid.x / grid.y)};
        static thread_local Block block_of_thread;
        current = &block_of_thread;
        dynamic_shared_memory = fresh_shared(shared_bytes);
        ok = run_block(body) && ok;
    }
    return ok;
}

} // namespace softcuda
