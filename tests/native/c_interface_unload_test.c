/*
 * The library stays when it is closed, with its classifiers. It is not linked here, but opened.
 * Usage: c_interface_unload_test FOLDER LIBRARY
 */
#include <cudnn_digits.h>

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *library;

static void *function(const char *name) {
    void *address = dlsym(library, name);
    if (!address) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    return address;
}

#define CALL(name, ...) (((__typeof__(&name))function(#name))(__VA_ARGS__))
#define SUCCEEDS(name, ...)                                                                                            \
    if (CALL(name, __VA_ARGS__) != CUDNN_DIGITS_OK) {                                                                  \
        fprintf(stderr, "line %d: %s: %s\n", __LINE__, #name, CALL(cudnn_digits_last_error));                          \
        return 1;                                                                                                      \
    }

int main(int argc, char **argv) {
    (void)argc;
    static uint8_t digits[10 * 784], labels[10];
    float before[100], after[100];
    char model[512];
    snprintf(model, sizeof model, "%s/c-interface-unload.safetensors", argv[1]);
    for (int i = 0; i < 10; i++) {
        labels[i] = (uint8_t)i;
        memset(digits + 784 * i + 28 * i, 255, 150);
    }

    library = dlopen(argv[2], RTLD_NOW);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    cudnn_digits_training_options how;
    cudnn_digits_classifier_options where;
    cudnn_digits_classifier classifier, other;
    SUCCEEDS(cudnn_digits_training_options_init, &how, "simple")
    how.device = "cpu";
    how.epochs = 1;
    how.validation = 0;
    SUCCEEDS(cudnn_digits_train_from_memory, digits, labels, 10, &how, model, NULL)
    SUCCEEDS(cudnn_digits_classifier_options_init, &where)
    where.device = "cpu";
    where.threads = 2;
    where.batch_size = 4;
    SUCCEEDS(cudnn_digits_create, model, &where, &classifier)
    SUCCEEDS(cudnn_digits_predict, classifier, digits, CUDNN_DIGITS_UINT8, 784, 10, before)

    dlclose(library);
    usleep(50 * 1000); /* the classifier's threads are somewhere in the library */
    library = dlopen(argv[2], RTLD_NOW);
    SUCCEEDS(cudnn_digits_predict, classifier, digits, CUDNN_DIGITS_UINT8, 784, 10, after)
    if (memcmp(before, after, sizeof before) != 0) {
        fprintf(stderr, "the classifier reads otherwise after dlclose\n");
        return 1;
    }
    SUCCEEDS(cudnn_digits_create, model, &where, &other)
    SUCCEEDS(cudnn_digits_destroy, other)
    dlclose(library); /* and the process ends with a classifier alive */
    remove(model);
    return 0;
}
