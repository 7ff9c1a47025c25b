"""Groups of rows of similar length: the same answers as of all rows together, and few padded steps."""

import numpy as np
import pytest
import tensorflow as tf

from shared.serving import groups


@pytest.fixture(autouse=True)
def short_groups(monkeypatch):
    monkeypatch.setattr(groups, "GROUP_LENGTH", 4)


def run(rows, ragged, features=None):
    """Applies a function to lists of ints; returns its results and the shapes that it was called with."""
    shapes = []
    length = tf.constant([len(row) for row in rows], tf.int32)
    columns = [tf.ragged.constant(rows, dtype=tf.int32, ragged_rank=1)]
    if features is not None:
        columns.append(tf.RaggedTensor.from_row_lengths(tf.constant(features), length))
    if not ragged:
        columns = [column.to_tensor() for column in columns]

    def function(ids, *others):
        shapes.append(tuple(tf.shape(ids).numpy()) if tf.executing_eagerly() else None)
        total = tf.reduce_sum(ids, 1)
        if len(others) == 2:
            total += tf.cast(tf.reduce_sum(others[0], [1, 2]), tf.int32)
        return 2 * ids, total + others[-1]

    specs = [tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)]
    return groups.in_groups(function, columns, length, specs, max_length=64), shapes


ROWS = [[1, 2], [], [3] * 9, [4], [5] * 40, [6] * 4, [7] * 5, [], [8], [9, 9], [1] * 3, [2] * 4]


@pytest.mark.parametrize("ragged", [False, True])
def test_results_are_in_the_order_of_the_rows(ragged):
    features = np.arange(sum(map(len, ROWS)) * 3, dtype=np.float32).reshape(-1, 3)
    (doubled, total), shapes = run(ROWS, ragged, features)
    starts = np.cumsum([0, *map(len, ROWS)])
    for i, row in enumerate(ROWS):
        expected = np.zeros(40, int)
        expected[: len(row)] = 2 * np.array(row)
        assert doubled[i].numpy().tolist() == expected.tolist()
        part = features[starts[i] : starts[i + 1]].sum() if row else 0
        assert total[i] == sum(row) + part + len(row)
    # Up to 4, 8, 16, 32, 64 steps; at most 4 * 4 steps in a group, so 4 rows of length 4.
    assert sorted(shapes) == [(1, 5), (1, 9), (1, 40), (3, 4), (4, 4)]


@pytest.mark.parametrize("ragged", [False, True])
def test_without_rows_that_are_read(ragged):
    for rows in ([[], []], [[]]):
        (doubled, total), shapes = run(rows, ragged)
        assert doubled.numpy().tolist() == [[0]] * len(rows)
        assert total.numpy().tolist() == [0] * len(rows)
        assert shapes == []


def test_ragged_results_have_the_length_of_their_rows():
    ids = tf.ragged.constant(ROWS, dtype=tf.int32)
    spec = tf.RaggedTensorSpec([None, None], tf.int32)
    one = tf.TensorSpec([None], tf.int32)

    @tf.function(input_signature=[tf.RaggedTensorSpec([None, None], tf.int32)], autograph=False)
    def apply(ids):
        length = tf.cast(ids.row_lengths(), tf.int32)
        function = lambda ids, length: [ids + length[:, tf.newaxis], length]  # noqa: E731
        return groups.in_groups(function, [ids], length, [spec, one], 64)

    ragged, length = apply(ids)
    assert ragged.to_list() == [[i + len(row) for i in row] for row in ROWS]
    assert length.numpy().tolist() == [*map(len, ROWS)]
    assert apply(ids[:0])[0].to_list() == []
    assert apply(ids[1:2])[0].to_list() == [[]]


def test_an_empty_batch_in_a_graph():
    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)], autograph=False)
    def double(ids):
        length = tf.reduce_sum(tf.cast(ids > 0, tf.int32), 1)
        spec = tf.TensorSpec([None, None], tf.int32)
        [result] = groups.in_groups(lambda ids, _: [2 * ids], [ids], length, [spec], 64)
        return result

    assert double(tf.zeros([0, 3], tf.int32)).shape == (0, 1)
    assert double(tf.constant([[1, 2, 0], [3, 0, 0]])).numpy().tolist() == [[2, 4], [6, 0]]
