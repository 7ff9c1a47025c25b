"""The encoders by name."""

import dataclasses

import keras
import numpy as np
import pytest

from apps.image_captioning import encoders
from apps.image_captioning.config import TINY
from shared.errors import InputError


def build(name, **settings):
    return encoders.build(dataclasses.replace(TINY, encoder=name, **settings))


def test_small_cnn():
    model = build("small_cnn", image_size=40, encoder_filters=(4, 6))
    assert model.input_shape == (None, 40, 40, 3)
    assert model.output_shape == (None, 10, 10, 6)
    images = np.random.default_rng(0).uniform(0, 255, (2, 40, 40, 3)).astype(np.float32)
    assert np.std(model(images)) > 0
    again = build("small_cnn", image_size=40, encoder_filters=(4, 6))
    np.testing.assert_array_equal(model(images), again(images))
    other = build("small_cnn", image_size=40, encoder_filters=(4, 6), seed=2)
    assert not np.allclose(model(images), other(images))


def network(output_size):
    images = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(output_size, 3, 2)(images)
    return keras.Model(images, x)


def test_a_keras_file(tmp_path):
    model = network(5)
    model.save(tmp_path / "encoder.keras")
    images = np.ones((1, 8, 8, 3), np.float32)
    loaded = build(str(tmp_path / "encoder.keras"))
    np.testing.assert_array_equal(loaded(images), model(images))


@pytest.mark.parametrize("shape", [(8, 8, 1), (8, 6, 3), (None, None, 3), (8,)])
def test_a_keras_file_of_another_kind(tmp_path, shape):
    images = keras.Input(shape)
    keras.Model(images, keras.layers.Rescaling(2.0)(images)).save(tmp_path / "other.keras")
    with pytest.raises(
        InputError, match=r"other.keras: a model from images .* is needed. Received"
    ):
        build(str(tmp_path / "other.keras"))


def test_a_keras_file_that_is_missing_or_damaged(tmp_path):
    (tmp_path / "damaged.keras").write_bytes(b"no")
    for name in ("missing.keras", "damaged.keras"):
        with pytest.raises(InputError, match=f"{name} cannot be loaded"):
            build(str(tmp_path / name))


@pytest.mark.parametrize("name", ["resnet", "mobilenet", "Model", "os", "preprocess_input", ""])
def test_an_unknown_name_lists_the_known_ones(name):
    with pytest.raises(InputError, match=r"small_cnn, efficientnet_lite0.*MobileNetV2.*Received"):
        build(name)


def test_a_network_of_keras_applications(monkeypatch):
    original = keras.applications.MobileNetV2

    def without_download(include_top, weights, input_shape):
        assert weights == "imagenet"
        return original(include_top=include_top, weights=None, input_shape=input_shape)

    without_download.__module__ = original.__module__
    monkeypatch.setattr(keras.applications, "MobileNetV2", without_download)
    model = build("MobileNetV2")
    assert model.output_shape == (None, 7, 7, 1280)
    images = np.random.default_rng(0).uniform(0, 255, (1, 224, 224, 3)).astype(np.float32)
    inner = next(layer for layer in model.layers if isinstance(layer, keras.Model))
    np.testing.assert_allclose(model(images), inner(images / 127.5 - 1), atol=1e-5)


def test_a_failed_download_names_the_encoder_without_one(monkeypatch):
    def fail(**_):
        raise OSError("URL fetch failure")

    monkeypatch.setattr(keras.applications, "ResNet50", fail)
    with pytest.raises(
        InputError, match=r"ResNet50 cannot be downloaded \(URL fetch failure\).*lite0"
    ):
        build("ResNet50")
