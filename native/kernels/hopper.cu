// Convolutions of a training step of `improved` in bfloat16 by warpgroups, for GPUs that have wgmma: compute capability 9.0 and no other.
#include "fused/hopper/backward_data.cu"
#include "fused/hopper/backward_weights.cu"
#include "fused/hopper/forward.cu"
