#include "words.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

namespace softcuda {

namespace {

std::vector<Token> tokens_of(const std::string &text) {
    const auto is_word = [](char c) { return std::isalnum((unsigned char)c) || std::strchr("_.$%-\"", c); };
    std::vector<Token> tokens;
    uint32_t line = 1;
    for (size_t i = 0; i < text.size();) {
        if (text.compare(i, 2, "//") == 0) {
            i = std::min(text.find('\n', i), text.size());
        } else if (std::isspace((unsigned char)text[i])) {
            line += text[i++] == '\n';
        } else {
            size_t end = i + 1;
            while (is_word(text[i]) && end < text.size()) { // shared::cta is one, label: is not
                const bool is_colons = text.compare(end, 2, "::") == 0;
                if (!is_colons && !is_word(text[end])) {
                    break;
                }
                end += is_colons ? 2 : 1;
            }
            tokens.push_back({text.substr(i, end - i), line});
            i = end;
        }
    }
    tokens.push_back({"", line});
    return tokens;
}

} // namespace

Words::Words(const std::string &text) : tokens(tokens_of(text)) {}

std::string Words::next() {
    const std::string text = peek();
    position += position + 1 < tokens.size();
    return text;
}

bool Words::take(const char *text) {
    const bool is_there = peek() == text;
    if (is_there) {
        next();
    }
    return is_there;
}

void Words::fail(const std::string &why) const {
    throw std::runtime_error("line " + std::to_string(tokens[position ? position - 1 : 0].line) + ": " + why);
}

void Words::expect(const char *text) {
    if (!take(text)) {
        fail("'" + std::string(text) + "' expected before '" + peek() + "'");
    }
}

uint64_t Words::number() { return std::strtoull(next().c_str(), nullptr, 0); }

} // namespace softcuda
