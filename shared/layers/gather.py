"""Row lookup with a dense gradient."""

import tensorflow as tf


def gather_rows(table, ids):
    """Returns rows of a table, like `tf.gather`, but with a dense gradient.

    The gradient of `tf.gather` is a `tf.IndexedSlices`, in which a row occurs once per use. Keras computes
    its global norm without summing these first, so gradient clipping would be wrong.

    Args:
        table: tensor or variable, (rows, ...).
        ids: int tensor of any shape.

    Returns:
        (*ids.shape, ...), the type of `table`.

    Example:

    >>> gather_rows(tf.constant([[1.0], [2.0], [3.0]]), tf.constant([[2, 0], [2, 1]])).shape
    TensorShape([2, 2, 1])
    """
    ids = tf.convert_to_tensor(ids)

    @tf.custom_gradient
    def gather(table):
        def gradient(upstream):
            return tf.math.unsorted_segment_sum(upstream, ids, tf.shape(table)[0])

        return tf.gather(table, ids), gradient

    return gather(tf.convert_to_tensor(table))
