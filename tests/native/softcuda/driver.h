// What only the driver's own files share.
#pragma once

#include "device.h"

#include <thread>

namespace softcuda {

struct MemoryInfo {
    uint64_t free, total;
};

MemoryInfo memory_info();
uint64_t allocate(size_t bytes, bool on_device); // 0 where the host has no memory
bool release(uint64_t address, bool on_device);
void set_sticky_error(Result status);

struct Graph {
    std::vector<Work> nodes;
};

struct Event {
    std::vector<Stream *> after; // empty until recorded
    uint64_t position = 0;
    double seconds = 0;
};

// Work in order; the capture of a graph puts it there instead.
struct Stream {
    std::vector<Work> queue;
    uint64_t done = 0; // works that have run since the stream was created
    std::unique_ptr<Graph> capture;
    std::thread::id capturing_thread; // capture is thread-local: other threads may do what they like
    bool capture_is_broken = false;
};

Result run_until(Stream *stream, uint64_t position);

} // namespace softcuda
