"""BidirectionalEncoder against its equations; padding, seeds and files."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from shared.layers.encoder import BidirectionalEncoder
from shared.layers.masking import padding_mask

B, S, D, H = 3, 5, 4, 6
LENGTH = np.array([5, 3, 0], np.int32)
options = pytest.mark.parametrize(
    "arguments",
    [
        {"scale": False},
        {"layer_norm": True, "num_layers": 2},
        {"dropout": 0.5, "recurrent_dropout": 0.5},
    ],
    ids=str,
)


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def encoder_of(cell="peephole_lstm", **arguments):
    """Returns a built encoder with random weights."""
    encoder = BidirectionalEncoder(cell, H, **arguments)
    encoder.build((B, S, D))
    for i, v in enumerate(encoder.trainable_variables):
        v.assign(random(*v.shape, seed=i) * 0.5)
    return encoder


@options
def test_it_equals_its_equations(arguments):
    encoder, x = encoder_of(**arguments), random(B, S, D)
    scale = D**0.5 if encoder.scale else 1.0
    m, _ = encoder.stack(x * scale, mask=padding_mask(LENGTH, x))
    if encoder.layer_norm:
        gamma, beta = (np.asarray(v) for v in encoder.norm.weights)
        m = (m - np.mean(m, -1, keepdims=True)) / np.sqrt(np.var(m, -1, keepdims=True) + 1e-3)
        m = m * gamma + beta
    assert m.shape == (B, S, 2 * H)
    np.testing.assert_allclose(encoder(x, LENGTH), m, rtol=1e-4, atol=1e-5)


@options
def test_padding_has_no_effect(arguments):
    encoder, x = encoder_of(**arguments), random(B, S, D)
    padded = np.concatenate([x, 100 * random(B, 2, D, seed=1)], axis=1)
    expected = encoder(x[:1])
    assert expected.shape == (1, S, 2 * H)
    np.testing.assert_allclose(encoder(x, LENGTH)[:1], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(encoder(padded, LENGTH)[:1, :S], expected, rtol=1e-4, atol=1e-5)
    for row, n in enumerate(LENGTH):
        expected = encoder(x[row : row + 1, :n])
        m = encoder(padded, LENGTH)[row : row + 1, :n]
        np.testing.assert_allclose(m, expected, rtol=1e-4, atol=1e-5)


def test_dropout_is_drawn_from_the_seed_in_training_only():
    x = random(B, S, D)
    arguments = {"num_layers": 2, "dropout": 0.5, "recurrent_dropout": 0.3}
    one, two, other = (encoder_of(**arguments, seed=seed) for seed in (1, 1, 2))
    m = one(x, LENGTH, training=True)
    np.testing.assert_array_equal(m, two(x, LENGTH, training=True))
    assert (m != other(x, LENGTH, training=True)).numpy().any()
    np.testing.assert_array_equal(one(x, LENGTH), other(x, LENGTH))


def test_mixed_precision():
    x = random(B, S, D)
    m = encoder_of(layer_norm=True, dtype="mixed_bfloat16")(x, LENGTH)
    assert m.dtype == tf.bfloat16
    expected = encoder_of(layer_norm=True)(x, LENGTH)
    np.testing.assert_allclose(np.asarray(m, np.float32), expected, atol=0.1)


@pytest.mark.parametrize("with_length", [False, True])
def test_a_saved_model_is_loaded(with_length, tmp_path):
    inputs = [keras.Input((None, D))] + [keras.Input((), dtype="int32")] * with_length
    encoder = BidirectionalEncoder("gru", H, num_layers=2, layer_norm=True, seed=3, name="encoder")
    model = keras.Model(inputs, encoder(*inputs))
    assert model.output_shape == (None, None, 2 * H)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    data = [tf.constant(random(B, S, D)), tf.constant(LENGTH)][: 1 + with_length]
    np.testing.assert_array_equal(loaded(data), model(data))
    assert loaded.get_layer("encoder").get_config() == encoder.get_config()
