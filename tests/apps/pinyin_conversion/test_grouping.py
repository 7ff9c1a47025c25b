"""Two groups of rows: the same answers, with less padding."""

import numpy as np
import pytest
import tensorflow as tf

from apps.pinyin_conversion.grouping import in_two_groups


def answers(lengths, time=None):
    """Returns the shapes that the function got, and its answers: codes times 10, and their sums."""
    rng = np.random.default_rng(0)
    time = max([1, *lengths]) if time is None else time
    codes = np.array([np.where(np.arange(time) < n, rng.integers(1, 9, time), 0) for n in lengths])
    codes = codes.reshape(len(lengths), time).astype(np.int32)
    shapes = []

    def note(shape):
        shapes.append(tuple(shape))
        return np.int32(0)

    def function(codes, length, names):
        zero = tf.numpy_function(note, [tf.shape(codes)], tf.int32)
        sums = tf.reduce_sum(codes, 1) + zero
        return tf.stack([10 * codes, -codes], 1), sums, length, tf.strings.join([names, "!"])

    @tf.function(autograph=False)
    def both(codes, length, names):
        return in_two_groups(function, codes, length, names)

    names = [f"row {i}" for i in range(len(lengths))]
    got = both(tf.constant(codes), tf.constant(lengths, tf.int32), tf.constant(names, tf.string))
    paths, sums, length, labels = (t.numpy() for t in got)
    np.testing.assert_array_equal(paths, np.stack([10 * codes, -codes], 1))
    np.testing.assert_array_equal(sums, codes.sum(1))
    np.testing.assert_array_equal(length, lengths)
    assert [label.decode() for label in labels] == [f"{name}!" for name in names]
    return sorted(shapes)


@pytest.mark.parametrize("lengths", [[4, 5, 3, 5], [7], [0], [9, 9, 0, 8, 9], []])
def test_similar_rows_are_one_group(lengths):
    assert answers(lengths) == [(len(lengths), max([1, *lengths]))]


def test_a_long_row_is_a_group_of_its_own():
    assert answers([3, 1000, 0, 5] + [4] * 28) == [(1, 1000), (31, 5)]
    assert answers([2000, 1900, 3] + [10] * 30) == [(2, 2000), (31, 10)]


def test_many_lengths():
    rng = np.random.default_rng(1)
    for _ in range(5):
        lengths = (10 ** rng.uniform(0, 3, 20)).astype(int).tolist()
        shapes = answers(lengths)
        assert sum(rows for rows, _ in shapes) == 20
        assert sum(rows * time for rows, time in shapes) < 20 * max(lengths)
