// All kernels as one module: one PTX to embed, one to compile at start.
#include "activation.cu"
#include "adam.cu"
#include "first_convolution.cu"
#include "fold_batch_norm.cu"
#include "gather_augment.cu"
#include "gather_images.cu"
#include "head.cu"
#include "pool_activation.cu"
