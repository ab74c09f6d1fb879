// What the 32 threads of a warp do together.
#pragma once

constexpr unsigned warp_lanes = 32;

// Every lane of the calling thread's warp must come here with the same `all`. The last to come runs it on what the
// lanes brought; then all go on.
void warp_collective(void *mine, void (*all)(void **lanes));

// Which thread of the block this is.
unsigned thread_of_block();
