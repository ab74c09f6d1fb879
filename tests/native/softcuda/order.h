// Which work is before which: work of two streams that nothing orders must not use the same memory.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace softcuda {

// Of each strand, by its number, the last of its works that is done. A strand is a stream, or a branch of a graph.
using Clock = std::vector<uint32_t>;

void raise(Clock &clock, uint32_t strand, uint32_t work);
void merge(Clock &clock, const Clock &other);

// Its number is its own as long as it lives.
class Strand {
  public:
    Strand();
    ~Strand();
    Strand(const Strand &) = delete;
    Strand &operator=(const Strand &) = delete;

    const uint32_t number;
};

// A work, and what is done before it.
class Order {
  public:
    Order(uint32_t strand, Clock before);

    const uint32_t serial;         // the later it runs, the greater
    const uint32_t first_in_doubt; // works before this one are done for certain

    void set_name(const std::string &name) const;
    // another: a work that ran sooner. Throws where nothing says that it is done.
    void require_done(uint32_t another) const;

  private:
    const uint32_t strand;
    const Clock before;
};

// The work that runs as long as this lives.
class Running {
  public:
    explicit Running(std::shared_ptr<const Order> work);
    ~Running();
    Running(const Running &) = delete;
    Running &operator=(const Running &) = delete;
};

// The work that runs; where that is no stream's, one after all others.
std::shared_ptr<const Order> running_work();

} // namespace softcuda
