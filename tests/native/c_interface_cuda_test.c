/* The C interface in a CUDA pipeline: context, streams and a graph of the caller. Usage: c_interface_cuda_test FOLDER
 */
#include "c_interface.h"

#include <cuda.h>

#define CUDA(call) EXPECT((call) == CUDA_SUCCESS)

int main(int argc, char **argv) {
    (void)argc;
    begin(argv[1], "c-interface-cuda");
    cudnn_digits_training_options on_host = training(NULL);
    SUCCEEDS(train(&on_host, model, NULL));

    const size_t bytes = images * classes * sizeof(float);
    CUcontext context;
    CUstream stream;
    CUdeviceptr source, target, logits;
    CUgraph graph;
    CUgraphExec executable;
    void *host;
    CUDA(cuInit(0));
    CUDA(cuDevicePrimaryCtxRetain(&context, 0));
    CUDA(cuCtxPushCurrent(context));
    CUDA(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    CUDA(cuMemAlloc(&source, images * pixels));
    CUDA(cuMemAlloc(&target, images * pixels));
    CUDA(cuMemAlloc(&logits, bytes));
    CUDA(cuMemHostAlloc(&host, images * pixels, 0));

    cudnn_digits_classifier_options options;
    cudnn_digits_classifier classifier;
    SUCCEEDS(cudnn_digits_classifier_options_init(&options));
    options.cuda_context = context;
    options.batch_size = 64;
    SUCCEEDS(cudnn_digits_create(model, &options, &classifier));
    float *expected = predict(classifier);

    /* On the stream: before, the images arrive; after, they are wiped. */
    memcpy(host, digits, images * pixels);
    CUDA(cuMemcpyHtoDAsync(target, host, images * pixels, stream));
    SUCCEEDS(cudnn_digits_predict_device(classifier, (void *)(uintptr_t)target, CUDNN_DIGITS_UINT8, pixels, images,
                                         (float *)(uintptr_t)logits, stream));
    CUDA(cuMemsetD8Async(target, 0, images * pixels, stream));
    CUDA(cuStreamSynchronize(stream));
    CUDA(cuMemcpyDtoHAsync(host, logits, bytes, stream));
    CUDA(cuStreamSynchronize(stream));
    EXPECT(same(expected, host));
    CUDA(cuMemsetD8Async(logits, 0, bytes, stream));
    CUDA(cuStreamSynchronize(stream));

    /* On the legacy default stream, which is PyTorch's unless it is told otherwise. */
    memcpy(host, digits, images * pixels);
    CUDA(cuMemcpyHtoDAsync(target, host, images * pixels, NULL));
    SUCCEEDS(cudnn_digits_predict_device(classifier, (void *)(uintptr_t)target, CUDNN_DIGITS_UINT8, pixels, images,
                                         (float *)(uintptr_t)logits, NULL));
    CUDA(cuMemsetD8Async(target, 0, images * pixels, NULL));
    CUDA(cuStreamSynchronize(NULL));
    CUDA(cuMemcpyDtoHAsync(host, logits, bytes, NULL));
    CUDA(cuStreamSynchronize(NULL));
    EXPECT(same(expected, host));

    /* Captured, and replayed when the images are back. */
    CUDA(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    SUCCEEDS(cudnn_digits_predict_device(classifier, (void *)(uintptr_t)target, CUDNN_DIGITS_UINT8, pixels, images,
                                         (float *)(uintptr_t)logits, stream));
    CUDA(cuStreamEndCapture(stream, &graph));
    CUDA(cuGraphInstantiateWithFlags(&executable, graph, 0));
    memcpy(host, digits, images * pixels);
    CUDA(cuMemcpyHtoDAsync(target, host, images * pixels, stream));
    CUDA(cuMemsetD8Async(logits, 0, bytes, stream));
    CUDA(cuGraphLaunch(executable, stream));
    CUDA(cuStreamSynchronize(stream));
    CUDA(cuMemcpyDtoHAsync(host, logits, bytes, stream));
    CUDA(cuStreamSynchronize(stream));
    EXPECT(same(expected, host));

    /* Training in the same context. */
    Watch w = {0};
    cudnn_digits_training_options on_device = training(&w);
    on_device.device = NULL;
    on_device.cuda_context = context;
    cudnn_digits_metrics metrics;
    SUCCEEDS(train(&on_device, unwritten, &metrics));
    EXPECT(metrics.accuracy > 0.9 && w.epochs == 3);
    remove(unwritten);

    REFUSES(cudnn_digits_predict_device(classifier, (void *)(uintptr_t)(target + 1), CUDNN_DIGITS_FLOAT32, pixels, 1,
                                        (float *)(uintptr_t)logits, stream));
    SUCCEEDS(cudnn_digits_destroy(classifier));
    REFUSES(cudnn_digits_predict_device(classifier, (void *)(uintptr_t)target, CUDNN_DIGITS_UINT8, pixels, 1,
                                        (float *)(uintptr_t)logits, stream));
    free(expected);
    CUDA(cuGraphExecDestroy(executable));
    CUDA(cuGraphDestroy(graph));
    CUDA(cuMemFreeHost(host));
    CUDA(cuMemFree(logits));
    CUDA(cuMemFree(target));
    CUDA(cuMemFree(source));
    CUDA(cuStreamDestroy(stream));
    CUDA(cuCtxPopCurrent(&context));
    CUDA(cuDevicePrimaryCtxRelease(0));
    return end();
}
