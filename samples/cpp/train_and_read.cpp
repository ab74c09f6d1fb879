// Trains on labelled digits, and reads one. Usage: train_and_read train.csv model.safetensors
#include <cudnn_digits.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>

static void check(int status) {
    if (status != CUDNN_DIGITS_OK) {
        std::fprintf(stderr, "%s\n", cudnn_digits_last_error());
        std::exit(1);
    }
}

static int show(const cudnn_digits_progress *p, void *) {
    if (!std::isnan(p->validation_accuracy)) { // the end of an epoch
        std::printf("epoch %d/%d, validation %.1f %%\n", p->epoch, p->epochs, 100 * p->validation_accuracy);
    }
    return 0; // anything else cancels
}

int main(int, char **argv) {
    cudnn_digits_training_options options;
    check(cudnn_digits_training_options_init(&options, "simple"));
    options.callback = show;
    cudnn_digits_metrics metrics;
    check(cudnn_digits_train_from_file(argv[1], &options, argv[2], &metrics));
    std::printf("%.1f %% of %d digits held out\n", 100 * metrics.accuracy, (int)metrics.samples);

    cudnn_digits_classifier classifier;
    check(cudnn_digits_create(argv[2], nullptr, &classifier));
    uint8_t image[28][28] = {}; // a stroke from top to bottom
    for (int row = 4; row < 24; row++) {
        std::fill_n(&image[row][13], 3, 255);
    }
    float logits[10];
    check(cudnn_digits_predict(classifier, image, CUDNN_DIGITS_UINT8, 28 * 28, 1, logits));
    std::printf("read as %d\n", (int)(std::max_element(logits, logits + 10) - logits));
    check(cudnn_digits_destroy(classifier));
}
