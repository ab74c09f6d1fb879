"""The C interface under Python's multiprocessing, as people use it. Usage: c_interface_processes_test.py FOLDER LIBRARY"""
import ctypes
import multiprocessing
import os
import sys

LIMIT = 240  # seconds, for a machine that has much to do; what hangs is broken

digits = ctypes.CDLL(sys.argv[2])
digits.cudnn_digits_last_error.restype = ctypes.c_char_p
digits.cudnn_digits_train_from_memory.argtypes = [
    ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int64, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
digits.cudnn_digits_create.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p)]
digits.cudnn_digits_predict.argtypes = [
    ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]
digits.cudnn_digits_destroy.argtypes = [ctypes.c_void_p]
classifier = ctypes.c_void_p()
weights = os.path.join(sys.argv[1], "c-interface-processes.safetensors").encode()


def check(status):
    if status != 0:
        raise RuntimeError(digits.cudnn_digits_last_error().decode())


def train():
    images = b"".join(bytes(28 * n) + b"\xff" * 84 + bytes(700 - 28 * n) for n in range(10)) * 5  # a fifth of each class is held out
    check(digits.cudnn_digits_train_from_memory(images, bytes(range(10)) * 5, 50, None, weights, None))


def read(_):
    if not classifier:
        check(digits.cudnn_digits_create(weights, None, ctypes.byref(classifier)))
    logits = (ctypes.c_float * 10)()
    check(digits.cudnn_digits_predict(classifier, bytes(784), 0, 784, 1, logits))
    return list(logits)


def destroy(_):
    check(digits.cudnn_digits_destroy(classifier))
    return True


def in_pool(method, function):
    """What eight calls in two processes return, which end by themselves."""
    with multiprocessing.get_context(method).Pool(2) as pool:
        results = pool.map_async(function, range(8)).get(timeout=LIMIT)
        pool.close()
        pool.join()
        return results


if __name__ == "__main__":
    trainer = multiprocessing.get_context("fork").Process(target=train)
    trainer.start()
    trainer.join(LIMIT)
    assert trainer.exitcode == 0, "a child trains before its parent has used the library"
    before = in_pool("fork", read)

    expected = read(0)
    assert all(logits == expected for logits in before), "children read before their parent has used the library"
    try:
        in_pool("fork", read)
        raise AssertionError("a forked process does not go on with the library")
    except RuntimeError as error:
        assert "forked" in str(error) and '"spawn"' in str(error), error
    assert all(in_pool("fork", destroy)), "there is nothing to give back in a forked process"
    for method in ["spawn", "forkserver"]:
        assert all(logits == expected for logits in in_pool(method, read)), method
    assert read(0) == expected
    os.remove(weights)
