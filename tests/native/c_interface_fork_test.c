/*
 * The C interface and fork(): before the library is used, a child does all it likes; after that it is told at once that
 * it cannot, whatever the parent's threads were doing. Usage: c_interface_fork_test FOLDER FORKS       forks while
 * other threads work (default 150)
 */
#define _DEFAULT_SOURCE
#include "c_interface.h"

#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { seconds_for_a_child = 20 };

static cudnn_digits_classifier create_with(int threads) {
    cudnn_digits_classifier_options options;
    cudnn_digits_classifier classifier = NULL;
    SUCCEEDS(cudnn_digits_classifier_options_init(&options));
    options.device = "cpu";
    options.batch_size = 16;
    options.threads = threads;
    SUCCEEDS(cudnn_digits_create(model, &options, &classifier));
    return classifier;
}

/* Runs a check in a child, which ends as programs do; a child that hangs is ended by a signal. */
static void in_child(void (*check)(void)) {
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        alarm(seconds_for_a_child);
        failures = 0;
        check();
        exit(failures != 0);
    }
    int status = -1;
    EXPECT(child > 0 && waitpid(child, &status, 0) == child);
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* ---- before the first call */

static void work(void) {
    cudnn_digits_training_options options = training(NULL);
    options.epochs = 1;
    options.threads = 2;
    SUCCEEDS(train(&options, model, NULL));
    for (int threads = 1; threads <= 2; threads++) {
        cudnn_digits_classifier classifier = create_with(threads);
        free(predict(classifier));
        SUCCEEDS(cudnn_digits_destroy(classifier));
    }
}

static void work_in_a_child(void) { in_child(work); }

/* A system that starts fewer threads than are asked for: here for want of addresses for their stacks. */
static void start_too_many_threads(void) {
    work();
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    EXPECT(file && fscanf(file, "%ld", &pages) == 1);
    fclose(file);
    struct rlimit addresses = {(rlim_t)(pages * sysconf(_SC_PAGESIZE)) + ((rlim_t)600 << 20), RLIM_INFINITY};
    EXPECT(setrlimit(RLIMIT_AS, &addresses) == 0);
    cudnn_digits_classifier_options options;
    cudnn_digits_classifier classifier;
    SUCCEEDS(cudnn_digits_classifier_options_init(&options));
    options.device = "cpu";
    options.threads = 1024;
    EXPECT(cudnn_digits_create(model, &options, &classifier) == CUDNN_DIGITS_BAD_INPUT);
    SAYS("threads 1024: the system starts ");
    SAYS_NOTHING_OF_OPTIONS;
    SUCCEEDS(cudnn_digits_destroy(create_with(2)));
}

/* ---- after it */

static cudnn_digits_classifier made_before[3];

#define FAILS(call)                                                                                                    \
    EXPECT((call) == CUDNN_DIGITS_FAILED);                                                                             \
    SAYS("forked");                                                                                                    \
    SAYS("spawn")

static void be_refused(void) {
    cudnn_digits_classifier_options options;
    cudnn_digits_training_options how;
    cudnn_digits_classifier none;
    float logits[classes];
    for (int i = 0; i < 3; i++) {
        FAILS(cudnn_digits_predict(made_before[i], digits, CUDNN_DIGITS_UINT8, pixels, 1, logits));
        FAILS(cudnn_digits_predict_device(made_before[i], digits, CUDNN_DIGITS_UINT8, pixels, 1, logits, NULL));
        SUCCEEDS(cudnn_digits_destroy(made_before[i]));
    }
    FAILS(cudnn_digits_classifier_options_init(&options));
    FAILS(cudnn_digits_training_options_init(&how, "simple"));
    FAILS(cudnn_digits_create(model, NULL, &none));
    FAILS(train(NULL, unwritten, NULL));
    FAILS(cudnn_digits_train_from_file("/no/such", NULL, unwritten, NULL));
    SUCCEEDS(cudnn_digits_destroy(NULL));
    EXPECT(strlen(cudnn_digits_version()) >= 5);
    EXPECT(!exists(unwritten));
}

static void be_refused_and_so_is_a_child(void) {
    in_child(be_refused);
    be_refused();
}

/* From a thread that has used the library, whose copy is then the child's only one, and ends as threads do. */
static void *fork_from_a_thread(void *unused) {
    (void)unused;
    free(predict(made_before[1]));
    in_child(be_refused_and_so_is_a_child);
    pid_t child = fork();
    if (child == 0) {
        alarm(seconds_for_a_child);
        be_refused();
        return NULL;
    }
    int status = -1;
    EXPECT(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return NULL;
}

static int forks_now;

static int fork_in_callback(const cudnn_digits_progress *progress, void *user) {
    (void)progress;
    (void)user;
    if (forks_now++ == 1) {
        in_child(be_refused);
    }
    return 0;
}

static int stopping;

static void *be_busy(void *index) {
    for (int round = 0; !__atomic_load_n(&stopping, __ATOMIC_RELAXED); round++) {
        if ((intptr_t)index == 0) {
            cudnn_digits_classifier own = create_with(1 + round % 2); /* allocates, so that garbage is collected */
            free(predict(own));
            SUCCEEDS(cudnn_digits_destroy(own));
        } else {
            free(predict(made_before[round % 3]));
        }
    }
    return NULL;
}

int main(int argc, char **argv) {
    (void)argc;
    begin(argv[1], "c-interface-fork");
    in_child(work);
    in_child(work_in_a_child);
    in_child(start_too_many_threads);

    work();
    for (int i = 0; i < 3; i++) {
        made_before[i] = create_with((const int[]){1, 2, 8}[i]);
    }
    float *expected = predict(made_before[0]);
    in_child(be_refused_and_so_is_a_child);

    pthread_t thread, busy[2];
    pthread_create(&thread, NULL, fork_from_a_thread, NULL);
    pthread_join(thread, NULL);

    cudnn_digits_training_options options = training(NULL);
    options.callback = fork_in_callback;
    SUCCEEDS(train(&options, model, NULL));

    for (int i = 0; i < 2; i++) {
        pthread_create(&busy[i], NULL, be_busy, (void *)(intptr_t)i);
    }
    int forks = getenv("FORKS") ? atoi(getenv("FORKS")) : 150;
    for (int i = 0; i < forks && failures == 0; i++) {
        usleep((useconds_t)(i * 997 % 2000));
        in_child(be_refused);
    }
    __atomic_store_n(&stopping, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < 2; i++) {
        pthread_join(busy[i], NULL);
    }

    for (int i = 0; i < 3; i++) { /* the parent never noticed */
        float *logits = predict(made_before[i]);
        EXPECT(same(expected, logits));
        free(logits);
        SUCCEEDS(cudnn_digits_destroy(made_before[i]));
    }
    free(expected);
    return end();
}
