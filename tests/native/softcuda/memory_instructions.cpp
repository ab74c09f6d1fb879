// Instructions that read and write memory.
#include "forms.h"

#include <cstring>

namespace softcuda {

namespace {

enum class Space { global, shared, parameter };

template <Space space> const unsigned char *source(Warp &warp, uint64_t address, size_t bytes, unsigned lane) {
    if constexpr (space == Space::parameter) {
        return warp.parameter(address, bytes);
    } else {
        return space == Space::global ? warp.global(address, bytes, Access::reads)
                                      : warp.shared(address, bytes, lane, false);
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
    if constexpr (space == Space::global) {
        if (const void *from = warp.side_by_side(address, i.displacement, width * sizeof(M), Access::reads)) {
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

// Reads at once and writes when the thread waits: the copy may be made at any time between.
void copy_async(Warp &warp, const Instruction &i) {
    const uint32_t *to = warp.at<uint32_t>(i.at[0]);
    const uint64_t *from = warp.at<uint64_t>(i.at[1]);
    count<Space::global>(warp, from, i.displacement, sizeof Warp::Copy::bytes, warp.active);
    count<Space::shared>(warp, to, 0, sizeof Warp::Copy::bytes, warp.active);
    for (unsigned lane = 0; lane < warp_lanes; ++lane) {
        if (warp.active >> lane & 1) {
            Warp::Copy copy = {lane, to[lane], {}};
            std::memcpy(copy.bytes,
                        warp.global(from[lane] + (uint64_t)i.displacement, sizeof copy.bytes, Access::reads),
                        sizeof copy.bytes);
            warp.shared(copy.to, sizeof copy.bytes, lane, true); // nobody else must be there from now on
            warp.copies.push_back(copy);
        }
    }
}

void wait_for_copies(Warp &warp, const Instruction &) {
    std::vector<Warp::Copy> of_others;
    for (const Warp::Copy &copy : warp.copies) {
        if (warp.active >> copy.lane & 1) {
            std::memcpy(warp.shared(copy.to, sizeof copy.bytes, copy.lane, true), copy.bytes, sizeof copy.bytes);
        } else {
            of_others.push_back(copy);
        }
    }
    warp.copies.swap(of_others);
}

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
        for (unsigned lane = 0; lane < warp_lanes; ++lane) {
            const unsigned g = lane / 4, t = lane % 4;
            const uint32_t first = transposed ? loaded[m][2 * t][g] : loaded[m][g][2 * t];
            const uint32_t second = transposed ? loaded[m][2 * t + 1][g] : loaded[m][g][2 * t + 1];
            warp.at<uint32_t>(i.at[m])[lane] = first | second << 16;
        }
    }
}

template <Space space, typename M, typename R, unsigned count> void add_load(Forms &forms, const std::string &name) {
    Form form = {load<space, M, R, count>, std::vector<uint8_t>(count, sizeof(R))};
    form.operands.push_back(sizeof(uint64_t));
    forms["ld" + name + "/" + std::to_string(sizeof(R))] = form;
}

template <Space space, typename M, typename R, unsigned count> void add_store(Forms &forms, const std::string &name) {
    Form form = {store<space, M, R, count>, std::vector<uint8_t>(count, sizeof(R))};
    form.operands.insert(form.operands.begin(), sizeof(uint64_t));
    forms["st" + name + "/" + std::to_string(sizeof(R))] = form;
}

template <Space space, typename M, typename R>
void add_accesses(Forms &forms, const std::string &name, const std::string &type) {
    add_load<space, M, R, 1>(forms, name + type);
    add_load<space, M, R, 2>(forms, name + ".v2" + type);
    add_load<space, M, R, 4>(forms, name + ".v4" + type);
    if constexpr (space != Space::parameter) {
        add_store<space, M, R, 1>(forms, name + type);
        add_store<space, M, R, 2>(forms, name + ".v2" + type);
        add_store<space, M, R, 4>(forms, name + ".v4" + type);
    }
}

template <Space space> void add_space(Forms &forms, const std::string &name) {
    add_accesses<space, uint8_t, uint16_t>(forms, name, ".u8");
    add_accesses<space, uint8_t, uint32_t>(forms, name, ".u8");
    add_accesses<space, uint16_t, uint16_t>(forms, name, ".u16");
    add_accesses<space, uint16_t, uint32_t>(forms, name, ".u16");
    add_accesses<space, uint16_t, uint64_t>(forms, name, ".u16"); // the lower bits of a wider register
    add_accesses<space, uint32_t, uint32_t>(forms, name, ".u32");
    add_accesses<space, uint32_t, uint32_t>(forms, name, ".f32");
    add_accesses<space, uint32_t, uint64_t>(forms, name, ".u32");
    add_load<space, int32_t, uint64_t, 1>(forms, name + ".s32"); // with its sign
    add_accesses<space, uint64_t, uint64_t>(forms, name, ".u64");
    add_accesses<space, uint64_t, uint64_t>(forms, name, ".f64");
}

} // namespace

void add_memory_forms(Forms &forms) {
    add_space<Space::global>(forms, ".global");
    add_space<Space::global>(forms, ""); // generic: here always global
    add_space<Space::shared>(forms, ".shared");
    add_space<Space::parameter>(forms, ".param");
    forms["atom.acq_rel.gpu.global.inc.u32"] = {atomic_increment<true>, {4, 8, 4}};
    forms["atom.relaxed.gpu.global.inc.u32"] = {atomic_increment<false>, {4, 8, 4}};
    forms["cp.async.cg.shared.global"] = {copy_async, {4, 8, 4}};
    forms["cp.async.wait_all"] = {wait_for_copies, {}};
    forms["ldmatrix.sync.aligned.m8n8.x4.shared.b16"] = {load_matrices<4, false>, {4, 4, 4, 4, 4}};
    forms["ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16"] = {load_matrices<4, true>, {4, 4, 4, 4, 4}};
    forms["ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16"] = {load_matrices<2, true>, {4, 4, 4}};
}

} // namespace softcuda
