"""gather_rows against tf.gather."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from shared.layers.gather import gather_rows


@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (2, 1, 5), (0,)])
@pytest.mark.parametrize("row", [(), (3,), (2, 3)])
def test_values_and_gradients_equal_tf_gather(shape, row):
    rng = np.random.default_rng(0)
    table = tf.constant(rng.normal(size=(6, *row)), tf.float32)
    ids = tf.constant(rng.integers(0, 6, shape), tf.int32)
    factors = tf.constant(rng.normal(size=(*shape, *row)), tf.float32)

    def value_and_gradient(gather):
        with tf.GradientTape() as tape:
            tape.watch(table)
            rows = gather(table, ids)
            loss = tf.reduce_sum(rows * factors)
        return rows, tape.gradient(loss, table)

    rows, gradient = value_and_gradient(gather_rows)
    expected_rows, expected_gradient = value_and_gradient(tf.gather)
    assert isinstance(gradient, tf.Tensor)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_allclose(gradient, tf.convert_to_tensor(expected_gradient), rtol=1e-6)


def test_a_keras_variable_gets_the_gradient_in_a_graph():
    table = keras.Variable(np.ones((4, 2)), dtype="float32")

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None, None], tf.int32)])
    def gradient(ids):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(gather_rows(table, ids))
        return tape.gradient(loss, table.value)

    np.testing.assert_array_equal(
        gradient(tf.constant([[3, 0], [3, 3]])), [[1, 1], [0, 0], [0, 0], [3, 3]]
    )
