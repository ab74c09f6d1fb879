// Reads images that a CUDA pipeline has in device memory. Usage: read_on_device model.safetensors
#include <cuda.h>
#include <cudnn_digits.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

static void check(bool holds, const char *what) {
    if (!holds) {
        std::fprintf(stderr, "%s: %s\n", what, cudnn_digits_last_error());
        std::exit(1);
    }
}
#define CUDA(call) check((call) == CUDA_SUCCESS, #call)
#define DIGITS(call) check((call) == CUDNN_DIGITS_OK, #call)

int main(int, char **argv) {
    const int count = 100, pixels = 28 * 28;
    CUcontext context;
    CUstream stream;
    CUdeviceptr images, logits;
    void *host; // pinned memory: images to the device, logits back
    CUDA(cuInit(0));
    CUDA(cuDevicePrimaryCtxRetain(&context, 0));
    CUDA(cuCtxPushCurrent(context));
    CUDA(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    CUDA(cuMemAlloc(&images, count * pixels));
    CUDA(cuMemAlloc(&logits, count * 10 * sizeof(float)));
    CUDA(cuMemHostAlloc(&host, count * pixels, 0));

    cudnn_digits_classifier_options options;
    DIGITS(cudnn_digits_classifier_options_init(&options));
    options.cuda_context = context;
    cudnn_digits_classifier classifier;
    DIGITS(cudnn_digits_create(argv[1], &options, &classifier));

    for (int i = 0; i < count * pixels; i++) { // strokes from top to bottom
        const int row = i % pixels / 28, column = i % 28;
        static_cast<unsigned char *>(host)[i] = row >= 4 && row < 24 && column >= 13 && column < 16 ? 255 : 0;
    }
    CUDA(cuMemcpyHtoDAsync(images, host, count * pixels, stream));
    DIGITS(cudnn_digits_predict_device(classifier, reinterpret_cast<void *>(images), CUDNN_DIGITS_UINT8, pixels, count,
                                       reinterpret_cast<float *>(logits), stream)); // returns at once
    CUDA(cuMemcpyDtoHAsync(host, logits, count * 10 * sizeof(float), stream));
    CUDA(cuStreamSynchronize(stream));
    const float *last = static_cast<float *>(host) + (count - 1) * 10;
    std::printf("read as %d\n", (int)(std::max_element(last, last + 10) - last));

    DIGITS(cudnn_digits_destroy(classifier)); // before the context goes
    CUDA(cuMemFreeHost(host));
    CUDA(cuMemFree(logits));
    CUDA(cuMemFree(images));
    CUDA(cuStreamDestroy(stream));
    CUDA(cuDevicePrimaryCtxRelease(0));
}
