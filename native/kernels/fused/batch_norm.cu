// What batch norm needs once before predictions.
#include "parameters.cuh"

// Coefficients from the running statistics, for prediction. One block of 64 threads.
PUBLISH(coefficient_count, 6 * 64)

KERNEL(64) batch_norm_running(BatchNormRunning p) {
    const int c = (int)threadIdx.x;
    if (c < p.channels) {
        float *coefficients = p.norm.coefficients + c;
        const double variance = p.norm.running_variance[c];
        const double a = p.norm.gamma[c] / square_root(variance + epsilon);
        coefficients[scale] = (float)a;
        coefficients[shift] = (float)(p.norm.beta[c] - a * p.norm.running_mean[c]);
    }
}
