"""The trigram in the graph, compared with `shared.text.ngram`."""

import doctest

import numpy as np
import pytest
import tensorflow as tf

from shared.errors import InputError
from shared.text import ngram_table
from shared.text.ngram import KneserNey
from shared.text.ngram_table import TrigramTable

SIZE = 7


@pytest.fixture(scope="module")
def table_and_sequences(tmp_path_factory):
    rng = np.random.default_rng(0)
    sequences = [rng.integers(SIZE - 1, size=rng.integers(1, 9)) for _ in range(60)]
    path = tmp_path_factory.mktemp("trigram") / "trigram.npz"
    return TrigramTable.build(sequences, SIZE, path), sequences


def test_equals_kneser_ney(table_and_sequences):
    table, sequences = table_and_sequences
    rng = np.random.default_rng(1)
    reference = KneserNey.fit(
        np.concatenate([np.append(s, SIZE) for s in sequences]), 3, SIZE + 1, SIZE
    )
    log_prob = tf.function(table, autograph=False)
    for _ in range(20):
        sequence = rng.integers(SIZE, size=6)  # the last id was never seen
        expected = reference.log_prob(np.append(sequence, SIZE))[:-1]
        context, actual = table.initial_context([1]), []
        for i in sequence:
            log_p, following = log_prob(
                [c[..., tf.newaxis] for c in context], tf.range(SIZE)[tf.newaxis]
            )
            actual.append(float(log_p[0, i]))
            context = [c[:, i] for c in following]
        np.testing.assert_allclose(actual, expected, rtol=1e-4)


def test_contexts_are_rows_of_the_tables(table_and_sequences):
    table, _ = table_and_sequences
    _, following = table(table.initial_context([1, 1]), tf.range(SIZE)[tf.newaxis])
    for rows, size in zip(following, table.context_sizes(), strict=True):
        assert 0 <= int(tf.reduce_min(rows)) <= int(tf.reduce_max(rows)) < size


def test_unigrams(table_and_sequences):
    table, sequences = table_and_sequences
    p = np.exp(table.unigram_log_prob(tf.range(SIZE)))
    counts = np.bincount(np.concatenate(sequences), minlength=SIZE)
    assert p.argmin() == counts.argmin() == SIZE - 1
    assert 0.5 < p.sum() < 1  # the rest is the end of a sequence


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"trigram\.npz is not a valid \.npz"):
        TrigramTable(tmp_path / "trigram.npz")


def test_no_sequence_to_count(tmp_path):
    with pytest.raises(ValueError, match="must contain a sequence of known ids"):
        TrigramTable.build([[], [3, -1]], SIZE, tmp_path / "trigram.npz")
    assert not list(tmp_path.iterdir())


def test_example():
    assert doctest.testmod(ngram_table) == (0, 7)
