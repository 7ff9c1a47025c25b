"""Compares the speed of `PeepholeLSTM` with other Keras layers, PyTorch and onnxruntime.

    python -m benchmarks.peephole_lstm                          # measures, prints, writes results/
    python -m benchmarks.peephole_lstm --torch-python PYTHON    # uses PyTorch of another Python
    python -m benchmarks.peephole_lstm --tables                 # only writes the tables again

A training step is a forward and a backward pass of one layer, with the gradients of x and of all weights.
Inference is a call of an exported SavedModel. Shapes are (batch, time, input, units). README.md has the
details.
"""

import argparse
import json
import pathlib
import re
import statistics
import sys
import tempfile
import time

import keras
import numpy as np
import tensorflow as tf

from shared.layers.peephole_lstm import PeepholeLSTM, PeepholeLSTMCell
from shared.training.provenance import hardware, versions

from . import _peephole_lstm_report, _timing
from ._peephole_lstm_report import tables

SHAPES = [
    (20, 35, 200, 200),
    (20, 35, 650, 650),
    (64, 100, 256, 512),
    (1, 50, 256, 256),
    (128, 32, 512, 512),
]
GROWTH = {
    "T": [(20, t, 200, 200) for t in (16, 64, 256, 1024)],
    "H": [(20, 35, h, h) for h in (64, 128, 256, 512, 1024)],
    "B": [(b, 35, 200, 200) for b in (1, 4, 16, 64, 256)],
}
LAYERS = {
    "PeepholeLSTM": lambda units, **kw: PeepholeLSTM(units, **kw),
    "keras.layers.LSTM": lambda units, **kw: keras.layers.LSTM(units, use_cudnn=False, **kw),
    "RNN(PeepholeLSTMCell)": lambda units, **kw: keras.layers.RNN(PeepholeLSTMCell(units), **kw),
}


def rounds_of(shape):
    """Returns the number of rounds: each shape takes about the same total time."""
    batch, steps, inputs, units = shape
    if units < 10:  # a dry run
        return 1
    seconds = batch * steps * units * (inputs + units) * 24 / 100e9
    return int(np.clip(4 / seconds, 10, 100))


def train_step(layer, shape, **call_arguments):
    """Returns a function that computes one training step of a layer and waits for the gradients."""
    batch, steps, inputs, units = shape
    x, dy = tf.random.normal([batch, steps, inputs]), tf.random.normal([batch, steps, units])
    layer.build(x.shape)
    weights = layer.trainable_variables

    @tf.function
    def step(x, dy):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True, **call_arguments)
        return tape.gradient(y, [x, *[w.value for w in weights]], output_gradients=dy)

    return lambda: [g.numpy() for g in step(x, dy)]


def exported(layer, shape, folder):
    """Returns a function that calls the SavedModel of the layer and waits for the output."""
    batch, steps, inputs, _ = shape
    layer.build((batch, steps, inputs))
    archive = keras.export.ExportArchive()
    archive.track(layer)
    spec = [tf.TensorSpec([None, None, inputs], tf.float32, name="inputs")]
    archive.add_endpoint("serve", lambda x: layer(x, training=False), input_signature=spec)
    archive.write_out(folder, verbose=False)
    model = tf.saved_model.load(folder)
    x = tf.random.normal([batch, steps, inputs])
    return lambda: model.serve(x).numpy()


def products(shape, train):
    """Returns a function that computes only the matrix products of a step.

    The recurrent products are in a loop that is compiled by XLA.
    """
    batch, steps, inputs, units = shape
    x, h = tf.random.normal([batch * steps, inputs]), tf.random.normal([batch, units])
    W, U = tf.random.normal([inputs, 4 * units]), tf.random.normal([units, 4 * units])
    z, dz = tf.random.normal([batch, 4 * units]), tf.random.normal([batch * steps, 4 * units])
    hs = tf.random.normal([batch * steps, units])

    def loop(a, b, keep):
        return tf.while_loop(
            lambda t, *_: t < steps,
            lambda t, a: (t + 1, keep(tf.matmul(a, b))),
            (0, a),
            maximum_iterations=steps,
        )[1]

    forward = tf.function(lambda h, U: loop(h, U, lambda z: z[:, :units] * 0.01), jit_compile=True)
    backward = tf.function(
        lambda z, U: loop(z, tf.transpose(U), lambda h: tf.tile(h, [1, 4]) * 0.01), jit_compile=True
    )

    @tf.function
    def step(x, h, W, U, z, dz, hs):
        outputs = [tf.matmul(x, W), forward(h, U)]
        if train:
            outputs += [backward(z, U), tf.matmul(dz, W, transpose_b=True)]
            outputs += [tf.matmul(a, dz, transpose_a=True) for a in (x, hs)]
        return [output[0, 0] for output in outputs]

    return lambda: [output.numpy() for output in step(x, h, W, U, z, dz, hs)]


def measure_shape(shape, options):
    """Returns {"shape": shape, "train": {layer: ms}, "inference": {layer: ms}}."""
    rounds = rounds_of(shape)

    def torch():
        return _timing.worker(options.torch_python, "benchmarks._torch_lstm", rounds, [shape])

    before = torch()
    steps = {
        n: train_step(make(shape[3], return_sequences=True), shape) for n, make in LAYERS.items()
    }
    train = _timing.medians({**steps, "products alone": products(shape, True)}, rounds)
    between = torch()
    with tempfile.TemporaryDirectory() as folder:
        calls = {
            name: exported(make(shape[3], return_sequences=True), shape, f"{folder}/{i}")
            for i, (name, make) in enumerate(LAYERS.items())
        }
        inference = _timing.medians({**calls, "products alone": products(shape, False)}, rounds)
    after = torch()
    if before:
        train["torch.nn.LSTM"] = statistics.mean([before[0][0], between[0][0]])
        inference["torch.nn.LSTM"] = statistics.mean([between[0][1], after[0][1]])
    onnx = _timing.worker(options.torch_python, "benchmarks._onnx_lstm", rounds, [shape])
    if onnx:
        inference["onnxruntime"] = onnx[0]
    return {"shape": shape, "train": train, "inference": inference}


def growth(shapes_of, options):
    """Times training steps along each axis; returns {"T": [{"shape", layer: ms, ...}, ...], ...}."""
    rows = {}
    for axis, shapes in shapes_of.items():
        rows[axis] = []
        for shape in shapes:
            names = list(LAYERS)[:2]
            steps = {
                n: train_step(LAYERS[n](shape[3], return_sequences=True), shape) for n in names
            }
            rounds = min(rounds_of(shape), 30)
            row = _timing.medians(steps, rounds)
            torch = _timing.worker(options.torch_python, "benchmarks._torch_lstm", rounds, [shape])
            if torch:
                row["torch.nn.LSTM"] = torch[0][0]
            rows[axis].append({"shape": shape, **row})
            print(f"{axis} {shape}: {_peephole_lstm_report.line(row)}", flush=True)
    return rows


def extras(shape):
    """Returns {option: time of a training step, relative to that without options}."""
    batch, steps, _, units = shape
    lengths = np.random.default_rng(0).integers(steps // 2, steps + 1, batch)
    state = [tf.random.normal([batch, units])] * 2
    make = lambda **kw: PeepholeLSTM(units, return_sequences=True, **kw)  # noqa: E731
    calls = {
        "plain": train_step(make(), shape),
        "mask": train_step(make(), shape, mask=tf.sequence_mask(lengths, steps)),
        "dropout": train_step(make(dropout=0.2), shape),
        "initial state": train_step(make(), shape, initial_state=state),
    }
    times = _timing.medians(calls, rounds_of(shape))
    return {name: time / times["plain"] for name, time in times.items()}


def cores(shape):
    """Returns how many cores a training step uses, {"one layer": 1.8, "two layers": ..., ...}."""
    units = shape[3]
    layer = lambda: PeepholeLSTM(units, return_sequences=True)  # noqa: E731
    models = {
        "one layer": layer(),
        "two layers": keras.Sequential([layer(), layer()]),
        "bidirectional": keras.layers.Bidirectional(layer(), merge_mode="sum"),
    }
    cores_of = {}
    for name, model in models.items():
        step = train_step(model, shape)
        step()
        wall, busy = time.perf_counter(), time.process_time()
        for _ in range(rounds_of(shape)):
            step()
        cores_of[name] = (time.process_time() - busy) / (time.perf_counter() - wall)
    return cores_of


def once(name, shape):
    """Measures the first steps and the memory of a layer; called in a new process.

    Returns:
        a dict: `first`, `other length` and `again`, the seconds of the first step, of the first step with
        another length, and of the next step with that length; `MB`, memory of training.
    """
    layer = LAYERS[name](shape[3], return_sequences=True)
    x, layer_inputs = tf.random.normal(shape[:3]), shape[2]
    layer.build(x.shape)
    weights = [w.value for w in layer.trainable_variables]

    @tf.function(input_signature=[tf.TensorSpec([None, None, layer_inputs])])
    def step(x):
        with tf.GradientTape() as tape:
            y = tf.reduce_sum(layer(x, training=True))
        return tape.gradient(y, weights)

    peak_before = peak()
    seconds = []
    for example in x, x[:, 1:], x[:, 1:]:
        start = time.perf_counter()
        step(example)
        seconds.append(time.perf_counter() - start)
    for _ in range(5):
        step(x)
    return {
        "first": seconds[0],
        "other length": seconds[1],
        "again": seconds[2],
        "MB": (peak() - peak_before) / 1e3,
    }


def first_steps(name, shape, options):
    """Returns the result of `once` from a new process; in a dry run, from this one."""
    if options.dry_run:
        return once(name, shape)
    arguments = ["--once", name, list(shape)]
    return _timing.worker(sys.executable, "benchmarks.peephole_lstm", *arguments)


def peak():
    """Returns the peak memory of this process in kB; `getrusage` would include its parent."""
    status = pathlib.Path("/proc/self/status")
    if not status.exists():
        sys.exit("the memory is read from /proc/self/status, which only exists on Linux")
    return int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1])


def measure(options):
    """Returns the complete result."""
    shapes, some_shapes = SHAPES, (SHAPES[0], SHAPES[2])
    growth_shapes = GROWTH
    if options.dry_run:
        shapes = some_shapes = [(2, 3, 4, 5)]
        growth_shapes = {"T": shapes}
    measured = {"hardware": hardware(), "versions": versions(), "shapes": []}
    for shape in shapes:
        measured["shapes"].append(measure_shape(shape, options))
        print(shape, *_peephole_lstm_report.lines(measured["shapes"][-1]), sep="\n  ", flush=True)
    names = list(LAYERS)[: 1 if options.dry_run else None]
    measured["once"] = {
        name: {str(shape): first_steps(name, shape, options) for shape in some_shapes}
        for name in names
    }
    measured["extras"] = {str(shape): extras(shape) for shape in some_shapes}
    measured["cores"] = {str(shape): cores(shape) for shape in some_shapes}
    measured["growth"] = growth(growth_shapes, options)
    return measured


def main(argv=None):
    parser = _timing.parser("benchmarks.peephole_lstm")
    parser.add_argument(
        "--torch-python", help="a Python interpreter with torch, onnx and onnxruntime"
    )
    parser.add_argument("--once", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.once:
        print(json.dumps(once(options.once[0], tuple(json.loads(options.once[1])))))
        return
    measured = None if options.tables else measure(options)
    _timing.publish("peephole_lstm", tables, measured, options)
    if not options.dry_run:
        _peephole_lstm_report.draw(_timing.RESULTS / "peephole_lstm.json")


if __name__ == "__main__":
    main()
