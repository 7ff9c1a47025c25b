"""Sampling against the same algorithm in plain Python, on toy step functions."""

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
    """States of another kind: a dict with an integer counter and a matrix for each row."""
    n = states["n"]
    log = tf.concat([states["log"][:, 1:], tf.one_hot(ids, V)[:, tf.newaxis]], axis=1)
    logits = tf.gather_nd(CLOCK, tf.stack([n % 3, ids], axis=1))
    return logits, {"n": n + 1, "log": log}


SPEC = [
    tf.TensorSpec([None], t) for t in (*[tf.int32] * 2, tf.float32, tf.int32, tf.float32, tf.int32)
]


@tf.function(input_signature=SPEC)
def sample_markov(first, max_tokens, temperature, top_k, top_p, seed):
    logits, states = markov(first, tf.cast(first, tf.float32)[:, tf.newaxis])
    return decoding.sample(
        markov, logits, states, max_tokens=max_tokens, temperature=temperature,
        top_k=top_k, top_p=top_p, seed=seed, end_id=END,
    )  # fmt: skip


@tf.function(input_signature=SPEC)
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


def rows(n, **given):
    """The parameters of n rows: those given, and else plain sampling from token 1."""
    plain = {"first": 1, "max_tokens": 8, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    given = {**plain, "seed": np.arange(n), **given}
    return {
        spec[0]: np.broadcast_to(np.asarray(given[spec[0]], spec[1]), n)
        for spec in [
            ("first", "int32"), ("max_tokens", "int32"), ("temperature", "float32"),
            ("top_k", "int32"), ("top_p", "float32"), ("seed", "int32"),
        ]
    }  # fmt: skip


def random_rows(n, seed=11):
    """Rows with every parameter at random."""
    r = np.random.default_rng(seed)
    return rows(
        n,
        first=r.integers(0, V, n),
        max_tokens=r.integers(0, 15, n),
        temperature=r.choice([0, 0.3, 1, 2.5], n),
        top_k=r.choice([0, 1, 2, 3, V, 100], n),
        top_p=r.choice([0, 0.3, 0.8, 0.99, 1], n),
        seed=r.integers(-(2**31), 2**31 - 1, n),
    )


def run(function, parameters):
    """Answers of rows: a list of ids for each, and the scores."""
    ids, lengths, scores = function(*map(tf.constant, parameters.values()))
    ids, lengths = ids.numpy(), lengths.numpy()
    assert ids.dtype == lengths.dtype == np.int32
    assert (ids[np.arange(ids.shape[1]) >= lengths[:, None]] == END).all()
    return [row[:n].tolist() for row, n in zip(ids, lengths, strict=True)], scores.numpy()


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def kept(logits, temperature, top_k, top_p):
    """The distribution that is drawn from, float64 (vocabulary,)."""
    logits = logits.astype(np.float64)
    order = np.argsort(-logits, kind="stable")
    p = softmax(logits / temperature)[order]
    if top_k > 0:
        p[top_k:] = 0
        p /= p.sum()
    size = 1  # of the smallest set that holds top_p
    while size < V and p[:size].sum() < top_p:
        size += 1
    p[size:] = 0
    result = np.zeros(V)
    result[order] = p / p.sum()
    return result


def reference(logits_of, first, max_tokens, temperature, top_k, top_p, seed):
    """One row, one token after the other."""
    uniforms = tf.random.stateless_uniform([15], [seed, 0], alg="philox").numpy()
    token, answer, score = first, [], 0.0
    for time, u in enumerate(uniforms[:max_tokens]):
        logits = logits_of(time, token).astype(np.float64)
        if temperature <= 0:
            token = int(np.argmax(logits))
        else:
            p = kept(logits, temperature, top_k, top_p)
            order = np.argsort(-logits, kind="stable")
            token = int(order[np.flatnonzero(np.cumsum(p[order]) > u)[0]])
        score += np.log(softmax(logits)[token])
        if token == END:
            break
        answer.append(token)
    return answer, score


@pytest.mark.parametrize("name", TOYS)
def test_as_in_plain_python(name):
    function, logits_of = TOYS[name]
    parameters = random_rows(200)
    answers, scores = run(function, parameters)
    for i, row in enumerate(zip(*(c.tolist() for c in parameters.values()), strict=True)):
        answer, score = reference(logits_of, *row)
        assert answers[i] == answer, row
        np.testing.assert_allclose(scores[i], score, rtol=1e-4, atol=1e-5)
    # The rows were not all of one kind: cut, ended at once, ended on the way.
    lengths = np.array(list(map(len, answers)))
    assert {0, 1, 2} <= set(lengths)
    assert (lengths == parameters["max_tokens"]).sum() > 20
    assert ((lengths < parameters["max_tokens"]) & (lengths > 0)).sum() > 10


@pytest.mark.parametrize(
    "same_as_greedy",
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
def test_greedy_in_other_words(same_as_greedy):
    expected = []
    for first in range(V):
        token, answer = first, []
        while len(answer) < 8 and (token := int(np.argmax(MARKOV[token]))) != END:
            answer.append(token)
        expected.append(answer)
    assert max(map(len, expected)) > 1
    answers, scores = run(sample_markov, rows(V, first=np.arange(V), **same_as_greedy))
    assert answers == expected
    assert np.isfinite(scores).all()


def test_odd_parameters_harm_no_other_row():
    parameters = random_rows(12)
    expected, scores = run(sample_markov, parameters)
    odd = rows(
        6,
        temperature=[np.nan, np.inf, 1e-40, -np.inf, 1, 1],
        top_p=[1, 1, 1, 1, np.nan, -1],
        top_k=[-5, 2**31 - 1, 0, 0, 0, 0],
        max_tokens=[3, 4, 5, 6, -1, -(2**31)],
    )
    both = {name: np.concatenate([odd[name], parameters[name]]) for name in odd}
    answers, more_scores = run(sample_markov, both)
    assert answers[6:] == expected
    np.testing.assert_allclose(more_scores[6:], scores, rtol=1e-5)
    assert answers[4:6] == [[], []]


def chi_square(drawn, p):
    """The statistic, and the value that it exceeds once in a thousand (Wilson & Hilferty 1931)."""
    expected = p[p > 0] * len(drawn)
    counts = np.bincount(drawn, minlength=len(p))
    assert counts[p == 0].sum() == 0, "drawn what has no probability"
    assert expected.min() > 5
    d = len(expected) - 1
    limit = d * (1 - 2 / (9 * d) + 3.09 * (2 / (9 * d)) ** 0.5) ** 3
    return ((counts[p > 0] - expected) ** 2 / expected).sum(), limit


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"),
    [(1, 0, 1), (2, 0, 1), (1, 3, 1), (1, 0, 0.8), (3, 4, 0.9)],
)
def test_frequencies_are_the_probabilities(temperature, top_k, top_p):
    many = rows(4000, max_tokens=1, temperature=temperature, top_k=top_k, top_p=top_p, first=2)
    answers, _ = run(sample_markov, many)
    drawn = np.array([answer[0] if answer else END for answer in answers])
    statistic, limit = chi_square(drawn, kept(MARKOV[2], temperature, top_k, top_p))
    assert statistic < limit
    # The test has power: another temperature is told apart.
    if (top_k, top_p) == (0, 1):
        statistic, limit = chi_square(drawn, kept(MARKOV[2], temperature * 1.3, top_k, top_p))
        assert statistic > limit


def test_one_draw_says_nothing_of_the_next():
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
    # Nor does a row of the next one, whose seed is one more.
    statistic, limit = chi_square(ids[:-1, 0] * 5 + ids[1:, 0], np.full(25, 1 / 25))
    assert statistic < limit


@pytest.mark.parametrize("name", TOYS)
def test_a_batch_is_its_rows_in_any_order(name):
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


def test_equal_seeds_draw_alike_and_others_do_not():
    answers, _ = run(sample_markov, rows(3, seed=[5, 5, 6], temperature=3, max_tokens=20))
    assert answers[0] == answers[1] != answers[2]


def test_a_row_does_not_know_how_long_its_neighbours_are():
    """The uniforms of a row are the same however many are drawn for the longest row."""

    def never_ends(ids, states):
        return tf.tile(MARKOV[:1], [tf.shape(ids)[0], 1]), states

    @tf.function(input_signature=[SPEC[0]] * 2)
    def sample(max_tokens, seed):
        logits, states = never_ends(seed, tf.zeros([tf.shape(seed)[0], 1]))
        ones = tf.ones_like(seed, tf.float32)
        return decoding.sample(
            never_ends, logits, states, max_tokens=max_tokens, temperature=3 * ones,
            top_k=0 * seed, top_p=ones, seed=seed, end_id=-1,
        )  # fmt: skip

    for length in 1, 2, 3, 4, 5, 8, 13, 64:
        [alone], [score] = run_raw(sample, [length], [7])
        assert len(alone) == length
        for neighbour in 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 17, 100, 301:
            for at in 0, 1:
                lengths, seeds = [neighbour, neighbour], [1, 1]
                lengths[at], seeds[at] = length, 7
                answers, scores = run_raw(sample, lengths, seeds)
                assert answers[at] == alone, (length, neighbour)
                np.testing.assert_allclose(scores[at], score, rtol=1e-5)
                assert len(answers[1 - at]) == neighbour
    # And a shorter answer is the beginning of a longer one.
    answers, _ = run_raw(sample, range(65), [7] * 65)
    assert all(answer == alone[:n] for n, answer in enumerate(answers))


def run_raw(function, max_tokens, seed):
    ids, lengths, scores = function(
        tf.constant(list(max_tokens), tf.int32), tf.constant(seed, tf.int32)
    )
    answers = [r[:n].tolist() for r, n in zip(ids.numpy(), lengths.numpy(), strict=True)]
    return answers, scores.numpy()


@pytest.mark.parametrize("temperature", [0.0, 3.0])
def test_an_id_that_is_never_drawn(temperature):
    """Where it is the likeliest by far; the score is still that of the model as it is."""
    logits = tf.constant([[0.0, 1.0, 9.0, 1.0]] * 200)
    n = len(logits)
    ids, lengths, score = decoding.sample(
        lambda ids, states: (logits, states), logits, [tf.zeros([n, 1])],
        max_tokens=tf.fill([n], 3), temperature=tf.fill([n], temperature), top_k=tf.fill([n], 0),
        top_p=tf.ones([n]), seed=tf.range(n), end_id=0, banned_id=2,
    )  # fmt: skip
    real = tf.sequence_mask(lengths, tf.shape(ids)[1])
    drawn = set(tf.boolean_mask(ids, real).numpy())
    assert drawn == ({1} if temperature == 0 else {1, 3})
    if temperature == 0:
        log_p = tf.nn.log_softmax(logits)[0, 1]
        np.testing.assert_allclose(score, np.full(n, 3 * log_p), rtol=1e-5)


def test_no_rows_and_no_tokens():
    ids, lengths, scores = sample_markov(*(tf.constant(v) for v in rows(0).values()))
    assert (ids.shape[0], lengths.shape, scores.shape) == (0, (0,), (0,))
    ids, lengths, scores = sample_clock(*(tf.constant(v) for v in rows(3, max_tokens=0).values()))
    assert ids.shape == (3, 0)
    assert lengths.numpy().tolist() == scores.numpy().tolist() == [0, 0, 0]


def test_a_row_of_nan_harms_no_other_row():
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
    def half(ids, states):
        return tf.cast(tf.gather(MARKOV, ids), tf.bfloat16), states

    p = {name: tf.constant(column) for name, column in rows(20, temperature=0).items()}
    first = p.pop("first")
    _, lengths, scores = decoding.sample(half, *half(first, tf.zeros([20, 1])), end_id=END, **p)
    assert scores.dtype == tf.float32
    exact, exact_scores = run(sample_markov, rows(20, temperature=0))
    assert lengths.numpy().tolist() == list(map(len, exact))
    np.testing.assert_allclose(scores.numpy(), exact_scores, rtol=0.02)
