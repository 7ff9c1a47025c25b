"""Sampling is compared with the same algorithm in plain Python and with the probabilities."""

import numpy as np
import pytest
import tensorflow as tf

from shared.serving import decoding

V, END = 7, 0
rng = np.random.default_rng(3)
MARKOV = rng.normal(size=(V, V)).astype(np.float32) * 2  # logits = MARKOV[token]
CLOCK = rng.normal(size=(3, V, V)).astype(np.float32) * 2  # logits = CLOCK[time % 3, token]


def markov(ids, states):
    return tf.gather(MARKOV, ids), states


def clock(ids, states):
    """A step function whose states are a dict of a counter and a matrix per row."""
    n = states["n"]
    log = tf.concat([states["log"][:, 1:], tf.one_hot(ids, V)[:, tf.newaxis]], axis=1)
    logits = tf.gather_nd(CLOCK, tf.stack([n % 3, ids], axis=1))
    return logits, {"n": n + 1, "log": log}


SPEC = [
    tf.TensorSpec([None], t) for t in (*[tf.int32] * 2, tf.float32, tf.int32, tf.float32, tf.int32)
]


@tf.function(input_signature=SPEC, autograph=False)
def sample_markov(first, max_tokens, temperature, top_k, top_p, seed):
    logits, states = markov(first, tf.cast(first, tf.float32)[:, tf.newaxis])
    return decoding.sample(
        markov, logits, states, max_tokens=max_tokens, temperature=temperature,
        top_k=top_k, top_p=top_p, seed=seed, end_id=END,
    )  # fmt: skip


@tf.function(input_signature=SPEC, autograph=False)
def sample_clock(first, max_tokens, temperature, top_k, top_p, seed):
    logits, states = clock(first, {"n": 0 * first, "log": tf.zeros([tf.shape(first)[0], 2, V])})
    return decoding.sample(
        clock, logits, states, max_tokens=max_tokens, temperature=temperature,
        top_k=top_k, top_p=top_p, seed=seed, end_id=END,
    )  # fmt: skip


TOYS = {
    "markov": (sample_markov, lambda time, token: MARKOV[token]),
    "clock": (sample_clock, lambda time, token: CLOCK[time % 3, token]),
}


def rows(n, **changes):
    """Returns the parameters of n rows; the defaults sample from all tokens after token 1."""
    defaults = {"first": 1, "max_tokens": 8, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    values = {**defaults, "seed": np.arange(n), **changes}
    return {
        name: np.broadcast_to(np.asarray(values[name], dtype), n)
        for name, dtype in [
            ("first", "int32"), ("max_tokens", "int32"), ("temperature", "float32"),
            ("top_k", "int32"), ("top_p", "float32"), ("seed", "int32"),
        ]
    }  # fmt: skip


def random_rows(n, seed=11):
    """Returns n rows with random parameters."""
    generator = np.random.default_rng(seed)
    return rows(
        n,
        first=generator.integers(0, V, n),
        max_tokens=generator.integers(0, 15, n),
        temperature=generator.choice([0, 0.3, 1, 2.5], n),
        top_k=generator.choice([0, 1, 2, 3, V, 100], n),
        top_p=generator.choice([0, 0.3, 0.8, 0.99, 1], n),
        seed=generator.integers(-(2**31), 2**31 - 1, n),
    )


def run(function, parameters):
    """Returns a list of ids for each row, and the scores."""
    ids, lengths, scores = function(*map(tf.constant, parameters.values()))
    ids, lengths = ids.numpy(), lengths.numpy()
    assert ids.dtype == lengths.dtype == np.int32
    assert (ids[np.arange(ids.shape[1]) >= lengths[:, None]] == END).all()
    return [row[:n].tolist() for row, n in zip(ids, lengths, strict=True)], scores.numpy()


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def distribution(logits, temperature, top_k, top_p):
    """Returns the distribution that is sampled from, float64 (vocabulary,)."""
    logits = logits.astype(np.float64)
    order = np.argsort(-logits, kind="stable")
    p = softmax(logits / temperature)[order]
    if top_k > 0:
        p[top_k:] = 0
        p /= p.sum()
    size = 1  # of the smallest set whose probabilities sum to top_p
    while size < V and p[:size].sum() < top_p:
        size += 1
    p[size:] = 0
    result = np.zeros(V)
    result[order] = p / p.sum()
    return result


def reference(logits_of, first, max_tokens, temperature, top_k, top_p, seed):
    """Samples one row in plain Python."""
    uniforms = tf.random.stateless_uniform([15], [seed, 0], alg="philox").numpy()
    token, answer, score = first, [], 0.0
    for time, u in enumerate(uniforms[:max_tokens]):
        logits = logits_of(time, token).astype(np.float64)
        if temperature <= 0:
            token = int(np.argmax(logits))
        else:
            p = distribution(logits, temperature, top_k, top_p)
            order = np.argsort(-logits, kind="stable")
            token = int(order[np.flatnonzero(np.cumsum(p[order]) > u)[0]])
        score += np.log(softmax(logits)[token])
        if token == END:
            break
        answer.append(token)
    return answer, score


@pytest.mark.parametrize("name", TOYS)
def test_equals_sampling_in_plain_python(name):
    function, logits_of = TOYS[name]
    parameters = random_rows(200)
    answers, scores = run(function, parameters)
    for i, row in enumerate(zip(*(c.tolist() for c in parameters.values()), strict=True)):
        answer, score = reference(logits_of, *row)
        assert answers[i] == answer, row
        np.testing.assert_allclose(scores[i], score, rtol=1e-4, atol=1e-5)
    # The rows are of all kinds: cut at max_tokens, ended at once, ended later.
    lengths = np.array(list(map(len, answers)))
    assert {0, 1, 2} <= set(lengths)
    assert (lengths == parameters["max_tokens"]).sum() > 20
    assert ((lengths < parameters["max_tokens"]) & (lengths > 0)).sum() > 10


@pytest.mark.parametrize(
    "parameters",
    [
        {"temperature": 0},
        {"temperature": -1},
        {"temperature": 0, "top_k": 3, "top_p": 0.5},
        {"top_k": 1},
        {"top_k": 1, "temperature": 5},
        {"top_p": 0},
        {"top_p": 1e-6},
        {"temperature": 1e-7},
        {"temperature": 1e-38},
        {"temperature": 1e-45},
        {"temperature": 1e-6},
        {"temperature": np.nan},
        {"top_p": np.nan},
    ],
)
def test_parameters_that_are_greedy(parameters):
    expected = []
    for first in range(V):
        token, answer = first, []
        while len(answer) < 8 and (token := int(np.argmax(MARKOV[token]))) != END:
            answer.append(token)
        expected.append(answer)
    assert max(map(len, expected)) > 1
    answers, scores = run(sample_markov, rows(V, first=np.arange(V), **parameters))
    assert answers == expected
    assert np.isfinite(scores).all()


def test_invalid_parameters_do_not_affect_other_rows():
    parameters = random_rows(12)
    expected, scores = run(sample_markov, parameters)
    invalid = rows(
        6,
        temperature=[np.nan, np.inf, 1e-40, -np.inf, 1, 1],
        top_p=[1, 1, 1, 1, np.nan, -1],
        top_k=[-5, 2**31 - 1, 0, 0, 0, 0],
        max_tokens=[3, 4, 5, 6, -1, -(2**31)],
    )
    both = {name: np.concatenate([invalid[name], parameters[name]]) for name in invalid}
    answers, all_scores = run(sample_markov, both)
    assert answers[6:] == expected
    np.testing.assert_allclose(all_scores[6:], scores, rtol=1e-5)
    assert answers[4:6] == [[], []]


def chi_square(samples, p):
    """Returns the chi-square statistic and its 99.9% quantile (Wilson & Hilferty 1931)."""
    expected = p[p > 0] * len(samples)
    counts = np.bincount(samples, minlength=len(p))
    assert counts[p == 0].sum() == 0, "a token with probability 0 was sampled"
    assert expected.min() > 5
    d = len(expected) - 1
    limit = d * (1 - 2 / (9 * d) + 3.09 * (2 / (9 * d)) ** 0.5) ** 3
    return ((counts[p > 0] - expected) ** 2 / expected).sum(), limit


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"),
    [(1, 0, 1), (2, 0, 1), (1, 3, 1), (1, 0, 0.8), (3, 4, 0.9)],
)
def test_frequencies_equal_the_probabilities(temperature, top_k, top_p):
    options = rows(4000, max_tokens=1, temperature=temperature, top_k=top_k, top_p=top_p, first=2)
    answers, _ = run(sample_markov, options)
    samples = np.array([answer[0] if answer else END for answer in answers])
    statistic, limit = chi_square(samples, distribution(MARKOV[2], temperature, top_k, top_p))
    assert statistic < limit
    # The test has power: it detects another temperature.
    if (top_k, top_p) == (0, 1):
        other = distribution(MARKOV[2], temperature * 1.3, top_k, top_p)
        statistic, limit = chi_square(samples, other)
        assert statistic > limit


def test_samples_are_independent():
    def flat(ids, states):
        return tf.zeros([tf.shape(ids)[0], 5]), states

    @tf.function
    def sample(n):
        logits, states = flat(tf.range(n), tf.zeros([n]))
        return decoding.sample(
            flat, logits, states, max_tokens=tf.fill([n], 3), temperature=tf.ones([n]),
            top_k=tf.zeros([n], tf.int32), top_p=tf.ones([n]), seed=tf.range(n), end_id=-1,
        )  # fmt: skip

    ids = sample(tf.constant(4000))[0].numpy()
    for a, b in (0, 1), (1, 2), (0, 2):
        statistic, limit = chi_square(ids[:, a] * 5 + ids[:, b], np.full(25, 1 / 25))
        assert statistic < limit
    # Rows with consecutive seeds are independent too.
    statistic, limit = chi_square(ids[:-1, 0] * 5 + ids[1:, 0], np.full(25, 1 / 25))
    assert statistic < limit


@pytest.mark.parametrize("name", TOYS)
def test_rows_do_not_depend_on_batch_or_order(name):
    function, _ = TOYS[name]
    parameters = random_rows(16, seed=4)
    answers, scores = run(function, parameters)
    for i in range(16):
        [answer], [score] = run(function, {k: v[i : i + 1] for k, v in parameters.items()})
        assert answer == answers[i]
        np.testing.assert_allclose(score, scores[i], rtol=1e-5)
    order = np.random.default_rng(0).permutation(16)
    permuted, _ = run(function, {k: v[order] for k, v in parameters.items()})
    assert permuted == [answers[i] for i in order]


def test_equal_seeds_give_equal_samples():
    answers, _ = run(sample_markov, rows(3, seed=[5, 5, 6], temperature=3, max_tokens=20))
    assert answers[0] == answers[1] != answers[2]


def test_no_rows_and_no_tokens():
    ids, lengths, scores = sample_markov(*(tf.constant(v) for v in rows(0).values()))
    assert (ids.shape[0], lengths.shape, scores.shape) == (0, (0,), (0,))
    ids, lengths, scores = sample_clock(*(tf.constant(v) for v in rows(3, max_tokens=0).values()))
    assert ids.shape == (3, 0)
    assert lengths.numpy().tolist() == scores.numpy().tolist() == [0, 0, 0]


def test_a_row_of_nan_does_not_affect_other_rows():
    def broken(ids, states):
        logits = tf.gather(MARKOV, ids)
        return tf.where(states > 0, np.nan, logits), states

    p = {name: tf.constant(column) for name, column in rows(8, temperature=2).items()}
    first, bad = p.pop("first"), tf.constant([[0.0], [1.0]] * 4)
    ids, lengths, scores = decoding.sample(broken, *broken(first, bad), end_id=END, **p)
    expected, expected_scores = run(sample_markov, rows(8, temperature=2))
    for i in range(0, 8, 2):
        assert ids[i, : lengths[i]].numpy().tolist() == expected[i]
        np.testing.assert_allclose(scores[i], expected_scores[i], rtol=1e-5)


def test_half_precision_logits():
    def bfloat16(ids, states):
        return tf.cast(tf.gather(MARKOV, ids), tf.bfloat16), states

    p = {name: tf.constant(column) for name, column in rows(20, temperature=0).items()}
    first = p.pop("first")
    _, lengths, scores = decoding.sample(
        bfloat16, *bfloat16(first, tf.zeros([20, 1])), end_id=END, **p
    )
    assert scores.dtype == tf.float32
    exact, exact_scores = run(sample_markov, rows(20, temperature=0))
    assert lengths.numpy().tolist() == list(map(len, exact))
    np.testing.assert_allclose(scores.numpy(), exact_scores, rtol=0.02)
