"""The captioning model: a decoder with attention over the grid of features of an image."""

import keras
import numpy as np
import tensorflow as tf

from shared.layers.attention_decoder import AttentionDecoder
from shared.layers.seeds import derive_seeds
from shared.layers.tied_embedding import TiedEmbedding

from . import encoders


def build(config, assets):
    """Builds the model that predicts each token of a caption from the image and the tokens before it.

        g = relu(norm(v) W + c C + b)            v: the grid of features, (batch, cells, features)
        o, a = decoder(E[y], g)                  y: tokens, shifted right by "</s>", (batch, time)
        logits = dropout(o) E^T + c              (batch, time, vocabulary)
        penalty = coverage mean_j (1 - sum_t a_tj)^2       doubly stochastic attention (Xu et al. 2015)

    Args:
        config: the app's Config.
        assets: the app's Assets; `build` reads the size of the vocabulary and the shape of the features.

    Returns:
        An uncompiled `keras.Model` from {"images": the input of the encoder, if it is trained (batch, size,
        size, 3), RGB from 0 to 255; else its features (batch, height, width, features); "captions": int32
        (batch, time)} to the logits.
    """
    seeds = derive_seeds(config.seed, step=1000)
    y = keras.Input((None,), dtype="int32", name="captions")
    dropout = lambda x: keras.layers.Dropout(config.dropout, (None, 1, None), next(seeds))(x)  # noqa: E731
    if encoders.is_trained(config):
        encoder = assets.encoder or encoders.build(config)
        encoder.trainable = True
        x = keras.Input(encoder.input_shape[1:], name="images")
        v = encoder(x)
    else:
        x = v = keras.Input(assets.encoder.output_shape[1:], name="images")
    attends = config.attention != "none"
    g = Grid(config.units, attends, next(seeds), name="grid")(v)
    embed = TiedEmbedding(
        assets.vocabulary.size,
        config.embedding_dim,
        embeddings_initializer=keras.initializers.RandomNormal(
            0.0, config.embedding_dim**-0.5, next(seeds)
        ),
        name="embedding",
    )
    decoder = AttentionDecoder(
        config.cell,
        config.units,
        output_dim=config.embedding_dim,
        num_layers=config.num_layers,
        dropout=config.dropout,
        recurrent_dropout=config.recurrent_dropout,
        score=config.attention if attends else "general",
        seed=next(seeds),
        name="decoder",
    )
    o, a = decoder(dropout(embed(y)), dropout(g), return_attention=True)
    o = CoveragePenalty(config.coverage if attends else 0.0, name="coverage")(o, a, y)
    return keras.Model({"images": x, "captions": y}, embed(dropout(o), reverse=True))


def parts(model):
    """Returns the layers of `build`'s model for decoding.

    Returns:
        the encoder, None if it is not part of the model; and the layers `grid`, `embedding` and `decoder`.
    """
    encoder = next((layer for layer in model.layers if isinstance(layer, keras.Model)), None)
    return encoder, *map(model.get_layer, ("grid", "embedding", "decoder"))


@keras.saving.register_keras_serializable(package=__package__)
class Grid(keras.layers.Layer):
    """Projects the features of a grid: the memory of the decoder.

        g_j = relu(norm(v_j) W + c_j C + b)       of each cell j of the grid

    c_j are the coordinates (x, y) of the cell, from -1 to 1 (Liu et al. 2018, "CoordConv"): the features of a
    convolution hardly tell the decoder where a cell is.

    Args:
        units: size of g.
        keep_cells: return g of all cells; if False, their mean as a single cell.
        seed: seed of W.

    Call arguments:
        v: (batch, height, width, features).

    Returns:
        (batch, height * width or 1, units), a row of the grid after the other.
    """

    def __init__(self, units, keep_cells=True, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.units, self.keep_cells, self.seed = units, keep_cells, seed
        self.norm = keras.layers.LayerNormalization(name="norm", dtype=self.dtype_policy)

    def build(self, shape):
        """Creates W (features, units), C (2, units) and b."""
        self.norm.build(shape)
        seeds = derive_seeds(self.seed, step=100)
        normal = keras.initializers.RandomNormal(0.0, 1.0, next(seeds))
        he_normal = keras.initializers.HeNormal(next(seeds))
        self.W = self.add_weight(
            shape=(shape[-1], self.units), initializer=he_normal, name="kernel"
        )
        self.C = self.add_weight(
            shape=(2, self.units), initializer=normal, name="coordinate_kernel"
        )
        self.b = self.add_weight(shape=(self.units,), initializer="zeros", name="bias")

    def call(self, v):
        """Computes g; see the class."""
        _, height, width, features = v.shape
        v = self.norm(tf.reshape(v, [-1, height * width, features]))
        c = tf.cast(_coordinates(height, width), v.dtype)
        g = tf.nn.relu(keras.ops.matmul(v, self.W) + keras.ops.matmul(c, self.C) + self.b)
        return g if self.keep_cells else tf.reduce_mean(g, 1, keepdims=True)

    def compute_output_spec(self, v):
        """Returns the output shape for the functional API."""
        cells = v.shape[1] * v.shape[2] if self.keep_cells else 1
        return keras.KerasTensor((v.shape[0], cells, self.units), self.compute_dtype)

    def get_config(self):
        """Returns every argument of `__init__`."""
        return {
            **super().get_config(),
            "units": self.units,
            "keep_cells": self.keep_cells,
            "seed": self.seed,
        }


def _coordinates(height, width):
    """Returns the coordinates (x, y) of the cells of a grid, float32 (height * width, 2)."""
    y, x = np.meshgrid(
        *(np.linspace(-1, 1, n) if n > 1 else [0] for n in (height, width)), indexing="ij"
    )
    return np.stack([x.ravel(), y.ravel()], 1).astype(np.float32)


@keras.saving.register_keras_serializable(package=__package__)
class CoveragePenalty(keras.layers.Layer):
    """Adds the doubly stochastic penalty to the loss: over a caption, each cell is attended to once.

        penalty = weight mean_j (1 - (cells / time) sum_t a_tj)^2

    Xu et al. 2015, equation 14, penalize (1 - sum_t a_tj)^2, which short captions over many cells cannot
    fulfil; here the sum is scaled, so that an even attention has no penalty.

    Args:
        weight: weight of the penalty; 0: none.

    Call arguments:
        o: any tensor, which is returned.
        a: attention weights, (batch, time, cells).
        y: int (batch, time), the tokens that the decoder reads; padding repeats `END`, 0.
        training: the penalty is added in training only.

    Returns:
        o.
    """

    def __init__(self, weight, **kwargs):
        super().__init__(**kwargs)
        self.weight = weight

    def call(self, o, a, y, training=False):
        """Adds the penalty; see the class."""
        if training and self.weight:
            # The first token that is read is END too: it starts the caption.
            is_token = tf.concat([tf.ones_like(y[:, :1]), y[:, 1:]], 1) != 0
            mask = tf.cast(is_token, tf.float32)
            time = tf.reduce_sum(mask, 1, keepdims=True)
            cells = tf.cast(tf.shape(a)[2], tf.float32)
            total = tf.reduce_sum(tf.cast(a, tf.float32) * mask[..., tf.newaxis], 1)
            penalty = tf.reduce_mean((1 - total * cells / time) ** 2, 1)
            # The last batch of an epoch may have rows of padding only.
            is_caption = tf.cast(tf.reduce_any(y != 0, 1), tf.float32)
            captions = tf.maximum(tf.reduce_sum(is_caption), 1)
            self.add_loss(self.weight * tf.reduce_sum(is_caption * penalty) / captions)
        return o

    def compute_output_spec(self, o, a, y, training=False):
        """Returns the shape of `o`."""
        return keras.KerasTensor(o.shape, o.dtype)

    def get_config(self):
        """Returns every argument of `__init__`."""
        return {**super().get_config(), "weight": self.weight}
