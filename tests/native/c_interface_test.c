/* The C interface, used as it should be and as it should not. Usage: c_interface_test FOLDER [first] */
#include <cudnn_digits.h>

#include <cuda.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { images = 200, pixels = 784, classes = 10, threads = 16 };

static char model[512], unwritten[512];
static unsigned char *digits, *labels;
static int failures = 0;

static void expect_at(int holds, const char *what, int line) {
    if (!holds) {
        fprintf(stderr, "line %d: BROKEN: %s (last error: %s)\n", line, what, cudnn_digits_last_error());
        __atomic_add_fetch(&failures, 1, __ATOMIC_RELAXED);
    }
}

#define EXPECT(holds) expect_at((holds), #holds, __LINE__)
#define SUCCEEDS(call) EXPECT((call) == CUDNN_DIGITS_OK)
#define REFUSES(call) EXPECT((call) == CUDNN_DIGITS_INVALID_ARGUMENT && *cudnn_digits_last_error() != 0)
#define SAYS(text) EXPECT(strstr(cudnn_digits_last_error(), text) != NULL)

static int exists(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file) {
        fclose(file);
    }
    return file != NULL;
}

/* A stroke whose place depends on the label: enough to learn from. */
static void draw(void) {
    digits = calloc(images, pixels);
    labels = malloc(images);
    for (int n = 0; n < images; n++) {
        labels[n] = (unsigned char)(n % classes);
        for (int row = 4; row < 24; row++) {
            memset(digits + n * pixels + row * 28 + 2 + 2 * (n % classes), 255 - n / 4, 3);
        }
    }
}

/* ---- training */

typedef struct {
    int calls, epochs, cancel_at;
    double last_loss;
} Watch;

static int watch(const cudnn_digits_progress *p, void *user) {
    Watch *w = user;
    w->calls++;
    w->epochs += !isnan(p->validation_accuracy);
    w->last_loss = p->loss;
    EXPECT(p->epoch >= 1 && p->epoch <= p->epochs && p->step >= 1 && p->step <= p->steps_per_epoch);
    EXPECT(p->loss > 0 && p->accuracy >= 0 && p->accuracy <= 1);
    return w->cancel_at > 0 && w->calls >= w->cancel_at;
}

static cudnn_digits_training_options training(Watch *w) {
    cudnn_digits_training_options options;
    SUCCEEDS(cudnn_digits_training_options_init(&options, CUDNN_DIGITS_SIMPLE));
    options.device = "cpu";
    options.epochs = 3;
    options.batch_size = 16;
    options.callback = w ? watch : NULL;
    options.user = w;
    return options;
}

static int train(const cudnn_digits_training_options *options, const char *path, cudnn_digits_metrics *metrics) {
    return cudnn_digits_train_from_memory(digits, labels, images, options, path, metrics);
}

static void test_training(void) {
    Watch w = {0};
    cudnn_digits_training_options options = training(&w);
    cudnn_digits_metrics metrics = {0};
    SUCCEEDS(train(&options, model, &metrics));
    EXPECT(w.epochs == 3 && w.calls > 3 && metrics.samples == 40 && metrics.epoch >= 1 && metrics.epoch <= 3);
    EXPECT(metrics.accuracy > 0.9 && exists(model));

    int last = w.calls;
    for (int at = 1; at <= last; at += last - 1) { /* at once, and after the very last epoch */
        Watch cancelling = {0, 0, at, 0};
        options = training(&cancelling);
        EXPECT(train(&options, unwritten, &metrics) == CUDNN_DIGITS_CANCELLED && cancelling.calls == at);
        EXPECT(!exists(unwritten));
    }

    REFUSES(cudnn_digits_training_options_init(NULL, CUDNN_DIGITS_SIMPLE));
    REFUSES(cudnn_digits_training_options_init(&options, 2));
    REFUSES(cudnn_digits_training_options_init(&options, -1));
    options = training(NULL);
    REFUSES(cudnn_digits_train_from_memory(NULL, labels, images, &options, unwritten, NULL));
    REFUSES(cudnn_digits_train_from_memory(digits, NULL, images, &options, unwritten, NULL));
    REFUSES(cudnn_digits_train_from_memory(digits, labels, 0, &options, unwritten, NULL));
    REFUSES(cudnn_digits_train_from_memory(digits, labels, -1, &options, unwritten, NULL));
    REFUSES(cudnn_digits_train_from_memory(digits, labels, INT64_MAX, &options, unwritten, NULL));
    REFUSES(train(&options, NULL, NULL));
    REFUSES(cudnn_digits_train_from_file(NULL, &options, unwritten, NULL));
    EXPECT(cudnn_digits_train_from_file("/no/such/train.csv", &options, unwritten, NULL) == CUDNN_DIGITS_BAD_INPUT);
    SAYS("/no/such/train.csv");
    EXPECT(train(&options, "/no/such/folder/model.safetensors", NULL) == CUDNN_DIGITS_BAD_INPUT);
    SAYS("/no/such/folder");
    EXPECT(train(&options, "/", NULL) == CUDNN_DIGITS_BAD_INPUT);
    labels[7] = 10;
    REFUSES(train(&options, unwritten, NULL));
    labels[7] = 7;

    cudnn_digits_training_options wrong;
#define WRONG(change)                                                                                                  \
    wrong = training(NULL);                                                                                            \
    wrong.change;                                                                                                      \
    REFUSES(train(&wrong, unwritten, NULL));
    WRONG(struct_size = 8)
    WRONG(struct_size = 0)
    WRONG(network = 7)
    WRONG(epochs = 0)
    WRONG(batch_size = 0)
    WRONG(batch_size = -5)
    WRONG(precision = 4)
    WRONG(learning_rate = 0)
    WRONG(learning_rate = NAN)
    WRONG(validation = 1)
    WRONG(validation = NAN)
    WRONG(rotate = -1)
    WRONG(shift = INFINITY)
    WRONG(zoom = 2)
    WRONG(cuda_context = &failures) /* and device cpu */
    wrong = training(NULL);
    wrong.device = "tpu";
    EXPECT(train(&wrong, unwritten, NULL) == CUDNN_DIGITS_BAD_INPUT);
    wrong = training(NULL);
    wrong.precision = CUDNN_DIGITS_BF16;
    EXPECT(train(&wrong, unwritten, NULL) == CUDNN_DIGITS_BAD_INPUT);
    wrong = training(NULL);
    wrong.learning_rate = 1e39; /* the first update is infinite */
    EXPECT(train(&wrong, unwritten, NULL) == CUDNN_DIGITS_FAILED);
    SAYS("NaN or infinite");
    EXPECT(train(&options, "/proc/c-interface.safetensors", NULL) ==
           CUDNN_DIGITS_FAILED); /* no file can be made there */
    EXPECT(!exists(unwritten));
}

/* ---- prediction */

static cudnn_digits_classifier create(const char *device) {
    cudnn_digits_classifier_options options;
    cudnn_digits_classifier classifier = NULL;
    SUCCEEDS(cudnn_digits_classifier_options_init(&options));
    options.device = device;
    options.batch_size = 16;
    options.precision = CUDNN_DIGITS_FP32;
    SUCCEEDS(cudnn_digits_create(model, &options, &classifier));
    EXPECT(classifier != NULL);
    return classifier;
}

static float *predict(cudnn_digits_classifier classifier) {
    float *logits = malloc(images * classes * sizeof *logits);
    SUCCEEDS(cudnn_digits_predict(classifier, digits, CUDNN_DIGITS_UINT8, pixels, images, logits));
    return logits;
}

static int same(const float *a, const float *b) { return memcmp(a, b, images * classes * sizeof *a) == 0; }

static void test_prediction(void) {
    cudnn_digits_classifier classifier = create("cpu"), none = (cudnn_digits_classifier)&failures;
    float *expected = predict(classifier), logits[images * classes + 1];
    int right = 0;
    for (int n = 0; n < images; n++) {
        int best = 0;
        for (int c = 1; c < classes; c++) {
            best = expected[n * classes + c] > expected[n * classes + best] ? c : best;
        }
        right += best == labels[n];
    }
    EXPECT(right > 0.9 * images);

    /* Floats, far apart; and nothing is written behind the last logit. */
    enum { stride = 1000 };
    float *floats = malloc(((images - 1) * stride + pixels) * sizeof *floats);
    for (int n = 0; n < images; n++) {
        for (int i = 0; i < pixels; i++) {
            floats[n * stride + i] = (float)digits[n * pixels + i] / 255.0f;
        }
    }
    logits[images * classes] = 42;
    SUCCEEDS(cudnn_digits_predict(classifier, floats, CUDNN_DIGITS_FLOAT32, stride, images, logits));
    EXPECT(same(expected, logits) && logits[images * classes] == 42);
    free(floats);

    SUCCEEDS(cudnn_digits_predict(classifier, NULL, CUDNN_DIGITS_UINT8, pixels, 0, NULL));
    REFUSES(cudnn_digits_predict(classifier, NULL, CUDNN_DIGITS_UINT8, pixels, 1, logits));
    REFUSES(cudnn_digits_predict(classifier, digits, CUDNN_DIGITS_UINT8, pixels, 1, NULL));
    REFUSES(cudnn_digits_predict(classifier, digits, CUDNN_DIGITS_UINT8, -pixels, 1, logits));
    REFUSES(cudnn_digits_predict(classifier, digits, CUDNN_DIGITS_UINT8, INT64_MAX, 1, logits));
    REFUSES(cudnn_digits_predict(classifier, digits, CUDNN_DIGITS_UINT8, pixels, -1, logits));
    REFUSES(cudnn_digits_predict(classifier, digits, 2, pixels, 1, logits));
    REFUSES(cudnn_digits_predict(classifier, digits, -1, pixels, 1, logits));
    REFUSES(cudnn_digits_predict(NULL, digits, CUDNN_DIGITS_UINT8, pixels, 1, logits));
    REFUSES(cudnn_digits_predict(none, digits, CUDNN_DIGITS_UINT8, pixels, 1, logits));
    REFUSES(cudnn_digits_predict_device(classifier, digits, CUDNN_DIGITS_UINT8, pixels, 1, logits, NULL));
    SAYS("CPU");
    REFUSES(cudnn_digits_predict_device(classifier, NULL, CUDNN_DIGITS_UINT8, pixels, 1, logits, NULL));
    REFUSES(cudnn_digits_predict_device(classifier, digits, CUDNN_DIGITS_UINT8, pixels, 1L << 40, logits, NULL));

    SUCCEEDS(cudnn_digits_destroy(NULL));
    REFUSES(cudnn_digits_destroy(none));
    SUCCEEDS(cudnn_digits_destroy(classifier));
    REFUSES(cudnn_digits_destroy(classifier));
    REFUSES(cudnn_digits_predict(classifier, digits, CUDNN_DIGITS_UINT8, pixels, 1, logits));
    SAYS("destroyed");
    EXPECT(same(expected, logits)); /* no refused call wrote anything */

    cudnn_digits_classifier_options options;
    REFUSES(cudnn_digits_classifier_options_init(NULL));
    SUCCEEDS(cudnn_digits_classifier_options_init(&options));
    options.device = "cpu";
    REFUSES(cudnn_digits_create(NULL, &options, &classifier));
    REFUSES(cudnn_digits_create(model, &options, NULL));
    EXPECT(cudnn_digits_create("/no/such.safetensors", &options, &classifier) == CUDNN_DIGITS_BAD_INPUT);
    SAYS("/no/such.safetensors");
    EXPECT(classifier == NULL);
    EXPECT(cudnn_digits_create("/proc/self/exe", &options, &classifier) == CUDNN_DIGITS_BAD_INPUT);
    options.batch_size = 0;
    REFUSES(cudnn_digits_create(model, &options, &classifier));
    options.batch_size = 1;
    options.struct_size--;
    REFUSES(cudnn_digits_create(model, &options, &classifier));
    free(expected);
}

/* Kilobytes that this process has in memory. */
static long resident(void) {
    long size = 0, pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    EXPECT(file && fscanf(file, "%ld %ld", &size, &pages) == 2);
    fclose(file);
    return pages * 4;
}

/* A classifier holds more than two megabytes. */
static void test_memory(void) {
    long before = 0;
    for (int i = 0; i < 150; i++) {
        before = i == 50 ? resident() : before;
        SUCCEEDS(cudnn_digits_destroy(create("cpu")));
    }
    EXPECT(resident() - before < 50 * 1024);
}

/* ---- threads */

static cudnn_digits_classifier shared;
static float *shared_expected;

static void *use(void *index) {
    char path[64];
    snprintf(path, sizeof path, "/no/such/file-%d", (int)(intptr_t)index);
    for (int round = 0; round < 4; round++) {
        float *logits = predict(shared);
        EXPECT(same(shared_expected, logits));
        free(logits);
        cudnn_digits_classifier own = create("cpu"), nothing;
        EXPECT(cudnn_digits_create(path, NULL, &nothing) == CUDNN_DIGITS_BAD_INPUT);
        SAYS(path); /* this thread's message, whatever the others do */
        logits = predict(own);
        EXPECT(same(shared_expected, logits));
        free(logits);
        SAYS(path);
        SUCCEEDS(cudnn_digits_destroy(own));
        REFUSES(cudnn_digits_destroy(own));
    }
    return NULL;
}

static void *use_until_destroyed(void *unused) {
    (void)unused;
    float logits[images * classes];
    int status;
    do {
        status = cudnn_digits_predict(shared, digits, CUDNN_DIGITS_UINT8, pixels, images, logits);
        EXPECT(status == CUDNN_DIGITS_OK ? same(shared_expected, logits) : status == CUDNN_DIGITS_INVALID_ARGUMENT);
    } while (status == CUDNN_DIGITS_OK);
    return NULL;
}

static void *train_alone(void *index) {
    Watch w = {0, 0, (int)(intptr_t)index % 2 ? 5 : 0, 0};
    cudnn_digits_training_options options = training(&w);
    char path[600];
    snprintf(path, sizeof path, "%s.%d", model, (int)(intptr_t)index);
    EXPECT(train(&options, path, NULL) == (w.cancel_at ? CUDNN_DIGITS_CANCELLED : CUDNN_DIGITS_OK));
    EXPECT(exists(path) == !w.cancel_at);
    remove(path);
    return NULL;
}

static void run_threads(void *(*body)(void *), int count, int destroys) {
    pthread_t ids[threads];
    for (int i = 0; i < count; i++) {
        pthread_create(&ids[i], NULL, body, (void *)(intptr_t)i);
    }
    if (destroys) {
        float *logits = predict(shared);
        free(logits);
        SUCCEEDS(cudnn_digits_destroy(shared));
    }
    for (int i = 0; i < count; i++) {
        pthread_join(ids[i], NULL);
    }
}

static void test_threads(void) {
    shared = create("cpu");
    shared_expected = predict(shared);
    run_threads(use, threads, 0);
    run_threads(use_until_destroyed, threads, 1);
    run_threads(train_alone, 4, 0);
    free(shared_expected);
}

/* ---- a CUDA pipeline */

#define CUDA(call) EXPECT((call) == CUDA_SUCCESS)

static void test_cuda(void) {
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
}

/* The very first calls of a process, from all threads at once. */
static void *call_first(void *unused) {
    (void)unused;
    cudnn_digits_training_options options;
    EXPECT(strlen(cudnn_digits_version()) >= 5);
    SUCCEEDS(cudnn_digits_training_options_init(&options, CUDNN_DIGITS_IMPROVED));
    REFUSES(cudnn_digits_training_options_init(NULL, CUDNN_DIGITS_IMPROVED));
    return NULL;
}

/* What the .NET runtime keeps until the process ends is no leak of ours; test_memory looks for those. */
const char *__lsan_default_suppressions(void) { return "leak:libcudnndigits.so\n"; }

int main(int argc, char **argv) {
    if (argc > 2) {
        run_threads(call_first, threads, 0);
        return failures != 0;
    }
    snprintf(model, sizeof model, "%s/c-interface.safetensors", argv[1]);
    snprintf(unwritten, sizeof unwritten, "%s/c-interface-unwritten.safetensors", argv[1]);
    remove(model);
    remove(unwritten);
    EXPECT(strcmp(cudnn_digits_last_error(), "") == 0);
    EXPECT(strlen(cudnn_digits_version()) >= 5);
    draw();
    test_training();
    test_prediction();
    test_memory();
    test_threads();
    test_cuda();
    free(digits);
    free(labels);
    printf("%s: %d failures\n", cudnn_digits_version(), failures);
    return failures != 0;
}
