// The blocks of a launch, side by side on the threads of the host; the warps of a block in turn, each until it waits.
#include "grid.h"
#include "warp.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <mutex>

namespace softcuda {

struct BlockRun {
    Block block;
    std::vector<Warp> warps;

    void start(const Kernel &kernel, const std::vector<unsigned char> &parameters, Dimensions grid, Dimensions threads,
               size_t shared_bytes, size_t index);
    // Until it has ended, or waits for the kernel before.
    void run();

  private:
    struct Free {
        void operator()(void *memory) const { std::free(memory); }
    };
    std::unique_ptr<unsigned char, Free> registers;
    size_t register_bytes = 0;
    uint64_t constants_of = 0; // the kernel whose constants are in the registers
    std::vector<unsigned char> shared;
};

void BlockRun::start(const Kernel &kernel, const std::vector<unsigned char> &parameters, Dimensions grid,
                     Dimensions threads, size_t shared_bytes, size_t index) {
    const unsigned count = threads.x * threads.y * threads.z;
    const size_t warp_count = (count + warp_lanes - 1) / warp_lanes;
    if (constants_of != kernel.serial || warps.size() != warp_count) {
        if (register_bytes < warp_count * kernel.register_bytes) {
            register_bytes = warp_count * kernel.register_bytes;
            registers.reset(static_cast<unsigned char *>(std::aligned_alloc(64, register_bytes)));
        }
        std::memset(registers.get(), 0xFF, warp_count * kernel.register_bytes);
        warps.assign(warp_count, {});
        for (size_t i = 0; i < warp_count; ++i) {
            warps[i].block = &block;
            warps[i].first_thread = (unsigned)i * warp_lanes;
            warps[i].registers = registers.get() + i * kernel.register_bytes;
            for (const Kernel::Constant &constant : kernel.constants) {
                for (unsigned lane = 0; lane < warp_lanes; ++lane) {
                    std::memcpy(warps[i].registers + constant.at + lane * constant.bytes, &constant.value,
                                constant.bytes);
                }
            }
        }
        constants_of = kernel.serial;
    }
    const unsigned x = (unsigned)(index % grid.x), y = (unsigned)(index / grid.x % grid.y);
    for (Warp &warp : warps) {
        uint32_t *special = warp.at<uint32_t>(0);
        warp.everyone = 0;
        for (unsigned lane = 0; lane < warp_lanes; ++lane) {
            const unsigned thread = warp.first_thread + lane;
            warp.everyone |= (Lanes)(thread < count) << lane;
            const uint32_t values[] = {
                thread % threads.x, thread / threads.x % threads.y, x, y, threads.x, threads.y, grid.x, grid.y};
            for (size_t i = 0; i < std::size(values); ++i) {
                special[i * warp_lanes + lane] = values[i];
            }
        }
        warp.active = warp.everyone;
        warp.next = 0;
        warp.meets = ~0u;
        warp.state = State::running;
        warp.has_waited = false;
        warp.others.clear();
        warp.copies.clear();
        warp.copy_groups = {};
        warp.products.clear();
    }
    shared.assign(kernel.shared_bytes + shared_bytes, 0xFF); // NaN in every format
    block.kernel = &kernel;
    block.parameters = parameters.data();
    block.shared = shared.data();
    block.shared_bytes = shared.size();
    std::fill(std::begin(block.ranges), std::end(block.ranges), AllocationRange{});
    block.races.start(shared.size());
    block.counts = {};
    if (is_counting_lines()) {
        block.counts.of_lines.resize((size_t)kernel.code.back().line + 1);
    }
}

void BlockRun::run() {
    for (;;) {
        size_t at_barrier = 0, finished = 0, waiting = 0;
        for (Warp &warp : warps) {
            if (warp.state == State::running ||
                (warp.state == State::waits_for_kernel_before && block.kernel_before_has_ended)) {
                try {
                    warp.run();
                } catch (Fault &fault) {
                    fault.why =
                        "line " + std::to_string(block.kernel->code[warp.next - 1].line) + " of the PTX: " + fault.why;
                    throw;
                }
            }
            at_barrier += warp.state == State::at_barrier;
            finished += warp.state == State::finished;
            waiting += warp.state == State::waits_for_kernel_before;
        }
        if (waiting > 0 || finished == warps.size()) {
            return;
        }
        if (at_barrier < warps.size()) {
            throw Fault{launch_failed, "threads have left while others wait at a barrier"};
        }
        for (Warp &warp : warps) {
            warp.state = State::running;
        }
        block.races.meet();
    }
}

namespace {

// Runs of blocks that have ended: their memory is there, and not to be cleared by the host once more.
class SpareRuns {
  public:
    std::vector<std::unique_ptr<BlockRun>> take(size_t count) {
        std::lock_guard lock(mutex);
        std::vector<std::unique_ptr<BlockRun>> taken(count);
        for (auto &run : taken) {
            if (spare.empty()) {
                run = std::make_unique<BlockRun>();
            } else {
                run = std::move(spare.back());
                spare.pop_back();
            }
        }
        return taken;
    }

    void give_back(std::vector<std::unique_ptr<BlockRun>> runs) {
        constexpr size_t most = 256;
        std::lock_guard lock(mutex);
        for (size_t i = 0; i < runs.size() && spare.size() < most; ++i) {
            spare.push_back(std::move(runs[i]));
        }
    }

  private:
    std::mutex mutex;
    std::vector<std::unique_ptr<BlockRun>> spare;
};

SpareRuns &spare_runs() {
    static SpareRuns runs;
    return runs;
}

} // namespace

Launch::Launch(std::shared_ptr<const Kernel> kernel, std::vector<unsigned char> parameters, Dimensions grid,
               Dimensions threads, unsigned shared_bytes)
    : kernel(std::move(kernel)), parameters(std::move(parameters)), grid(grid), threads(threads),
      shared_bytes(shared_bytes) {}

Launch::~Launch() = default;

template <typename Body> Result Launch::for_every_block(Body body) {
    const long blocks = (long)grid.x * grid.y * grid.z;
    Result result = success;
#pragma omp parallel for schedule(static) if (blocks > 1)
    for (long i = 0; i < blocks; ++i) {
        try {
            body(i);
        } catch (const Fault &fault) {
#pragma omp critical
            result = result != success
                         ? result
                         : refuse(fault.status, name().c_str(), "block " + std::to_string(i) + ", " + fault.why);
        }
    }
    return result;
}

Result Launch::start() {
    if (kernel->is_unloaded) {
        return refuse(launch_failed, name().c_str(), "its module was unloaded before it ran");
    }
    order = running_work();
    order->set_name(name());
    counted.assign((size_t)grid.x * grid.y * grid.z, 0);
    return success;
}

void Launch::start_block(BlockRun &run, long i) {
    run.start(*kernel, parameters, grid, threads, shared_bytes, (size_t)i);
    run.block.block_races.start(*order, (uint32_t)i, counted);
}

Result Launch::begin() {
    if (const Result status = start()) {
        return status;
    }
    begun = spare_runs().take((size_t)grid.x * grid.y * grid.z);
    return for_every_block([&](long i) {
        start_block(*begun[(size_t)i], i);
        begun[(size_t)i]->block.kernel_before_has_ended = false;
        begun[(size_t)i]->run();
    });
}

Result Launch::run() {
    const auto count = [this](BlockRun &run, long i) {
        if (is_counting()) {
            run.block.counts.launches = i == 0;
            run.block.counts.blocks = 1;
            add_counts(*run.block.kernel, run.block.counts);
        }
    };
    auto blocks = std::move(begun);
    begun.clear();
    if (blocks.empty()) {
        if (const Result status = start()) {
            return status;
        }
    }
    const Result result = for_every_block([&](long i) {
        if (!blocks.empty()) {
            blocks[(size_t)i]->block.kernel_before_has_ended = true;
            blocks[(size_t)i]->run();
            count(*blocks[(size_t)i], i);
            return;
        }
        static thread_local BlockRun one_after_the_other;
        start_block(one_after_the_other, i);
        one_after_the_other.run();
        count(one_after_the_other, i);
    });
    spare_runs().give_back(std::move(blocks));
    return result;
}

} // namespace softcuda
