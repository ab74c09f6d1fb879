"""Reads a digit through the C interface. Usage: read_digit.py libcudnndigits.so model.safetensors"""
import ctypes
import os
import sys

digits = ctypes.CDLL(sys.argv[1])
digits.cudnn_digits_last_error.restype = ctypes.c_char_p
digits.cudnn_digits_create.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p)]
digits.cudnn_digits_predict.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]
digits.cudnn_digits_destroy.argtypes = [ctypes.c_void_p]


def check(status):
    if status != 0:
        raise RuntimeError(digits.cudnn_digits_last_error().decode())


classifier = ctypes.c_void_p()
check(digits.cudnn_digits_create(os.fsencode(sys.argv[2]), None, ctypes.byref(classifier)))
image = bytearray(28 * 28)  # a stroke from top to bottom
for row in range(4, 24):
    image[28 * row + 13:28 * row + 16] = b"\xff" * 3
logits = (ctypes.c_float * 10)()
check(digits.cudnn_digits_predict(classifier, bytes(image), 0, 28 * 28, 1, logits))
print("read as", max(range(10), key=lambda digit: logits[digit]))
check(digits.cudnn_digits_destroy(classifier))
