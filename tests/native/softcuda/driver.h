// What only the driver's own files share.
#pragma once

#include "device.h"
#include "order.h"

#include <mutex>
#include <set>
#include <thread>

namespace softcuda {

struct MemoryInfo {
    uint64_t free, total;
};

int capability();       // of the GPU: 86 for 8.6
unsigned most_shared(); // bytes of shared memory that a block may have

MemoryInfo memory_info();
uint64_t allocate(size_t bytes, bool on_device); // 0 where the host has no memory
bool release(uint64_t address, bool on_device);
void set_sticky_error(Result status);

struct Work {
    std::function<Result()> run;
    std::function<Result()> before; // where a kernel may begin before this one ends: the beginning of that one
    Clock after = {};               // what the host has waited for; in a graph, works of its branches, counted from 1
    uint32_t branch = 0;            // of the graph
};

struct Graph {
    std::vector<Work> nodes;
    uint32_t branches = 1;                        // the first is the stream that it runs on
    std::vector<std::shared_ptr<Strand>> strands; // of the others, once it can run
};

struct Event {
    std::vector<Stream *> after; // empty until recorded
    uint64_t position = 0;
    std::shared_ptr<Clock> done = std::make_shared<Clock>(); // before it, when its time has come; or in the capture
    std::shared_ptr<double> seconds = std::make_shared<double>(0); // it may be destroyed before its time has come
    std::weak_ptr<Graph> capture;                                  // that it was last recorded in
    bool was_captured = false;                                     // the same, when that graph may be gone
};

// Work in order; the capture of a graph puts it there instead.
struct Stream {
    std::vector<Work> queue;
    uint64_t done = 0; // works that have run since the stream was created
    Strand strand;
    Clock clock;                    // of what is done before the next work
    std::shared_ptr<Graph> capture; // of its own, or of the stream that this one waited for
    bool is_branch = false;         // of another stream's capture
    uint64_t captured = 0,
             joined = 0;              // a branch's works in the capture, and how many of them its origin has waited for
    std::thread::id capturing_thread; // capture is thread-local: other threads may do what they like
    bool capture_is_broken = false;
    bool lets_next_begin = false; // the last work is a kernel that says so
    size_t last_captured = 0;     // that work in the capture
    uint32_t branch = 0;          // of the capture
    Clock captured_clock;         // of what is done before the next work of the capture
};

// A kernel; begin: what it does before it waits for the kernel before, null where it must not begin before that has
// ended.
Result enqueue_kernel(Stream *stream, const char *call, std::function<Result()> run, std::function<Result()> begin,
                      bool lets_next_begin);

struct Driver {
    std::recursive_mutex mutex;
    std::set<Stream *> streams;
    bool initialised = false;
    int retained = 0; // how often the primary context is
    Clock waited_for; // by the host
};

Driver &driver();
std::vector<void *> &current_contexts(); // of this thread, the current one last

// The strand's work after what the clock says, which says from then on that it is done.
Result run_work(const Work &work, const Strand &strand, Clock &clock);

Stream *named(Stream *stream); // what a null stands for
uint64_t end_of(Stream *stream);
Result run_until(Stream *stream, uint64_t position);
void run_everything();

// What every entry point asks for first.
enum Needs { nothing, context, context_outside_capture };

int check(const char *call, Needs needs); // whether the call is right
int failure(const char *call);            // planned, or the sticky error
int enter(const char *call, Needs needs);
Result break_captures(const char *call);

} // namespace softcuda

#define ENTER(needs)                                                                                                   \
    std::lock_guard lock(softcuda::driver().mutex);                                                                    \
    if (const int status = softcuda::enter(__func__, needs))                                                           \
        return softcuda::returned(status);

// The same for what gives something back: it does so whatever it returns, and a driver's often return what failed
// before.
#define ENTER_TO_GIVE_BACK(needs)                                                                                      \
    std::lock_guard lock(softcuda::driver().mutex);                                                                    \
    if (const int refused = softcuda::check(__func__, needs))                                                          \
        return refused;                                                                                                \
    const int status = softcuda::returned(softcuda::failure(__func__));

#define EXPORT extern "C" __attribute__((visibility("default"))) int
