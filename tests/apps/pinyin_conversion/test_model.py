"""The model, against its equations one step after the other."""

import dataclasses
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from apps.pinyin_conversion.config import TINY
from apps.pinyin_conversion.dictionary import GUESSES
from apps.pinyin_conversion.model import NegativeLogLikelihood, build
from apps.pinyin_conversion.readings import TONES


@pytest.fixture(params=[{}, {"bidirectional": False, "cell": "gru", "num_layers": 2}], ids=str)
def model(request, few):
    model = build(dataclasses.replace(TINY, embedding_dim=6, units=4, **request.param), few)
    rng = np.random.default_rng(0)
    for v in model.trainable_variables:
        v.assign(rng.normal(size=v.shape) * 0.7)
    return model


def inputs(codes, c):
    """What the model is given; of the dictionary, something that depends on row, time and code alone."""
    place = (
        codes[..., np.newaxis] + np.arange(codes.shape[1])[:, np.newaxis] + np.arange(GUESSES + 2)
    )
    real = codes[..., np.newaxis] > 0
    return {
        "codes": codes,
        "guesses": np.where(real, place % 7, 0)[..., :GUESSES].astype(np.int32),
        "told": np.where(real, place % 5 / 4, 0).astype(np.float32),
        "characters": c,
    }


def batch(few):
    pairs = [few.parse("ma1 xian le", "妈先了"), few.parse("yi4 ma", "一骂")]
    codes, c = np.zeros((2, 3), np.int32), np.zeros((2, 3), np.int32)
    for row, (of_codes, of_c) in enumerate(pairs):
        codes[row, : len(of_codes)], c[row, : len(of_c)] = of_codes, of_c
    return codes, c


def log_softmax(x):
    return x - np.log(np.exp(x - x.max()).sum()) - x.max()


def test_equals_its_equations(model, few):
    codes, c = batch(few)
    found = model(inputs(codes, c)).numpy()
    F, f = model.characters.F.numpy()[1:], model.characters.f.numpy()
    given = inputs(codes, c)
    features = model.read(codes, given["guesses"], given["told"]).numpy()
    E, D = model.E.get_weights()[0], model.D.get_weights()
    g, u = given["guesses"], given["told"]
    x = E[codes] + (F[g] * u[..., :GUESSES, np.newaxis]).sum(-2)
    x = x * model.d**0.5 + u @ D[0] + D[1]
    np.testing.assert_allclose(model.embed(codes, g, u), x, rtol=1e-4, atol=1e-5)

    def of_character(z, code, reading):
        syllable, tone = divmod(code - 1, TONES)
        of_syllable = np.arange(few.starts[syllable], few.starts[syllable + 1])
        of_syllable = of_syllable[few.tones[of_syllable, tone]]
        log_p = log_softmax(F[of_syllable] @ z + f[of_syllable])
        return log_p[of_syllable.tolist().index(reading)]

    for row, length in enumerate((3, 2)):
        for t in range(length):
            expected = of_character(features[row, t], codes[row, t], c[row, t])
            np.testing.assert_allclose(found[row, t], expected, rtol=1e-4)
    assert found[1, 2] == 0


def test_the_probabilities_of_a_syllable_sum_to_one(model, few):
    codes, c = batch(few)
    choices = few.choices()[codes[0]]
    total = np.zeros(3)
    for place in range(choices.shape[1]):
        there = choices[:, place] >= 0
        c[0] = np.where(there, choices[:, place], c[0])
        total += np.where(there, np.exp(model(inputs(codes, c)).numpy()[0]), 0)
    np.testing.assert_allclose(total, 1, rtol=1e-5)


def test_padding_changes_nothing(model, few):
    codes, c = batch(few)
    padded = model(inputs(np.pad(codes, [(0, 2), (0, 4)]), np.pad(c, [(0, 2), (0, 4)])))
    found = model(inputs(codes, c))
    np.testing.assert_allclose(padded[:2, :3], found, rtol=1e-4, atol=1e-6)
    assert not padded[2:].numpy().any()
    assert not padded[:, 3:].numpy().any()
    for row, length in enumerate((3, 2)):
        alone = model(inputs(codes[row : row + 1, :length], c[row : row + 1, :length]))
        np.testing.assert_allclose(alone[0], found[row, :length], rtol=1e-4)


def test_padding_has_no_gradient(model, few):
    codes, c = batch(few)

    def gradients(given):
        with tf.GradientTape() as tape:
            log_p = model(given, training=True)
            total = tf.reduce_sum(log_p)
        return [tf.convert_to_tensor(g) for g in tape.gradient(total, model.trainable_variables)]

    plain = tf.function(gradients)(inputs(codes, c))
    wide = [np.pad(t, [(0, 1), (0, 3)]) for t in (codes, c)]
    padded = tf.function(gradients)(inputs(*wide))
    for a, b, v in zip(plain, padded, model.trainable_variables, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5, err_msg=v.path)
        if "syllables/embeddings" not in v.path:
            assert np.abs(a).max() > 0, v.path


def test_what_may_be_seen(model, few):
    """What is to come only by a network of both directions; the characters by none."""
    codes, c = batch(few)
    found = model(inputs(codes, c)).numpy()
    other = c.copy()
    other[0, 1] = few.parse("xian", "现")[1][0]
    changed = model(inputs(codes, other)).numpy()
    np.testing.assert_array_equal(np.delete(changed[0], 1), np.delete(found[0], 1))
    other, others = codes.copy(), c.copy()
    (other[0, 2],), (others[0, 2],) = few.parse("an", "安")
    given = inputs(codes, c) | {"codes": other, "characters": others}
    changed = model(given).numpy()
    same = changed[0, :2] == found[0, :2]
    assert not same.all() if model.settings["bidirectional"] else same.all()


def test_saved_and_loaded(model, few, tmp_path):
    codes, c = batch(few)
    path = pathlib.Path(tmp_path, "model.keras")
    model.save(path)
    loaded = keras.models.load_model(path)
    given = inputs(codes, c)
    np.testing.assert_array_equal(loaded(given), model(given))


def test_loss_is_the_mean_over_characters():
    log_p = np.array([[-1.0, -2.0, 0.0]])
    weights = np.array([[1.0, 1.0, 0.0]])
    loss = NegativeLogLikelihood()(np.zeros((1, 3)), log_p, sample_weight=weights)
    assert float(loss) == 1.5
