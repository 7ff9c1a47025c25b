"""Masks of padded batches."""

import tensorflow as tf


def padding_mask(length, x):
    """Returns a mask that is True at the real steps of a padded batch and False at padding.

    Args:
        length: int (batch,), the number of real steps in each row; None if the batch has no padding.
        x: (batch, time, ...).

    Returns:
        bool (batch, time), or None if `length` is None; layers read None as "no step is masked".

    Example:

    >>> padding_mask(tf.constant([3, 1]), tf.zeros([2, 3, 8])).numpy().tolist()
    [[True, True, True], [True, False, False]]
    """
    if length is None:
        return None
    return tf.range(tf.shape(x)[1])[tf.newaxis] < tf.cast(length, tf.int32)[:, tf.newaxis]
