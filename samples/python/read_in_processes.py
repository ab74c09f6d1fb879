"""Reads digits in several processes. Usage: read_in_processes.py libcudnndigits.so model.safetensors"""
import concurrent.futures
import ctypes
import multiprocessing
import os
import sys


def check(status):
    if status != 0:
        raise RuntimeError(digits.cudnn_digits_last_error().decode())


def start(library, weights):
    """Every process has a classifier of its own."""
    global digits, classifier
    digits = ctypes.CDLL(library)
    digits.cudnn_digits_last_error.restype = ctypes.c_char_p
    digits.cudnn_digits_create.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p)]
    digits.cudnn_digits_predict.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]
    classifier = ctypes.c_void_p()
    check(digits.cudnn_digits_create(os.fsencode(weights), None, ctypes.byref(classifier)))


def read(image):
    logits = (ctypes.c_float * 10)()
    check(digits.cudnn_digits_predict(classifier, image, 0, 28 * 28, 1, logits))
    return max(range(10), key=lambda digit: logits[digit])


if __name__ == "__main__":
    image = bytearray(28 * 28)  # a stroke from top to bottom
    for row in range(4, 24):
        image[28 * row + 13:28 * row + 16] = b"\xff" * 3
    processes = multiprocessing.get_context("spawn")  # not "fork", which leaves the library's threads behind
    with concurrent.futures.ProcessPoolExecutor(2, processes, start, sys.argv[1:3]) as pool:
        print("read as", *set(pool.map(read, [bytes(image)] * 100)))
