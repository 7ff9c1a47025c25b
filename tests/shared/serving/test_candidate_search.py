"""Beam search over candidates, compared with the search through all sequences."""

import doctest
import itertools

import numpy as np
import tensorflow as tf

from shared.serving import candidate_search
from shared.serving.candidate_search import candidate_beam_search


def random_problem(rng, batch, steps, candidates):
    """Returns items (batch, steps, candidates), and scores (batch, steps, parity, previous, candidates)."""
    items = rng.permuted(np.tile(np.arange(3 * candidates), (batch, steps, 1)), axis=2)
    scores = rng.normal(size=(batch, steps, 2, 3 * candidates + 1, candidates))
    return items[..., :candidates].astype(np.int32), scores.astype(np.float32)


def search(items, scores, length, beam_width):
    """A score depends on the previous item, and on whether the sum of all previous items is odd."""
    items, scores = tf.constant(items), tf.constant(scores)
    batch, steps, _ = items.shape

    def expand(time, state):
        previous, odd = state
        now = tf.tile(items[:, time, tf.newaxis], [1, beam_width, 1])
        of_parity = tf.gather(scores[:, time], odd, batch_dims=1)
        now_scores = tf.gather(of_parity, previous + 1, batch_dims=2)
        return now, now_scores, (now, (odd[..., tf.newaxis] + now) % 2)

    state = tf.fill([batch, beam_width], -1), tf.zeros([batch, beam_width], tf.int32)
    sequences, totals = tf.function(candidate_beam_search, autograph=False)(
        expand, state, tf.constant(length, tf.int32), steps, beam_width
    )
    return sequences.numpy(), totals.numpy()


def score_of(path, scores):
    total, previous, odd = 0.0, -1, 0
    for time, (candidate, item) in enumerate(path):
        odd = (odd + max(previous, 0)) % 2
        total += scores[time, odd, previous + 1, candidate]
        previous = item
    return total


def exhaustive(items, scores, length):
    """Returns all sequences of one row, the best first: (score, items)."""
    steps = [list(enumerate(row)) for row in items[:length]]
    sequences = [
        (score_of(path, scores), [item for _, item in path]) for path in itertools.product(*steps)
    ]
    return sorted(sequences, key=lambda pair: -pair[0])


def test_a_wide_beam_finds_the_best():
    items, scores = random_problem(np.random.default_rng(0), batch=4, steps=5, candidates=3)
    length = [5, 3, 1, 0]
    sequences, totals = search(items, scores, length, beam_width=243)
    for row, n in enumerate(length):
        best = exhaustive(items[row], scores[row], n)
        for i, (score, path) in enumerate(best[:5]):
            np.testing.assert_allclose(totals[row, i], score, rtol=1e-4)
            assert sequences[row, i, :n].tolist() == path
        assert np.isneginf(totals[row, len(best) :]).all()


def test_a_beam_of_one_is_greedy():
    items, scores = random_problem(np.random.default_rng(1), batch=1, steps=6, candidates=4)
    sequences, totals = search(items, scores, [6], beam_width=1)
    path = []
    for time in range(6):
        expansions = [[*path, pair] for pair in enumerate(items[0, time])]
        path = max(expansions, key=lambda expansion: score_of(expansion, scores[0]))
    assert sequences[0, 0].tolist() == [item for _, item in path]
    np.testing.assert_allclose(totals[0, 0], score_of(path, scores[0]), rtol=1e-5)


def test_rows_do_not_depend_on_each_other():
    items, scores = random_problem(np.random.default_rng(2), batch=6, steps=7, candidates=4)
    length = np.array([7, 2, 5, 1, 7, 4])
    together, totals = search(items, scores, length, beam_width=3)
    for row, n in enumerate(length):
        single, total = search(items[row : row + 1, :n], scores[row : row + 1, :n], [n], 3)
        np.testing.assert_array_equal(together[row, :, :n], single[0])
        np.testing.assert_allclose(totals[row], total[0], rtol=1e-5)


def test_padding_candidates_are_not_chosen():
    scores = np.tile(np.array([0.0, -np.inf, 1.0], np.float32), (1, 2, 2, 10, 1))
    items = np.array([[[1, 2, 3], [4, 5, 6]]], np.int32)
    sequences, totals = search(items, scores, [2], beam_width=8)
    finite = np.isfinite(totals[0])
    assert finite.sum() == 4
    assert set(sequences[0][finite].ravel()) == {1, 3, 4, 6}


def test_example():
    assert doctest.testmod(candidate_search) == (0, 5)
