// `improved` in bfloat16: its convolutions and hidden layer, fused with all that lies between them. A module of its own, because they need
// sm_90.
#include "fused/backward_data.cu"
#include "fused/backward_weights.cu"
#include "fused/batch_norm.cu"
#include "fused/dense.cu"
#include "fused/forward.cu"
#include "fused/gather.cu"
#include "fused/predict.cu"
