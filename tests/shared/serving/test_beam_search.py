"""Beam search is compared with an exhaustive search and with the same search in plain Python."""

import doctest
import itertools
import math

import numpy as np
import pytest
import tensorflow as tf

from shared.serving import decoding
from shared.serving.decoding import beam_search

V, END, BANNED = 6, 0, 5
rng = np.random.default_rng(7)
MARKOV = rng.normal(size=(V, V)).astype(np.float32) * 1.5  # logits = MARKOV[token]
CLOCK = rng.normal(size=(4, V, V)).astype(np.float32) * 1.5  # logits = CLOCK[time % 4, token]


def markov(ids, states):
    return tf.ensure_shape(tf.gather(MARKOV, ids), [None, V]), states


def clock(ids, states):
    """A step function whose states are a dict of a counter and a matrix per row."""
    n, logits = states["n"], tf.gather_nd(CLOCK, tf.stack([states["n"] % 4, ids], axis=1))
    log = tf.concat([states["log"][:, 1:], tf.one_hot(ids, V)[:, tf.newaxis]], axis=1)
    return tf.ensure_shape(logits, [None, V]), {"n": n + 1, "log": log}


def initial_states(step, n):
    if step is markov:
        return [tf.zeros([n, 3])]
    return {"n": tf.zeros([n], tf.int32), "log": tf.zeros([n, 2, V])}


TABLES = {
    markov: lambda time, token: MARKOV[token],
    clock: lambda time, token: CLOCK[time % 4, token],
}
steps = pytest.mark.parametrize("step", TABLES, ids=["markov", "clock"])


def search(step, first, max_tokens=6, beam=3, **options):
    """Runs `beam_search` in a graph; returns a list of (tokens, score) for each row."""
    first = np.atleast_1d(np.asarray(first, np.int32))
    max_tokens = np.broadcast_to(np.asarray(max_tokens, np.int32), first.shape)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32)] * 2, autograph=False)
    def run(first, max_tokens):
        states = initial_states(step, tf.shape(first)[0])
        return beam_search(
            step, first, states, beam_width=beam, max_tokens=max_tokens, end_id=END, **options
        )

    ids, lengths, scores = (t.numpy() for t in run(first, max_tokens))
    assert ids.shape[:2] == lengths.shape == scores.shape == (len(first), beam)
    real = np.arange(ids.shape[2]) < lengths[..., None]
    assert (ids[~real & np.isfinite(scores)[..., None]] == END).all()
    return [
        [(tuple(i[:n].tolist()), float(s)) for i, n, s in zip(*row, strict=True)]
        for row in zip(ids, lengths, scores, strict=True)
    ]


def log_softmax(x):
    return x - np.log(np.exp(np.asarray(x, float)).sum())


def penalty(n, power):
    return ((5 + n) / 6) ** power


def plain_search(step, first, max_tokens, beam, length_penalty=1.0, banned_id=None):
    """The same search with lists; a hypothesis is (tokens, log_p, finished)."""
    hypotheses = [((), 0.0, max_tokens == 0)]
    while not all(finished for *_, finished in hypotheses):
        candidates = []
        for tokens, log_p, finished in hypotheses:
            if finished:
                candidates.append((tokens, log_p, True))
                continue
            p = log_softmax(TABLES[step](len(tokens), tokens[-1] if tokens else first))
            for token in range(V):
                if token != banned_id:
                    longer = (*tokens, token)
                    finished = token == END or len(longer) == max_tokens
                    candidates.append((longer, log_p + p[token], finished))
        candidates.sort(key=lambda h: -h[1] / penalty(len(h[0]), length_penalty))
        hypotheses = candidates[:beam]
    return [
        (t[:-1] if t and t[-1] == END else t, log_p / penalty(len(t), length_penalty))
        for t, log_p, _ in hypotheses
    ]


def assert_equal(answer, expected):
    assert [t for t, _ in answer][: len(expected)] == [t for t, _ in expected]
    np.testing.assert_allclose(
        [s for _, s in answer][: len(expected)], [s for _, s in expected], rtol=1e-4
    )
    assert all(s == -math.inf and t == () for t, s in answer[len(expected) :])


@steps
@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 1.0, 2.0])
def test_equals_the_search_in_plain_python(step, length_penalty):
    for beam in (1, 2, 5, 9):
        answers = search(step, range(V), beam=beam, length_penalty=length_penalty)
        for first, answer in enumerate(answers):
            assert_equal(answer, plain_search(step, first, 6, beam, length_penalty))


@steps
def test_a_beam_that_holds_all_hypotheses_equals_an_exhaustive_search(step):
    """All sequences of three tokens, and all shorter ones that end with END."""
    for first in range(V):
        expected = []
        for tokens in itertools.product(range(V), repeat=3):
            n = tokens.index(END) + 1 if END in tokens else 3
            if any(tokens[n:]):
                continue  # a duplicate
            before = (first, *tokens)
            log_p = sum(log_softmax(TABLES[step](i, before[i]))[tokens[i]] for i in range(n))
            real = tuple(t for t in tokens[:n] if t != END)
            expected.append((real, log_p / penalty(n, 0.8)))
        expected.sort(key=lambda h: -h[1])
        [answer] = search(step, first, 3, beam=250, length_penalty=0.8)
        hypotheses = [h for h in answer if h[1] > -math.inf]
        # Sorted, because sequences with the same transitions in another order have equal scores.
        assert sorted(t for t, _ in hypotheses) == sorted(t for t, _ in expected)
        np.testing.assert_allclose([s for _, s in hypotheses], [s for _, s in expected], rtol=1e-4)


def test_a_wider_beam_has_better_scores():
    scores = [
        np.mean([row[0][1] for row in search(clock, range(V), 8, beam=beam)]) for beam in (1, 3, 30)
    ]
    assert scores[0] < scores[1] <= scores[2]


@steps
def test_rows_do_not_depend_on_their_batch(step):
    generator = np.random.default_rng(0)
    first, limits = generator.integers(0, V, 40), generator.integers(0, 9, 40)
    together = search(step, first, limits)
    for i in range(40):
        [alone] = search(step, first[i], limits[i]) if i % 8 == 0 else [together[i]]
        assert_equal(together[i], alone)
        assert_equal(together[i], plain_search(step, first[i], limits[i], 3))


def test_beam_one_is_greedy():
    for first, [(tokens, _)] in enumerate(search(markov, range(V), 7, beam=1)):
        expected = [int(MARKOV[first].argmax())]
        while expected[-1] != END and len(expected) < 7:
            expected.append(int(MARKOV[expected[-1]].argmax()))
        assert list(tokens) == [t for t in expected if t != END]


def test_a_banned_token_is_never_taken():
    answers = search(clock, range(V), banned_id=BANNED)
    for first, answer in enumerate(answers):
        assert_equal(answer, plain_search(clock, first, 6, 3, banned_id=BANNED))
        assert not any(BANNED in tokens for tokens, _ in answer)
    assert any(BANNED in tokens for row in search(clock, range(V)) for tokens, _ in row)


def test_the_loop_ends_with_the_longest_hypothesis():
    """It runs once for each token of the longest hypothesis and once for its end."""
    calls = []

    def counted(ids, states):
        calls.append(len(ids))
        logits, states = markov(ids, states)
        return logits + 3 * tf.one_hot(END, V), states

    for beam in (1, 4):
        calls.clear()
        first = tf.range(V)
        ids, lengths, _ = beam_search(
            counted,
            first,
            initial_states(markov, V),
            beam_width=beam,
            max_tokens=tf.fill([V], 100),
            end_id=END,
        )
        max_length = int(tf.reduce_max(lengths))
        assert 0 < max_length < 99
        assert len(calls) == max_length + 1 == ids.shape[2]


def test_no_tokens_and_no_rows():
    assert search(markov, [1, 2], 0, beam=1) == [[((), 0.0)]] * 2
    assert search(clock, [1, 1], [-1, -(2**31)], beam=1) == [[((), 0.0)]] * 2
    assert search(clock, [], 5) == []
    mixed = search(clock, [1, 1], [0, 6])
    assert mixed[0][0] == ((), 0.0)
    assert_equal(mixed[1], plain_search(clock, 1, 6, 3))


def test_example():
    assert doctest.testmod(decoding).failed == 0
