"""The model, compared with its equations."""

import dataclasses
import pathlib
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from apps.pinyin_conversion.config import TINY
from apps.pinyin_conversion.lexicon.dictionary import NUM_CANDIDATES, NUM_FEATURES
from apps.pinyin_conversion.lexicon.readings import NUM_TONES
from apps.pinyin_conversion.model import NegativeLogLikelihood, build


@pytest.fixture(params=[{}, {"bidirectional": False, "cell": "gru", "num_layers": 2}], ids=str)
def model(request, small_readings):
    config = dataclasses.replace(TINY, embedding_dim=6, units=4, **request.param)
    model = build(config, types.SimpleNamespace(readings=small_readings))
    rng = np.random.default_rng(0)
    for v in model.trainable_variables:
        v.assign(rng.normal(size=v.shape) * 0.7)
    return model


def inputs_of(codes):
    """Returns inputs of the model; the candidates depend on row, time and code only."""
    place = codes[..., np.newaxis] + np.arange(codes.shape[1])[:, np.newaxis]
    place = place + np.arange(NUM_FEATURES)
    mask = codes[..., np.newaxis] > 0
    return {
        "codes": codes,
        "candidates": np.where(mask, place % 7, 0)[..., :NUM_CANDIDATES].astype(np.int32),
        "candidate_features": np.where(mask, place % 5 / 4, 0).astype(np.float32),
    }


def batch(readings):
    """Returns codes and readings of two sentences, padded with 0."""
    pairs = [readings.parse("ma1 xian le", "妈先了"), readings.parse("yi4 ma", "一骂")]
    codes, c = np.zeros((2, 3), np.int32), np.zeros((2, 3), np.int32)
    for row, (row_codes, row_c) in enumerate(pairs):
        codes[row, : len(row_codes)], c[row, : len(row_c)] = row_codes, row_c
    return codes, c


def log_prob(model, codes, c, **options):
    return model.softmax.log_prob(model(inputs_of(codes), **options), codes, c)


def log_softmax(x):
    return x - np.log(np.exp(x - x.max()).sum()) - x.max()


def test_equals_its_equations(model, small_readings):
    codes, c = batch(small_readings)
    log_p = log_prob(model, codes, c).numpy()
    F, f = model.softmax.F.numpy()[1:], model.softmax.f.numpy()
    inputs = inputs_of(codes)
    z = model(inputs).numpy()
    E, D = model.syllable_embedding.get_weights()[0], model.feature_projection.get_weights()
    g, u = inputs["candidates"], inputs["candidate_features"]
    x = E[codes] + (F[g] * u[..., :NUM_CANDIDATES, np.newaxis]).sum(-2)
    x = x * model.embedding_dim**0.5 + u @ D[0] + D[1]
    np.testing.assert_allclose(model.embed(codes, g, u), x, rtol=1e-4, atol=1e-5)

    def expected(z, code, reading):
        syllable, tone = divmod(code - 1, NUM_TONES)
        possible = np.arange(small_readings.starts[syllable], small_readings.starts[syllable + 1])
        possible = possible[small_readings.tones[possible, tone]]
        return log_softmax(F[possible] @ z + f[possible])[possible.tolist().index(reading)]

    for row, length in enumerate((3, 2)):
        for t in range(length):
            np.testing.assert_allclose(
                log_p[row, t], expected(z[row, t], codes[row, t], c[row, t]), rtol=1e-4
            )
    assert log_p[1, 2] == 0


def test_the_probabilities_of_a_syllable_sum_to_one(model, small_readings):
    codes, c = batch(small_readings)
    possible = small_readings.possible()[codes[0]]
    total = np.zeros(3)
    for place in range(possible.shape[1]):
        mask = possible[:, place] >= 0
        c[0] = np.where(mask, possible[:, place], c[0])
        total += np.where(mask, np.exp(log_prob(model, codes, c).numpy()[0]), 0)
    np.testing.assert_allclose(total, 1, rtol=1e-5)


def test_padding_changes_nothing(model, small_readings):
    codes, c = batch(small_readings)
    padded = log_prob(model, np.pad(codes, [(0, 2), (0, 4)]), np.pad(c, [(0, 2), (0, 4)]))
    log_p = log_prob(model, codes, c)
    np.testing.assert_allclose(padded[:2, :3], log_p, rtol=1e-4, atol=1e-6)
    assert not padded[2:].numpy().any()
    assert not padded[:, 3:].numpy().any()
    for row, length in enumerate((3, 2)):
        single = log_prob(model, codes[row : row + 1, :length], c[row : row + 1, :length])
        np.testing.assert_allclose(single[0], log_p[row, :length], rtol=1e-4)


def test_padding_has_no_gradient(model, small_readings):
    @tf.function(autograph=False, reduce_retracing=True)
    def gradients(inputs, c):
        with tf.GradientTape() as tape:
            z = model(inputs, training=True)
            total = tf.reduce_sum(model.softmax.log_prob(z, inputs["codes"], c))
        return [tf.convert_to_tensor(g) for g in tape.gradient(total, model.trainable_variables)]

    codes, c = batch(small_readings)
    plain = gradients(inputs_of(codes), c)
    padded = gradients(inputs_of(np.pad(codes, [(0, 1), (0, 3)])), np.pad(c, [(0, 1), (0, 3)]))
    for a, b, v in zip(plain, padded, model.trainable_variables, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5, err_msg=v.path)
        if "syllable_embedding" not in v.path:
            assert np.abs(a).max() > 0, v.path


def test_only_a_bidirectional_model_depends_on_later_syllables(model, small_readings):
    codes, c = batch(small_readings)
    log_p = log_prob(model, codes, c).numpy()
    other_c = c.copy()
    other_c[0, 1] = small_readings.parse("xian", "现")[1][0]
    changed = log_prob(model, codes, other_c).numpy()
    np.testing.assert_array_equal(np.delete(changed[0], 1), np.delete(log_p[0], 1))
    other_codes, other_c = codes.copy(), c.copy()
    (other_codes[0, 2],), (other_c[0, 2],) = small_readings.parse("an", "安")
    z = model(inputs_of(codes) | {"codes": other_codes})
    changed = model.softmax.log_prob(z, other_codes, other_c).numpy()
    same = changed[0, :2] == log_p[0, :2]
    assert not same.all() if model.bidirectional else same.all()


def test_the_loss_is_the_mean_over_characters(model, small_readings):
    codes, c = batch(small_readings)
    targets = np.where(codes > 0, c, -1)
    targets[0, 1] = -1
    weights = (targets >= 0).astype(np.float32)
    log_p = log_prob(model, codes, c).numpy()
    expected = -(log_p * weights).sum() / 4
    model.compile(loss=NegativeLogLikelihood())
    loss = model.evaluate(inputs_of(codes), targets, sample_weight=weights, verbose=0)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    single = NegativeLogLikelihood()(
        np.zeros((1, 3)), np.array([[-1.0, -2.0, 0.0]]), np.array([[1.0, 1.0, 0.0]])
    )
    assert float(single) == 1.5


def test_saved_and_loaded(model, small_readings, tmp_path):
    inputs = inputs_of(batch(small_readings)[0])
    path = pathlib.Path(tmp_path, "model.keras")
    model.save(path)
    loaded = keras.models.load_model(path)
    np.testing.assert_array_equal(loaded(inputs), model(inputs))
    assert loaded.get_config() == model.get_config()
