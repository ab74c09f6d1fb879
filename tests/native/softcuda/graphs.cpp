// libcuda.so.1: graphs. The works of a capture lie in one list, in the order of the calls, and run in it.
#include "driver.h"

using namespace softcuda;

static Result run_graph(const Graph &graph, Stream &stream) {
    const Clock before = stream.clock;
    std::vector<uint32_t> serials(1);
    for (const Work &node : graph.nodes) {
        const auto strand_of = [&](uint32_t branch) -> const Strand & {
            return branch == 0 ? stream.strand : *graph.strands[branch - 1];
        };
        Clock clock = before;
        for (uint32_t branch = 0; branch < node.after.size(); ++branch) {
            raise(clock, strand_of(branch).number, serials[node.after[branch]]);
        }
        const Result status = run_work(node, strand_of(node.branch), clock);
        serials.push_back(clock[strand_of(node.branch).number]);
        merge(stream.clock, clock);
        if (status) {
            return status;
        }
    }
    return success;
}

EXPORT cuStreamBeginCapture_v2(Stream *stream, int mode) {
    ENTER(context)
    if (!is_live(stream) || stream->capture || mode != 1) {
        return refuse(invalid_value, __func__, "unknown stream, nested capture, or not thread-local");
    }
    stream->capture = std::make_shared<Graph>();
    stream->is_branch = stream->capture_is_broken = false;
    stream->branch = 0;
    stream->captured_clock = {};
    stream->capturing_thread = std::this_thread::get_id();
    stream->lets_next_begin = false;
    return success;
}

EXPORT cuStreamEndCapture(Stream *stream, Graph **graph) {
    std::lock_guard lock(driver().mutex);
    *graph = nullptr;
    if (!stream->capture || stream->is_branch) {
        return refuse(invalid_value, __func__, "the stream is not capturing, or not the one that began");
    }
    const std::shared_ptr<Graph> captured = std::move(stream->capture);
    stream->capture = nullptr;
    stream->lets_next_begin = false;
    bool joined = true;
    for (Stream *branch : driver().streams) {
        if (branch->capture == captured) {
            joined = joined && branch->joined == branch->captured;
            branch->capture = nullptr;
        }
    }
    if (const int status = planned_failure(__func__)) {
        return returned(status);
    }
    if (stream->capture_is_broken) {
        return capture_invalidated;
    }
    if (!joined) {
        return refuse(capture_unjoined, __func__, "another stream's work was taken in and not waited for");
    }
    *graph = new Graph(*captured);
    count_handle("graphs", 1);
    return success;
}

EXPORT cuGraphInstantiateWithFlags(Graph **executable, Graph *graph, unsigned long long) {
    ENTER(context_outside_capture)
    *executable = new Graph(*graph);
    for (uint32_t branch = 1; branch < graph->branches; ++branch) {
        (*executable)->strands.push_back(std::make_shared<Strand>());
    }
    count_handle("executable graphs", 1);
    return success;
}

EXPORT cuGraphLaunch(Graph *executable, Stream *stream) {
    ENTER(context)
    stream = named(stream);
    if (is_live(stream) && stream->capture) {
        return break_captures(__func__);
    }
    return enqueue(stream, __func__, [executable, stream] { return run_graph(*executable, *stream); });
}

EXPORT cuGraphGetNodes(Graph *graph, void **, size_t *count) {
    ENTER(context)
    *count = graph->nodes.size();
    return success;
}

EXPORT cuGraphExecDestroy(Graph *executable) {
    ENTER_TO_GIVE_BACK(context)
    run_everything(); // it may be queued
    delete executable;
    count_handle("executable graphs", -1);
    return status;
}

EXPORT cuGraphDestroy(Graph *graph) {
    ENTER_TO_GIVE_BACK(context)
    delete graph;
    count_handle("graphs", -1);
    return status;
}
