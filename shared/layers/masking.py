"""Masks of padded batches."""

import tensorflow as tf

from .checks import checked_length


def padding_mask(length, x):
    """Returns a mask that is True at the real steps of a padded batch and False at padding.

    Args:
        length: int (batch,), the number of real steps in each row, from 0 to time; None if the batch has no
            padding.
        x: (batch, time, ...).

    Returns:
        bool (batch, time), or None if `length` is None; layers read None as "no step is masked".

    Raises:
        ValueError: `length` is not int (batch,), or, outside a graph, a length is not from 0 to time. In a
            graph, an assertion checks the lengths.

    Example:

    >>> padding_mask(tf.constant([3, 1]), tf.zeros([2, 3, 8])).numpy().tolist()
    [[True, True, True], [True, False, False]]
    """
    if length is None:
        return None
    return tf.range(tf.shape(x)[1])[tf.newaxis] < checked_length(length, x)[:, tf.newaxis]
