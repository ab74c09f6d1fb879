// Instructions that read and write memory.
#include "forms.h"

#include <cstring>

namespace softcuda {

namespace {

enum class Space { global, constant, shared, parameter }; // constant: global memory that no block writes meanwhile

constexpr Access access_to(Space space) { return space == Space::constant ? Access::reads_constant : Access::reads; }

template <Space space>
[[gnu::always_inline]] inline const unsigned char *source(Warp &warp, uint64_t address, size_t bytes, unsigned lane) {
    if constexpr (space == Space::parameter) {
        return warp.parameter(address, bytes);
    } else {
        return space == Space::shared ? warp.shared(address, bytes, lane, false)
                                      : warp.global(address, bytes, access_to(space));
    }
}

// What one access of the warp costs, where that is counted.
template <Space space, typename Address>
void count(Warp &warp, const Address *address, int64_t displacement, size_t bytes, Lanes lanes) {
    if (space == Space::parameter || !is_counting()) {
        return;
    }
    uint64_t addresses[warp_lanes];
    for (unsigned lane = 0; lane < warp_lanes; ++lane) {
        addresses[lane] = address[lane] + (uint64_t)displacement;
    }
    space == Space::shared ? warp.block->counts.count_shared(addresses, lanes, (unsigned)bytes)
                           : warp.block->counts.count_global(addresses, lanes, (unsigned)bytes);
}

// M: in memory; R: in registers, which may be wider.
template <Space space, typename M, typename R, unsigned width> void load(Warp &warp, const Instruction &i) {
    const uint64_t *address = warp.at<uint64_t>(i.at[width]);
    count<space>(warp, address, i.displacement, width * sizeof(M), warp.active);
    if constexpr (space == Space::global || space == Space::constant) {
        if (const void *from = warp.side_by_side(address, i.displacement, width * sizeof(M), access_to(space))) {
            M values[warp_lanes][width];
            std::memcpy(values, from, sizeof values);
            for (unsigned k = 0; k < width; ++k) {
                for (unsigned lane = 0; lane < warp_lanes; ++lane) {
                    warp.at<R>(i.at[k])[lane] = values[lane][k];
                }
            }
            return;
        }
    }
    for (unsigned lane = 0; lane < warp_lanes; ++lane) {
        if (warp.active >> lane & 1) {
            M values[width];
            std::memcpy(values, source<space>(warp, address[lane] + (uint64_t)i.displacement, sizeof values, lane),
                        sizeof values);
            for (unsigned k = 0; k < width; ++k) {
                warp.at<R>(i.at[k])[lane] = values[k];
            }
        }
    }
}

template <Space space, typename M, typename R, unsigned width> void store(Warp &warp, const Instruction &i) {
    const uint64_t *address = warp.at<uint64_t>(i.at[0]);
    count<space>(warp, address, i.displacement, width * sizeof(M), warp.active);
    if constexpr (space == Space::global) {
        if (void *to = warp.side_by_side(address, i.displacement, width * sizeof(M), Access::writes)) {
            M values[warp_lanes][width];
            for (unsigned k = 0; k < width; ++k) {
                for (unsigned lane = 0; lane < warp_lanes; ++lane) {
                    values[lane][k] = (M)warp.at<R>(i.at[1 + k])[lane];
                }
            }
            std::memcpy(to, values, sizeof values);
            return;
        }
    }
    for (unsigned lane = 0; lane < warp_lanes; ++lane) {
        if (warp.active >> lane & 1) {
            M values[width];
            for (unsigned k = 0; k < width; ++k) {
                values[k] = (M)warp.at<R>(i.at[1 + k])[lane];
            }
            const uint64_t to = address[lane] + (uint64_t)i.displacement;
            std::memcpy(space == Space::global ? warp.global(to, sizeof values, Access::writes)
                                               : warp.shared(to, sizeof values, lane, true),
                        values, sizeof values);
        }
    }
}

// Blocks run side by side, and count together. Releasing, what the block has done before is there for those that
// acquire.
template <bool releases> void atomic_increment(Warp &warp, const Instruction &i) {
    if (releases) {
        warp.block->block_races.release();
    }
    const uint64_t *address = warp.at<uint64_t>(i.at[1]);
    const uint32_t *most = warp.at<uint32_t>(i.at[2]);
    for (unsigned lane = 0; lane < warp_lanes; ++lane) {
        if (warp.active >> lane & 1) {
            auto *counter = reinterpret_cast<uint32_t *>(
                warp.global(address[lane] + (uint64_t)i.displacement, sizeof(uint32_t), Access::counts));
            uint32_t before = __atomic_load_n(counter, __ATOMIC_RELAXED);
            while (!__atomic_compare_exchange_n(counter, &before, before >= most[lane] ? 0 : before + 1, false,
                                                __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
            }
            warp.at<uint32_t>(i.at[0])[lane] = before;
        }
    }
}

// Reads at once and writes when the thread waits, as late as it may: until then nobody can count on what is there. Of
// the source only so much is read; the rest is 0.
template <bool only_16> void copy_async(Warp &warp, const Instruction &i) {
    const uint32_t *to = warp.at<uint32_t>(i.at[0]), bytes = *warp.at<uint32_t>(i.at[2]),
                   *source_bytes = warp.at<uint32_t>(i.at[3]);
    const uint64_t *from = warp.at<uint64_t>(i.at[1]);
    if (bytes != 16 && (only_16 || (bytes != 4 && bytes != 8))) {
        throw Fault{launch_failed, "an asynchronous copy of " + std::to_string(bytes) + " bytes"};
    }
    Lanes readers = 0;
    for (unsigned lane = 0; lane < warp_lanes; ++lane) {
        if (warp.active >> lane & 1) {
            Warp::Copy copy = {lane, to[lane] + (uint32_t)i.displacement, bytes, warp.copy_groups[lane], {}};
            const uint64_t source = from[lane] + (uint64_t)i.second_displacement;
            if (source_bytes[lane] > bytes) {
                throw Fault{launch_failed, "an asynchronous copy of more than it writes"};
            }
            if (source_bytes[lane] > 0) {
                readers |= (Lanes)1 << lane;
                std::memcpy(copy.values, warp.global(source, source_bytes[lane], bytes, Access::reads),
                            source_bytes[lane]);
            }
            std::memset(warp.shared(copy.to, bytes, lane, true), 0xFF, bytes); // NaN in every format
            warp.copies.push_back(copy);
        }
    }
    count<Space::global>(warp, from, i.second_displacement, bytes, readers);
    count<Space::shared>(warp, to, i.displacement, bytes, warp.active);
}

void commit_copies(Warp &warp, const Instruction &) {
    for (unsigned lane = 0; lane < warp_lanes; ++lane) {
        warp.copy_groups[lane] += warp.active >> lane & 1;
    }
}

// For all groups but the last ones that each thread has committed.
void wait_for_copies(Warp &warp, uint32_t but) {
    size_t left = 0;
    for (const Warp::Copy &copy : warp.copies) {
        if ((warp.active >> copy.lane & 1) && copy.group + but < warp.copy_groups[copy.lane]) {
            std::memcpy(warp.shared(copy.to, copy.bytes, copy.lane, true), copy.values, copy.bytes);
        } else {
            warp.copies[left++] = copy;
        }
    }
    warp.copies.resize(left);
}

void wait_for_groups(Warp &warp, const Instruction &i) { wait_for_copies(warp, *warp.at<uint32_t>(i.at[0])); }

void wait_for_all_copies(Warp &warp, const Instruction &i) {
    commit_copies(warp, i);
    wait_for_copies(warp, 0);
}

void do_nothing(Warp &, const Instruction &) {}

// Matrix m has its eight rows, 16 bytes each, at the addresses of lanes 8 m … 8 m + 7. Lane 4 g + t gets columns 2 t
// and 2 t + 1 of row g; transposed, rows 2 t and 2 t + 1 of column g.
template <unsigned matrices, bool transposed> void load_matrices(Warp &warp, const Instruction &i) {
    warp.require_whole();
    const uint32_t *address = warp.at<uint32_t>(i.at[matrices]);
    count<Space::shared>(warp, address, i.displacement, 16, all_lanes >> (warp_lanes - 8 * matrices));
    uint16_t loaded[matrices][8][8];
    for (unsigned row = 0; row < 8 * matrices; ++row) {
        std::memcpy(loaded[row / 8][row % 8], warp.shared(address[row] + (uint64_t)i.displacement, 16, row, false), 16);
    }
    for (unsigned m = 0; m < matrices; ++m) {
        if (!transposed) { // the lanes' order is that of memory
            std::memcpy(warp.at<uint32_t>(i.at[m]), loaded[m], sizeof loaded[m]);
            continue;
        }
        for (unsigned lane = 0; lane < warp_lanes; ++lane) {
            const unsigned g = lane / 4, t = lane % 4;
            warp.at<uint32_t>(i.at[m])[lane] = loaded[m][2 * t][g] | (uint32_t)loaded[m][2 * t + 1][g] << 16;
        }
    }
}

template <Space space, typename M, typename R, unsigned count> void add_load(Forms &forms, const std::string &name) {
    Form form = {load<space, M, R, count>, std::vector<uint8_t>(count, sizeof(R)), count};
    form.operands.push_back(sizeof(uint64_t));
    forms["ld" + name + "/" + std::to_string(sizeof(R))] = form;
}

template <Space space, typename M, typename R, unsigned count> void add_store(Forms &forms, const std::string &name) {
    Form form = {store<space, M, R, count>, std::vector<uint8_t>(count, sizeof(R)), 0};
    form.operands.insert(form.operands.begin(), sizeof(uint64_t));
    forms["st" + name + "/" + std::to_string(sizeof(R))] = form;
}

template <Space space, typename M, typename R>
void add_accesses(Forms &forms, const std::string &name, const std::string &type) {
    add_load<space, M, R, 1>(forms, name + type);
    add_load<space, M, R, 2>(forms, name + ".v2" + type);
    add_load<space, M, R, 4>(forms, name + ".v4" + type);
    if constexpr (space == Space::global || space == Space::shared) {
        add_store<space, M, R, 1>(forms, name + type);
        add_store<space, M, R, 2>(forms, name + ".v2" + type);
        add_store<space, M, R, 4>(forms, name + ".v4" + type);
    }
}

template <Space space> void add_space(Forms &forms, const std::string &name) {
    add_accesses<space, uint8_t, uint16_t>(forms, name, ".u8");
    add_accesses<space, uint8_t, uint32_t>(forms, name, ".u8");
    for (const std::string type : {".u16", ".b16"}) {
        add_accesses<space, uint16_t, uint16_t>(forms, name, type);
        add_accesses<space, uint16_t, uint32_t>(forms, name, type);
        add_accesses<space, uint16_t, uint64_t>(forms, name, type); // the lower bits of a wider register
    }
    for (const std::string type : {".u32", ".b32", ".f32"}) {
        add_accesses<space, uint32_t, uint32_t>(forms, name, type);
    }
    add_accesses<space, uint32_t, uint64_t>(forms, name, ".u32");
    add_load<space, int32_t, uint64_t, 1>(forms, name + ".s32"); // with its sign
    for (const std::string type : {".u64", ".b64", ".f64"}) {
        add_accesses<space, uint64_t, uint64_t>(forms, name, type);
    }
}

template <unsigned matrices> void add_matrix_loads(Forms &forms) {
    const std::string name = "ldmatrix.sync.aligned.m8n8.x" + std::to_string(matrices);
    forms[name + ".shared.b16"] = {load_matrices<matrices, false>, std::vector<uint8_t>(matrices + 1, 4), matrices};
    forms[name + ".trans.shared.b16"] = {load_matrices<matrices, true>, std::vector<uint8_t>(matrices + 1, 4),
                                         matrices};
}

} // namespace

void add_memory_forms(Forms &forms) {
    add_space<Space::global>(forms, ".global");
    add_space<Space::constant>(forms, ".global.nc");
    add_space<Space::global>(forms, ""); // generic: here always global
    add_space<Space::shared>(forms, ".shared");
    add_space<Space::parameter>(forms, ".param");
    forms["atom.acq_rel.gpu.global.inc.u32"] = {atomic_increment<true>, {4, 8, 4}};
    forms["atom.relaxed.gpu.global.inc.u32"] = {atomic_increment<false>, {4, 8, 4}};
    for (const std::string ahead : {"", ".L2::64B", ".L2::128B", ".L2::256B"}) { // what to bring along into a cache
        forms["cp.async.cg.shared.global" + ahead] = {copy_async<true>, {4, 8, 4, 4}, 0};
        forms["cp.async.ca.shared.global" + ahead] = {copy_async<false>, {4, 8, 4, 4}, 0};
    }
    forms["cp.async.commit_group"] = {commit_copies, {}};
    forms["cp.async.wait_group"] = {wait_for_groups, {4}, 0};
    forms["cp.async.wait_all"] = {wait_for_all_copies, {}};
    forms["prefetch.global.L1"] = forms["prefetch.global.L2"] = {do_nothing, {8}, 0};
    add_matrix_loads<1>(forms);
    add_matrix_loads<2>(forms);
    add_matrix_loads<4>(forms);
}

} // namespace softcuda
