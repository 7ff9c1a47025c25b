"""Masks of padded batches."""

import numpy as np
import tensorflow as tf

from shared.layers.masking import padding_mask


def test_real_steps_are_true():
    mask = padding_mask(np.array([3, 0, 1]), tf.zeros([3, 3, 5]))
    np.testing.assert_array_equal(mask, [[1, 1, 1], [0, 0, 0], [1, 0, 0]])


def test_no_rows_and_no_steps():
    assert padding_mask(tf.zeros([0], tf.int64), tf.zeros([0, 4])).shape == (0, 4)
    assert padding_mask(tf.zeros([2], tf.int64), tf.zeros([2, 0, 3])).shape == (2, 0)


def test_no_lengths_are_no_mask():
    assert padding_mask(None, tf.zeros([2, 3])) is None
