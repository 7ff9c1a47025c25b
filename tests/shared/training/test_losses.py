"""Losses beside NumPy and Keras."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from shared.training.losses import SmoothedCrossentropy

B, T, V_Y = 3, 4, 7


def assert_close(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_the_loss_equals_its_formula(smoothing):
    rng = np.random.default_rng(0)
    x, targets = rng.normal(size=(B, T, V_Y)) * 2, rng.integers(0, V_Y, (B, T))
    weights = rng.integers(0, 2, (B, T)).astype(float)
    log_p = x - np.log(np.exp(x).sum(-1, keepdims=True))
    expected = -(1 - smoothing) * np.take_along_axis(log_p, targets[..., None], -1)[..., 0]
    expected -= smoothing * log_p.mean(-1)
    loss = SmoothedCrossentropy(smoothing)
    assert_close(loss.call(tf.constant(targets), tf.constant(x, tf.float32)), expected)
    assert_close(
        loss(tf.constant(targets), tf.constant(x, tf.float32), tf.constant(weights, tf.float32)),
        (expected * weights).sum() / weights.sum(),
    )
    # Keras's loss with one-hot targets.
    keras_loss = keras.losses.CategoricalCrossentropy(True, label_smoothing=smoothing)
    assert_close(loss(targets, tf.constant(x, tf.float32)), keras_loss(np.eye(V_Y)[targets], x))
