// Convolutions of `improved` in bfloat16 by warpgroups, for GPUs that have wgmma: compute capability 9.0 and no other. The same kernels as
// those of that name in fused.cu, in other blocks.
#include "fused/hopper/backward_data.cu"
#include "fused/hopper/backward_weights.cu"
#include "fused/hopper/forward.cu"
