"""Finding keys in a sorted list, inside the graph."""

import tensorflow as tf


def row_of(keys, key):
    """Where each key stands, int32 of the shape of `key`; what is not there is at the last row.

    Args:
        keys: int64 (rows,), sorted, of which the last is no key.
        key: int64 (...).
    """
    # What `tf.searchsorted` does, in fewer operations: this is asked at every step of a search.
    row = tf.raw_ops.LowerBound(
        sorted_inputs=tf.reshape(keys, [1, -1]), values=tf.reshape(key, [1, -1])
    )
    row = tf.reshape(row, tf.shape(key))
    return tf.where(tf.gather(keys, row) == key, row, tf.size(keys) - 1)
