"""LinearChainCRF against all label sequences of short rows, and against finite differences."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from shared.layers.crf import LinearChainCRF, conditional_cross_entropy

B, T = 6, 5
LENGTH = np.array([5, 0, 3, 1, 4, 2], np.int32)


def random(*shape, seed=0, scale=1.0):
    return (scale * np.random.default_rng(seed).normal(size=shape)).astype(np.float32)


def crf_of(num_labels, scale=1.0):
    crf = LinearChainCRF(num_labels)
    crf.build()
    for i, weight in enumerate(crf.weights):
        weight.assign(random(*weight.shape, seed=i + 1, scale=scale))
    return crf


def labels_of(num_labels, seed=9):
    return np.random.default_rng(seed).integers(0, num_labels, (B, T)).astype(np.int32)


def score(crf, u, y):
    """s(y) as in the equations, in 64 bits, of label sequences y (..., time) of one row."""
    A, b, e = (np.asarray(w, np.float64) for w in (crf.transitions, crf.start, crf.end))
    y = np.asarray(y, int)
    n = y.shape[-1]
    if not n:
        return np.zeros(y.shape[:-1])
    total = b[y[..., 0]] + np.float64(u)[np.arange(n), y].sum(-1) + e[y[..., -1]]
    return total + A[y[..., :-1], y[..., 1:]].sum(-1)


def brute_force(crf, u):
    """All label sequences of a row, their log-probabilities, and log Z."""
    sequences = np.array(list(itertools.product(range(crf.num_labels), repeat=len(u))), int)
    scores = score(crf, u, sequences)
    log_z = np.logaddexp.reduce(scores)
    return sequences, scores - log_z, log_z


@pytest.fixture(params=[2, 3])
def crf(request):
    return crf_of(request.param)


@pytest.fixture(params=["eager", "graph"])
def run(request):
    return (lambda f: f) if request.param == "eager" else lambda f: tf.function(f, autograph=False)


def test_likelihood_and_partition_equal_the_sum_over_all_sequences(crf, run):
    u, y = random(B, T, crf.num_labels), labels_of(crf.num_labels)
    likelihood = run(crf.log_likelihood)(u, y, LENGTH)
    partition = run(crf.log_partition)(u, LENGTH)
    scores = run(crf.score)(u, y, LENGTH)
    for k, n in enumerate(LENGTH):
        _, _, log_z = brute_force(crf, u[k, :n])
        expected = score(crf, u[k, :n], y[k, :n])
        np.testing.assert_allclose(scores[k], expected, atol=1e-5)
        np.testing.assert_allclose(partition[k], log_z, atol=1e-5)
        np.testing.assert_allclose(likelihood[k], expected - log_z, atol=1e-5)


def test_the_output_is_the_probability_of_a_label_given_the_next(crf, run):
    u = random(B, T, crf.num_labels)
    log_p = np.asarray(run(crf)(u, LENGTH))
    for k, n in enumerate(LENGTH):
        np.testing.assert_array_equal(log_p[k, n:], 0)
        sequences, p, _ = brute_force(crf, u[k, :n])
        p = np.exp(p)
        for t, i, j in itertools.product(range(n), *2 * [range(crf.num_labels)]):
            given = sequences[:, t + 1] == j if t + 1 < n else np.ones(len(p), bool)
            expected = p[given & (sequences[:, t] == i)].sum() / p[given].sum()
            np.testing.assert_allclose(np.exp(log_p[k, t, i, j]), expected, atol=1e-5)


def test_marginals_equal_the_sum_over_all_sequences(crf, run):
    u = random(B, T, crf.num_labels)
    marginals = np.asarray(run(crf.marginals)(u, LENGTH))
    for k, n in enumerate(LENGTH):
        sequences, p, _ = brute_force(crf, u[k, :n])
        expected = np.zeros((T, crf.num_labels))
        for y, probability in zip(sequences, np.exp(p), strict=True):
            expected[np.arange(n), list(y)] += probability
        np.testing.assert_allclose(marginals[k], expected, atol=1e-5)


def test_viterbi_finds_the_best_of_all_sequences(crf, run):
    for seed in range(5):
        u = random(B, T, crf.num_labels, seed=seed)
        decoded = run(crf.decode)(u, LENGTH)
        assert decoded.dtype == tf.int32
        for k, n in enumerate(LENGTH):
            sequences, p, _ = brute_force(crf, u[k, :n])
            best = sequences[np.argmax(p)]
            assert decoded[k].numpy().tolist() == [*best, *[0] * (T - n)]


def loss(crf, u, y, length):
    return -tf.reduce_sum(crf.log_likelihood(u, y, length))


def test_gradients_equal_finite_differences(crf):
    u, y = tf.Variable(random(B, T, crf.num_labels)), labels_of(crf.num_labels)
    variables = [u, *crf.trainable_variables]

    @tf.function(autograph=False)
    def gradients():
        with tf.GradientTape() as tape:
            value = loss(crf, u, y, LENGTH)
        return tape.gradient(value, variables)

    def exact():
        rows = [(u.numpy()[k, :n], y[k, :n]) for k, n in enumerate(LENGTH)]
        return sum(brute_force(crf, x)[2] - score(crf, x, labels) for x, labels in rows)

    for variable, gradient in zip(variables, gradients(), strict=True):
        value = variable.numpy()
        for index in np.ndindex(value.shape):
            step = np.zeros_like(value)
            step[index] = 0.01
            variable.assign(value + step)
            above = exact()
            variable.assign(value - step)
            below = exact()
            np.testing.assert_allclose(gradient.numpy()[index], (above - below) / 0.02, atol=1e-3)
        variable.assign(value)


def test_the_gradient_at_the_logits_is_the_marginals_less_the_labels():
    crf, y = crf_of(3), labels_of(3)
    u = tf.constant(random(B, T, 3))
    with tf.GradientTape() as tape:
        tape.watch(u)
        value = loss(crf, u, y, LENGTH)
    expected = crf.marginals(u, LENGTH) - tf.one_hot(y, 3)
    expected *= tf.sequence_mask(LENGTH, T, tf.float32)[..., tf.newaxis]
    np.testing.assert_allclose(tape.gradient(value, u), expected, atol=1e-5)


NAMES = ("call", "score", "likelihood", "partition", "marginals", "decode")


def functions(crf, y):
    return {
        "call": crf,
        "score": lambda u, n: crf.score(u, y[: u.shape[0], : u.shape[1]], n),
        "likelihood": lambda u, n: crf.log_likelihood(u, y[: u.shape[0], : u.shape[1]], n),
        "partition": crf.log_partition,
        "marginals": crf.marginals,
        "decode": crf.decode,
    }


@pytest.mark.parametrize("name", NAMES)
def test_padding_and_other_rows_change_nothing(name):
    crf, y = crf_of(3), labels_of(3)
    u = random(B, T, 3)
    y = np.where(np.arange(T) < LENGTH[:, np.newaxis], y, -7)  # the labels at padding are not read
    u[np.arange(T) >= LENGTH[:, np.newaxis]] = 1e4
    batch = np.asarray(functions(crf, y)[name](u, LENGTH))
    for k, n in enumerate(LENGTH):
        function = functions(crf, y[k : k + 1])[name]
        single = np.asarray(function(u[k : k + 1], LENGTH[k : k + 1]))
        unpadded = np.asarray(function(u[k : k + 1, :n], None))
        np.testing.assert_allclose(batch[k], single[0], atol=1e-6)
        real = batch[k] if batch.ndim == 1 else batch[k, :n]
        np.testing.assert_allclose(real, unpadded[0], atol=1e-6)


@pytest.mark.parametrize(("batch", "time"), [(0, 4), (3, 0), (0, 0)])
@pytest.mark.parametrize("name", NAMES)
def test_empty_batches(name, batch, time, run):
    function = run(functions(crf_of(2), np.zeros([batch, time], np.int32))[name])
    result = function(np.zeros([batch, time, 2], np.float32), np.zeros([batch], np.int32))
    sizes = {"call": (batch, time, 2, 2), "marginals": (batch, time, 2), "decode": (batch, time)}
    assert result.shape == sizes.get(name, (batch,))


def test_without_transitions_the_labels_are_independent():
    crf, u, y = crf_of(3, scale=0), random(B, T, 3), labels_of(3)
    np.testing.assert_allclose(crf.marginals(u), tf.nn.softmax(u), atol=1e-6)
    np.testing.assert_array_equal(crf.decode(u), np.argmax(u, 2))
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(y, u)
    np.testing.assert_allclose(conditional_cross_entropy(y, crf(u)), losses, atol=1e-5)


def test_long_rows_and_forbidden_transitions_are_exact():
    crf, n = crf_of(2), 5000
    crf.transitions.assign([[0.0, -1e9], [-1e9, 0.0]])
    u, ones = tf.constant(random(2, n, 2, scale=5)), np.ones([2, n], np.int32)
    compute = tf.function(
        lambda: (crf.decode(u), crf.log_likelihood(u, ones), crf.marginals(u), crf(u)),
        autograph=False,
    )
    decoded, likelihood, marginals, log_p = compute()
    total = np.asarray(u, np.float64).sum(1) + crf.start.numpy() + crf.end.numpy()
    np.testing.assert_array_equal(decoded, np.repeat(np.argmax(total, 1)[:, np.newaxis], n, 1))
    expected = -np.logaddexp(0, total[:, 0] - total[:, 1])
    np.testing.assert_allclose(likelihood, expected, rtol=1e-4, atol=0.01)
    assert np.isfinite(log_p).all()
    np.testing.assert_allclose(tf.reduce_sum(marginals, 2), 1, atol=1e-4)


def test_a_model_learns_transitions_that_its_logits_do_not_show(tmp_path):
    """Labels come in pairs, 0 0 1 1 0 0 ..., and the input says nothing."""
    y = np.tile([[0, 0, 1, 1, 0, 0, 1, 1, 0, 0]], [32, 1])
    x = np.zeros([32, 10, 1], np.float32)
    inputs, length = keras.Input((None, 1)), keras.Input((), dtype="int32")
    crf = LinearChainCRF(2, name="crf")
    model = keras.Model([inputs, length], crf(keras.layers.Dense(2)(inputs), length))
    model.compile(keras.optimizers.Adam(0.1), conditional_cross_entropy, jit_compile=False)
    n = np.full(32, 10, np.int32)
    model.fit([x, n], y, epochs=30, verbose=0)
    assert model.evaluate([x, n], y, verbose=0) < 0.65 < np.log(2)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras", compile=False)
    np.testing.assert_array_equal(loaded([x, n]), model([x, n]))


def test_all_is_computed_in_32_bits():
    crf, u = LinearChainCRF(2, dtype="mixed_bfloat16"), random(B, T, 2)
    low = tf.cast(u, tf.bfloat16)
    assert {v.dtype for v in crf_of(2).weights} == {"float32"}
    assert crf(low, LENGTH).dtype == crf.marginals(low).dtype == tf.float32
    full = LinearChainCRF(2)(tf.cast(low, tf.float32), LENGTH)
    np.testing.assert_allclose(crf(low, LENGTH), full, atol=1e-6)


def test_wrong_shapes():
    crf = crf_of(2)
    with pytest.raises(ValueError, match=r"\(batch, time, 2\). Received: \(6, 5, 3\)"):
        crf.decode(random(B, T, 3))
    with pytest.raises(ValueError, match="from 0 to the number of time steps"):
        crf.marginals(random(B, T, 2), LENGTH + 1)
