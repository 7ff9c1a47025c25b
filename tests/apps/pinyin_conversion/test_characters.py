"""The softmax over the readings of a syllable, against one over all readings, masked."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from apps.pinyin_conversion.characters import Characters
from apps.pinyin_conversion.readings import TONES

D = 5


@pytest.fixture(params=[1, 3, 16])
def layer(request, few):
    bits = few.tones @ (1 << np.arange(TONES))
    layer = Characters(few.starts.tolist(), bits.tolist(), D, seed=0, groups=request.param)
    layer.build()
    rng = np.random.default_rng(0)
    layer.F.assign(rng.normal(size=layer.F.shape))
    layer.f.assign(rng.normal(size=layer.f.shape))
    return layer


def masked(few, layer, z, codes):
    """log p of all readings, float64 (batch, time, readings); -inf where a syllable is not read so."""
    F, f = layer.F.numpy().astype(float)[1:], layer.f.numpy().astype(float)
    logits = np.asarray(z, float) @ F.T + f
    possible = np.zeros(logits.shape, bool)
    for place, code in np.ndenumerate(codes):
        syllable, tone = divmod(code - 1, TONES)
        allowed = np.arange(few.starts[syllable], few.starts[syllable + 1])
        possible[place][allowed] = few.tones[allowed, tone]
    logits = np.where(possible, logits, -np.inf)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def test_log_p_and_its_gradients(few, layer):
    rng = np.random.default_rng(1)
    texts = [("ma1 xian le", "妈先了"), ("yi4 ma", "一骂"), ("an liao3 xi1 ma3", "案了西马")]
    pairs = [few.parse(*pair) for pair in texts]
    codes, c = np.zeros((3, 4), np.int32), np.zeros((3, 4), np.int32)
    for row, (of_codes, of_c) in enumerate(pairs):
        codes[row, : len(of_codes)], c[row, : len(of_c)] = of_codes, of_c
    real = codes > 0
    z = tf.constant(rng.normal(size=(3, 4, D)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(z)
        log_p = layer.log_p(z, tf.constant(codes), tf.constant(c))
        total = tf.reduce_sum(log_p)
    of_z, of_F, of_f = map(tf.convert_to_tensor, tape.gradient(total, [z, layer.F, layer.f]))
    expected = masked(few, layer, z, np.maximum(codes, 1))
    np.testing.assert_allclose(
        log_p, np.where(real, np.take_along_axis(expected, c[..., None], -1)[..., 0], 0), atol=1e-5
    )
    # d log p_c / d logits = one hot of c - p
    change = np.where(real[..., None], np.eye(few.size)[c] - np.exp(expected), 0)
    np.testing.assert_allclose(of_f, change.sum((0, 1)), atol=1e-5)
    np.testing.assert_allclose(of_F[1:], np.einsum("btv,btd->vd", change, z), atol=1e-5)
    np.testing.assert_allclose(of_z, change @ layer.F.numpy()[1:], atol=1e-5)
    assert not of_F[0].numpy().any()


def test_a_reading_that_is_none_of_the_syllable_does_no_harm(few, layer):
    codes, c = np.array([[1, 1]], np.int32), np.array([[-1, 0]], np.int32)
    z = tf.ones([1, 2, D])
    log_p = layer.log_p(z, codes, c).numpy()
    assert np.isfinite(log_p).all()
    np.testing.assert_allclose(log_p[0, 1], masked(few, layer, z, codes)[0, 1, 0], atol=1e-5)


def test_nothing_but_padding(layer):
    zeros = tf.zeros([2, 3], tf.int32)
    np.testing.assert_array_equal(layer.log_p(tf.ones([2, 3, D]), zeros, zeros), np.zeros((2, 3)))


def test_scores_equal_log_p(few, layer):
    z = tf.constant(np.random.default_rng(2).normal(size=(2, D)), tf.float32)
    codes = np.array([few.codes["ma3"], few.codes["xian"]])
    choices = few.choices()[codes]
    scores = layer.scores(z, tf.constant(choices)).numpy()
    expected = masked(few, layer, z[:, tf.newaxis], codes[:, np.newaxis])[:, 0]
    for row in range(2):
        there = choices[row] >= 0
        np.testing.assert_allclose(
            scores[row, there], expected[row, choices[row, there]], atol=1e-5
        )


def test_embed_and_its_gradient(layer):
    c = tf.constant([[2, -1, 2]])
    with tf.GradientTape() as tape:
        x = layer.embed(c)
        total = tf.reduce_sum(x[..., 0])
    np.testing.assert_allclose(x, layer.F.numpy()[[[3, 0, 3]]] * D**0.5, rtol=1e-6)
    gradient = tf.convert_to_tensor(tape.gradient(total, layer.F)).numpy()
    np.testing.assert_allclose(gradient[3, 0], 2 * D**0.5, rtol=1e-6)  # it comes twice
    np.testing.assert_allclose(gradient[0, 0], D**0.5, rtol=1e-6)
    assert np.count_nonzero(gradient) == 2


def test_is_made_again_from_its_config(layer):
    again = Characters.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert keras.saving.get_registered_name(Characters).endswith("Characters")
