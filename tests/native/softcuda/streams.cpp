// libcuda.so.1: streams and events. Work runs when the host waits for it, in order, and not before.
#include "driver.h"

#include <algorithm>
#include <chrono>

using namespace softcuda;

namespace softcuda {

Driver &driver() {
    static Driver instance;
    return instance;
}

std::vector<void *> &current_contexts() {
    thread_local std::vector<void *> contexts;
    return contexts;
}

// A call that capture forbids breaks the capture of this thread, as a driver does.
Result break_captures(const char *call) {
    for (Stream *stream : driver().streams) {
        stream->capture_is_broken |= stream->capture && stream->capturing_thread == std::this_thread::get_id();
    }
    return refuse(capture_unsupported, call, "is not permitted while a stream is capturing");
}

int check(const char *call, Needs needs) {
    if (!driver().initialised) {
        return refuse(not_initialized, call, "cuInit was not called");
    }
    if (needs == nothing) {
        return success;
    }
    if (current_contexts().empty() || driver().retained == 0) {
        return refuse(invalid_context, call, "no context is current on this thread");
    }
    return needs == context_outside_capture && thread_is_capturing() ? break_captures(call) : success;
}

int failure(const char *call) {
    const int planned = planned_failure(call);
    return planned ? planned : sticky_error();
}

int enter(const char *call, Needs needs) {
    if (const int planned = planned_failure(call)) {
        return planned;
    }
    if (const int refused = check(call, needs)) {
        return refused;
    }
    return needs == nothing ? success : sticky_error();
}

bool is_live(Stream *stream) {
    std::lock_guard lock(driver().mutex);
    return driver().streams.count(stream) > 0;
}

bool is_capturing(Stream *stream) {
    std::lock_guard lock(driver().mutex);
    return is_live(stream) && stream->capture;
}

bool has_current_context() {
    std::lock_guard lock(driver().mutex);
    return !current_contexts().empty() && driver().retained > 0;
}

bool thread_is_capturing() {
    std::lock_guard lock(driver().mutex);
    for (Stream *stream : driver().streams) {
        if (stream->capture && stream->capturing_thread == std::this_thread::get_id()) {
            return true;
        }
    }
    return false;
}

// Null is the legacy stream: refused, as our own work must never go there, unless a test plays a caller who uses it.
Stream *named(Stream *stream) {
    static Stream legacy;
    static const bool allowed = setting("SOFTCUDA_LEGACY_STREAM", 0) != 0;
    if (stream || !allowed) {
        return stream;
    }
    driver().streams.insert(&legacy);
    return &legacy;
}

// Where a kernel lets the next one begin, that one begins before it: as early as it may, so that what it reads too
// early is not there yet.
Result enqueue_kernel(Stream *stream, const char *call, std::function<Result()> run, std::function<Result()> begin,
                      bool lets_next_begin) {
    std::lock_guard lock(driver().mutex);
    stream = named(stream);
    if (!stream || !is_live(stream)) {
        return refuse(invalid_handle, call, stream ? "unknown stream" : "the legacy stream is not to be used");
    }
    std::vector<Work> &works = stream->capture ? stream->capture->nodes : stream->queue;
    if (begin && stream->lets_next_begin) {
        (stream->capture ? works[stream->last_captured] : works.back()).before = std::move(begin);
    }
    works.push_back(
        {std::move(run), nullptr, stream->capture ? stream->captured_clock : driver().waited_for, stream->branch});
    if (stream->capture) {
        ++stream->captured;
        raise(stream->captured_clock, stream->branch, (uint32_t)works.size());
    }
    stream->last_captured = works.size() - 1;
    stream->lets_next_begin = lets_next_begin;
    return success;
}

Result enqueue(Stream *stream, const char *call, std::function<Result()> run) {
    return enqueue_kernel(stream, call, std::move(run), nullptr, false);
}

Result run_work(const Work &work, const Strand &strand, Clock &clock) {
    const auto order = std::make_shared<const Order>(strand.number, clock);
    raise(clock, strand.number, order->serial);
    if (work.before) {
        const Running next(std::make_shared<const Order>(strand.number, clock));
        if (const Result status = work.before()) {
            return status;
        }
    }
    const Running running(order);
    return work.run();
}

Result run_until(Stream *stream, uint64_t position) {
    size_t i = 0;
    for (; stream->done < position && i < stream->queue.size(); ++i, ++stream->done) {
        if (sticky_error() == success) {
            merge(stream->clock, stream->queue[i].after);
            set_sticky_error(run_work(stream->queue[i], stream->strand, stream->clock));
        }
    }
    stream->queue.erase(stream->queue.begin(), stream->queue.begin() + (long)i);
    stream->lets_next_begin &= stream->capture || !stream->queue.empty();
    return sticky_error();
}

uint64_t end_of(Stream *stream) { return stream->done + stream->queue.size(); }

void run_everything() {
    for (Stream *stream : driver().streams) {
        run_until(stream, end_of(stream));
    }
}

} // namespace softcuda

EXPORT cuStreamCreate(Stream **stream, unsigned flags) {
    ENTER(context)
    if (flags != 1) {
        return refuse(invalid_value, __func__, "the stream waits for the legacy stream");
    }
    *stream = new Stream;
    driver().streams.insert(*stream);
    count_handle("streams", 1);
    return success;
}

EXPORT cuStreamDestroy_v2(Stream *stream) {
    ENTER_TO_GIVE_BACK(context)
    if (!is_live(stream)) {
        return invalid_handle;
    }
    if (!stream->queue.empty()) { // a driver would go on, and nobody could wait for that any more
        set_sticky_error(refuse(launch_failed, __func__, "nobody has waited for the stream's work"));
    }
    driver().streams.erase(stream);
    delete stream;
    count_handle("streams", -1);
    return status;
}

EXPORT cuStreamSynchronize(Stream *stream) {
    ENTER(context)
    stream = named(stream);
    if (!is_live(stream)) {
        return invalid_handle;
    }
    if (stream->capture) {
        return break_captures(__func__);
    }
    const Result result = run_until(stream, end_of(stream));
    merge(driver().waited_for, stream->clock);
    return result;
}

EXPORT cuStreamIsCapturing(Stream *stream, int *status) {
    ENTER(context)
    stream = named(stream);
    if (!is_live(stream)) {
        return invalid_handle;
    }
    *status = stream->capture ? stream->capture_is_broken ? 2 : 1 : 0;
    return success;
}

EXPORT cuEventCreate(Event **event, unsigned) {
    ENTER(context)
    *event = new Event;
    count_handle("events", 1);
    return success;
}

EXPORT cuEventDestroy_v2(Event *event) {
    ENTER_TO_GIVE_BACK(context)
    delete event;
    count_handle("events", -1);
    return status;
}

EXPORT cuEventRecord(Event *event, Stream *stream) {
    ENTER(context)
    stream = named(stream);
    if (is_live(stream) && stream->capture) { // marks a place among the works, and is none itself
        event->after = {stream};
        event->position = stream->captured;
        event->capture = stream->capture;
        event->was_captured = true;
        event->done = std::make_shared<Clock>(stream->captured_clock);
        return success;
    }
    event->done = std::make_shared<Clock>();
    const int status = enqueue(stream, __func__, [seconds = event->seconds, done = event->done, stream]() -> Result {
        *done = stream->clock;
        *seconds = std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
        return success;
    });
    if (status == success) {
        event->after = {stream};
        event->position = end_of(stream);
        event->capture.reset();
        event->was_captured = false;
    }
    return status;
}

EXPORT cuEventSynchronize(Event *event) {
    ENTER(context_outside_capture)
    if (event->was_captured) { // as the driver says, whether the graph is still there or not
        return refuse(invalid_value, __func__, "the event was last recorded in a capture");
    }
    const bool waits = !event->after.empty() && is_live(event->after[0]);
    const Result result = waits ? run_until(event->after[0], event->position) : success;
    merge(driver().waited_for, *event->done);
    return result;
}

EXPORT cuEventElapsedTime(float *milliseconds, Event *start, Event *end) {
    ENTER(context)
    *milliseconds = (float)(1e3 * (*end->seconds - *start->seconds));
    return success;
}

EXPORT cuStreamWaitEvent(Stream *stream, Event *event, unsigned) {
    ENTER(context)
    stream = named(stream);
    const std::shared_ptr<Graph> capture = event->capture.lock();
    if (is_live(stream) && stream->capture && stream->capture != capture) {
        return refuse(capture_isolation, __func__, "the event was recorded outside the capture");
    }
    if (event->after.empty() || !is_live(stream)) {
        return is_live(stream) ? success : invalid_handle;
    }
    stream->lets_next_begin = false;
    if (capture && !stream->capture) { // the capture takes this stream in
        stream->capture = capture;
        stream->is_branch = true;
        stream->branch = capture->branches++;
        stream->captured_clock = *event->done;
        stream->captured = stream->joined = 0;
        stream->capturing_thread = std::this_thread::get_id();
        return success;
    }
    if (capture) { // works of a capture lie in one list, in the order of the calls
        event->after[0]->joined = std::max(event->after[0]->joined, event->position);
        merge(stream->captured_clock, *event->done);
        return success;
    }
    Stream *other = event->after[0];
    const uint64_t position = event->position;
    return enqueue(stream, __func__, [=, done = event->done]() -> Result {
        const Result result = is_live(other) ? run_until(other, position) : success;
        merge(stream->clock, *done);
        return result;
    });
}

EXPORT cuProfilerStart() {
    ENTER(context)
    return success;
}

EXPORT cuProfilerStop() {
    ENTER(context)
    return success;
}
