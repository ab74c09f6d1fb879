"""What the peers share: the networks, the digits, the command line, the plan of a benchmark and its lines of JSON.

    PEER.py [--models improved,simple,mlp,deep] [--batch-sizes 64,1024,4096] [--precisions fp32,tf32,bf16] [--modes MODE,…]
            [--images 131072] [--seconds 240] [--done FILE] [--compilers 8] [--device cuda]

A peer prints one JSON object a line: images per second of training with augmentation and of inference for a model, batch size, precision
and mode, or the error that it ended with. Before it begins one that it may not survive, it says so in a line of its own. At the end it
says how many it had no time for, and at the beginning, where there is no use in it, why it is skipped.
"""

import argparse
import json
import os
import statistics
import sys
import time
from typing import NamedTuple

REPETITIONS = 5
DIGITS, CLASSES = 16384, 10


class Network(NamedTuple):
    """Convolutions are 3x3; those with batch norm have padding 1 and no bias. Each block ends with max-pooling. A rate is dropout's."""

    parameters: int
    normed: bool
    blocks: list  # of (channels of each convolution, rate)
    hidden: list  # of (width, rate)


NETWORKS = {
    "simple": Network(225_034, False, [([32], 0), ([64], 0)], [(128, 0)]),
    "improved": Network(870_826, True, [([32, 32], 0.25), ([64, 64], 0.25)], [(256, 0.5)]),
    "mlp": Network(535_818, False, [], [(512, 0.2), (256, 0.2)]),
    "deep": Network(1_737_802, True, [([64, 64], 0.2), ([128, 128], 0.3), ([256, 256], 0.4)], [(256, 0.5)]),
}


def shapes(network):
    """Shapes of the convolutions' weights as (in, out), and of the linear layers' likewise."""
    convolutions, linears, channels, side = [], [], 1, 28
    for widths, _ in network.blocks:
        for width in widths:
            convolutions.append((channels, width))
            channels, side = width, side if network.normed else side - 2
        side //= 2
    inputs = channels * side * side
    for width in [width for width, _ in network.hidden] + [CLASSES]:
        linears.append((inputs, width))
        inputs = width
    return convolutions, linears


def digits():
    """Random pixels, uint8, the brighter the higher the label: so that a loss that does not fall shows."""
    import numpy

    random = numpy.random.default_rng(0)
    labels = random.integers(0, CLASSES, DIGITS)
    pixels = random.integers(0, 256, (DIGITS, 28, 28)) * (labels[:, None, None] + 2) // (CLASSES + 1)
    return pixels.astype("uint8"), labels


def rate(images, body):
    """Images per second: median of some repetitions after a warm-up. The body ends when the device has."""
    body()
    seconds = []
    for _ in range(REPETITIONS):
        start = time.perf_counter()
        body()
        seconds.append(time.perf_counter() - start)
    return round(images / statistics.median(seconds), 1)


def parser(description, modes):
    arguments = argparse.ArgumentParser(description=description)
    arguments.add_argument("--models", default="improved,simple")
    arguments.add_argument("--batch-sizes", default="64,1024,4096")
    arguments.add_argument("--precisions", default="fp32,tf32,bf16")
    arguments.add_argument("--modes", default=modes)
    arguments.add_argument("--images", type=int, default=131072, help="in each of the repetitions, and at least 20 steps")
    arguments.add_argument("--seconds", type=float, default=240, help="none begins after so many")
    arguments.add_argument("--done", help="lines that this benchmark has printed before: what they are about is not measured again")
    arguments.add_argument("--compilers", type=int, default=min(8, os.cpu_count()), help="how many compile beside each other")
    arguments.add_argument("--device", default="cuda", choices=("cuda", "cpu"), help="cpu: to try the script itself")
    return arguments


def say(entry):
    print(json.dumps(entry), flush=True)


def skip(why):
    """Ends the peer: it cannot run on this machine."""
    say({"skipped": why})
    sys.exit(0)


class Configuration(NamedTuple):
    model: str
    batch_size: int
    precision: str
    mode: str


def configurations(options, plan):
    """What is to be measured, in the order of the plan: (mode, precisions), what is likely to be fastest first."""
    done = []
    if options.done:
        with open(options.done) as lines:
            done = [tuple(map(json.loads(line).get, Configuration._fields)) for line in lines]
    every = [
        Configuration(model, batch, precision, mode)
        for mode, precisions in plan
        for precision in precisions
        for model in options.models.split(",")
        for batch in map(int, options.batch_sizes.split(","))
        if mode in options.modes.split(",") and precision in options.precisions.split(",")
    ]
    return [configuration for configuration in every if configuration not in done]


def benchmark(peer, version, options, left, measure, end=None):
    """Measures one configuration after another until the time is over; one that fails does not cost the others."""
    end = end or time.monotonic() + options.seconds
    for i, configuration in enumerate(left):
        if time.monotonic() > end:
            say({"left": len(left) - i})
            return
        row = {"peer": peer, "version": version, **configuration._asdict()}
        say({"begins": True, **row})
        start = time.monotonic()
        try:
            row.update(measure(configuration))
        except Exception as error:
            row["error"] = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        say({**row, "seconds": round(time.monotonic() - start, 1)})
