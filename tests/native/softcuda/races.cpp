#include "races.h"
#include "warp.h"

namespace softcuda {

void Races::clear(size_t bytes) {
    places.assign(bytes / 2 + 1, {});
    fences.assign(1024, 0);
    fences_met = fences;
    interval = 1;
}

void Races::read(size_t offset, size_t bytes, unsigned thread) {
    for (size_t i = offset / 2; i <= (offset + bytes - 1) / 2; ++i) {
        Place &place = places[i];
        if (place.written.interval == interval && place.written.thread != thread) {
            throw Fault{launch_failed, "a race: another thread wrote here, and no barrier lies between"};
        }
        // Several threads may read; only one of them is kept, and a second one as nobody.
        const bool another = place.read.interval == interval && place.read.thread != thread;
        place.read = {interval, another ? ~0u : thread};
    }
}

void Races::write(size_t offset, size_t bytes, unsigned thread) {
    for (size_t i = offset / 2; i <= (offset + bytes - 1) / 2; ++i) {
        Place &place = places[i];
        for (const Access &access : {place.written, place.read}) {
            if (access.interval == interval && access.thread != thread) {
                throw Fault{launch_failed, "a race: another thread was here, and no barrier lies between"};
            }
        }
        place.written = {interval, thread};
        place.fences = fences[thread];
    }
}

void Races::read_async(size_t offset, size_t bytes, unsigned by) {
    read(offset, bytes, by);
    for (size_t i = offset / 2; i <= (offset + bytes - 1) / 2; ++i) {
        const Place &place = places[i];
        if (place.written.interval != 0 && fences_met[place.written.thread] <= place.fences) {
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

void BlockRaces::start(uint32_t launch, uint32_t block, std::vector<uint32_t> &of_all) {
    mine = (uint64_t)launch << 32 | (block & 0xFFFFF) << 12;
    counted = &of_all;
    has_counted = false;
}

void BlockRaces::release() { mine += releases_of(mine) < most_releases; }

void BlockRaces::count() {
    has_counted = true;
    __atomic_store_n(&(*counted)[block_of(mine)], releases_of(mine), __ATOMIC_RELEASE);
}

size_t BlockRaces::new_bytes(Users *first, uint64_t offset, size_t bytes) const {
    size_t found = 0;
    for (Users *users = first + offset / 2; users <= first + (offset + bytes - 1) / 2; ++users) {
        uint64_t read = users->read;
        if (read >> 32 != mine >> 32 && users->written >> 32 != mine >> 32) { // of two blocks, one is the first
            found += __atomic_compare_exchange_n(&users->read, &read, mine, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
        }
    }
    return 2 * found;
}

void BlockRaces::require_unwritten(const Users *first, uint64_t offset, size_t bytes) const {
    for (const Users *users = first + offset / 2; users <= first + (offset + bytes - 1) / 2; ++users) {
        if (users->written >> 32 == mine >> 32) {
            throw Fault{launch_failed, "ld.global.nc of what this launch has written"};
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
