// The threads of a block as fibers of one host thread. A thread runs until it ends or waits at a barrier; only then
// does another fiber take over, so a kernel without barriers costs no switch at all.
#include "device.cuh"
#include "device.h"

#include <csetjmp>
#include <sys/mman.h>
#include <ucontext.h>

thread_local DeviceIndex threadIdx, blockIdx, blockDim, gridDim;

namespace {

constexpr size_t stack_bytes = 128 << 10;

struct Fiber {
    ucontext_t context = {};
    jmp_buf resume = {};
    DeviceIndex thread = {};
    bool is_started = false;
};

struct Block {
    std::vector<std::unique_ptr<Fiber>> fibers; // kept from block to block
    std::vector<Fiber *> waiting;
    const std::function<void()> *body = nullptr;
    Fiber *running = nullptr;
    jmp_buf scheduler = {};
    unsigned next = 0, total = 0, finished = 0;
};

thread_local Block block;

// What a fiber does for ever: take the next thread of whichever block is running.
void fiber_main() {
    for (;;) {
        while (block.next < block.total) {
            const unsigned i = block.next++, x = blockDim.x, y = blockDim.y;
            threadIdx = {i % x, i / x % y, i / x / y};
            (*block.body)();
            ++block.finished;
        }
        if (!_setjmp(block.running->resume)) {
            _longjmp(block.scheduler, 1);
        }
    }
}

void switch_to(Fiber *fiber) {
    block.running = fiber;
    if (_setjmp(block.scheduler)) {
        return;
    }
    if (fiber->is_started) {
        _longjmp(fiber->resume, 1);
    }
    fiber->is_started = true;
    setcontext(&fiber->context);
}

Fiber *idle_fiber(size_t index) {
    if (index == block.fibers.size()) {
        auto fiber = std::make_unique<Fiber>();
        getcontext(&fiber->context);
        fiber->context.uc_stack.ss_sp =
            mmap(nullptr, stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        fiber->context.uc_stack.ss_size = stack_bytes;
        makecontext(&fiber->context, fiber_main, 0);
        block.fibers.push_back(std::move(fiber));
    }
    return block.fibers[index].get();
}

bool run_block(const std::function<void()> &body) {
    block.body = &body;
    block.next = block.finished = 0;
    block.total = blockDim.x * blockDim.y * blockDim.z;
    block.waiting.clear();
    while (block.finished < block.total) {
        while (block.next < block.total) {
            switch_to(idle_fiber(block.waiting.size())); // those that wait are the first ones
        }
        if (block.waiting.empty()) {
            break;
        }
        if (block.waiting.size() + block.finished != block.total || block.finished > 0) {
            return false;
        }
        std::vector<Fiber *> released;
        released.swap(block.waiting);
        for (Fiber *fiber : released) {
            threadIdx = fiber->thread;
            switch_to(fiber);
        }
    }
    return true;
}

} // namespace

void __syncthreads() {
    Fiber *self = block.running;
    self->thread = threadIdx;
    block.waiting.push_back(self);
    if (!_setjmp(self->resume)) {
        _longjmp(block.scheduler, 1);
    }
    block.running = self;
}

namespace softcuda {

bool run_kernel(const std::function<void()> &body, Dimensions grid, Dimensions threads) {
    const long blocks = (long)grid.x * grid.y * grid.z;
    bool ok = true;
#pragma omp parallel for schedule(static) if (blocks >= 8) reduction(&& : ok)
    for (long i = 0; i < blocks; ++i) {
        gridDim = {grid.x, grid.y, grid.z};
        blockDim = {threads.x, threads.y, threads.z};
        blockIdx = {(unsigned)(i % grid.x), (unsigned)(i / grid.x % grid.y), (unsigned)(i / grid.x / grid.y)};
        ok = run_block(body) && ok;
    }
    return ok;
}

} // namespace softcuda
