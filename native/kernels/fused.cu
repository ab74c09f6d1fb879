// The convolutions of `improved` in bfloat16, fused with all that lies between them: a module of its own, because
// they need sm_90.
#include "fused/backward.cu"
#include "fused/batch_norm.cu"
#include "fused/forward.cu"
#include "fused/predict.cu"
