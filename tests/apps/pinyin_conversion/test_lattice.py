"""Beam search over sequences of a known length, against all sequences there are."""

import itertools

import numpy as np
import tensorflow as tf

from apps.pinyin_conversion.lattice import beam_search


def setup(rng, batch, steps, choices):
    """Random items (batch, steps, choices), and scores (batch, steps, parity, before, choices)."""
    items = rng.permuted(np.tile(np.arange(3 * choices), (batch, steps, 1)), axis=2)[..., :choices]
    scores = rng.normal(size=(batch, steps, 2, 3 * choices + 1, choices))
    return items.astype(np.int32), scores.astype(np.float32)


def search(items, scores, length, beam):
    """A score depends on the item before, and on whether the sum of all before is odd."""
    items, scores = tf.constant(items), tf.constant(scores)
    batch, steps, _ = items.shape

    def expand(time, chosen):
        before, odd = chosen
        now = tf.tile(items[:, time, tf.newaxis], [1, beam, 1])
        of_both = tf.gather(tf.gather(scores[:, time], odd, batch_dims=1), before + 1, batch_dims=2)
        return now, of_both, (now, (odd[..., tf.newaxis] + now) % 2)

    found, total = tf.function(beam_search)(
        expand, (tf.fill([batch, beam], -1), tf.zeros([batch, beam], tf.int32)),
        tf.constant(length, tf.int32), steps, beam,
    )  # fmt: skip
    return found.numpy(), total.numpy()


def score_of(path, scores):
    total, before, odd = 0.0, -1, 0
    for time, (choice, item) in enumerate(path):
        odd = (odd + max(before, 0)) % 2
        total += scores[time, odd, before + 1, choice]
        before = item
    return total


def exhaustive(items, scores, length):
    """All sequences of one row, the best first: (score, items)."""
    steps = [list(enumerate(row)) for row in items[:length]]
    found = [
        (score_of(path, scores), [item for _, item in path]) for path in itertools.product(*steps)
    ]
    return sorted(found, key=lambda pair: -pair[0])


def test_a_wide_beam_finds_the_best():
    items, scores = setup(np.random.default_rng(0), batch=4, steps=5, choices=3)
    length = [5, 3, 1, 0]
    found, total = search(items, scores, length, beam=243)
    for row, n in enumerate(length):
        best = exhaustive(items[row], scores[row], n)
        for i, (score, path) in enumerate(best[:5]):
            np.testing.assert_allclose(total[row, i], score, rtol=1e-4)
            assert found[row, i, :n].tolist() == path
        assert np.isneginf(total[row, len(best) :]).all()


def test_a_beam_of_one_is_greedy():
    items, scores = setup(np.random.default_rng(1), batch=1, steps=6, choices=4)
    found, total = search(items, scores, [6], beam=1)
    path = []
    for time in range(6):
        ways = [[*path, (choice, item)] for choice, item in enumerate(items[0, time])]
        path = max(ways, key=lambda way: score_of(way, scores[0]))
    assert found[0, 0].tolist() == [item for _, item in path]
    np.testing.assert_allclose(total[0, 0], score_of(path, scores[0]), rtol=1e-5)


def test_rows_do_not_depend_on_each_other():
    items, scores = setup(np.random.default_rng(2), batch=6, steps=7, choices=4)
    length = np.array([7, 2, 5, 1, 7, 4])
    together, totals = search(items, scores, length, beam=3)
    for row, n in enumerate(length):
        alone, total = search(items[row : row + 1, :n], scores[row : row + 1, :n], [n], beam=3)
        np.testing.assert_array_equal(together[row, :, :n], alone[0])
        np.testing.assert_allclose(totals[row], total[0], rtol=1e-5)


def test_what_is_no_choice_is_not_chosen():
    scores = np.tile(np.array([0.0, -np.inf, 1.0], np.float32), (1, 2, 2, 10, 1))
    items = np.array([[[1, 2, 3], [4, 5, 6]]], np.int32)
    found, total = search(items, scores, [2], beam=8)
    there = np.isfinite(total[0])
    assert there.sum() == 4
    assert set(found[0][there].ravel()) == {1, 3, 4, 6}
