// PTX, read: kernels as lists of instructions that a warp can run.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace softcuda {

constexpr unsigned warp_lanes = 32;

struct Warp;
struct Instruction;
using Handler = void (*)(Warp &, const Instruction &);

// Operands are offsets into the registers of a warp: constants and special registers have a place there too.
struct Instruction {
    Handler run = nullptr;
    std::array<uint32_t, 14> at = {}; // the destination first, vectors one by one
    std::vector<uint32_t> all;        // of an instruction with more
    int64_t displacement = 0;         // of an address; of a branch, the instruction that it goes to
    int64_t second_displacement = 0;  // of another address
    int32_t guard = -1;               // a predicate; -1: none
    bool negated = false;
    bool is_double = false;                // computes in double
    bool branches = false, leaves = false; // leaves: ends the thread
    uint32_t meets = 0;                    // of a branch: where the ways of lanes that part here meet again
    uint32_t line = 0;                     // of the text

    uint32_t &operand(size_t i) { return all.empty() ? at[i] : all[i]; }
};

// What an opcode stands for: the width of each operand in bytes, 0 for a predicate.
struct Form {
    Handler run;
    std::vector<uint8_t> operands;
    size_t results = 1; // how many of them it writes: the first ones
    bool keeps = false; // it goes on using them after it has run
};

// Null where no such instruction is known here. register_bytes: of the one that may be wider than its name says.
const Form *find_form(const std::string &opcode, unsigned register_bytes);

// The generation of GPUs that an instruction came with. is_specific: it is for that one alone, as sm_90a says.
struct Generation {
    int least;
    bool is_specific;
};
Generation generation_of(const std::string &opcode);

constexpr const char *special_registers[] = {"%tid.x",  "%tid.y",  "%ctaid.x",  "%ctaid.y",
                                             "%ntid.x", "%ntid.y", "%nctaid.x", "%nctaid.y"};

struct Kernel {
    std::string name;
    uint64_t serial = 0; // no other kernel has it
    size_t text = 0;     // the number of the text that it was read from
    std::vector<size_t> parameter_sizes, parameter_offsets;
    unsigned max_threads = 1024;
    bool waits = false;           // for the kernel before, so that it may begin before that one has ended
    bool lets_next_begin = false; // before it has ended itself
    bool is_unloaded = false;     // by now
    std::vector<Instruction> code;
    struct Constant {
        uint32_t at, bytes;
        uint64_t value;
    };
    std::vector<Constant> constants;
    uint32_t register_bytes = 0, parameter_bytes = 0, shared_bytes = 0; // shared: what it declares
};

struct Module {
    int version = 0;          // of the language, 75 for 7.5
    int target = 0;           // 75 for sm_75
    bool is_specific = false; // to that one generation: sm_90a
    std::map<std::string, Kernel> kernels;
};

constexpr uint64_t shared_base = 1024; // the first address of shared memory: 0 is none

// Fills in `meets`.
void find_meeting_points(Kernel &kernel);

// Of a warp: so many bytes for each lane, or one word for all of a predicate.
struct Register {
    unsigned bytes;
    bool is_fixed = false; // nothing else may be where it is
    uint32_t at = 0;

    uint32_t size() const { return bytes ? bytes * warp_lanes : (uint32_t)sizeof(uint32_t); }
};
// Compilers name a new register for every value: those that are never needed at the same time get one place, or the
// registers of a block fit no cache. Operands are numbers of registers before, and offsets after that. forms: of each
// instruction.
void place_registers(Kernel &kernel, std::vector<Register> &registers, const std::vector<const Form *> &forms);

// Throws std::runtime_error, with the line, where the text is no PTX or has something that is not known here.
Module parse_ptx(const std::string &text);

} // namespace softcuda
