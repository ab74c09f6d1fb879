// What batch norm needs once before predictions.
#include "batch_norm.cuh"

// Coefficients from the running statistics, for prediction. One block of 64 threads.
KERNEL(64) batch_norm_running(BatchNorm norm, int channels) {
    const int c = (int)threadIdx.x;
    if (c < channels) {
        float *coefficients = device_pointer<float>(norm.coefficients) + c;
        const double variance = device_pointer<const float>(norm.running_variance)[c];
        const double a = device_pointer<const float>(norm.gamma)[c] / square_root(variance + epsilon);
        coefficients[scale] = (float)a;
        coefficients[shift] =
            (float)(device_pointer<const float>(norm.beta)[c] - a * device_pointer<const float>(norm.running_mean)[c]);
    }
}
