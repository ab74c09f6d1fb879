#include "races.h"
#include "warp.h"

namespace softcuda {

void Races::start(size_t bytes) {
    const size_t places = (bytes + 15) / 16 * 8;
    if (reads.size() < places || interval >> 19) {
        reads.assign(places, 0);
        writes.assign(places, 0);
        fences_before.assign(places, 0);
        interval = 0;
    }
    fences.assign(1024, 0);
    fences_met = fences;
    first_interval = ++interval;
}

void Races::meet() {
    if (++interval >> 20) {
        throw Fault{launch_failed, "more barriers than can be counted here"};
    }
    fences_met = fences;
}

void Races::refuse_read() {
    throw Fault{launch_failed, "a race: another thread wrote here, and no barrier lies between"};
}

void Races::refuse_write() {
    throw Fault{launch_failed, "a race: another thread was here, and no barrier lies between"};
}

void Races::read_async(size_t offset, size_t bytes, unsigned by) {
    read(offset, bytes, by);
    for (size_t i = offset / 2; i <= (offset + bytes - 1) / 2; ++i) {
        if (writes[i] >> 12 >= first_interval && fences_met[writes[i] & several] <= fences_before[i]) {
            throw Fault{launch_failed,
                        "tensor cores read what a thread wrote without a fence.proxy.async before the barrier"};
        }
    }
}

namespace {

constexpr uint32_t most_releases = 4095;

uint32_t block_of(uint64_t use) { return use >> 12 & 0xFFFFF; }
uint32_t releases_of(uint64_t use) { return use & most_releases; }

} // namespace

void BlockRaces::start(const Order &launch, uint32_t block, std::vector<uint32_t> &of_all) {
    order = &launch;
    mine = (uint64_t)launch.serial << 32 | (block & 0xFFFFF) << 12;
    first_in_doubt = launch.first_in_doubt;
    in_doubt = launch.serial - launch.first_in_doubt;
    counted = &of_all;
    has_counted = false;
}

void BlockRaces::release() { mine += releases_of(mine) < most_releases; }

void BlockRaces::count(Users users, uint64_t offset, size_t bytes) {
    const size_t first = offset / 2, end = end_of(offset, bytes);
    require_done(users.written + first, users.written + end);
    require_done(users.read + first, users.read + end);
    leave_mine(users.read, offset, bytes);
    has_counted = true;
    __atomic_store_n(&(*counted)[block_of(mine)], releases_of(mine), __ATOMIC_RELEASE);
}

size_t BlockRaces::new_bytes(Users users, uint64_t offset, size_t bytes) const {
    size_t found = 0;
    for (size_t i = offset / 2; i < end_of(offset, bytes); ++i) {
        uint64_t read = users.read[i];
        if (read >> 32 != mine >> 32 && users.written[i] >> 32 != mine >> 32) { // of two blocks, one is the first
            found +=
                __atomic_compare_exchange_n(&users.read[i], &read, mine, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
        }
    }
    return 2 * found;
}

void BlockRaces::require_unwritten(Users users, uint64_t offset, size_t bytes) const {
    for (size_t i = offset / 2; i < end_of(offset, bytes); ++i) {
        if (users.written[i] >> 32 == mine >> 32) {
            throw Fault{launch_failed, "ld.global.nc of what this launch has written"};
        }
    }
}

void BlockRaces::require_done(const uint64_t *first, const uint64_t *end) const {
    for (uint32_t done = 0; first < end; ++first) {
        const auto work = (uint32_t)(*first >> 32);
        if (work != done && is_in_doubt(*first)) {
            order->require_done(work);
            done = work;
        }
    }
}

void BlockRaces::require_counted(uint64_t use) const {
    if (!has_counted || __atomic_load_n(&(*counted)[block_of(use)], __ATOMIC_ACQUIRE) <= releases_of(use)) {
        throw Fault{launch_failed,
                    "a race: another block of the launch was here, and nothing says which of them is first"};
    }
}

} // namespace softcuda
