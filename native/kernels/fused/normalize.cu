// What batch norm needs once before predictions.
#include "batch_norm.cuh"

struct RunningStatistics {
    ChannelNorm norm;
};

// Coefficients from the running statistics.
KERNEL(256) use_running_statistics(RunningStatistics p) {
    const int c = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (c < p.norm.channels) {
        const double a = p.norm.gamma[c] / square_root((double)p.norm.running_variance[c] + epsilon);
        *p.norm.of(scale, c) = (float)a;
        *p.norm.of(shift, c) = (float)(p.norm.beta[c] - a * p.norm.running_mean[c]);
    }
}
