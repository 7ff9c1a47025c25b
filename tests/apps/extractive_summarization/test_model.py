"""The models of words and of sentences: layers beside NumPy, gradients, padding and saving."""

import dataclasses
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from apps.extractive_summarization.config import TINY
from apps.extractive_summarization.data import Assets
from apps.extractive_summarization.labels import LabelCrossentropy
from apps.extractive_summarization.model import build, parts
from apps.extractive_summarization.sentence_model import PARTS, SentenceEncoder, SentenceScore
from apps.extractive_summarization.units import MAX_CHARACTERS
from apps.extractive_summarization.word_model import WordFeatures

ASSETS = Assets(types.SimpleNamespace(size=9), types.SimpleNamespace(size=7))
LENGTH = np.array([6, 4, 1], np.int32)


def model_of(level, **settings):
    settings = {"units": 6, "embedding_dim": 5, "num_layers": 1, **settings}
    return build(dataclasses.replace(TINY, level=level, **settings), ASSETS)


def batch(model, padding=0):
    """Returns inputs of three rows of different lengths for a model, and labels and weights."""
    rng = np.random.default_rng(0)
    time = 6 + padding
    mask = np.arange(time) < LENGTH[:, None]
    inputs = {"length": LENGTH}
    pad = lambda a: np.pad(a, [(0, 0), (0, padding), *[(0, 0)] * (a.ndim - 2)])  # noqa: E731
    if "centrality" in model.input:
        size = model.input["centrality"].shape[-1]
        inputs["centrality"] = pad(rng.normal(size=(3, 6, size)).astype(np.float32))
        inputs["centrality"] *= mask[..., None]
    if model.input["words"].shape[1:] == (None,):
        inputs["words"] = pad(rng.integers(1, 9, (3, 6)).astype(np.int32)) * mask
    else:
        words = rng.integers(1, 9, (3, 6, 4)).astype(np.int32)
        words[..., 2:] *= rng.integers(0, 2, (3, 6, 1))
        inputs["words"] = np.pad(pad(words), [(0, 0), (0, 0), (0, padding)]) * mask[..., None]
    if "characters" in model.input:
        letters = rng.integers(1, 7, (3, 6, MAX_CHARACTERS)).astype(np.int32)
        letters[..., 8:] = 0
        letters[0, 2] = 0  # a word without characters
        inputs["characters"] = pad(letters) * mask[..., None]
    labels = pad(rng.integers(0, 2, (3, 6)))
    return inputs, labels * mask, mask.astype(np.float32)


CASES = [
    *[("word", {"cell": cell}) for cell in ("simple_rnn", "lstm", "gru", "peephole_lstm")],
    ("word", {"decoder": "independent", "char_filters": 0, "position_dim": 0, "num_layers": 2}),
    *[
        ("sentence", {"sentence_encoder": kind, "centrality": centrality, "decoder": "independent"})
        for kind, centrality in (
            ("mean", "none"),
            ("attention", "degree"),
            ("recurrent", "textrank"),
        )
    ],
    ("sentence", {"novelty": False, "cell": "gru"}),
]
IDS = [f"{level}-{'-'.join(map(str, settings.values()))}" for level, settings in CASES]


@pytest.fixture(scope="module", params=CASES, ids=IDS)
def model(request):
    level, settings = request.param
    model = model_of(level, **settings)
    rng = np.random.default_rng(3)
    for weight in model.trainable_weights:  # those that start with zeros would have no effect
        weight.assign(rng.normal(0, 0.5, weight.shape))
    return model


def test_every_weight_has_a_gradient(model, without_xla):
    inputs, labels, weights = batch(model)
    with tf.GradientTape() as tape:
        loss = LabelCrossentropy()(labels, model(inputs, training=True), weights)
    gradients = tape.gradient(loss, model.trainable_variables)
    for weight, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert isinstance(gradient, tf.Tensor), weight.path
        assert np.isfinite(gradient).all(), weight.path
        assert np.abs(gradient).max() > 0, weight.path


def test_padding_changes_nothing(model):
    inputs, labels, weights = batch(model)
    log_p = model(inputs).numpy()
    assert log_p.shape == (3, 6, 2, 2)
    padded, more_labels, more_weights = batch(model, padding=3)
    longer = model(padded).numpy()
    np.testing.assert_allclose(longer[:, :6], log_p, atol=1e-5)
    assert not longer[:, 6:].any()
    loss = LabelCrossentropy()
    assert float(loss(labels, log_p, weights)) == pytest.approx(
        float(loss(more_labels, longer, more_weights)), rel=1e-5
    )
    for row, n in enumerate(LENGTH):
        alone = {name: value[row : row + 1] for name, value in inputs.items()}
        alone = {k: v if k == "length" else v[:, :n] for k, v in alone.items()}
        np.testing.assert_allclose(model(alone)[0], log_p[row, :n], atol=1e-5)


def test_rows_of_padding_are_finite(model):
    inputs, *_ = batch(model)
    empty = {name: np.zeros_like(value) for name, value in inputs.items()}
    assert not model(empty).numpy().any()


def test_parts_compute_the_same(model):
    inputs, *_ = batch(model)
    expected = model(inputs)
    logits, decoder, encoder = parts(model)
    given = dict(inputs)
    if encoder:
        words = given.pop("words")
        flat = encoder.encode(words.reshape(-1, words.shape[-1]))
        given["vectors"] = tf.reshape(flat, [*words.shape[:2], -1])
    np.testing.assert_allclose(decoder(logits(given), inputs["length"]), expected, atol=1e-6)


def test_is_saved_and_loaded_with_its_bias(model, tmp_path):
    inputs, *_ = batch(model)
    model.get_layer("decoder").keep_bias.assign(0.7)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded(inputs), model(inputs), atol=1e-6)
    assert float(loaded.get_layer("decoder").keep_bias.numpy()) == pytest.approx(0.7)
    assert [w.path for w in loaded.weights] == [w.path for w in model.weights]


@pytest.mark.parametrize("level", ["word", "sentence"])
def test_seeds(level):
    models = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(0)  # of the recurrent kernels
        models.append(model_of(level, seed=seed))
    one, same, other = models
    inputs, *_ = batch(one)
    np.testing.assert_array_equal(one(inputs), same(inputs))
    assert np.abs(one(inputs) - other(inputs)).max() > 1e-4


def test_word_features_beside_numpy():
    layer = WordFeatures(9, 4, num_characters=7, char_filters=3, position_dim=2, seed=0)
    inputs, *_ = batch(model_of("word"))
    words, letters = inputs["words"], inputs["characters"]
    x = layer(words, letters).numpy()
    assert x.shape == (3, 6, 9)
    np.testing.assert_allclose(x[..., :4], layer.E.numpy()[words], atol=1e-6)
    np.testing.assert_allclose(x[..., 7:], np.tile(layer.P.numpy()[:6], (3, 1, 1)), atol=1e-6)
    before, at, after = (T.numpy() for T in layer.T)
    for row, t in np.ndindex(3, 6):
        c = [k for k in letters[row, t] if k]
        values = []
        for i in range(len(c)):
            value = layer.b.numpy() + at[c[i]]
            value = value + (before[c[i - 1]] if i else 0)
            value = value + (after[c[i + 1]] if i + 1 < len(c) else 0)
            values.append(np.tanh(value))
        expected = np.max(values, 0) if values else np.zeros(3)
        np.testing.assert_allclose(x[row, t, 4:7], expected, atol=1e-6)


def test_positions_end_at_the_last_embedding():
    layer = WordFeatures(9, 4, position_dim=2, seed=0)
    x = layer(np.ones((1, 300), np.int32)).numpy()
    np.testing.assert_array_equal(x[0, 127:, 4:], np.tile(layer.P.numpy()[127], (173, 1)))


@pytest.mark.parametrize("kind", ["mean", "attention"])
def test_sentence_encoder_beside_numpy(kind):
    layer = SentenceEncoder(9, 4, 3, kind, seed=0)
    words = np.array([[[3, 4, 0], [0, 0, 0]], [[5, 6, 7], [8, 0, 0]]], np.int32)
    s = layer(words).numpy()
    W, b = layer.output_projection.get_weights()
    for index in np.ndindex(2, 2):
        x = layer.embed.E.numpy()[[w for w in words[index] if w]]
        if not len(x):
            assert not s[index].any()
            continue
        a = np.full(len(x), 1 / len(x))
        if kind == "attention":
            U, c = layer.attention_projection.get_weights()
            a = np.exp(np.tanh(x @ U + c) @ layer.v.numpy())
            a /= a.sum()
        np.testing.assert_allclose(s[index], np.tanh(a @ x @ W + b), atol=1e-6)


@pytest.mark.parametrize("novelty", [True, False])
@pytest.mark.parametrize("with_features", [True, False])
def test_sentence_score_beside_a_loop(novelty, with_features):
    rng = np.random.default_rng(0)
    h = rng.normal(size=(3, 7, 4)).astype(np.float32)
    f = rng.normal(size=(3, 7, 2)).astype(np.float32) if with_features else None
    length = np.array([7, 3, 0], np.int32)
    layer = SentenceScore(novelty, seed=0)
    layer.build(h.shape, None, f.shape if with_features else None)
    for weight in layer.weights:
        weight.assign(rng.normal(size=weight.shape))
    logits = layer(h, length, f).numpy()
    assert not logits[..., 0].any()
    w = {weight.name: weight.numpy() for weight in layer.weights}
    for row, n in enumerate(length):
        d = np.tanh(h[row, :n].mean(0) @ w["document"] + w["document_bias"]) if n else None
        o = np.zeros(4)
        for j in range(n):
            z = h[row, j] @ w["content"][:, 0] + h[row, j] @ w["salience"] @ d
            z += (
                w["absolute_position"][j, 0]
                + w["relative_position"][j * PARTS // n, 0]
                + w["bias"][0]
            )
            if novelty:
                z -= h[row, j] @ w["novelty"] @ np.tanh(o)
            if with_features:
                z += f[row, j] @ w["features"][:, 0]
            assert logits[row, j, 1] == pytest.approx(z, abs=1e-4)
            o += h[row, j] / (1 + np.exp(-z))


def test_positions_of_long_documents():
    layer = SentenceScore(novelty=False, seed=0)
    h = np.zeros((1, 200, 4), np.float32)
    layer.build(h.shape)
    layer.a.assign(np.arange(64.0)[:, None])
    layer.r.assign(1000 * np.arange(10.0)[:, None])
    z = layer(h, np.array([200], np.int32)).numpy()[0, :, 1]
    assert z[[0, 63, 64, 199]].tolist() == [0, 3063, 3063, 9063]


@pytest.mark.parametrize("level", ["word", "sentence"])
def test_mixed_precision(level):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = model_of(level, centrality="degree", sentence_encoder="recurrent")
        inputs, *_ = batch(model)
        log_p = model(inputs)
    finally:
        keras.config.set_dtype_policy("float32")
    assert log_p.dtype == tf.float32
    assert np.isfinite(log_p).all()
