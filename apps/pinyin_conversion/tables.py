"""Arrays that a graph looks things up in."""

import tensorflow as tf


def variables(arrays, name):
    """{name of an array: its variable}, which is called `name`_..."""
    return {
        key: tf.Variable(array, trainable=False, name=f"{name}_{key}")
        for key, array in arrays.items()
    }


def read(tables):
    """The variables as tensors: a variable that is gathered from is copied whenever it is read."""
    return {key: table.read_value() for key, table in tables.items()}


def row_of(keys, key):
    """Where each key stands, int32 of the shape of `key`; what is not there is at the last row.

    Args:
        keys: int64 (rows,), sorted, of which the last is no key.
        key: int64 (...).
    """
    row = tf.reshape(tf.searchsorted(keys, tf.reshape(key, [-1])), tf.shape(key))
    return tf.where(tf.gather(keys, row) == key, row, tf.size(keys) - 1)
