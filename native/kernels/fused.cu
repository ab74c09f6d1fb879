// `improved` in bfloat16, on GPUs whose warpgroups multiply: all but the convolutions of a training step, which are in hopper.cu.
#include "fused/batch_norm.cu"
#include "fused/dense.cu"
#include "fused/gather.cu"
#include "fused/pool.cu"
#include "fused/predict.cu"
