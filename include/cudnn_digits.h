/*
 * CudnnDigits from C, C++, Python and whatever else can call a shared library: libcudnndigits.
 *
 * Every function may be called from any thread. It returns a cudnn_digits_status; where that is not CUDNN_DIGITS_OK,
 * cudnn_digits_last_error() says in one line what was wrong and what to do. What is refused has written nothing; where
 * a prediction fails on its way (CUDNN_DIGITS_FAILED), some of its logits may have been written, a file never in part.
 * No exception leaves the library, and none may be thrown into it by a callback. It cannot be unloaded: dlclose leaves
 * it as it is, with its classifiers.
 *
 * A process that fork() made of one that had called the library before cannot go on with it, since the library's
 * threads are not in the copy: every function fails there at once (CUDNN_DIGITS_FAILED), but for cudnn_digits_destroy,
 * which succeeds and does nothing, and cudnn_digits_version. Fork before the first call, or start a program anew (exec;
 * in Python multiprocessing's "spawn"). A process that was forked in a callback must not return from it.
 *
 * Texts are UTF-8; on Linux paths may be any bytes.
 */
#ifndef CUDNN_DIGITS_H
#define CUDNN_DIGITS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum cudnn_digits_status {
    CUDNN_DIGITS_OK = 0,
    CUDNN_DIGITS_INVALID_ARGUMENT = 1, /* a null pointer, a wrong size, a classifier that is none or was destroyed */
    CUDNN_DIGITS_BAD_INPUT = 2,        /* a file, data, or a device that is not there or not fit */
    CUDNN_DIGITS_FAILED = 3,   /* CUDA failed, memory ran out, a training diverged, a disk is full, after a fork */
    CUDNN_DIGITS_CANCELLED = 4 /* by the progress callback */
} cudnn_digits_status;

typedef enum cudnn_digits_pixel_type {
    CUDNN_DIGITS_UINT8 = 0,  /* 0 = background ... 255 = ink */
    CUDNN_DIGITS_FLOAT32 = 1 /* 0 = background ... 1 = ink */
} cudnn_digits_pixel_type;

typedef enum cudnn_digits_precision {
    CUDNN_DIGITS_DEFAULT_PRECISION = 0, /* fp32 on the CPU, bf16 on a GPU (tf32 before compute capability 8.0) */
    CUDNN_DIGITS_FP32 = 1,
    CUDNN_DIGITS_TF32 = 2,
    CUDNN_DIGITS_BF16 = 3
} cudnn_digits_precision;

/* "0.1.0"; never null. */
const char *cudnn_digits_version(void);

/* What this thread's last failed call says, in UTF-8; never null, and valid until this thread's next call fails. */
const char *cudnn_digits_last_error(void);

/* ---- prediction ---- */

/* A trained network, ready to read. The value is a number in disguise: it is never an address, and none is used twice.
 */
typedef struct cudnn_digits_classifier_struct *cudnn_digits_classifier;

typedef struct cudnn_digits_classifier_options {
    size_t struct_size; /* sizeof(cudnn_digits_classifier_options) */
    const char *device; /* "auto", "cpu", "cuda" or "cuda:N"; null for auto: a GPU where CUDA works, else the CPU */
    void *cuda_context; /* a CUcontext to compute in, which must outlive the classifier; null for the device's own */
    int32_t batch_size; /* images in the largest forward pass, 1 ... 65536; sets the memory that is taken */
    int32_t precision;  /* cudnn_digits_precision */
    int32_t threads;    /* of the CPU, 0 ... 1024; 0 for as many as there are processors */
    int32_t reserved;   /* 0 */
} cudnn_digits_classifier_options;

/* Fills in the defaults: device auto, batch size 256. */
int cudnn_digits_classifier_options_init(cudnn_digits_classifier_options *options);

/*
 * Makes a classifier.
 *   weights     path of a safetensors file, as cudnn-digits train, cudnn_digits_train_... or PyTorch writes it, or of the
 *               folder of a run of cudnn-digits train
 *   options     null for the defaults
 *   classifier  receives it
 */
int cudnn_digits_create(const char *weights, const cudnn_digits_classifier_options *options,
                        cudnn_digits_classifier *classifier);

/*
 * Reads images in host memory. Calls on one classifier take turns.
 *   images      (count, 1, 28, 28), the 784 pixels of an image without gaps
 *   pixel_type  cudnn_digits_pixel_type
 *   stride      pixels from one image to the next, at least 0; 784 where they are packed
 *   logits      (count, 10) float, overwritten; the digit is where the greatest is
 */
int cudnn_digits_predict(cudnn_digits_classifier classifier, const void *images, int pixel_type, int64_t stride,
                         int64_t count, float *logits);

/*
 * Enqueues the same from device memory to device memory on a stream and returns: nothing is copied to the host, nothing
 * is waited for, and the bits are those of cudnn_digits_predict. Where the stream is being captured, it becomes part of
 * the graph; a replay counts as a call of the classifier and must not overlap others.
 *
 *   images, logits  device addresses
 *   stride          any number
 *   stream          a CUstream or cudaStream_t of the classifier's context; null for the legacy default stream
 */
int cudnn_digits_predict_device(cudnn_digits_classifier classifier, const void *images, int pixel_type, int64_t stride,
                                int64_t count, float *logits, void *stream);

/* Waits for calls that are under way and gives everything back. Null is no mistake, a second time is one. */
int cudnn_digits_destroy(cudnn_digits_classifier classifier);

/* ---- training ---- */

typedef struct cudnn_digits_progress {
    int32_t epoch;              /* from 1 */
    int32_t epochs;             /* in all */
    int32_t step;               /* steps taken in this epoch */
    int32_t steps_per_epoch;    /* */
    double loss;                /* mean training loss in this epoch so far */
    double accuracy;            /* training accuracy in this epoch so far, 0 ... 1 */
    double validation_accuracy; /* at the end of an epoch, where digits are held out; else NaN */
} cudnn_digits_progress;

/* Called on the calling thread: now and then within an epoch (on a GPU not at all), and after each. Not 0 cancels. */
typedef int (*cudnn_digits_progress_callback)(const cudnn_digits_progress *progress, void *user);

typedef struct cudnn_digits_training_options {
    size_t struct_size;    /* sizeof(cudnn_digits_training_options) */
    const char *device;    /* as of a classifier */
    void *cuda_context;    /* as of a classifier */
    const char *model;     /* name of the network, as of cudnn-digits train --model; null for the default */
    int32_t epochs;        /* at least 1 */
    int32_t batch_size;    /* at least 1 */
    int32_t precision;     /* cudnn_digits_precision */
    int32_t threads;       /* of the CPU, 0 ... 1024; 0 for as many as there are processors */
    int32_t deterministic; /* on a GPU: not 0 gives the same bits every time, as the CPU does anyway */
    uint64_t seed;         /* keys everything random */
    double learning_rate;  /* peak of the one-cycle schedule */
    double weight_decay;   /* of AdamW; 0 is plain Adam */
    double beta1;          /* Adam's, 0 <= beta1 < 1 */
    double beta2;          /* Adam's, 0 <= beta2 < 1 */
    double epsilon;        /* Adam's, added to the root of the mean square */
    double label_smoothing; /* share of each label that all classes get alike, 0 <= share < 1 */
    double ema;            /* decay of the average of the weights that is kept in their place, 0 <= decay < 1; 0: none */
    double dropout;        /* every dropout rate, 0 <= rate < 1; NaN for the network's own */
    double rotate;         /* augmentation: +- degrees */
    double shift;          /* augmentation: +- share of the side */
    double zoom;           /* augmentation: +- share of the size */
    double elastic;        /* augmentation: +- pixels of the knots of a 5x5 grid */
    double validation;     /* share of each class held out, 0 ... 0.9; the best epoch by it is kept */
    cudnn_digits_progress_callback callback; /* null for none */
    void *user;                              /* handed to the callback */
} cudnn_digits_training_options;

typedef struct cudnn_digits_metrics {
    double accuracy; /* of the kept weights, on the digits held out, or on all where none are; 0 ... 1 */
    double loss;     /* mean cross-entropy there */
    int64_t samples; /* number of those digits */
    int64_t epoch;   /* the epoch that was kept, from 1 */
} cudnn_digits_metrics;

/*
 * Fills in a network's defaults, which are those of cudnn-digits train.
 *   model  name of the network, as of cudnn-digits train --model; null for the default
 */
int cudnn_digits_training_options_init(cudnn_digits_training_options *options, const char *model);

/*
 * Trains on labelled digits in a file and writes the kept weights; a training that is cancelled or fails writes
 * nothing.
 *
 *   data     path of a CSV in Kaggle's layout (.csv, .csv.gz, .zip), of MNIST's IDX files (their folder, or the file of the
 *            images), or of NumPy's arrays (Keras's mnist.npz)
 *   options  null for the defaults
 *   weights  path of the safetensors file to write
 *   metrics  filled in; null where nobody asks
 */
int cudnn_digits_train_from_file(const char *data, const cudnn_digits_training_options *options, const char *weights,
                                 cudnn_digits_metrics *metrics);

/*
 * The same from memory, which is copied.
 *   images  (count, 28, 28) uint8, packed
 *   labels  (count) uint8, 0 ... 9
 */
int cudnn_digits_train_from_memory(const uint8_t *images, const uint8_t *labels, int64_t count,
                                   const cudnn_digits_training_options *options, const char *weights,
                                   cudnn_digits_metrics *metrics);

#ifdef __cplusplus
}
#endif

#endif
