"""A bidirectional recurrent encoder."""

import keras

from .masking import padding_mask
from .recurrent import RecurrentStack
from .tied_embedding import scale_embedding


@keras.saving.register_keras_serializable(package="peephole")
class BidirectionalEncoder(keras.layers.Layer):
    """Reads a sequence of embeddings in both directions.

        m_j = [forward_j; backward_j]       outputs of the last layer, optionally layer-normalized

    The first layer reads x sqrt(features), so that embeddings of variance 1 / features have an effect from
    the start.

    Args:
        cell, units, num_layers, dropout, recurrent_dropout, seed: see `RecurrentStack`.
        layer_norm: whether to normalize m.
        scale: whether to multiply x by sqrt(features); not for features of variance 1.

    Call arguments:
        x: (batch, source, features).
        length: int (batch,), number of real steps in each row; None if no step is padding.
        training: whether to apply dropout.

    Returns:
        m, (batch, source, 2 units).

    Example:

    >>> encoder = BidirectionalEncoder("gru", units=16, num_layers=2)
    >>> encoder(keras.random.normal((2, 5, 8)), length=keras.ops.array([5, 3])).shape
    TensorShape([2, 5, 32])
    """

    def __init__(
        self,
        cell,
        units,
        num_layers=1,
        dropout=0.0,
        recurrent_dropout=0.0,
        layer_norm=False,
        seed=None,
        scale=True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.cell = cell
        self.units = units
        self.num_layers = num_layers
        self.dropout = dropout
        self.recurrent_dropout = recurrent_dropout
        self.layer_norm = layer_norm
        self.seed = seed
        self.scale = scale
        # Without `dtype`, the sub-layers would take the global policy instead of this layer's.
        self.stack = RecurrentStack(
            cell,
            units,
            num_layers,
            bidirectional=True,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            seed=seed,
            dtype=self.dtype_policy,
            name="stack",
        )
        self.norm = optional_norm(layer_norm, dtype=self.dtype_policy, name="norm")

    def build(self, x_shape, length_shape=None):
        """Builds the recurrent layers and the normalization."""
        self.stack.build(x_shape)
        self.norm.build((*x_shape[:-1], 2 * self.units))

    def call(self, x, length=None, training=False):
        """Computes m; see the class."""
        scaled = scale_embedding(x) if self.scale else x
        m, _ = self.stack(scaled, mask=padding_mask(length, x), training=training)
        return self.norm(m)

    def compute_output_spec(self, x, length=None, training=False):
        """Returns the output shape for the functional API."""
        return keras.KerasTensor((*x.shape[:-1], 2 * self.units), self.compute_dtype)

    def get_config(self):
        """Returns every argument of `__init__`."""
        return {
            **super().get_config(),
            "cell": self.cell,
            "units": self.units,
            "num_layers": self.num_layers,
            "dropout": self.dropout,
            "recurrent_dropout": self.recurrent_dropout,
            "layer_norm": self.layer_norm,
            "seed": self.seed,
            "scale": self.scale,
        }


def optional_norm(layer_norm, **kwargs):
    """Returns a `LayerNormalization` if `layer_norm` is true, else an `Identity` layer."""
    return (keras.layers.LayerNormalization if layer_norm else keras.layers.Identity)(**kwargs)
