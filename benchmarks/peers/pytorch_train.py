#!/usr/bin/env python3
"""The same networks, augmentation and optimizer in PyTorch, with every advantage PyTorch has: data resident on the
GPU as uint8, augmentation batched on the GPU, channels_last, TF32 or bf16 autocast, fused Adam, cuDNN autotuning, the
whole step captured as a CUDA graph, and torch.compile; for inference, batch norm folded into the convolutions and weights
in bf16.

    pytorch_train.py [--models …] [--batch-sizes …] [--precisions …] [--modes graph,eager,compiled+graph,compiled,tuned+graph] …
    pytorch_train.py --data train.csv --until 0.99
    pytorch_train.py --ceilings

common.py has the rest of the command line. With --until, the lines are epochs, with the seconds from process start and the validation
accuracy; with --ceilings, one line says what the GPU can do at most: copying, and products of large matrices.

Modes: eager; graph (the eager step, captured whole); compiled+graph (torch.compile, the whole step captured);
compiled (torch.compile mode="reduce-overhead", which captures forward and backward on its own); tuned+graph (as compiled+graph, after
torch.compile has searched for the fastest kernels, mode="max-autotune-no-cudagraphs": it takes minutes for each
configuration, so only where it is named).
"""

import copy
import json
import math
import os
import statistics
import sys
import time

import common

try:
    import torch
    import torch.nn.functional as F
    from torch import nn
    from torch.nn.utils.fusion import fuse_conv_bn_eval
except ImportError as missing:
    common.skip(str(missing))

DEVICE = "cuda"

# What is quick to set up first, then the compiling, which takes most of the time, for as long as there is some.
PLAN = (
    ("graph", ("bf16",)), ("compiled+graph", ("bf16",)), ("graph", ("tf32",)), ("eager", ("bf16", "tf32")), ("graph", ("fp32",)),
    ("eager", ("fp32",)), ("compiled+graph", ("tf32",)), ("compiled", ("bf16", "tf32")), ("tuned+graph", ("bf16", "tf32")),
)


class Network(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network
        convolutions, linears = common.shapes(network)
        normed = network.normed
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, padding=int(normed), bias=not normed) for a, b in convolutions)
        self.norms = nn.ModuleList(nn.BatchNorm2d(b) if normed else nn.Identity() for _, b in convolutions)
        self.linears = nn.ModuleList(nn.Linear(a, b) for a, b in linears)

    def drop(self, x, rate):
        return F.dropout(x, rate, self.training) if rate else x

    def forward(self, x):
        layers = zip(self.convolutions, self.norms)
        for widths, rate in self.network.blocks:
            for _ in widths:
                convolution, norm = next(layers)
                x = F.relu(norm(convolution(x)))
            x = self.drop(F.max_pool2d(x, 2), rate)
        x = x.flatten(1)
        for linear, (_, rate) in zip(self.linears, self.network.hidden):
            x = self.drop(F.relu(linear(x)), rate)
        return self.linears[-1](x)

    def fold(self):
        """Batch norm into the convolutions."""
        if self.network.normed:
            self.convolutions = nn.ModuleList(map(fuse_conv_bn_eval, self.convolutions, self.norms))
            self.norms = nn.ModuleList(nn.Identity() for _ in self.norms)
        return self


def augment(x):
    """±10°, ±10 % shift, ±10 % zoom about the centre, bilinear, background outside."""
    n = x.shape[0]
    r = torch.rand(4, n, device=x.device) * 2 - 1
    angle, scale = r[0] * (10 * math.pi / 180), 1 / (1 + 0.1 * r[3])
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    tx, ty = r[1] * 0.2, r[2] * 0.2  # the picture is 2 wide in grid_sample's coordinates
    theta = torch.stack([cos, sin, tx, -sin, cos, ty], dim=1).view(n, 2, 3)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def set_precision(precision):
    tf32 = precision != "fp32"
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.benchmark_limit = 0  # every algorithm, not the first ten


class Trainer:
    """One model, one batch size, one precision; step() and predict() in one of the modes."""

    def __init__(self, model, batch, precision, mode, pixels, labels, augmented=True):
        set_precision(precision)
        torch.manual_seed(0)
        self.batch, self.precision, self.mode, self.augmented = batch, precision, mode, augmented
        self.pixels, self.labels = pixels, labels
        self.model = Network(common.NETWORKS[model]).to(DEVICE).to(memory_format=torch.channels_last)
        self.predictor = self.model
        self.optimizer = torch.optim.Adam(self.model.parameters(), **self.fused())
        self.rows = torch.zeros(batch, dtype=torch.long, device=DEVICE)
        compiled = {"compiled": "reduce-overhead", "compiled+graph": "default", "tuned+graph": "max-autotune-no-cudagraphs"}.get(mode)
        self.loss_of = torch.compile(self.loss, mode=compiled, dynamic=False) if compiled else self.loss
        self.logits_of = torch.compile(self.logits, mode=compiled, dynamic=False) if compiled else self.logits
        self.training_graph = self.prediction_graph = None

    def fused(self):
        on_gpu = DEVICE == "cuda"
        return {"lr": torch.tensor(1e-3, device=DEVICE), "fused": True, "capturable": True} if on_gpu else {"lr": 1e-3}

    def input(self):
        x = self.pixels[self.rows].to(torch.float32).mul_(1 / 255).unsqueeze(1)
        return x.contiguous(memory_format=torch.channels_last)

    def autocast(self):
        return torch.autocast(DEVICE, dtype=torch.bfloat16, enabled=self.precision == "bf16", cache_enabled=False)

    def loss(self):
        x = self.input()
        if self.augmented:
            x = augment(x)
        with self.autocast():
            logits = self.model(x)
        return F.cross_entropy(logits.float(), self.labels[self.rows])

    def logits(self):
        with self.autocast():
            return self.predictor(self.input()).float()

    def freeze(self):
        """What predicts from now on: the weights as they are, batch norm folded into the convolutions, in the precision."""
        self.predictor = copy.deepcopy(self.model).eval().fold()
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32
        self.predictor.to(dtype=dtype).to(memory_format=torch.channels_last)

    def run_step(self):
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss_of()
        loss.backward()
        self.optimizer.step()
        return loss

    def capture(self, body):
        """Warm up on a side stream, as PyTorch's documentation asks, then capture."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                body()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            result = body()
        return graph, result

    def step(self, rows):
        self.rows.copy_(rows)
        if "graph" in self.mode:
            if self.training_graph is None:
                self.model.train()
                self.training_graph, self.trained = self.capture(self.run_step)
            self.training_graph.replay()
            return self.trained
        if self.mode == "compiled":
            torch.compiler.cudagraph_mark_step_begin()
        return self.run_step()

    @torch.no_grad()
    def predict(self, rows):
        self.rows.copy_(rows)
        if "graph" in self.mode:
            if self.prediction_graph is None:
                self.model.eval()
                self.prediction_graph, self.prediction = self.capture(self.logits_of)
            self.prediction_graph.replay()
            return self.prediction
        if self.mode == "compiled":
            torch.compiler.cudagraph_mark_step_begin()
        return self.logits_of()


def synchronize():
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def benchmark(options):
    pixels, labels = (torch.from_numpy(array).to(DEVICE) for array in common.digits())

    def measure(configuration):
        model, batch, precision, mode = configuration
        steps = max(20 if DEVICE == "cuda" else 2, options.images // (4 if mode == "eager" else 1) // batch)
        order = torch.randint(0, common.DIGITS, (steps, batch), device=DEVICE)
        trainer = Trainer(model, batch, precision, mode, pixels, labels)
        parameters = sum(p.numel() for p in trainer.model.parameters())
        assert parameters == common.NETWORKS[model].parameters, f"{parameters} parameters"

        def train():
            for rows in order:
                trainer.step(rows)
            synchronize()

        def infer():
            for rows in order:
                trainer.predict(rows)
            synchronize()

        trainer.model.train()
        first = trainer.step(order[0]).item()
        training = common.rate(steps * batch, train)
        last = trainer.step(order[0]).item()
        trainer.freeze()
        return {
            "train_images_per_second": training, "infer_images_per_second": common.rate(steps * batch, infer),
            "loss": [round(first, 4), round(last, 4)],
        }

    def measure_apart(configuration):
        try:
            return measure(configuration)
        finally:  # so that the next one has the compiler and the memory for itself
            if "eager" != configuration.mode != "graph":
                torch.compiler.reset()
            torch.cuda.empty_cache()

    common.benchmark("pytorch", torch.__version__, options, common.configurations(options, PLAN), measure_apart)


def read_csv(path):
    """Labels and pixels of Kaggle's train.csv by the fastest reader there is."""
    try:
        from pyarrow import csv

        table = csv.read_csv(path)
        columns = [table.column(i).to_numpy().astype("uint8") for i in range(table.num_columns)]
    except ImportError:
        import numpy

        values = numpy.loadtxt(path, delimiter=",", skiprows=1, dtype="uint8")
        columns = list(values.T)
    labels = torch.from_numpy(columns[0].copy())
    pixels = torch.stack([torch.from_numpy(column) for column in columns[1:]], dim=1).view(-1, 28, 28)
    return pixels, labels


def seconds_since_process_start():
    with open("/proc/self/stat") as stat:
        ticks = float(stat.read().rsplit(")", 1)[1].split()[19])
    with open("/proc/uptime") as uptime:
        return float(uptime.read().split()[0]) - ticks / os.sysconf("SC_CLK_TCK")


def train_until(options):
    pixels, labels = (tensor.to(DEVICE) for tensor in read_csv(options.data))
    labels = labels.long()
    batch, epochs = 128, 12
    order = torch.randperm(pixels.shape[0], generator=torch.Generator().manual_seed(0)).to(DEVICE)
    held_out = pixels.shape[0] // 5
    validation, training = order[:held_out], order[held_out:]
    trainer = Trainer("improved", batch, "tf32", "graph", pixels, labels)
    steps = training.shape[0] // batch
    for epoch in range(epochs):
        shuffled = training[torch.randperm(training.shape[0], device=DEVICE)]
        trainer.model.train()
        for step in range(steps):
            done = (epoch * steps + step) / (epochs * steps)
            lr = 3e-3 * (done / 0.3 if done < 0.3 else 0.5 * (1 + math.cos(math.pi * (done - 0.3) / 0.7)))
            trainer.optimizer.param_groups[0]["lr"].fill_(max(lr, 1e-5))
            trainer.step(shuffled[step * batch : (step + 1) * batch])
        trainer.model.eval()
        correct = 0
        for first in range(0, held_out - batch + 1, batch):
            rows = validation[first : first + batch]
            correct += int((trainer.predict(rows).argmax(1) == labels[rows]).sum())
        accuracy = correct / (held_out // batch * batch)
        seconds = seconds_since_process_start()
        print(json.dumps({"epoch": epoch + 1, "accuracy": accuracy, "seconds_since_process_start": round(seconds, 3)}), flush=True)
        if accuracy >= options.until:
            return


def ceilings():
    def best(amount, body):
        body()
        seconds = []
        for _ in range(10):
            torch.cuda.synchronize()
            start = time.perf_counter()
            body()
            torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
        return amount / statistics.median(seconds)

    source = torch.empty(1 << 30, dtype=torch.float32, device=DEVICE).normal_()
    target = torch.empty_like(source)
    result = {"copy_gigabytes_per_second": round(best(2 * 4 * source.numel(), lambda: target.copy_(source)) / 1e9)}
    del source, target
    n = 8192
    for name, dtype in (("bf16", torch.bfloat16), ("tf32", torch.float32)):
        set_precision(name)
        a, b = (torch.randn(n, n, device=DEVICE, dtype=dtype) for _ in range(2))
        result[f"{name}_teraflops"] = round(best(2 * n**3, lambda: a @ b) / 1e12)
    print(json.dumps(result), flush=True)


def main():
    global DEVICE
    parser = common.parser(__doc__.split("\n\n")[0], "graph,eager,compiled+graph,compiled")
    parser.add_argument("--data", help="Kaggle's train.csv, for --until")
    parser.add_argument("--until", type=float, help="train to this validation accuracy")
    parser.add_argument("--ceilings", action="store_true", help="copy bandwidth and matrix rates")
    options = parser.parse_args()
    DEVICE = options.device
    if DEVICE == "cuda" and not torch.cuda.is_available():
        common.skip("PyTorch sees no GPU")
    if options.ceilings:
        ceilings()
    elif options.until is not None:
        train_until(options)
    else:
        benchmark(options)


if __name__ == "__main__":
    main()
