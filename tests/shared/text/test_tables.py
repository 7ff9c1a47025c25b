"""Lookup tables inside a graph."""

import numpy as np
import tensorflow as tf

from shared.text.tables import find_rows, read, variables


def test_find_rows():
    keys = tf.constant([2, 5, 9, np.iinfo(np.int64).max], tf.int64)
    rows = find_rows(keys, tf.constant([[9, 2], [3, 10], [5, -1]], tf.int64))
    assert rows.dtype == tf.int32
    assert rows.numpy().tolist() == [[2, 0], [3, 3], [1, 3]]


def test_variables_are_not_trained():
    tables = variables({"a": np.arange(3)}, "toy")
    assert tables["a"].name == "toy_a:0"
    assert not tables["a"].trainable
    assert read(tables)["a"].numpy().tolist() == [0, 1, 2]
