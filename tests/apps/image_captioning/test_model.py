"""The captioning model: shapes, gradients, padding, and the penalty of its attention."""

import dataclasses
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from apps.image_captioning.config import TINY
from apps.image_captioning.data import Assets
from apps.image_captioning.model import CoveragePenalty, Grid, build

CONFIG = dataclasses.replace(
    TINY, image_size=16, encoder_filters=(4, 6), num_layers=2, coverage=0.0
)


def fixed_encoder():
    images = keras.Input((16, 16, 3))
    return keras.Model(images, keras.layers.AveragePooling2D(4)(images))


def model_of(fixed=None, **settings):
    assets = Assets(types.SimpleNamespace(size=11), fixed)
    return build(dataclasses.replace(CONFIG, **settings), assets)


def batch(shape=(16, 16, 3), time=5, rows=3):
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (rows, *shape)).astype(np.float32)
    captions = rng.integers(1, 11, (rows, time)).astype(np.int32)
    captions[:, 0] = 0
    return {"images": images, "captions": captions}


@pytest.mark.parametrize("cell", ["simple_rnn", "lstm", "gru", "peephole_lstm"])
def test_every_weight_has_a_gradient(cell):
    model, inputs = model_of(cell=cell), batch()
    with tf.GradientTape() as tape:
        logits = model(inputs, training=True)
        loss = tf.reduce_mean(tf.nn.log_softmax(logits)[..., 3])
    assert logits.shape == (3, 5, 11)
    for weight, gradient in zip(
        model.trainable_variables, tape.gradient(loss, model.trainable_variables), strict=True
    ):
        assert np.isfinite(tf.convert_to_tensor(gradient)).all(), weight.path
        assert np.abs(tf.convert_to_tensor(gradient)).max() > 0, weight.path


def test_a_fixed_encoder_is_not_part_of_the_model():
    model = model_of(fixed_encoder(), encoder="x.keras")
    assert model.input["images"].shape == (None, 4, 4, 3)
    assert model(batch((4, 4, 3))).shape == (3, 5, 11)


def test_a_finetuned_encoder_is_part_of_the_model():
    images = keras.Input((16, 16, 3))
    encoder = keras.Model(images, keras.layers.Conv2D(5, 3, 4)(images))
    encoder.trainable = False
    model = model_of(encoder, encoder="x.keras", finetune=True)
    assert model.input["images"].shape == (None, 16, 16, 3)
    trained = {id(weight) for weight in model.trainable_variables}
    assert {id(weight) for weight in encoder.weights} <= trained


def test_captions_depend_on_the_image_and_on_what_was_read_only():
    model, inputs = model_of(), batch()
    logits = model(inputs).numpy()
    other = {**inputs, "images": inputs["images"][::-1]}
    assert np.abs(model(other).numpy()[0] - logits[0]).max() > 1e-4
    changed = {**inputs, "captions": inputs["captions"].copy()}
    changed["captions"][:, 3:] = 7
    np.testing.assert_allclose(model(changed).numpy()[:, :3], logits[:, :3], atol=1e-6)
    alone = model({name: value[1:2] for name, value in inputs.items()})
    np.testing.assert_allclose(alone, logits[1:2], atol=1e-5)


def test_padding_changes_nothing():
    model, inputs = model_of(coverage=0.5), batch()
    padded = {**inputs, "captions": np.pad(inputs["captions"], [(0, 0), (0, 3)])}
    np.testing.assert_allclose(model(padded)[:, :5], model(inputs), atol=1e-6)
    model = model_of(fixed_encoder(), encoder="x.keras", coverage=0.5)  # no batch normalization
    inputs = batch((4, 4, 3))
    padded = {**inputs, "captions": np.pad(inputs["captions"], [(0, 0), (0, 3)])}
    losses = []
    for part in (inputs, padded):
        model(part, training=True)
        losses.append(float(model.losses[0]))
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


def test_without_attention_the_grid_is_one_cell():
    encoder, inputs = fixed_encoder(), batch((4, 4, 3))
    model = model_of(encoder, encoder="x.keras", attention="none")
    assert model.get_layer("grid")(inputs["images"]).shape == (3, 1, CONFIG.units)
    model = model_of(encoder, encoder="x.keras")
    grid = model.get_layer("grid")
    assert grid(inputs["images"]).shape == (3, 16, CONFIG.units)


def test_grid_is_a_projection_of_normalized_cells():
    layer = Grid(5, seed=0)
    v = np.random.default_rng(0).normal(size=(2, 3, 4, 6)).astype(np.float32)
    layer.build(v.shape)
    normalized = (v - v.mean(-1, keepdims=True)) / np.sqrt(v.var(-1, keepdims=True) + 1e-3)
    W, C = layer.W.numpy(), layer.C.numpy()
    layer.b.assign(np.arange(5) / 10)
    x, y = np.linspace(-1, 1, 4), np.linspace(-1, 1, 3)
    places = np.array([(x[i % 4], y[i // 4]) for i in range(12)])
    expected = (normalized @ W).reshape(2, 12, 5) + places @ C + np.arange(5) / 10
    expected = np.maximum(expected, 0)
    np.testing.assert_allclose(layer(v), expected, atol=1e-5)
    mean = Grid(5, keep_cells=False, seed=0)
    mean.build(v.shape)
    mean.set_weights(layer.get_weights())
    np.testing.assert_allclose(mean(v)[:, 0], expected.mean(1), atol=1e-5)


def test_coverage_penalty_beside_numpy():
    rng = np.random.default_rng(0)
    a = rng.uniform(size=(2, 4, 3)).astype(np.float32)
    a /= a.sum(-1, keepdims=True)
    y = np.array([[0, 5, 6, 7], [0, 5, 0, 0]], np.int32)
    o = np.ones((2, 4, 8), np.float32)
    layer = CoveragePenalty(0.7)
    np.testing.assert_array_equal(layer(o, a, y, training=True), o)
    first = (1 - a[0].sum(0) * 3 / 4) ** 2
    second = (1 - a[1, :2].sum(0) * 3 / 2) ** 2
    expected = 0.7 * np.mean([first, second])
    assert float(layer.losses[0]) == pytest.approx(expected, rel=1e-5)
    # Rows of padding only do not count.
    padded = [np.concatenate([t, np.zeros_like(t[:1])]) for t in (o, a, y)]
    layer = CoveragePenalty(0.7)
    layer(*padded, training=True)
    assert float(layer.losses[0]) == pytest.approx(expected, rel=1e-5)
    layer = CoveragePenalty(0.7)
    layer(o, a, y)
    assert layer.losses == []


def test_the_penalty_is_part_of_the_training_loss_only():
    model, inputs = model_of(coverage=2.0), batch()
    model(inputs, training=True)
    assert len(model.losses) == 1
    assert float(model.losses[0]) > 0
    assert model_of(coverage=2.0, attention="none")(inputs, training=True) is not None


def test_the_model_is_saved_and_loaded(tmp_path):
    model, inputs = model_of(), batch()
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(inputs), model(inputs))


def test_seeds():
    inputs = batch()
    logits = []
    for seed in (1, 1, 5):
        keras.utils.set_random_seed(0)
        logits.append(model_of(seed=seed)(inputs))
    np.testing.assert_array_equal(logits[0], logits[1])
    assert not np.allclose(logits[0], logits[2])
