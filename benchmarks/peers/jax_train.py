#!/usr/bin/env python3
"""The same networks, augmentation and optimizer in JAX, with every advantage JAX has: digits resident on the GPU as uint8, all steps of a
repetition in one jitted lax.scan whose state is donated, channels last, bf16 with float32 master weights, XLA's own random generator (that
of rbg, without its splitting of keys) with a byte for each element that may be dropped, augmentation straight from the uint8 digits, and
XLA's autotuning of convolutions and products; for inference, batch norm folded into the convolutions and weights in bf16.

    jax_train.py [--models …] [--batch-sizes …] [--precisions …] [--modes scan,scan+graph] …        common.py has the rest

Modes: scan (XLA captures stretches of a step as CUDA graphs); scan+graph (the whole loop may be captured). All configurations are compiled
first, some beside each other: XLA has the GPU for itself while it times a kernel, and nothing compiles during a measurement.
"""

import concurrent.futures
import math
import time

import common

# Compiler options, named as XLA's flags. One that this version of XLA does not know is left out, and the result says so.
TUNED = {
    "xla_gpu_autotune_level": 4,
    "xla_gpu_enable_triton_gemm": True,
    "xla_gpu_enable_latency_hiding_scheduler": True,
    "xla_gpu_graph_min_graph_size": 1,
}
CAPTURED = "FUSION,CUBLAS,CUBLASLT,CUSTOM_CALL,CUDNN,DYNAMIC_SLICE_FUSION,CONDITIONAL,WHILE"
MODES = {"scan": TUNED, "scan+graph": {**TUNED, "xla_gpu_enable_command_buffer": CAPTURED}}
PLAN = (("scan", ("bf16", "tf32")), ("scan+graph", ("bf16",)), ("scan", ("fp32",)), ("scan+graph", ("tf32", "fp32")))

try:
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax import lax
except ImportError as missing:
    common.skip(str(missing))


def start_weights(network, random):
    """PyTorch's defaults, as numpy arrays."""
    def uniform(fan_in, *shape):
        return random.uniform(-1, 1, shape).astype(np.float32) / np.float32(math.sqrt(fan_in))

    convolutions, linears = common.shapes(network)
    return {
        "conv": [
            {"weight": uniform(9 * a, 3, 3, a, b), "scale": np.ones(b, np.float32), "shift": np.zeros(b, np.float32)}
            if network.normed else {"weight": uniform(9 * a, 3, 3, a, b), "shift": uniform(9 * a, b)}
            for a, b in convolutions
        ],
        "linear": [{"weight": uniform(a, a, b), "shift": uniform(a, b)} for a, b in linears],
    }


def take(array, rows):
    return array.at[rows].get(mode="promise_in_bounds")


def augment(pixels, rows, random):
    """±10°, ±10 % shift, ±10 % zoom about the centre, bilinear, background outside; random has four numbers a digit, of -1 to 1."""
    angle, scale = random[0] * (10 * math.pi / 180), 1 / (1 + 0.1 * random[3])
    cos, sin = jnp.cos(angle) * scale, jnp.sin(angle) * scale
    x = lax.broadcasted_iota(jnp.float32, (1, 28, 28), 2) - 13.5
    y = lax.broadcasted_iota(jnp.float32, (1, 28, 28), 1) - 13.5
    x, y = cos * x + sin * y + 2.8 * random[1] + 13.5, cos * y - sin * x + 2.8 * random[2] + 13.5
    left, top = jnp.floor(x), jnp.floor(y)
    result = 0
    for dy in (0, 1):
        for dx in (0, 1):
            column, row = left + dx, top + dy
            weight = (1 - jnp.abs(x - column)) * (1 - jnp.abs(y - row))
            inside = (column >= 0) & (column < 28) & (row >= 0) & (row < 28)
            at = 784 * rows[:, None, None] + 28 * jnp.clip(row, 0, 27).astype(jnp.int32) + jnp.clip(column, 0, 27).astype(jnp.int32)
            digit = take(pixels.reshape(-1), at).astype(jnp.float32)
            result += jnp.where(inside, weight * digit, 0)
    return result[..., None] / 255


class Bits:
    """Random words, one draw after another; the generator's state goes on from step to step."""

    def __init__(self, state):
        self.state = state

    def words(self, *shape):
        self.state, words = lax.rng_bit_generator(self.state, shape, dtype=jnp.uint32)
        return words

    def uniform(self, *shape):
        return (self.words(*shape) >> 8).astype(jnp.float32) * 2.0**-23 - 1

    def drop(self, x, rate):
        if rate == 0:
            return x
        keep = round(256 * (1 - rate))
        bits = lax.bitcast_convert_type(self.words(x.size // 4), jnp.uint8).reshape(x.shape)
        return jnp.where(bits < keep, x * jnp.asarray(256 / keep, x.dtype), jnp.zeros((), x.dtype))


def convolve(x, weight, padding):
    return lax.conv_general_dilated(
        x, weight.astype(x.dtype), (1, 1), [(padding, padding)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def pool(x):
    n, h, w, c = x.shape
    return x[:, : h // 2 * 2, : w // 2 * 2].reshape(n, h // 2, 2, w // 2, 2, c).max((2, 4))


def forward(network, weights, x, activate, drop):
    """The logits; activate is what follows a convolution: batch norm or bias, and ReLU."""
    layers = iter(weights["conv"])
    for widths, rate in network.blocks:
        for _ in widths:
            layer = next(layers)
            x = activate(layer, convolve(x, layer["weight"], 1 if network.normed else 0))
        x = drop(pool(x), rate)
    x = x.reshape(x.shape[0], -1)
    for layer, (_, rate) in zip(weights["linear"], network.hidden):
        x = drop(jax.nn.relu(x @ layer["weight"].astype(x.dtype) + layer["shift"].astype(x.dtype)), rate)
    last = weights["linear"][-1]
    return (x @ last["weight"].astype(x.dtype)).astype(jnp.float32) + last["shift"]


def add_shift(layer, y):
    return jax.nn.relu(y + layer["shift"].astype(y.dtype))


def training(network, dtype):
    def loss_of(weights, x, labels, random):
        bits, moments = Bits(random), []

        def normalize(layer, y):
            wide = y.astype(jnp.float32)
            mean = wide.mean((0, 1, 2))
            variance = (wide * wide).mean((0, 1, 2)) - mean * mean
            count = y.size // y.shape[-1]
            moments.append({"mean": mean, "variance": variance * (count / (count - 1))})
            scale = layer["scale"] * lax.rsqrt(variance + 1e-5)
            return jax.nn.relu(wide * scale + (layer["shift"] - mean * scale)).astype(y.dtype)

        logits = forward(network, weights, x.astype(dtype), normalize if network.normed else add_shift, bits.drop)
        right = labels[:, None] == lax.broadcasted_iota(jnp.int32, (1, common.CLASSES), 1)  # a gather's gradient would be a scatter
        return -jnp.where(right, jax.nn.log_softmax(logits), 0).sum() / labels.size, (moments, bits.state)

    def train(state, pixels, labels, order):
        def step(state, rows):
            bits = Bits(state["bits"])
            x = augment(pixels, rows, bits.uniform(4, rows.shape[0], 1, 1))
            gradients_of = jax.value_and_grad(loss_of, has_aux=True)
            (loss, (moments, random)), gradients = gradients_of(state["weights"], x, take(labels, rows), bits.state)
            count = state["count"] + 1
            first = jax.tree_util.tree_map(lambda m, g: 0.9 * m + 0.1 * g, state["first"], gradients)
            second = jax.tree_util.tree_map(lambda v, g: 0.999 * v + 0.001 * g * g, state["second"], gradients)
            by, over = 1e-3 / (1 - 0.9**count), 1 / (1 - 0.999**count)
            weights = jax.tree_util.tree_map(lambda w, m, v: w - by * m / (jnp.sqrt(v * over) + 1e-8), state["weights"], first, second)
            moments = jax.tree_util.tree_map(lambda old, new: 0.9 * old + 0.1 * new, state["moments"], moments)
            return dict(weights=weights, first=first, second=second, moments=moments, bits=random, count=count), loss

        return lax.scan(step, state, order)

    return train


def start_state(network):
    weights = start_weights(network, np.random.default_rng(0))
    zeros = jax.tree_util.tree_map(np.zeros_like, weights)
    moments = [{"mean": np.zeros_like(layer["shift"]), "variance": np.ones_like(layer["shift"])} for layer in weights["conv"]]
    return dict(
        weights=weights, first=zeros, second=zeros, moments=moments if network.normed else [],
        bits=np.array([1, 2, 3, 4], np.uint32), count=np.zeros((), np.float32))


def fold(network, state, dtype):
    """What predicts: batch norm inside the convolutions, everything in the precision."""
    weights = jax.tree_util.tree_map(jnp.asarray, state["weights"])
    if network.normed:
        for layer, moments in zip(weights["conv"], state["moments"]):
            scale = layer.pop("scale") * lax.rsqrt(moments["variance"] + 1e-5)
            layer["weight"], layer["shift"] = layer["weight"] * scale, layer["shift"] - moments["mean"] * scale
    return jax.tree_util.tree_map(lambda w: w.astype(dtype), weights)


def inference(network, dtype):
    def predict(weights, pixels, order):
        def step(carry, rows):
            x = (take(pixels, rows).astype(jnp.float32) / 255)[..., None].astype(dtype)
            return carry, forward(network, weights, x, add_shift, lambda x, _: x)

        return lax.scan(step, 0, order)[1]

    return predict


def type_of(configuration):
    return jnp.bfloat16 if configuration.precision == "bf16" else jnp.float32


class Benchmark:
    def __init__(self, options):
        self.options = options
        pixels, labels = common.digits()
        self.pixels, self.labels = jnp.asarray(pixels), jnp.asarray(labels.astype(np.int32))

    def order(self, batch):
        steps = max(20 if self.options.device == "cuda" else 2, self.options.images // batch)
        return np.random.default_rng(1).integers(0, common.DIGITS, (steps, batch)).astype(np.int32)

    def compile(self, configuration):
        """Both programs, and the options of which this version of XLA knows nothing."""
        network, mode = common.NETWORKS[configuration.model], MODES[configuration.mode]
        dtype = type_of(configuration)
        state, order = start_state(network), self.order(configuration.batch_size)
        unknown = []

        def build(function, arguments, donated):
            like = jax.tree_util.tree_map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), arguments)
            with jax.default_matmul_precision("float32" if configuration.precision == "fp32" else "default"):
                lowered = jax.jit(function, donate_argnums=donated).lower(*like)
            while True:
                known = {name: value for name, value in mode.items() if name not in unknown and self.options.device == "cuda"}
                try:
                    return lowered.compile(compiler_options=known)
                except Exception as error:
                    refused = [name for name in known if f"'{name}'" in str(error) or f"option {name}" in str(error)]
                    if not refused:
                        raise
                    unknown.extend(refused)

        train = build(training(network, dtype), (state, self.pixels, self.labels, order), 0)
        folded = jax.eval_shape(lambda state: fold(network, state, dtype), state)
        predict = build(inference(network, dtype), (folded, self.pixels, order), ())
        return train, predict, unknown

    def compile_all(self, left, end):
        """Compiles beside each other as long as half of the time is left; the rest, each before it is measured."""
        self.ready = {}
        if self.options.compilers == 1:
            return
        until = (time.monotonic() + end) / 2
        with concurrent.futures.ThreadPoolExecutor(self.options.compilers) as threads:
            waiting = [threads.submit(lambda c=c: self.compile(c) if time.monotonic() < until else None) for c in left]
        self.ready = dict(zip(left, waiting))

    def measure(self, configuration):
        ready = self.ready.pop(configuration, None)
        train, predict, unknown = ready and ready.result() or self.compile(configuration)
        network, batch = common.NETWORKS[configuration.model], configuration.batch_size
        order = jnp.asarray(self.order(batch))
        state = jax.tree_util.tree_map(jnp.array, start_state(network))
        parameters = sum(w.size for w in jax.tree_util.tree_leaves(state["weights"]))
        assert parameters == network.parameters, f"{parameters} parameters"
        losses = []

        def run_training():
            nonlocal state
            state, several = train(state, self.pixels, self.labels, order)
            several.block_until_ready()
            losses.append(several)

        result = {"train_images_per_second": common.rate(order.size, run_training)}
        weights = jax.jit(lambda state: fold(network, state, type_of(configuration)))(state)
        result["infer_images_per_second"] = common.rate(
            order.size, lambda: predict(weights, self.pixels, order).block_until_ready())
        result["loss"] = [round(float(losses[0][0]), 4), round(float(losses[-1][-1]), 4)]
        return {**result, "without": unknown} if unknown else result


def main():
    options = common.parser(__doc__.split("\n\n")[0], ",".join(MODES)).parse_args()
    end = time.monotonic() + options.seconds
    if options.device == "cpu":
        jax.config.update("jax_platforms", "cpu")
    elif jax.default_backend() != "gpu":
        common.skip("JAX sees no GPU")
    left = common.configurations(options, PLAN)
    peer = Benchmark(options)
    peer.compile_all(left, end)
    common.benchmark("jax", jax.__version__, options, left, peer.measure, end)


if __name__ == "__main__":
    main()
