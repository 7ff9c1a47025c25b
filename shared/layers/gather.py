"""Rows of a table, with a gradient that Keras optimizers treat correctly."""

import tensorflow as tf


@tf.custom_gradient
def gather_rows(table, ids):
    """Returns `table[ids]`, as `tf.gather`, with a dense gradient.

    `tf.gather` has a sparse gradient, in which Keras does not add up the rows of an id that occurs twice
    before it clips by the global norm.

    Args:
        table: (rows, features), a tensor: `tf.convert_to_tensor(variable)`.
        ids: int (...).

    Returns:
        (..., features).

    Example:

    >>> gather_rows(tf.constant([[1.0], [2.0]]), tf.constant([1, 1])).numpy().tolist()
    [[2.0], [2.0]]
    """

    def gradient(upstream):
        flat = tf.reshape(upstream, [-1, tf.shape(table)[1]])
        ids_1d = tf.reshape(ids, [-1])
        return tf.math.unsorted_segment_sum(flat, ids_1d, tf.shape(table)[0]), None

    return tf.gather(table, ids), gradient
