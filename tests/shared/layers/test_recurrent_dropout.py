"""Dropout and seeds of RecurrentStack."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from shared.layers.recurrent import CELLS, RecurrentStack

B, T, D, H = 3, 5, 4, 6


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def stack_of(cell, num_layers=1, bidirectional=False, seed=1, **options):
    """Returns a built stack with random weights, also for peepholes and biases."""
    stack = RecurrentStack(cell, H, num_layers, bidirectional, **options)
    stack.build((None, None, D))
    rng = np.random.default_rng(seed)
    stack.set_weights([rng.normal(size=w.shape) * 0.5 for w in stack.get_weights()])
    return stack


def test_dropout_between_the_layers_in_training_only():
    x = random(B, T, D)
    one, two = stack_of("gru", 1, dropout=0.5), stack_of("gru", 2, dropout=0.5)
    y, states = two(x)
    np.testing.assert_allclose(two(x)[0], y, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(one(x, training=True)[0], one(x)[0], rtol=1e-5, atol=1e-6)
    training_y, training_states = two(x, training=True)
    # The first layer has no dropout.
    np.testing.assert_allclose(training_states[0], states[0], rtol=1e-5, atol=1e-6)
    assert np.abs(training_y - y).max() > 1e-3
    assert np.abs(training_states[1] - states[1]).max() > 1e-3


@pytest.mark.parametrize("cell", CELLS)
def test_recurrent_dropout_in_training_only(cell):
    x = random(B, T, D)
    without, with_dropout = stack_of(cell), stack_of(cell, recurrent_dropout=0.5)
    np.testing.assert_allclose(with_dropout(x)[0], without(x)[0], atol=1e-6)
    y, _ = with_dropout(x, training=True)
    np.testing.assert_allclose(y[:, 0], without(x)[0][:, 0], atol=1e-6)  # h is zero at first
    assert np.abs(y - without(x)[0]).max() > 0.01


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_an_inference_graph_holds_no_seed(cell, num_layers, bidirectional):
    stack = stack_of(cell, num_layers, bidirectional, recurrent_dropout=0.5, dropout=0.5)
    stack.build((B, T, D))

    def variables(training):
        function = tf.function(
            lambda: stack(random(B, T, D), training=training)[0], autograph=False
        )
        return {id(v) for v in function.get_concrete_function().graph.variables}

    weights = {id(v.value) for v in stack.trainable_variables}
    assert variables(training=True) > weights
    assert variables(training=False) == weights


def test_seeds_reproduce_weights_and_dropout():
    x = random(B, T, D)

    def run(seed, dropout_seed):
        keras.utils.set_random_seed(seed)
        stack = RecurrentStack("peephole_lstm", H, 2, True, dropout=0.5, seed=dropout_seed)
        ys = [np.asarray(stack(x, training=training)[0]) for training in (False, True, True)]
        return ys, stack

    (a, b, c), stack = run(1, 5)
    for y, expected in zip((a, b, c), run(1, 5)[0], strict=True):
        np.testing.assert_array_equal(y, expected)
    assert (b != c).any()  # each call draws new dropout masks
    inference, other, _ = run(1, 6)[0]
    np.testing.assert_array_equal(inference, a)
    assert (other != b).any()
    assert (run(2, 5)[0][0] != a).any()
    # All layers and directions have different initial weights.
    kernels = [np.asarray(w) for w in stack.trainable_variables if "recurrent_kernel" in w.path]
    assert len(kernels) == 4
    for one, two in itertools.combinations(kernels, 2):
        assert (one != two).any()
