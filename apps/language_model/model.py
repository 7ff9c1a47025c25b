"""Embedding, recurrent stack, softmax tied to the embedding."""

import keras
import tensorflow as tf

from shared.errors import InputError
from shared.layers.recurrent import RecurrentStack
from shared.layers.tied_embedding import TiedEmbedding


def build(config, vocabulary):
    """The model that is trained: tokens in, logits of the next tokens out.

        x = dropout(E[w])                  w: int (batch, time); E: (vocabulary, units)
        y, s' = stack(x, carry * s)        s: the states at the end of the window before
        logits = dropout(y) E^T + b        (batch, time, vocabulary)

    Tied weights: Press & Wolf 2017. Dropout on what is not recurrent (Zaremba et al. 2014), of the
    same features at all steps of a window (Gal & Ghahramani 2016, "variational").

    Returns:
        an uncompiled `keras.Model` of {"tokens": int32 (batch, time), "carry": float32 (batch,)},
        in which batch is `config.batch_size`.

    Raises:
        InputError: `sampled_softmax` is not below the size of the vocabulary.
    """
    if not 0 <= config.sampled_softmax < vocabulary.size:
        raise InputError(
            f"--sampled-softmax is from 0 (all words) to {vocabulary.size - 1}, for there are "
            f"{vocabulary.size}. Received: {config.sampled_softmax}"
        )
    tokens = keras.Input((None,), config.batch_size, dtype="int32", name="tokens")
    carry = keras.Input((), config.batch_size, dtype="float32", name="carry")
    embedding = TiedEmbedding(
        vocabulary.size,
        config.units,
        sampled=config.sampled_softmax,
        seed=config.seed + 200,
        name="embedding",
    )
    x = embedding(tokens)
    locked = (None, 1, None)
    x = keras.layers.Dropout(config.dropout, locked, config.seed, name="input_dropout")(x)
    y = CarryingStack(
        config.cell,
        config.units,
        config.num_layers,
        dropout=config.dropout,
        recurrent_dropout=config.recurrent_dropout,
        seed=config.seed + 1,
        batch_size=config.batch_size,
        name="stack",
    )(x, carry=carry)
    y = keras.layers.Dropout(config.dropout, locked, config.seed + 100, name="output_dropout")(y)
    logits = embedding(y, reverse=True)
    return LanguageModel({"tokens": tokens, "carry": carry}, logits)


@keras.saving.register_keras_serializable(package=__package__)
class LanguageModel(keras.Model):
    """The model of `build`: its loss in training is that of a sampled softmax, where one is asked for."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The loss of a batch, a scalar; with a sampled softmax, y_pred are features in training."""
        embedding = self.get_layer("embedding")
        if not (training and embedding.sampled):
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        losses = embedding.sampled_loss(y_pred, y)
        weights = tf.ones_like(losses) if sample_weight is None else sample_weight
        return tf.reduce_sum(losses * weights) / tf.reduce_sum(weights)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """The loss, and the metrics that the model is compiled with: none, with a sampled softmax."""
        if self.get_layer("embedding").sampled and len(self.metrics) > 1:
            raise ValueError(
                "a sampled softmax makes no logits in training: compile without metrics"
            )
        return super().compute_metrics(x, y, y_pred, sample_weight)


@keras.saving.register_keras_serializable(package=__package__)
class CarryingStack(RecurrentStack):
    """A stack that keeps its last states for the next window of the same streams of text.

    Args:
        batch_size: how many streams.
        others: as of `RecurrentStack`.
    """

    def __init__(self, *args, batch_size, **kwargs):
        super().__init__(*args, **kwargs)
        self.batch_size = batch_size

    def build(self, x_shape):
        """Builds the layers and the states."""
        super().build(x_shape)
        self.carried = [
            self.add_weight(
                shape=(self.batch_size, self.units),
                initializer="zeros",
                trainable=False,
                name=f"carried_{i}",
            )
            for i in range(self.num_layers * self.states_per_layer)
        ]

    def call(self, x, carry=None, initial_state=None, mask=None, training=False):
        """With `carry`, float (batch,): goes on from its own states, or from zero where it is 0.

        Returns y alone, (batch, time, units). Without, it is a plain `RecurrentStack`.
        """
        if carry is None:
            return super().call(x, initial_state, mask, training)
        kept = tf.cast(carry, self.compute_dtype)[:, tf.newaxis]
        initial = [tf.cast(s, self.compute_dtype) * kept for s in self.carried]
        y, states = super().call(x, initial, mask, training)
        for carried, state in zip(self.carried, states, strict=True):
            carried.assign(state)
        return y

    def compute_output_spec(self, x, carry=None, **kwargs):
        """Shapes for the functional API."""
        y, states = self.compute_output_shape(x.shape)
        y = keras.KerasTensor(y, self.compute_dtype)
        if carry is not None:
            return y
        return y, [keras.KerasTensor(s, self.compute_dtype) for s in states]

    def get_config(self):
        """Every argument of `__init__`."""
        return {**super().get_config(), "batch_size": self.batch_size}
