"""Sampling: rows do not depend on each other, a banned id is never sampled, any parameter is accepted."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from shared.serving import decoding

LOGITS = np.random.default_rng(3).normal(size=(1, 7)).astype(np.float32) * 2


def run(function, max_tokens, seed):
    ids, lengths, scores = function(
        tf.constant(list(max_tokens), tf.int32), tf.constant(seed, tf.int32)
    )
    answers = [r[:n].tolist() for r, n in zip(ids.numpy(), lengths.numpy(), strict=True)]
    return answers, scores.numpy()


def test_samples_do_not_depend_on_the_length_of_other_rows():
    """The random numbers of a row do not depend on how many the longest row needs."""

    def constant_step(ids, states):
        return tf.tile(LOGITS, [tf.shape(ids)[0], 1]), states

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32)] * 2, autograph=False)
    def sample(max_tokens, seed):
        logits, states = constant_step(seed, tf.zeros([tf.shape(seed)[0], 1]))
        ones = tf.ones_like(seed, tf.float32)
        return decoding.sample(
            constant_step, logits, states, max_tokens=max_tokens, temperature=3 * ones,
            top_k=0 * seed, top_p=ones, seed=seed, end_id=-1,
        )  # fmt: skip

    for length in 1, 2, 3, 4, 5, 8, 13, 64:
        [alone], [score] = run(sample, [length], [7])
        assert len(alone) == length
        for other in 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 17, 100, 301:
            for index in 0, 1:
                lengths, seeds = [other, other], [1, 1]
                lengths[index], seeds[index] = length, 7
                answers, scores = run(sample, lengths, seeds)
                assert answers[index] == alone, (length, other)
                np.testing.assert_allclose(scores[index], score, rtol=1e-5)
                assert len(answers[1 - index]) == other
    # A shorter result is a prefix of a longer one.
    answers, _ = run(sample, range(65), [7] * 65)
    assert all(answer == alone[:n] for n, answer in enumerate(answers))


@pytest.mark.parametrize("temperature", [0.0, 3.0, 1e38, float("inf")])
def test_a_banned_id_is_never_sampled(temperature):
    """Even if it is the most probable; the score is still that of the unchanged distribution."""
    logits = tf.constant([[0.0, 1.0, 9.0, 1.0]] * 200)
    n = len(logits)
    ids, lengths, score = decoding.sample(
        lambda ids, states: (logits, states), logits, [tf.zeros([n, 1])],
        max_tokens=tf.fill([n], 3), temperature=tf.fill([n], temperature), top_k=tf.fill([n], 0),
        top_p=tf.ones([n]), seed=tf.range(n), end_id=0, banned_id=2,
    )  # fmt: skip
    real = tf.sequence_mask(lengths, tf.shape(ids)[1])
    samples = set(tf.boolean_mask(ids, real).numpy())
    assert samples == ({1} if temperature == 0 else {1, 3})
    if temperature == 0:
        log_p = tf.nn.log_softmax(logits)[0, 1]
        np.testing.assert_allclose(score, np.full(n, 3 * log_p), rtol=1e-5)


INF, NAN, LOW, HIGH = float("inf"), float("nan"), -(2**31), 2**31 - 1


def test_any_parameter_gives_a_finite_answer():
    values = itertools.product(
        [-1, LOW, 0, 3],  # max_tokens
        [NAN, INF, -INF, -1, 0, 1e-45, 1e-6, 1, 3e38],  # temperature
        [-1, LOW, HIGH, 0, 1],  # top_k
        [NAN, INF, -INF, -1, 0, 1e-45, 1, 2],  # top_p
        [LOW, -1, HIGH],  # seed
    )
    max_tokens, temperature, top_k, top_p, seed = (
        tf.constant(column, dtype)
        for column, dtype in zip(
            zip(*values, strict=True),
            (tf.int32, tf.float32, tf.int32, tf.float32, tf.int32),
            strict=True,
        )
    )
    n = len(seed)
    logits = tf.tile(LOGITS, [n, 1])
    ids, lengths, score = decoding.sample(
        lambda ids, states: (logits, states), logits, [tf.zeros([n, 1])], max_tokens=max_tokens,
        temperature=temperature, top_k=top_k, top_p=top_p, seed=seed, end_id=-1, banned_id=2,
    )  # fmt: skip
    assert np.isfinite(score).all()
    np.testing.assert_array_equal(lengths, np.maximum(max_tokens, 0))
    is_real = tf.sequence_mask(lengths, tf.shape(ids)[1])
    sampled = tf.boolean_mask(ids, is_real).numpy()
    assert set(sampled) == {0, 1, 3, 4, 5, 6}
    best = tf.argmax(LOGITS[0, [0, 1, 3, 4, 5, 6]]).numpy()
    best = [0, 1, 3, 4, 5, 6][best]
    is_greedy = ~(temperature >= 1e-6) | (top_k == 1) | ~(top_p > 1e-40)
    greedy = tf.boolean_mask(ids, is_real & is_greedy[:, tf.newaxis]).numpy()
    assert set(greedy) == {best}
