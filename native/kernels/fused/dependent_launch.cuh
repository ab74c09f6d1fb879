// Programmatic dependent launch (sm_90 and newer): where a launch allows it, a kernel begins before the one before it has ended, as soon as
// all blocks of that one have said so. It may read what older kernels wrote; from here on, also what that one did. Everything that a kernel
// writes to global memory, it writes after it has waited; and it lets the next begin after it has waited, so that the next need not wait
// for more than one.
#pragma once

#include "../common/device.cuh"

DEVICE_INLINE void wait_for_kernel_before() { asm volatile("griddepcontrol.wait;" : : : "memory"); }
DEVICE_INLINE void let_next_kernel_begin() { asm volatile("griddepcontrol.launch_dependents;" : : : "memory"); }
