// One launch of a kernel: its blocks, and how far they are.
#pragma once

#include "device.h"
#include "ptx.h"

namespace softcuda {

struct BlockRun;

class Launch {
  public:
    Launch(std::shared_ptr<const Kernel> kernel, std::vector<unsigned char> parameters, Dimensions grid,
           Dimensions threads, unsigned shared_bytes);
    ~Launch();

    // Runs every block as far as it may before the kernel before this one has ended.
    Result begin();
    // Runs every block to its end.
    Result run();

    const std::string &name() const { return kernel->name; }

  private:
    const std::shared_ptr<const Kernel> kernel;
    const std::vector<unsigned char> parameters;
    const Dimensions grid, threads;
    const unsigned shared_bytes;
    std::vector<std::unique_ptr<BlockRun>> begun;
    std::vector<uint32_t> counted;      // by its blocks: see races.h
    std::shared_ptr<const Order> order; // among the works that run

    Result start();
    void start_block(BlockRun &run, long i);
    template <typename Body> Result for_every_block(Body body);
};

} // namespace softcuda
