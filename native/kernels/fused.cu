// Convolutional and dense layers fused with all that lies between them, for every network and precision: by mma.sync, on GPUs from sm_80
// on; convolutions by wgmma, on those that have it.
// Instructions that only some GPUs or one precision have stand behind "//@name " in the PTX: KernelSource.Switches has these names.
#include "fused/conv_backward_data.cu"
#include "fused/conv_backward_weights.cu"
#include "fused/conv_forward.cu"
#include "fused/features.cu"
#include "fused/first_weights.cu"
#include "fused/normalize.cu"
#include "fused/product.cu"
