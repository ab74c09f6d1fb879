// From the text of a PTX file to kernels.
#include "ptx.h"
#include "words.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <set>
#include <tuple>

namespace softcuda {

namespace {

uint64_t up(uint64_t value, uint64_t to) { return (value + to - 1) / to * to; }

// .b8, .u64, .f32 … in bytes; 0 for .pred.
unsigned bytes_of(const std::string &type) { return (unsigned)std::strtoul(type.c_str() + 2, nullptr, 10) / 8; }

class Parser : Words {
  public:
    explicit Parser(const std::string &text) : Words(text) {}

    Module parse() {
        while (!peek().empty()) {
            const std::string word = next();
            if (word == ".version") {
                const std::string version = next();
                module.version = std::atoi(version.c_str()) * 10 + std::atoi(version.c_str() + version.find('.') + 1);
            } else if (word == ".target") {
                const std::string target = next();
                module.target = std::atoi(target.c_str() + std::strlen("sm_"));
                module.is_specific = target.back() == 'a';
            } else if (word == ".address_size") {
                next();
            } else if (word == ".entry") {
                entry();
            } else if (word == ".func") {
                function();
            } else if (word == ".shared") {
                variables.push_back(shared_variable());
            } else if (word == ".global") { // a number for the host, which no kernel reads
                while (next() != ";") {
                }
            } else if (word != ".visible" && word != ".extern" && word != ".weak") {
                fail("'" + word + "' is not known here");
            }
        }
        if (module.version == 0 || module.target == 0 || module.kernels.empty()) {
            fail("no version, no target, or no kernel");
        }
        return std::move(module);
    }

  private:
    struct Variable {
        std::string name;
        uint64_t alignment, bytes; // 0 where the launch says how many
    };
    struct Family { // of registers: %r<100>
        uint32_t first, count;
        unsigned bytes;
    };

    Module module;
    std::vector<Variable> variables; // of the module, in shared memory

    std::map<std::string, size_t> functions; // where the text of each goes on behind its name

    // Of the kernel that is being read.
    Kernel *kernel = nullptr;
    std::string called; // which call of it is being read, or none: a prefix of labels
    size_t calls = 0;
    std::map<std::string, uint64_t> symbols; // addresses of parameters and of variables in shared memory
    std::map<std::string, Family> families;
    std::vector<Register> registers;
    std::vector<const Form *> forms;                                    // of its instructions
    std::map<std::tuple<uint64_t, unsigned, bool>, uint32_t> constants; // value, bytes, whether it is one of these:
    std::vector<size_t> dynamic; // the address of what a launch adds to shared memory, known when all else is placed
    std::map<std::string, size_t> labels;
    bool has_fence = false;                 // wgmma.fence
    std::set<uint32_t> written_since_fence; // registers, by what stands behind the last one
    std::vector<std::pair<size_t, std::string>> branches;

    // [.align n] .b8 name[n];
    Variable shared_variable() {
        const uint64_t alignment = take(".align") ? number() : 1;
        Variable variable = {"", std::max<uint64_t>(alignment, 4), bytes_of(next())};
        variable.name = next();
        if (take("[")) {
            variable.bytes *= peek() == "]" ? 0 : number();
            expect("]");
        }
        expect(";");
        return variable;
    }

    uint64_t place(const Variable &variable) {
        const uint64_t at = up(shared_base + kernel->shared_bytes, variable.alignment);
        kernel->shared_bytes = (uint32_t)(at + variable.bytes - shared_base);
        return symbols[variable.name] = at;
    }

    void parameters() {
        expect("(");
        while (!take(")")) {
            expect(".param");
            size_t alignment = take(".align") ? number() : 0, bytes = bytes_of(next());
            alignment = std::max(alignment, bytes);
            const std::string name = next();
            if (take("[")) {
                bytes *= number();
                expect("]");
            }
            const size_t at = up(kernel->parameter_bytes, alignment);
            kernel->parameter_sizes.push_back(bytes);
            kernel->parameter_offsets.push_back(at);
            kernel->parameter_bytes = (uint32_t)(at + bytes);
            symbols[name] = at;
            take(",");
        }
    }

    // The number of the first one.
    uint32_t add_registers(unsigned bytes, uint32_t count, bool is_fixed) {
        registers.insert(registers.end(), count, {bytes, is_fixed});
        return (uint32_t)registers.size() - count;
    }

    // Keeps where it is: each call reads it.
    void function() {
        if (peek() == "(") {
            fail("a function that returns something is not known here");
        }
        const std::string name = next();
        functions[name] = position;
        while (next() != "{") {
            if (peek().empty() || peek() == ";") {
                fail("no body");
            }
        }
        for (int depth = 1; depth > 0;) {
            const std::string word = next();
            depth += (word == "{") - (word == "}");
            if (peek().empty() && depth > 0) {
                fail("a body without an end");
            }
        }
    }

    // NAME, (argument, argument); The function's text in the place of the call: its parameters are the arguments, and
    // its other registers and its labels its own.
    void call() {
        const std::string name = next();
        const auto function = functions.find(name);
        if (function == functions.end() || !called.empty()) {
            fail(called.empty() ? "no function " + name : "a call within a function is not known here");
        }
        std::vector<Family> arguments;
        expect(",");
        expect("(");
        while (!take(")")) {
            if (!is_parameter_of_call(peek())) {
                fail(peek() + " is no parameter of a call");
            }
            arguments.push_back(families.at(next()));
            take(",");
        }
        expect(";");
        const size_t behind = position;
        const auto outside = families;
        called = "call " + std::to_string(++calls) + ' ';
        position = function->second;
        families.clear();
        for (const char *special : special_registers) {
            families[special] = outside.at(special);
        }
        expect("(");
        for (const Family &argument : arguments) {
            if (!take(".param") || bytes_of(next()) != argument.bytes) {
                fail(name + " has other parameters");
            }
            families[next()] = argument;
            take(",");
        }
        expect(")");
        body();
        labels[called + "end"] = kernel->code.size();
        called.clear();
        families = outside;
        position = behind;
    }

    // From { to }.
    void body() {
        expect("{");
        for (int depth = 1; depth > 0;) {
            if (take("{")) {
                ++depth;
            } else if (take("}")) {
                --depth;
            } else if (peek().empty()) {
                fail("a body without an end");
            } else {
                statement();
            }
        }
    }

    void entry() {
        const std::string name = next();
        kernel = &module.kernels[name];
        kernel->name = name;
        static std::atomic<uint64_t> read_so_far = 0;
        kernel->serial = ++read_so_far;
        symbols.clear();
        families.clear();
        registers.clear();
        forms.clear();
        constants.clear();
        dynamic.clear();
        labels.clear();
        calls = 0;
        written_since_fence.clear();
        has_fence = false;
        branches.clear();
        for (const char *special : special_registers) {
            families[special] = {add_registers(4, 1, true), 1, 4};
        }
        parameters();
        while (peek() != "{") {
            const std::string directive = next();
            if (directive == ".maxntid") {
                kernel->max_threads = (unsigned)number();
            } else if (directive.empty()) {
                fail("no body");
            }
        }
        body();
        kernel->shared_bytes = (uint32_t)up(kernel->shared_bytes, 16);
        for (const size_t i : dynamic) {
            kernel->constants[i].value = shared_base + kernel->shared_bytes;
        }
        for (const auto &[instruction, label] : branches) {
            const auto at = labels.find(label);
            if (at == labels.end()) {
                fail("no label " + label);
            }
            kernel->code[instruction].displacement = (int64_t)at->second;
        }
        find_meeting_points(*kernel);
        place_registers(*kernel, registers, forms);
    }

    void statement() {
        if (take(".reg") || take(".param")) {
            const unsigned bytes = bytes_of(next());
            const std::string family = next();
            uint32_t count = 1;
            if (take("<")) {
                count = (uint32_t)number();
                expect(">");
            }
            expect(";");
            families[family] = {add_registers(bytes, count, false), count, bytes};
        } else if (called.empty() && take(".shared")) {
            place(shared_variable());
        } else if (take(".pragma")) {
            next();
            expect(";");
        } else if (tokens[position + 1].text == ":") {
            labels[called + next()] = kernel->code.size();
            next();
        } else if (take("call.uni")) {
            call();
        } else {
            instruction();
        }
    }

    void instruction() {
        Instruction made;
        made.line = tokens[position].line;
        if (take("@")) {
            made.negated = take("!");
            made.guard = (int32_t)number_of(next(), 0);
        }
        std::string opcode = next();
        if (made.guard >= 0 && opcode != "bra") {
            fail("only branches can have a guard here");
        }
        const bool returns = opcode == "ret" && !called.empty();
        if (returns) {
            opcode = "bra.uni";
        }
        if (opcode == "bra" || opcode == "bra.uni") {
            branches.emplace_back(kernel->code.size(), called + (returns ? "end" : next()));
            made.branches = true;
        }
        std::vector<std::string> operands;
        int addresses = 0;
        while (!take(";")) {
            if (peek() == "{" && opcode.compare(0, 3, "mov") == 0) { // puts halves together, or takes them apart
                opcode += operands.empty() ? ".apart" : ".together";
            } else if (peek() == "{" && opcode.compare(0, 9, "wgmma.mma") == 0 && !operands.empty()) {
                opcode += ".registers"; // has the left factor
            }
            if (take("{") || take("}") || take(",") || take("]")) {
                continue;
            }
            if (take("[")) {
                ++addresses;
            } else if (take("+")) {
                (addresses < 2 ? made.displacement : made.second_displacement) =
                    std::strtoll(next().c_str(), nullptr, 0);
            } else {
                operands.push_back(next());
            }
            if (peek().empty()) {
                fail("an instruction without an end");
            }
        }
        const bool stores = opcode.compare(0, 9, "st.param.") == 0;
        if ((stores || opcode.compare(0, 9, "ld.param.") == 0) && operands.size() == 2 &&
            is_parameter_of_call(operands[!stores]) && made.displacement == 0) {
            opcode.replace(0, std::strlen("st.param"), "mov");
        }
        const Generation generation = generation_of(opcode);
        if (module.target < generation.least || (generation.is_specific && !module.is_specific)) {
            fail("'" + opcode + "' needs sm_" + std::to_string(generation.least) + (generation.is_specific ? "a" : "") +
                 ", and the target is sm_" + std::to_string(module.target));
        }
        if (opcode.compare(0, 10, "cp.async.c") == 0 && operands.size() == 3) {
            operands.push_back(operands.back()); // as much of the source as is written
        }
        // The register that may be wider than the instruction's type: what is stored or converted, or where is loaded
        // to.
        const bool is_source = opcode.compare(0, 2, "st") == 0 || opcode.compare(0, 3, "cvt") == 0;
        const Form *form =
            find_form(opcode, operands.empty() ? 0 : width_of(is_source ? operands.back() : operands.front()));
        if (!form) {
            fail("the instruction '" + opcode + "' is not known here");
        }
        if (form->operands.size() != operands.size()) {
            fail("'" + opcode + "' with " + std::to_string(operands.size()) + " operands");
        }
        made.all.resize(operands.size() > made.at.size() ? operands.size() : 0);
        for (size_t i = 0; i < operands.size(); ++i) {
            made.operand(i) = number_of(operands[i], form->operands[i]);
        }
        if (opcode == "wgmma.fence.sync.aligned") {
            written_since_fence.clear();
            has_fence = true;
        }
        for (size_t i = 0; form->keeps && i < operands.size(); ++i) {
            if (written_since_fence.count(made.operand(i)) && form->operands[i] == 4) {
                fail(operands[i] + " is written between wgmma.fence and the product that has it");
            }
        }
        for (size_t i = 0; has_fence && !form->keeps && i < std::min(form->results, operands.size()); ++i) {
            written_since_fence.insert(made.operand(i));
        }
        made.run = form->run;
        made.leaves = opcode == "ret" || opcode == "exit";
        made.is_double = opcode.find(".f64") != std::string::npos && opcode.compare(0, 2, "ld") != 0 &&
                         opcode.compare(0, 2, "st") != 0 && opcode.compare(0, 3, "mov") != 0 &&
                         opcode.compare(0, 4, "selp") != 0;
        kernel->waits |= opcode == "griddepcontrol.wait";
        kernel->lets_next_begin |= opcode == "griddepcontrol.launch_dependents";
        kernel->code.push_back(made);
        forms.push_back(form);
    }

    // Those are registers, too.
    bool is_parameter_of_call(const std::string &word) const { return word[0] != '%' && families.count(word); }

    // Where the word is a register: the family, and which of it.
    const Family *find_register(const std::string &word, uint32_t &index) const {
        index = 0;
        auto family = families.find(word);
        if (family == families.end() && word[0] == '%') {
            const size_t digits = word.find_last_not_of("0123456789") + 1;
            family = families.find(word.substr(0, digits));
            index = digits < word.size() ? (uint32_t)std::atoi(word.c_str() + digits) : 0;
        }
        return family != families.end() && index < family->second.count ? &family->second : nullptr;
    }

    unsigned width_of(const std::string &word) const {
        uint32_t index;
        const Family *found = find_register(word, index);
        return found ? found->bytes : 0;
    }

    // The number of a register, or of one that is made for a constant.
    uint32_t number_of(const std::string &word, unsigned bytes) {
        uint32_t index;
        if (const Family *found = find_register(word, index)) {
            if (found->bytes != bytes) {
                fail(word + " has " + std::to_string(8 * found->bytes) + " bits and not " + std::to_string(8 * bytes));
            }
            return found->first + index;
        }
        uint64_t value = 0;
        bool is_dynamic = false;
        if (word[0] == '-' || std::isdigit((unsigned char)word[0])) {
            value = word[1] == 'f' || word[1] == 'd' ? std::strtoull(word.c_str() + 2, nullptr, 16)
                    : word[0] == '-'                 ? (uint64_t)std::strtoll(word.c_str(), nullptr, 0)
                                                     : std::strtoull(word.c_str(), nullptr, 0);
        } else if (const auto symbol = symbols.find(word); symbol != symbols.end()) {
            value = symbol->second;
        } else {
            const auto variable =
                std::find_if(variables.begin(), variables.end(), [&](const Variable &v) { return v.name == word; });
            if (variable == variables.end()) {
                fail("no register or variable " + word);
            }
            is_dynamic = variable->bytes == 0;
            value = is_dynamic ? 0 : place(*variable);
        }
        const auto [constant, is_new] = constants.emplace(std::make_tuple(value, bytes, is_dynamic), 0);
        if (is_new) {
            if (bytes == 0) {
                fail("a predicate cannot be a number");
            }
            constant->second = add_registers(bytes, 1, true);
            if (is_dynamic) {
                dynamic.push_back(kernel->constants.size());
            }
            kernel->constants.push_back({constant->second, bytes, value});
        }
        return constant->second;
    }
};

} // namespace

Module parse_ptx(const std::string &text) { return Parser(text).parse(); }

} // namespace softcuda
