"""The training path of PeepholeLSTM against a loop of the cell."""

import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from shared.layers import peephole_bptt
from shared.layers.peephole_lstm import PeepholeLSTM, PeepholeLSTMCell
from shared.layers.recurrent import RecurrentStack

ROOT = pathlib.Path(__file__).parents[3]
D, H = 3, 5
CELL_ARGUMENTS = "use_bias", "dropout", "recurrent_dropout", "seed"


def arrays(rows, steps, seed=0):
    """Returns x, h, c, and the weights of ys, h and c in a scalar loss."""
    rng = np.random.default_rng(seed)
    shapes = (rows, steps, D), *[(rows, H)] * 2, (rows, steps, H), *[(rows, H)] * 2
    return [tf.constant(rng.normal(size=shape) * 0.7, tf.float32) for shape in shapes]


def randomize(layer, seed=1):
    rng = np.random.default_rng(seed)
    layer.set_weights([rng.normal(size=w.shape) * 0.7 for w in layer.get_weights()])
    return layer


def run(layer, inputs, mask=None):
    """Returns outputs and gradients of a training step in a graph, and its function."""

    @tf.function(autograph=False)
    def step(x, h, c, r_ys, r_h, r_c):
        with tf.GradientTape() as tape:
            tape.watch([x, h, c])
            ys, h_last, c_last = layer(x, initial_state=[h, c], mask=mask, training=True)
            r_ys = r_ys if ys.shape.rank == 3 else r_ys[:, 0]
            loss = sum(tf.reduce_sum(a * r) for a, r in ((ys, r_ys), (h_last, r_h), (c_last, r_c)))
        weights = [v.value for v in layer.trainable_variables]
        return ys, h_last, c_last, *tape.gradient(loss, [x, h, c, *weights])

    return step(*inputs), step


def xla_functions(step, *inputs):
    """Returns the functions in the graph of `step` that XLA must compile."""
    graph = step.get_concrete_function(*inputs).graph.as_graph_def()
    return [f for f in graph.library.function if f.attr["_XlaMustCompile"].b]


@pytest.mark.parametrize("rows", [1, 5])  # one row is not divided, five are divided unevenly
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_bias": False},
        {"dropout": 0.4, "seed": 3},
        {"recurrent_dropout": 0.4, "seed": 3},
        {"go_backwards": True},
        {"zero_output_for_mask": True},
        {"return_sequences": False},
    ],
    ids=lambda o: next(iter(o), "default"),
)
def test_it_equals_the_loop_of_the_cell(options, masked, rows):
    inputs = arrays(rows, 7)
    mask = tf.constant(np.random.default_rng(2).random((rows, 7)) < 0.6) if masked else None
    options = {"return_sequences": True, "return_state": True, **options}
    layer = PeepholeLSTM(H, **options)
    cell_options = {k: options.pop(k) for k in CELL_ARGUMENTS if k in options}
    reference = keras.layers.RNN(PeepholeLSTMCell(H, **cell_options), **options)
    for rnn in layer, reference:
        rnn.build((rows, 7, D))
        randomize(rnn)
    results, step = run(layer, inputs, mask)
    expected, reference_step = run(reference, inputs, mask)
    assert xla_functions(step, *inputs)
    assert not xla_functions(reference_step, *inputs)
    for r, e in zip(results, expected, strict=True):
        np.testing.assert_allclose(r, e, atol=3e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "fast"),
    [
        ({}, True),
        ({"dropout": 0.3}, True),
        ({"recurrent_dropout": 0.3}, True),
        ({"activation": "relu"}, False),
        ({"recurrent_activation": "hard_sigmoid"}, False),
        ({"unroll": True}, False),
    ],
)
def test_which_options_use_it(options, fast):
    inputs = arrays(2, 3)
    layer = PeepholeLSTM(H, return_sequences=True, return_state=True, **options)
    layer.build((2, 3, D))
    _, step = run(layer, inputs)
    assert bool(xla_functions(step, *inputs)) == fast


def test_inference_and_eager_training_do_not_use_it(monkeypatch):
    def fail(*_):
        raise AssertionError("the training path was used")

    monkeypatch.setattr("shared.layers.peephole_lstm.peephole_lstm", fail)
    x = arrays(2, 3)[0]
    layer = PeepholeLSTM(H)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(x, training=True))
    assert all(g is not None for g in tape.gradient(loss, layer.trainable_weights))
    tf.function(lambda x: layer(x, training=False), autograph=False)(x)
    tf.function(lambda x: layer(x), autograph=False)(x)
    with pytest.raises(AssertionError, match="training path was used"):
        tf.function(lambda x: layer(x, training=True), autograph=False)(x)


def test_a_tape_outside_the_graph_gets_the_gradient():
    x = arrays(4, 3)[0]
    layer = PeepholeLSTM(H)
    layer.build(x.shape)
    randomize(layer)

    def gradients(call):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(call(x) ** 2)
        return tape.gradient(loss, layer.trainable_weights)

    call = tf.function(lambda x: layer(x, training=True), autograph=False)
    for g, e in zip(gradients(call), gradients(lambda x: layer(x)), strict=True):
        np.testing.assert_allclose(g, e, atol=1e-5)


def test_a_second_order_gradient_raises_an_error():
    x = arrays(2, 3)[0]
    layer = PeepholeLSTM(H)
    layer.build(x.shape)

    @tf.function(autograph=False)
    def second_order_gradient(training):
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                y = tf.reduce_sum(layer(x, training=training) ** 2)
            g = tf.reduce_sum(inner.gradient(y, x) ** 2)
        return outer.gradient(g, x)

    assert np.abs(second_order_gradient(False)).max() > 0
    with pytest.raises(NotImplementedError, match=r"no second-order gradient.*`training=False`"):
        second_order_gradient(True)


def test_another_length_does_not_retrace():
    layer = PeepholeLSTM(H)
    step = tf.function(
        lambda x: tf.gradients(tf.reduce_sum(layer(x, training=True)), x)[0],
        input_signature=[tf.TensorSpec([None, None, D])],
        autograph=False,
    )
    step(arrays(2, 3)[0])
    counts = [
        f.experimental_get_tracing_count()
        for f in (step, peephole_bptt._forward, peephole_bptt._backward_loop)
    ]
    for rows, steps in (2, 4), (3, 5), (1, 1):
        assert step(arrays(rows, steps)[0]).shape == (rows, steps, D)
    assert counts == [
        f.experimental_get_tracing_count()
        for f in (step, peephole_bptt._forward, peephole_bptt._backward_loop)
    ]


@pytest.mark.parametrize("known", ["x", "state"])
def test_shapes_may_be_partly_known(known):
    x, h, c, *_ = arrays(4, 3)
    layer = PeepholeLSTM(H, return_state=True)
    spec = [
        tf.TensorSpec([4 if known == "x" else None, None, D]),
        *[tf.TensorSpec([4 if known == "state" else None, H])] * 2,
    ]

    @tf.function(input_signature=spec, autograph=False)
    def gradients(x, h, c):
        with tf.GradientTape() as tape:
            tape.watch([x, h, c])
            loss = sum(map(tf.reduce_sum, layer(x, initial_state=[h, c], training=True)))
        return tape.gradient(loss, [x, h, c])

    assert [g.shape for g in gradients(x, h, c)] == [x.shape, h.shape, c.shape]


def test_bfloat16_sums_use_32_bits():
    ones = tf.ones([40, 50, H], tf.bfloat16)  # a sum in bfloat16 stops at 256
    np.testing.assert_array_equal(tf.cast(peephole_bptt._sum(ones), tf.float32), np.full(H, 2000))


TWO_DEVICES = """
import keras, numpy as np, tensorflow as tf
from shared.layers.peephole_lstm import PeepholeLSTM

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
keras.utils.set_random_seed(0)
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    model = keras.Sequential([PeepholeLSTM(5), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.05), "mse")
x = np.random.default_rng(0).normal(size=(8, 4, 3))
losses = model.fit(x, x.sum((1, 2)), batch_size=8, epochs=6, verbose=0).history["loss"]
assert losses[-1] < losses[0], losses
"""


def test_it_trains_on_several_devices():
    # In a separate process: devices must be configured before TensorFlow starts.
    process = subprocess.run(
        [sys.executable, "-c", TWO_DEVICES], cwd=ROOT, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_stack_uses_it(bidirectional):
    x = arrays(4, 6)[0]
    stack = RecurrentStack("peephole_lstm", H, num_layers=2, bidirectional=bidirectional)
    stack.build(x.shape)
    randomize(stack)

    def gradients(training):
        with tf.GradientTape() as tape:
            y, _ = stack(x, training=training)
            loss = tf.reduce_sum(y**2)
        return tape.gradient(loss, [v.value for v in stack.trainable_variables])

    results, expected = (
        tf.function(gradients, autograph=False)(training) for training in (True, False)
    )
    for r, e in zip(results, expected, strict=True):
        np.testing.assert_allclose(r, e, atol=2e-5)
