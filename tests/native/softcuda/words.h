// The text of a PTX file, word by word.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace softcuda {

struct Token {
    std::string text; // empty at the end
    uint32_t line;
};

// Reads on from a position. What it says of a mistake names the line.
class Words {
  protected:
    explicit Words(const std::string &text);

    std::vector<Token> tokens;
    size_t position = 0;

    const std::string &peek() const { return tokens[position].text; }
    std::string next();
    bool take(const char *text); // the next word, if it is this one
    void expect(const char *text);
    uint64_t number();
    [[noreturn]] void fail(const std::string &why) const;
};

} // namespace softcuda
