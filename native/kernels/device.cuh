// The only place that knows which compiler is reading: nvcc or clang for a GPU, or a host C++ compiler for tests.
#pragma once

#if defined(__CUDACC__)
#define DEVICE_INLINE __device__ __forceinline__
#elif defined(__CUDA__)
#define DEVICE_INLINE __attribute__((device)) inline __attribute__((always_inline))
#else
#define DEVICE_INLINE inline
#endif
