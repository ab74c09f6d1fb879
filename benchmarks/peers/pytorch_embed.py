#!/usr/bin/env python3
"""CudnnDigits inside a PyTorch pipeline, through its C interface: tensors, streams and a graph of PyTorch's.

Checks that prediction from tensors on the GPU has the bits of prediction from the host, on the default stream and on another,
captured and not, and that PyTorch computes the same logits from the same file of weights. Needs torch. Prints one JSON object.

Usage: pytorch_embed.py libcudnndigits.so model.safetensors
"""
import ctypes
import json
import struct
import sys

import torch
from torch.nn import functional

COUNT, STRIDE = 300, 1000


class Options(ctypes.Structure):
    """cudnn_digits_classifier_options."""

    _fields_ = [("struct_size", ctypes.c_size_t), ("device", ctypes.c_char_p), ("cuda_context", ctypes.c_void_p),
                ("batch_size", ctypes.c_int32), ("precision", ctypes.c_int32), ("threads", ctypes.c_int32), ("reserved", ctypes.c_int32)]


digits = ctypes.CDLL(sys.argv[1])
digits.cudnn_digits_last_error.restype = ctypes.c_char_p
digits.cudnn_digits_create.argtypes = [ctypes.c_char_p, ctypes.POINTER(Options), ctypes.POINTER(ctypes.c_void_p)]
digits.cudnn_digits_predict.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]
digits.cudnn_digits_predict_device.argtypes = [*digits.cudnn_digits_predict.argtypes, ctypes.c_void_p]
digits.cudnn_digits_destroy.argtypes = [ctypes.c_void_p]


def check(status):
    if status != 0:
        raise RuntimeError(digits.cudnn_digits_last_error().decode())


def read_weights(path):
    """A safetensors file of float32 as tensors on the GPU, without the package."""
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = file.read()
    return {name: torch.frombuffer(bytearray(data[slice(*entry["data_offsets"])]), dtype=torch.float32).reshape(entry["shape"]).cuda()
            for name, entry in header.items() if name != "__metadata__" and entry["dtype"] == "F32"}


def simple(weights, x):
    """The simple network in PyTorch, in true float32."""
    for conv in ("conv1", "conv2"):
        x = functional.max_pool2d(functional.relu(functional.conv2d(x, weights[f"{conv}.weight"], weights[f"{conv}.bias"])), 2)
    x = functional.relu(functional.linear(x.flatten(1), weights["fc1.weight"], weights["fc1.bias"]))
    return functional.linear(x, weights["fc2.weight"], weights["fc2.bias"])


def main():
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    torch.manual_seed(0)
    spread = torch.randint(0, 256, (COUNT, STRIDE), dtype=torch.uint8, device="cuda")
    images = spread[:, :784]  # so that there is something between the images
    expected = torch.empty(COUNT, 10)
    options = Options()
    check(digits.cudnn_digits_classifier_options_init(ctypes.byref(options)))
    options.device, options.precision = b"cuda", 1
    classifier = ctypes.c_void_p()
    check(digits.cudnn_digits_create(sys.argv[2].encode(), ctypes.byref(options), ctypes.byref(classifier)))
    host = images.cpu().contiguous()
    check(digits.cudnn_digits_predict(classifier, host.data_ptr(), 0, 784, COUNT, expected.data_ptr()))

    def predict(x, logits):
        kind = 0 if x.dtype == torch.uint8 else 1
        stream = torch.cuda.current_stream().cuda_stream
        check(digits.cudnn_digits_predict_device(classifier, x.data_ptr(), kind, x.stride(0), len(x), logits.data_ptr(), stream))
        return logits

    def fresh():
        return torch.full((COUNT, 10), float("nan"), device="cuda")

    report = {"torch": torch.__version__, "gpu": torch.cuda.get_device_name()}
    report["default_stream"] = torch.equal(predict(images, fresh()).cpu(), expected)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        late = torch.zeros_like(spread)
        torch.cuda._sleep(20_000_000)  # so that a stream that is not respected would be seen
        late.copy_(spread)
        logits = predict(late[:, :784], fresh())
        late.zero_()
    side.synchronize()
    report["other_stream"] = torch.equal(logits.cpu(), expected)
    # In double: on a GPU, PyTorch multiplies a float32 by the rounded 1 / 255 instead of dividing it.
    report["float_pixels"] = torch.equal(predict(images.double().div(255).float(), fresh()).cpu(), expected)

    held, captured = torch.zeros_like(spread), fresh()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        predict(held[:, :784], captured)
    held.copy_(spread)
    graph.replay()
    report["captured"] = torch.equal(captured.cpu(), expected)

    theirs = simple(read_weights(sys.argv[2]), images.reshape(COUNT, 1, 28, 28).float() / 255).cpu()
    report["relative_difference_to_pytorch"] = ((theirs - expected).norm() / expected.norm()).item()
    check(digits.cudnn_digits_destroy(classifier))
    print(json.dumps(report))


main()
