/* The C interface, used as it should be and as it should not. Usage: c_interface_test FOLDER [first] */
#define _DEFAULT_SOURCE
#include "c_interface.h"

#include <dirent.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

enum { threads = 16 };

/* ---- training */

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

    REFUSES(cudnn_digits_training_options_init(NULL, "simple"));
    REFUSES(cudnn_digits_training_options_init(&options, "resnet"));
    SAYS("no network is called 'resnet'; choose simple");
    REFUSES(cudnn_digits_training_options_init(&options, ""));
    SUCCEEDS(cudnn_digits_training_options_init(&options, NULL));
    EXPECT(strcmp(options.model, "improved") == 0 && options.epochs == 12);
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
    REFUSES(train(&options, "", NULL));
    SAYS("weights is empty");
    REFUSES(train(&options, " ", NULL));
    REFUSES(cudnn_digits_train_from_file("", &options, unwritten, NULL));
    SAYS("data is empty");
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
    WRONG(model = "resnet")
    WRONG(epochs = 0)
    WRONG(batch_size = 0)
    SAYS("batch_size is 0, expected at least 1");
    WRONG(batch_size = -5)
    WRONG(precision = 4)
    WRONG(learning_rate = 0)
    SAYS("learning_rate is 0, expected a number above 0");
    WRONG(learning_rate = NAN)
    WRONG(weight_decay = -1)
    WRONG(validation = 1)
    WRONG(validation = NAN)
    WRONG(rotate = -1)
    WRONG(shift = INFINITY)
    WRONG(zoom = 2)
    WRONG(beta1 = 1)
    WRONG(beta2 = -0.1)
    WRONG(epsilon = 0)
    WRONG(dropout = 1)
    WRONG(threads = -1)
    WRONG(threads = 1025)
    SAYS("expected 0 to 1024");
    WRONG(cuda_context = &failures) /* and device cpu */
    wrong = training(NULL);
    wrong.device = "tpu";
    EXPECT(train(&wrong, unwritten, NULL) == CUDNN_DIGITS_BAD_INPUT);
    SAYS("device 'tpu'");
    SAYS_NOTHING_OF_OPTIONS;
    wrong = training(NULL);
    wrong.precision = CUDNN_DIGITS_BF16;
    EXPECT(train(&wrong, unwritten, NULL) == CUDNN_DIGITS_BAD_INPUT);
    SAYS("precision bf16");
    SAYS_NOTHING_OF_OPTIONS;
    wrong = training(NULL);
    wrong.learning_rate = 1e39; /* the first update is infinite */
    EXPECT(train(&wrong, unwritten, NULL) == CUDNN_DIGITS_FAILED);
    SAYS("NaN or infinite");
    options.epochs = 0x7fffffff; /* said before anything is trained */
    EXPECT(train(&options, "/proc/c-interface.safetensors", NULL) == CUDNN_DIGITS_BAD_INPUT);
    SAYS("/proc/c-interface.safetensors: cannot be written");
    char name[301] = {0};
    memset(name, 'n', 300);
    EXPECT(train(&options, name, NULL) == CUDNN_DIGITS_BAD_INPUT);
    SAYS("nnn: cannot be written");
    EXPECT(!exists(unwritten));
}

/* ---- prediction */

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
    SAYS("stride is 9223372036854775807, expected 0 to ");
    REFUSES(cudnn_digits_predict(classifier, digits, CUDNN_DIGITS_UINT8, pixels, -1, logits));
    SAYS("count is -1, expected 0 to ");
    REFUSES(cudnn_digits_predict(classifier, digits, CUDNN_DIGITS_UINT8, pixels, INT64_MAX, logits));
    REFUSES(cudnn_digits_predict_device(classifier, digits, CUDNN_DIGITS_UINT8, INT64_MAX / 2, 1, logits, NULL));
    REFUSES(cudnn_digits_predict_device(classifier, digits, CUDNN_DIGITS_UINT8, -1, 1, logits, NULL));
    REFUSES(cudnn_digits_predict_device(classifier, digits, CUDNN_DIGITS_UINT8, pixels, INT64_MAX, logits, NULL));
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
    SAYS("batch_size is 0, expected 1 to 65536");
    options.batch_size = 1;
    options.reserved = 1;
    REFUSES(cudnn_digits_create(model, &options, &classifier));
    SAYS("reserved is 1, expected 0");
    options.reserved = 0;
    for (int device = 0; device < 2; device++) { /* wherever it would run */
        options.device = device ? "auto" : "cpu";
        options.threads = 1025;
        REFUSES(cudnn_digits_create(model, &options, &classifier));
        SAYS("threads is 1025");
        options.threads = -1;
        REFUSES(cudnn_digits_create(model, &options, &classifier));
    }
    options.threads = 0;
    options.device = "cuda:77";
    EXPECT(cudnn_digits_create(model, &options, &classifier) == CUDNN_DIGITS_BAD_INPUT);
    SAYS("device cuda:77");
    SAYS_NOTHING_OF_OPTIONS;
    options.struct_size--;
    REFUSES(cudnn_digits_create(model, &options, &classifier));
    free(expected);
}

/* ---- paths that are not UTF-8: \xE9 alone is an e with an accent in Latin-1 */

static void write_csv(const char *path) {
    FILE *file = fopen(path, "w");
    EXPECT(file != NULL);
    fprintf(file, "label");
    for (int i = 0; i < pixels; i++) {
        fprintf(file, ",pixel%d", i);
    }
    for (int n = 0; n < images; n++) {
        fprintf(file, "\n%d", labels[n]);
        for (int i = 0; i < pixels; i++) {
            fprintf(file, ",%d", digits[n * pixels + i]);
        }
    }
    fclose(file);
}

static int entries(const char *folder) {
    int count = 0;
    DIR *entries = opendir(folder);
    while (entries && readdir(entries)) {
        count++;
    }
    closedir(entries);
    return count;
}

static long size_of(const char *path) {
    struct stat status;
    return stat(path, &status) == 0 ? (long)status.st_size : -1;
}

static void refuses_over(const char *data, const char *weights) {
    cudnn_digits_training_options options = training(NULL);
    long size = size_of(weights);
    options.epochs = 1;
    EXPECT(cudnn_digits_train_from_file(data, &options, weights, NULL) == CUDNN_DIGITS_BAD_INPUT);
    SAYS("is a file that the digits are read from");
    EXPECT(size > 0 && size_of(weights) == size);
}

/* The digits are not written over, whatever their file is called, in text or not, through links, or in a folder. */
static void keeps(const char *folder, const char *data) {
    char soft[600], hard[600], idx[600], digits_file[700];
    snprintf(soft, sizeof soft, "%s/soft", folder);
    snprintf(hard, sizeof hard, "%s/har\xE9", folder);
    snprintf(idx, sizeof idx, "%s/idx", folder);
    snprintf(digits_file, sizeof digits_file, "%s/train-images-idx3-ubyte", idx);
    EXPECT(symlink(data, soft) == 0 && link(data, hard) == 0);
    const char *names[] = {data, soft, hard};
    for (int i = 0; i < 9; i++) {
        refuses_over(names[i / 3], names[i % 3]);
    }
    EXPECT(remove(soft) == 0 && remove(hard) == 0);
    EXPECT(mkdir(idx, 0777) == 0 && symlink(data, digits_file) == 0); /* before it is read as what it is not */
    refuses_over(idx, digits_file);
    refuses_over(idx, data);
    EXPECT(remove(digits_file) == 0 && remove(idx) == 0);
}

static void test_paths(const char *folder) {
    char inside[512], data[600], weights[600], link[600], missing[600], pipe[600];
    snprintf(inside, sizeof inside, "%s/c-interface-caf\xE9", folder);
    snprintf(data, sizeof data,
             "%s/donn\xE9"
             "es.csv",
             inside);
    snprintf(weights, sizeof weights, "%s/mod\xE8le.safetensors", inside);
    snprintf(link, sizeof link, "%s/lien\xE9", inside);
    snprintf(missing, sizeof missing, "%s/absent.safetensors", inside);
    snprintf(pipe, sizeof pipe, "%s/tuyau\xE9", inside);
    mkdir(inside, 0777);
    write_csv(data);
    cudnn_digits_training_options options = training(NULL);
    cudnn_digits_classifier classifier;
    options.epochs = 1;
    SUCCEEDS(cudnn_digits_train_from_file(data, &options, weights, NULL));
    SUCCEEDS(cudnn_digits_create(weights, NULL, &classifier));
    float *expected = predict(classifier);
    SUCCEEDS(cudnn_digits_destroy(classifier));
    keeps(inside, data);
    EXPECT(entries(inside) == 2 + 2);

    /* Over a file, through a link, in a folder whose name alone is not UTF-8, from where the process stands. */
    EXPECT(symlink(weights, link) == 0 && chmod(weights, 0640) == 0);
    SUCCEEDS(train(&options, link, NULL));
    struct stat status;
    EXPECT(stat(weights, &status) == 0 && (status.st_mode & 07777) == 0640);
    EXPECT(lstat(link, &status) == 0 && S_ISLNK(status.st_mode));
    SUCCEEDS(cudnn_digits_create(link, NULL, &classifier));
    SUCCEEDS(cudnn_digits_destroy(classifier));
    SUCCEEDS(train(&options, missing, NULL));
    EXPECT(remove(missing) == 0);
    char here[512];
    EXPECT(getcwd(here, sizeof here) && chdir(inside) == 0);
    SUCCEEDS(train(&options, "mod\xE8le.safetensors", NULL));
    EXPECT(chdir(here) == 0);
    EXPECT(entries(inside) == 2 + 3);

    /* Errors show bytes that are not text as \xE9. What is not a regular file is not replaced. */
    EXPECT(cudnn_digits_create(missing, NULL, &classifier) == CUDNN_DIGITS_BAD_INPUT);
    SAYS("c-interface-caf\\xE9/absent.safetensors: ");
    EXPECT(cudnn_digits_create(data, NULL, &classifier) == CUDNN_DIGITS_BAD_INPUT);
    SAYS("donn\\xE9"
         "es.csv: ");
    EXPECT(cudnn_digits_train_from_file(weights, &options, unwritten, NULL) == CUDNN_DIGITS_BAD_INPUT);
    SAYS("mod\\xE8le.safetensors");
    EXPECT(train(&options, inside, NULL) == CUDNN_DIGITS_BAD_INPUT);
    SAYS("is a folder");
    char lengthy[301] = {0};
    memset(lengthy, '\xE9', 300);
    EXPECT(train(&options, lengthy, NULL) == CUDNN_DIGITS_BAD_INPUT);
    SAYS("\\xE9: cannot be written: ");
    EXPECT(mkfifo(pipe, 0666) == 0);
    EXPECT(train(&options, pipe, NULL) == CUDNN_DIGITS_BAD_INPUT);
    SAYS("not a regular file");
    EXPECT(lstat(pipe, &status) == 0 && S_ISFIFO(status.st_mode));
    EXPECT(remove(pipe) == 0 && remove(weights) == 0);
    EXPECT(train(&options, link, NULL) == CUDNN_DIGITS_BAD_INPUT);
    SAYS("leads nowhere");
    EXPECT(remove(link) == 0 && remove(data) == 0 && remove(inside) == 0);
    EXPECT(train(&options, weights, NULL) == CUDNN_DIGITS_BAD_INPUT);
    SAYS("caf\\xE9");
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

/* A classifier holds more than two megabytes; after a hundred the collector and the allocator keep what they keep. */
static void test_memory(void) {
    long before = 0;
    for (int i = 0; i < 250; i++) {
        before = i == 100 ? resident() : before;
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

/* The very first calls of a process, from all threads at once. */
static void *call_first(void *unused) {
    (void)unused;
    cudnn_digits_training_options options;
    EXPECT(strlen(cudnn_digits_version()) >= 5);
    SUCCEEDS(cudnn_digits_training_options_init(&options, "improved"));
    REFUSES(cudnn_digits_training_options_init(NULL, "improved"));
    return NULL;
}

int main(int argc, char **argv) {
    if (argc > 2) {
        run_threads(call_first, threads, 0);
        return failures != 0;
    }
    EXPECT(strcmp(cudnn_digits_last_error(), "") == 0);
    EXPECT(strlen(cudnn_digits_version()) >= 5);
    begin(argv[1], "c-interface");
    test_training();
    test_prediction();
    test_paths(argv[1]);
    test_memory();
    test_threads();
    return end();
}
