/* What the tests of the C interface share: digits to train on, expectations, and the calls as they should be. */
#pragma once

#include <cudnn_digits.h>

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UNUSED __attribute__((unused))

enum { images = 200, pixels = 784, classes = 10 };

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
/* In words of C: .NET's own have "(Parameter 'batchSize')". */
#define REFUSES(call) EXPECT((call) == CUDNN_DIGITS_INVALID_ARGUMENT && *cudnn_digits_last_error() != 0 && \
                             strstr(cudnn_digits_last_error(), "Parameter") == NULL)
#define SAYS(text) EXPECT(strstr(cudnn_digits_last_error(), text) != NULL)
#define SAYS_NOTHING_OF_OPTIONS EXPECT(strstr(cudnn_digits_last_error(), "--") == NULL)

UNUSED static int exists(const char *path) {
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
    SUCCEEDS(cudnn_digits_training_options_init(&options, "simple"));
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

UNUSED static cudnn_digits_classifier create(const char *device) {
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

/* What the .NET runtime keeps until the process ends is no leak of ours; test_memory looks for those. */
const char *__lsan_default_suppressions(void) { return "leak:libcudnndigits.so\n"; }

static void begin(const char *folder, const char *name) {
    snprintf(model, sizeof model, "%s/%s.safetensors", folder, name);
    snprintf(unwritten, sizeof unwritten, "%s/%s-unwritten.safetensors", folder, name);
    remove(model);
    remove(unwritten);
    draw();
}

static int end(void) {
    free(digits);
    free(labels);
    remove(model);
    printf("%s: %d failures\n", cudnn_digits_version(), failures);
    return failures != 0;
}
