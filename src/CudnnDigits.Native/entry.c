/*
 * The functions that C calls on Unix. Each one calls the .NET function of the same name with the prefix MANAGED.
 *
 * After fork() only the calling thread exists in the child, and .NET's runtime does not survive that: its garbage
 * collector waits for threads that are gone, and locks may stay taken for ever. Even entering .NET code can hang. So if
 * the parent had used the library, its child gets an error here, before any .NET code runs.
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

static atomic_int used; /* .NET code has run in this process or in its parent before the fork */
static int forked;      /* this process is a child whose parent had used the library */

static void after_fork_in_child(void) { forked = atomic_load(&used); }

__attribute__((constructor)) static void load(void) {
    pthread_atfork(NULL, NULL, after_fork_in_child);
#ifdef __APPLE__
    /* Keeps the library loaded, because the runtime's threads run on. Elsewhere the linker option -z nodelete does so. */
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
HAND_ON(cudnn_digits_training_options_init, (cudnn_digits_training_options * options, const char *model),
        (options, model), CUDNN_DIGITS_FAILED)
HAND_ON(cudnn_digits_train_from_file,
        (const char *data, const cudnn_digits_training_options *options, const char *weights,
         cudnn_digits_metrics *metrics),
        (data, options, weights, metrics), CUDNN_DIGITS_FAILED)
HAND_ON(cudnn_digits_train_from_memory,
        (const uint8_t *images, const uint8_t *labels, int64_t count, const cudnn_digits_training_options *options,
         const char *weights, cudnn_digits_metrics *metrics),
        (images, labels, count, options, weights, metrics), CUDNN_DIGITS_FAILED)
