"""Which units are kept, beside NumPy."""

from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from apps.extractive_summarization import selection


class Cut(NamedTuple):
    """What `selection` reads of `unit_text.UnitText`."""

    text: tf.RaggedTensor


ROWS = [["a", ".", "b", "!"], [], [".", "..."], ["x"], ["7", ",", "é", "语"]]
CUT = Cut(tf.ragged.constant(ROWS))
PROBABILITY = np.array([0.2, 0.9, 0.3, 0.1, 0.6, 0.7, 0.0, 0.5, 0.8, 0.5, 0.1], np.float32)


def by_row(values):
    return CUT.text.with_values(tf.cast(values, tf.int32)).to_list()


def test_the_most_probable_units_are_kept_and_a_word_first():
    for count, expected in (
        ([1] * 5, [[0, 0, 1, 0], [], [0, 1], [1], [1, 0, 0, 0]]),
        ([2] * 5, [[0, 1, 1, 0], [], [1, 1], [1], [1, 1, 0, 0]]),
        # Of equal ones, the first.
        ([3, 0, 1, 9, 3], [[1, 1, 1, 0], [], [0, 1], [1], [1, 1, 1, 0]]),
        ([0, 1, 0, 0, 9], [[0, 0, 0, 0], [], [0, 0], [0], [1, 1, 1, 1]]),
    ):
        kept = selection.most_probable(tf.constant(count, tf.int64), PROBABILITY, CUT)
        assert by_row(kept) == expected


def test_only_allowed_units_are_kept():
    allowed = tf.constant([True, True, False, True, True, False, False, False, True, True, False])
    kept = selection.most_probable(tf.constant([2] * 5, tf.int64), PROBABILITY, CUT, allowed)
    assert by_row(kept) == [[1, 1, 0, 0], [], [1, 0], [0], [0, 1, 1, 0]]


def test_at_least_one():
    keep = np.zeros(11, bool)
    keep[[1, 9]] = True
    kept = selection.at_least_one(tf.constant(keep), PROBABILITY, CUT)
    assert by_row(kept) == [[0, 1, 0, 0], [], [0, 1], [1], [0, 0, 1, 0]]


def test_empty_batches():
    empty = Cut(tf.RaggedTensor.from_row_lengths(tf.constant([], tf.string), [0, 0]))
    for cut, rows in ((empty, 2), (Cut(empty.text[:0]), 0)):
        count = tf.ones([rows], tf.int64)
        assert selection.most_probable(count, tf.zeros([0]), cut).shape == (0,)
        assert selection.at_least_one(tf.zeros([0], tf.bool), tf.zeros([0]), cut).shape == (0,)


@pytest.mark.parametrize("percent", [0, 1, 5, 15, 25, 35, 45, 55, 70, 85, 95, 100])
def test_ratio_is_rounded_half_up(percent):
    count = np.arange(1, 1001)
    ratio = tf.fill([len(count)], tf.constant(percent / 100, tf.float32))
    expected = np.maximum(1, (2 * percent * count + 100) // 200)
    assert selection.rounded(ratio, count).numpy().tolist() == expected.tolist()


def test_every_number_of_units_can_be_asked_for():
    for n in (1, 2, 3, 7, 97, 5000):
        k = np.arange(1, n + 1)
        ratio = tf.constant(k / n, tf.float32)
        assert (
            selection.rounded(ratio, tf.fill([n], tf.constant(n, tf.int64))).numpy().tolist()
            == k.tolist()
        )


class Found(NamedTuple):
    """What `in_best_sentences` reads of `units.Units`."""

    words: tf.RaggedTensor
    row: tf.Tensor
    token_sentence: tf.Tensor


def test_tokens_of_the_best_sentences():
    lengths = [2, 1, 3, 1, 0, 2]
    row = tf.constant([0, 0, 0, 2, 2, 2])
    words = tf.RaggedTensor.from_row_lengths(tf.fill([9], "w"), lengths)
    found = Found(words, row, tf.constant(np.repeat(np.arange(6), lengths), tf.int32))
    probability = tf.constant([0.1, 0.7, 0.5, 0.6, 0.6, 0.0, 0.2, 0.3, 0.1])
    means = [0.4, 0.5, 0.4, 0.2, None, 0.2]
    assert np.allclose(means[1], 0.5)
    for limit, expected in (
        ([1, 5, 1], [0, 1, 0, 1, 0, 0]),  # of equal ones, the first
        ([2, 1, 2], [1, 1, 0, 1, 0, 1]),
        ([2**31 - 1, 1, 3], [1, 1, 1, 1, 1, 1]),
    ):
        kept = selection.in_best_sentences(found, probability, tf.constant(limit, tf.int64))
        assert kept.numpy().tolist() == np.repeat(np.array(expected, bool), lengths).tolist()
