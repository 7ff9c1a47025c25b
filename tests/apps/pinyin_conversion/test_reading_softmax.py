"""The softmax over the readings of a syllable, compared with a masked softmax over all readings."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from apps.pinyin_conversion.lexicon.readings import NUM_TONES
from apps.pinyin_conversion.model import ReadingSoftmax

D = 5


@pytest.fixture(params=[1, 3, 16])
def layer(request, small_readings):
    masks = small_readings.tones @ (1 << np.arange(NUM_TONES))
    layer = ReadingSoftmax(
        small_readings.starts.tolist(), masks.tolist(), D, seed=0, groups=request.param
    )
    layer.build()
    rng = np.random.default_rng(0)
    layer.F.assign(rng.normal(size=layer.F.shape))
    layer.f.assign(rng.normal(size=layer.f.shape))
    return layer


def masked_log_softmax(readings, layer, z, codes):
    """Returns float64 (batch, time, readings); -inf where a syllable has no such reading."""
    F, f = layer.F.numpy().astype(float)[1:], layer.f.numpy().astype(float)
    logits = np.asarray(z, float) @ F.T + f
    possible = np.zeros(logits.shape, bool)
    for place, code in np.ndenumerate(codes):
        syllable, tone = divmod(code - 1, NUM_TONES)
        allowed = np.arange(readings.starts[syllable], readings.starts[syllable + 1])
        possible[place][allowed] = readings.tones[allowed, tone]
    logits = np.where(possible, logits, -np.inf)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def test_log_prob_and_its_gradients(small_readings, layer):
    rng = np.random.default_rng(1)
    texts = [("ma1 xian le", "妈先了"), ("yi4 ma", "一骂"), ("an liao3 xi1 ma3", "案了西马")]
    codes, c = np.zeros((3, 4), np.int32), np.zeros((3, 4), np.int32)
    for row, pair in enumerate(texts):
        row_codes, row_c = small_readings.parse(*pair)
        codes[row, : len(row_codes)], c[row, : len(row_c)] = row_codes, row_c
    mask = codes > 0
    z = tf.constant(rng.normal(size=(3, 4, D)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(z)
        log_p = layer.log_prob(z, tf.constant(codes), tf.constant(c))
        total = tf.reduce_sum(log_p)
    z_grad, F_grad, f_grad = map(tf.convert_to_tensor, tape.gradient(total, [z, layer.F, layer.f]))
    expected = masked_log_softmax(small_readings, layer, z, np.maximum(codes, 1))
    np.testing.assert_allclose(
        log_p, np.where(mask, np.take_along_axis(expected, c[..., None], -1)[..., 0], 0), atol=1e-5
    )
    # d log p_c / d logits = one_hot(c) - p
    gradient = np.where(mask[..., None], np.eye(small_readings.size)[c] - np.exp(expected), 0)
    np.testing.assert_allclose(f_grad, gradient.sum((0, 1)), atol=1e-5)
    np.testing.assert_allclose(F_grad[1:], np.einsum("btv,btd->vd", gradient, z), atol=1e-5)
    np.testing.assert_allclose(z_grad, gradient @ layer.F.numpy()[1:], atol=1e-5)
    assert not F_grad[0].numpy().any()


def test_a_reading_of_another_syllable_gives_a_finite_result(small_readings, layer):
    codes, c = np.array([[1, 1]], np.int32), np.array([[-1, 0]], np.int32)
    z = tf.ones([1, 2, D])
    log_p = layer.log_prob(z, codes, c).numpy()
    assert np.isfinite(log_p).all()
    expected = masked_log_softmax(small_readings, layer, z, codes)[0, 1, 0]
    np.testing.assert_allclose(log_p[0, 1], expected, atol=1e-5)


def test_only_padding(layer):
    zeros = tf.zeros([2, 3], tf.int32)
    log_p = layer.log_prob(tf.ones([2, 3, D]), zeros, zeros)
    np.testing.assert_array_equal(log_p, np.zeros((2, 3)))


def test_log_softmax_equals_log_prob(small_readings, layer):
    z = tf.constant(np.random.default_rng(2).normal(size=(2, D)), tf.float32)
    codes = np.array([small_readings.codes["ma3"], small_readings.codes["xian"]])
    possible = small_readings.possible()[codes]
    log_p = layer.log_softmax(z, tf.constant(possible)).numpy()
    expected = masked_log_softmax(small_readings, layer, z[:, tf.newaxis], codes[:, np.newaxis])[
        :, 0
    ]
    for row in range(2):
        mask = possible[row] >= 0
        np.testing.assert_allclose(log_p[row, mask], expected[row, possible[row, mask]], atol=1e-5)


def test_embed_and_its_gradient(layer):
    c = tf.constant([[2, -1, 2]])
    with tf.GradientTape() as tape:
        x = layer.embed(c)
        total = tf.reduce_sum(x[..., 0])
    np.testing.assert_allclose(x, layer.F.numpy()[[[3, 0, 3]]] * D**0.5, rtol=1e-6)
    gradient = tf.convert_to_tensor(tape.gradient(total, layer.F)).numpy()
    np.testing.assert_allclose(gradient[3, 0], 2 * D**0.5, rtol=1e-6)  # it occurs twice
    np.testing.assert_allclose(gradient[0, 0], D**0.5, rtol=1e-6)
    assert np.count_nonzero(gradient) == 2


def test_config_round_trip(layer):
    again = ReadingSoftmax.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert keras.saving.get_registered_name(ReadingSoftmax).endswith("ReadingSoftmax")
