"""Attention against its equations in NumPy; gradients against finite differences; masks and files."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from shared.layers.attention import SCORES, Attention

B, T, S, Q, M = 3, 4, 5, 6, 7
scores = pytest.mark.parametrize("score", SCORES)


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def layer_of(score, seed=1, **options):
    layer = Attention(score, units=8, **options)
    layer.build((B, T, Q), (B, S, M))
    for i, v in enumerate(layer.weights):
        v.assign(random(*v.shape, seed=seed + i) * 0.7)
    return layer


def reference(layer, q, m, mask):
    """Computes the equations in float64, row by row and step by step."""
    w = {v.name: np.asarray(v, np.float64) for v in layer.weights}
    context, weights = np.zeros((B, T, M)), np.zeros((B, T, S))
    for b in range(B):
        real_steps = np.flatnonzero(mask[b])
        for t in range(T):
            if layer.score == "additive":
                e = [
                    np.tanh(q[b, t] @ w["query_kernel"] + m[b, j] @ w["memory_kernel"] + w["bias"])
                    @ w["score_kernel"][:, 0]
                    for j in real_steps
                ]
            else:
                e = [q[b, t] @ (m[b, j] @ w["memory_kernel"]) for j in real_steps]
            if len(real_steps):
                p = np.exp(np.array(e) - max(e))
                weights[b, t, real_steps] = p / p.sum()
            context[b, t] = weights[b, t] @ m[b]
    return context, weights


MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0]], bool)


@scores
def test_it_equals_its_equations(score):
    layer, q, m = layer_of(score), random(B, T, Q), random(B, S, M, seed=9)
    for mask in (MASK, np.ones((B, S), bool)):
        mask_argument = None if mask.all() else tf.constant(mask)
        for keys in (None, layer.keys(m)):
            results = layer(q, m, keys=keys, mask=mask_argument)
            for r, e in zip(results, reference(layer, q, m, mask), strict=True):
                np.testing.assert_allclose(r, e, rtol=1e-4, atol=1e-5)


@scores
def test_gradients(score):
    layer, q, m = (
        layer_of(score),
        tf.constant(random(B, T, Q)),
        tf.constant(random(B, S, M, seed=9)),
    )
    r_context, r_weights = random(B, T, M, seed=3), random(B, T, S, seed=4)

    def loss(q, m):
        context, weights = layer(q, m, mask=tf.constant(MASK))
        return tf.reduce_sum(context * r_context) + tf.reduce_sum(weights * r_weights)

    with tf.GradientTape() as tape:
        tape.watch([q, m])
        value = loss(q, m)
    variables = [*layer.trainable_variables]
    gradients = tape.gradient(value, [q, m, *[v.value for v in variables]])
    rng, step = np.random.default_rng(5), 1e-2
    directions = [rng.normal(size=g.shape).astype(np.float32) for g in gradients]
    slope = sum(float(np.sum(g * d)) for g, d in zip(gradients, directions, strict=True))
    ends = []
    for sign in (1, -1):
        before = [v.numpy() for v in variables]
        for v, d in zip(variables, directions[2:], strict=True):
            v.assign_add(sign * step * d)
        ends.append(float(loss(q + sign * step * directions[0], m + sign * step * directions[1])))
        for v, b in zip(variables, before, strict=True):
            v.assign(b)
    np.testing.assert_allclose((ends[0] - ends[1]) / (2 * step), slope, rtol=0.02, atol=0.02)
    assert all(np.isfinite(g).all() for g in gradients)
    assert all(np.abs(g).max() > 0 for g in gradients)


@scores
def test_padding_has_no_effect(score):
    layer, q, m = layer_of(score), random(B, T, Q), random(B, S, M, seed=9)
    padded = np.concatenate([m, random(B, 3, M, seed=8) * 100], axis=1)
    mask = np.arange(S + 3) < S
    context, weights = layer(q, padded, mask=tf.constant(np.tile(mask, (B, 1))))
    expected = layer(q, m)
    np.testing.assert_allclose(context, expected[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(weights[..., :S], expected[1], rtol=1e-4, atol=1e-6)
    assert np.abs(weights[..., S:]).max() == 0


@scores
def test_rows_and_steps_are_independent(score):
    layer, q, m = layer_of(score), random(B, T, Q), random(B, S, M, seed=9)
    expected, _ = layer(q, m)
    for b in range(B):
        for t in range(T):
            context, _ = layer(q[b : b + 1, t : t + 1], m[b : b + 1])
            np.testing.assert_allclose(context[0, 0], expected[b, t], rtol=1e-4, atol=1e-5)


@scores
def test_a_saved_model_is_loaded(score, tmp_path):
    q, m = keras.Input((None, Q)), keras.Input((None, M))
    context, weights = Attention(score, units=8, name="attention")(q, m)
    assert (context.shape, weights.shape) == ((None, None, M), (None, None, None))
    model = keras.Model([q, m], context)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    inputs = [random(B, T, Q), random(B, S, M, seed=9)]
    np.testing.assert_array_equal(loaded(inputs), model(inputs))
    assert loaded.get_layer("attention").get_config() == model.get_layer("attention").get_config()


@scores
def test_mixed_precision(score):
    layer = layer_of(score, dtype="mixed_bfloat16")
    q, m = random(B, T, Q), random(B, S, M, seed=9)
    context, weights = layer(q, m, mask=tf.constant(MASK))
    assert context.dtype == weights.dtype == tf.bfloat16
    for r, e in zip((context, weights), reference(layer, q, m, MASK), strict=True):
        np.testing.assert_allclose(np.asarray(r, np.float32), e, atol=0.15)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"score": "dot"}, "`score` must be one of additive, general. Received: 'dot'"),
        ({"units": 0}, "`units` must be a positive integer. Received: 0"),
    ],
)
def test_invalid_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        Attention(**options)
