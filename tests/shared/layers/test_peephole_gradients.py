"""Jacobians, Hessians and vectorized calls of the peephole LSTM against a loop of the cell."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from shared.layers.peephole_lstm import PeepholeLSTM, PeepholeLSTMCell

B, T, D, H = 2, 3, 3, 4
X = tf.constant(np.random.default_rng(0).normal(size=(B, T, D)), tf.float32)
MASK = tf.constant([[True, True, False], [True, False, True]])


def layers(**options):
    """Returns the layer and its reference, with equal random weights."""
    pair = PeepholeLSTM(H, **options), keras.layers.RNN(PeepholeLSTMCell(H), **options)
    for layer in pair:
        layer.build(X.shape)
        rng = np.random.default_rng(1)
        layer.set_weights([rng.normal(size=w.shape) * 0.6 for w in layer.get_weights()])
    return pair


def assert_close(result, expected):
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)


def in_graph(function, steps=T):
    """Returns a function that runs in a graph; with `steps=None`, rows and steps are unknown in it."""
    spec = [tf.TensorSpec([B if steps else None, steps, D])]
    return tf.function(function, input_signature=spec, autograph=False)


def batch_jacobian(layer, pfor=True, **call):
    def function(x):
        with tf.GradientTape(persistent=not pfor) as tape:
            tape.watch(x)
            y = layer(x, **call)
        return tape.batch_jacobian(y, x, experimental_use_pfor=pfor)

    return function


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("steps", [T, None])
def test_batch_jacobian_in_inference(steps, sequences, masked):
    layer, reference = layers(return_sequences=sequences)
    call = {"mask": MASK} if masked else {}
    expected = batch_jacobian(reference, **call)(X)
    assert_close(in_graph(batch_jacobian(layer, **call), steps)(X), expected)
    assert_close(batch_jacobian(layer, **call)(X), expected)


@pytest.mark.parametrize("pfor", [True, False])
def test_batch_jacobian_in_training(pfor):
    layer, reference = layers()
    jacobian = in_graph(batch_jacobian(layer, pfor, mask=MASK, training=True))(X)
    assert_close(jacobian, batch_jacobian(reference, mask=MASK)(X))


@pytest.mark.parametrize("training", [False, True])
def test_a_persistent_tape_in_a_graph(training):
    def gradients(layer):
        def function(x):
            with tf.GradientTape(persistent=True) as tape:
                tape.watch(x)
                y = layer(x, training=training)
                loss = tf.reduce_sum(y**2)
            weights = [v.value for v in layer.trainable_variables]
            return [tape.gradient(loss, x), *tape.gradient(y, weights)]

        return in_graph(function)

    layer, reference = layers()
    for g, e in zip(gradients(layer)(X), gradients(reference)(X), strict=True):
        assert_close(g, e)


def test_jacobian_of_a_weight():
    def jacobian(layer):
        def function(x):
            with tf.GradientTape() as tape:
                y = layer(x)
            return tape.jacobian(y, layer.cell.peephole_kernel.value)

        return in_graph(function)

    layer, reference = layers()
    assert_close(jacobian(layer)(X), jacobian(reference)(X))


def test_hessian_in_inference():
    def hessian(layer):
        def function(x):
            with tf.GradientTape() as outer:
                outer.watch(x)
                with tf.GradientTape() as inner:
                    inner.watch(x)
                    loss = tf.reduce_sum(layer(x) ** 2)
                gradient = inner.gradient(loss, x)
            return outer.jacobian(gradient, x)

        return function

    layer, reference = layers()
    assert_close(in_graph(hessian(layer))(X), hessian(reference)(X))


@pytest.mark.parametrize("training", [False, True])
def test_vectorized_map(training):
    layer, reference = layers()
    rows = in_graph(
        lambda x: tf.vectorized_map(lambda row: layer(row[None], training=training)[0], x)
    )
    assert_close(rows(X), reference(X))


def test_forward_accumulator():
    products = []
    for layer in layers():
        with tf.autodiff.ForwardAccumulator(X, tf.cos(X)) as accumulator:
            y = layer(X)
        products.append(accumulator.jvp(y))
    assert_close(*products)
