"""Lookup tables inside a graph: arrays held as variables, and the search for a key in a sorted array."""

import tensorflow as tf


def variables(arrays, name):
    """Returns {key: variable} for {key: array}: variables named `<name>_<key>` that are not trained."""
    return {
        key: tf.Variable(array, trainable=False, name=f"{name}_{key}")
        for key, array in arrays.items()
    }


def read(tables):
    """Returns {key: tensor} for {key: variable}.

    A variable that is gathered from directly is copied at each read; the tensor is not.
    """
    return {key: table.read_value() for key, table in tables.items()}


def find_rows(keys, queries):
    """Returns the row of each query in `keys`; a query that is absent gets the last row.

    Args:
        keys: int64 (rows,), sorted; the last key is a placeholder that no query equals.
        queries: int64 of any shape.

    Returns:
        int32 of the shape of `queries`.
    """
    rows = tf.reshape(tf.searchsorted(keys, tf.reshape(queries, [-1])), tf.shape(queries))
    return tf.where(tf.gather(keys, rows) == queries, rows, tf.size(keys) - 1)
