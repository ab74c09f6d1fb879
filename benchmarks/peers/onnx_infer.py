#!/usr/bin/env python3
"""Inference by ONNX Runtime on a GPU, of models that `cudnn-digits export --onnx` wrote (batch norm is folded in them), with its fastest
settings: input and output bound on the GPU, the run captured as a CUDA graph, every algorithm tried, channels last.

    onnx_infer.py --folder DIR [--models …] [--batch-sizes …] [--precisions …] [--modes tensorrt,cuda] …     common.py has the rest

DIR has MODEL.onnx for each model. Modes: the CUDA provider, in tf32 and fp32, and TensorRT's, in tf32 and with float16 where bf16 is named.
"""

import os

import common

try:
    import numpy as np
    import onnxruntime
except ImportError as missing:
    common.skip(str(missing))

CUDA = {"cudnn_conv_algo_search": "EXHAUSTIVE", "prefer_nhwc": "1", "enable_cuda_graph": "1"}
TENSORRT = {"trt_cuda_graph_enable": "1", "trt_builder_optimization_level": "5"}
PROVIDERS = {"cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
SETTINGS = {
    ("cuda", "fp32"): {**CUDA, "use_tf32": "0"},
    ("cuda", "tf32"): {**CUDA, "use_tf32": "1"},
    ("tensorrt", "tf32"): TENSORRT,
    ("tensorrt", "bf16"): {**TENSORRT, "trt_fp16_enable": "1"},
}
PLAN = (("tensorrt", ("bf16", "tf32")), ("cuda", ("tf32", "fp32")))


def main():
    parser = common.parser(__doc__.split("\n\n")[0], ",".join(PROVIDERS))
    parser.add_argument("--folder", required=True, help="where the models are")
    options = parser.parse_args()
    device, there = options.device, onnxruntime.get_available_providers()
    plan = [(mode, precisions) for mode, precisions in PLAN if device == "cpu" or PROVIDERS[mode] in there]
    if not plan:
        common.skip(f"ONNX Runtime has no provider for a GPU here, only {', '.join(there)}")
    pixels, _ = common.digits()

    def measure(configuration):
        model, batch, precision, mode = configuration
        provider = PROVIDERS[mode] if device == "cuda" else "CPUExecutionProvider"
        settings = SETTINGS[mode, precision] if device == "cuda" else {}
        session = onnxruntime.InferenceSession(os.path.join(options.folder, f"{model}.onnx"), providers=[(provider, settings)])
        if session.get_providers()[0] != provider:  # it falls back to the CPU and only warns
            raise RuntimeError(f"{provider} does not load here")
        images = np.resize(pixels, (batch, 1, 28, 28)).astype(np.float32) / 255
        bound = session.io_binding()
        bound.bind_ortvalue_input("images", onnxruntime.OrtValue.ortvalue_from_numpy(images, device, 0))
        bound.bind_ortvalue_output("logits", onnxruntime.OrtValue.ortvalue_from_shape_and_type([batch, 10], np.float32, device, 0))
        run = onnxruntime.RunOptions()
        run.add_run_config_entry("disable_synchronize_execution_providers", "1")
        steps = max(20, options.images // batch)

        def infer():
            for _ in range(steps):
                session.run_with_iobinding(bound, run)
            bound.synchronize_outputs()

        infer()  # the first runs are eager and are captured
        return {"infer_images_per_second": common.rate(steps * batch, infer)}

    common.benchmark("onnx", onnxruntime.__version__, options, common.configurations(options, plan), measure)


if __name__ == "__main__":
    main()
