/*
 * What C calls, on Unix: every function hands on to the .NET code of the same name behind MANAGED.
 *
 * Only the thread that calls fork() lives on in the child, and .NET's runtime does not survive that: its collector
 * waits for threads that are gone, its locks may be held by them for ever, and even to enter .NET code can mean such a
 * wait. So a child whose parent had used the library is told so here, before anything enters .NET.
 */
#include "../../include/cudnn_digits.h"

#include <pthread.h>
#include <stdatomic.h>
#ifdef __APPLE__
#include <dlfcn.h>
#endif

#define TEXT_OF(token) #token
#define TEXT(macro) TEXT_OF(macro)
#define MANAGED(name) managed_##name

#define AFTER_FORK                                                                                                     \
    "this process was forked after its parent had used the library, whose threads are not in the copy: fork before "   \
    "the first call, or start a new program (in Python: multiprocessing.get_context(\"spawn\"))"

static atomic_int used; /* .NET code was entered, in this process or before it was forked */
static int forked;      /* this process was forked, and used before */

static void after_fork_in_child(void) { forked = atomic_load(&used); }

__attribute__((constructor)) static void load(void) {
    pthread_atfork(NULL, NULL, after_fork_in_child);
#ifdef __APPLE__
    /* The runtime's threads stay. Elsewhere the linker is told so: -z nodelete. */
    Dl_info self;
    if (dladdr((const void *)&used, &self)) {
        dlopen(self.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
    }
#endif
}

static int may_enter(void) {
    if (!atomic_load_explicit(&used, memory_order_relaxed)) {
        atomic_store(&used, 1);
    }
    return !forked;
}

#define HAND_ON(name, parameters, arguments, when_forked)                                                              \
    int MANAGED(name) parameters;                                                                                      \
    int name parameters { return may_enter() ? MANAGED(name) arguments : when_forked; }

const char *cudnn_digits_version(void) { return TEXT(VERSION); }

const char *MANAGED(cudnn_digits_last_error)(void);

const char *cudnn_digits_last_error(void) { return may_enter() ? MANAGED(cudnn_digits_last_error)() : AFTER_FORK; }

HAND_ON(cudnn_digits_classifier_options_init, (cudnn_digits_classifier_options * options), (options),
        CUDNN_DIGITS_FAILED)
HAND_ON(cudnn_digits_create,
        (const char *weights, const cudnn_digits_classifier_options *options, cudnn_digits_classifier *classifier),
        (weights, options, classifier), CUDNN_DIGITS_FAILED)
HAND_ON(cudnn_digits_predict,
        (cudnn_digits_classifier classifier, const void *images, int pixel_type, int64_t stride, int64_t count,
         float *logits),
        (classifier, images, pixel_type, stride, count, logits), CUDNN_DIGITS_FAILED)
HAND_ON(cudnn_digits_predict_device,
        (cudnn_digits_classifier classifier, const void *images, int pixel_type, int64_t stride, int64_t count,
         float *logits, void *stream),
        (classifier, images, pixel_type, stride, count, logits, stream), CUDNN_DIGITS_FAILED)
HAND_ON(cudnn_digits_destroy, (cudnn_digits_classifier classifier), (classifier), CUDNN_DIGITS_OK)
HAND_ON(cudnn_digits_training_options_init, (cudnn_digits_training_options * options, int network), (options, network),
        CUDNN_DIGITS_FAILED)
HAND_ON(cudnn_digits_train_from_file,
        (const char *data, const cudnn_digits_training_options *options, const char *weights,
         cudnn_digits_metrics *metrics),
        (data, options, weights, metrics), CUDNN_DIGITS_FAILED)
HAND_ON(cudnn_digits_train_from_memory,
        (const uint8_t *images, const uint8_t *labels, int64_t count, const cudnn_digits_training_options *options,
         const char *weights, cudnn_digits_metrics *metrics),
        (images, labels, count, options, weights, metrics), CUDNN_DIGITS_FAILED)
