// The kernels that every step needs and those of the layered path, as one module: one PTX to embed, one to compile at start.
#include "common/adam.cu"
#include "common/ema.cu"
#include "common/gather.cu"
#include "common/head.cu"
#include "layered/activation.cu"
