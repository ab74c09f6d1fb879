#include "order.h"
#include "warp.h"

#include <algorithm>
#include <map>

namespace softcuda {

namespace {

struct Ran {
    uint32_t strand, name;
};

// All of this changes while nothing runs, by whoever has locked the driver.
struct {
    std::vector<Ran> works{{}}; // all that have run, by their serials
    std::vector<std::string> names{""};
    std::map<std::string, uint32_t> numbers_of_names;
    Clock last; // of each strand
    std::vector<uint32_t> free_strands;
} all;

uint32_t new_strand() {
    if (all.free_strands.empty()) {
        all.last.push_back(0);
        return (uint32_t)all.last.size() - 1;
    }
    const uint32_t number = all.free_strands.back();
    all.free_strands.pop_back();
    return number;
}

uint32_t new_work(uint32_t strand) {
    const auto serial = (uint32_t)all.works.size();
    all.works.push_back({strand, 0});
    all.last[strand] = serial;
    return serial;
}

uint32_t at(const Clock &clock, uint32_t strand) { return strand < clock.size() ? clock[strand] : 0; }

uint32_t find_first_in_doubt(uint32_t serial, uint32_t mine, const Clock &before) {
    uint32_t first = serial;
    for (uint32_t strand = 0; strand < all.last.size(); ++strand) {
        const uint32_t done = at(before, strand);
        first = strand != mine && all.last[strand] > done ? std::min(first, done + 1) : first;
    }
    return first;
}

} // namespace

void raise(Clock &clock, uint32_t strand, uint32_t work) {
    clock.resize(std::max<size_t>(clock.size(), strand + 1));
    clock[strand] = std::max(clock[strand], work);
}

void merge(Clock &clock, const Clock &other) {
    for (uint32_t strand = 0; strand < other.size(); ++strand) {
        raise(clock, strand, other[strand]);
    }
}

Strand::Strand() : number(new_strand()) {}
Strand::~Strand() { all.free_strands.push_back(number); }

Order::Order(uint32_t strand, Clock before)
    : serial(new_work(strand)), first_in_doubt(find_first_in_doubt(serial, strand, before)), strand(strand),
      before(std::move(before)) {}

void Order::set_name(const std::string &name) const {
    const auto [at, is_new] = all.numbers_of_names.try_emplace(name, all.names.size());
    if (is_new) {
        all.names.push_back(name);
    }
    all.works[serial].name = at->second;
}

void Order::require_done(uint32_t another) const {
    const Ran &ran = all.works[another];
    if (ran.strand != strand && at(before, ran.strand) < another) {
        throw Fault{launch_failed, "a race: " + all.names[ran.name] +
                                       " was here on another stream, and nothing says which of the two is first"};
    }
}

namespace {

std::shared_ptr<const Order> running;

} // namespace

Running::Running(std::shared_ptr<const Order> work) { running = std::move(work); }
Running::~Running() { running = nullptr; }

std::shared_ptr<const Order> running_work() {
    static const Strand of_no_stream;
    return running ? running : std::make_shared<const Order>(of_no_stream.number, Clock());
}

} // namespace softcuda
