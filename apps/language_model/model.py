"""Embedding, recurrent stack, softmax tied to the embedding."""

import keras
import tensorflow as tf

from shared.layers.recurrent import RecurrentStack


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
    """
    tokens = keras.Input((None,), config.batch_size, dtype="int32", name="tokens")
    carry = keras.Input((), config.batch_size, dtype="float32", name="carry")
    embedding = TiedEmbedding(vocabulary.size, config.units, name="embedding")
    x = embedding(tokens)
    locked = (None, 1, None)
    x = keras.layers.Dropout(config.dropout, locked, config.seed, name="input_dropout")(x)
    y = CarryingStack(
        config.cell,
        config.units,
        config.layers,
        dropout=config.dropout,
        recurrent_dropout=config.recurrent_dropout,
        seed=config.seed + 1,
        batch_size=config.batch_size,
        name="stack",
    )(x, carry=carry)
    y = keras.layers.Dropout(config.dropout, locked, config.seed + 100, name="output_dropout")(y)
    logits = embedding(y, reverse=True)
    return keras.Model({"tokens": tokens, "carry": carry}, logits, name="language_model")


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
            for i in range(self.layers * self.states_per_layer)
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


@keras.saving.register_keras_serializable(package=__package__)
class TiedEmbedding(keras.layers.ReversibleEmbedding):
    """`ReversibleEmbedding` with a bias on its way back to the vocabulary.

    The vocabulary is in order of frequency, so the bias begins at Zipf's law in Mandelbrot's form,
    p(rank) ~ 1 / (rank + 2.7). Begun at zero, a model of PTB was still worse than a unigram after its
    first epoch.
    """

    def build(self, input_shape=None):
        """Adds the bias (vocabulary,)."""
        super().build(input_shape)
        self.bias = self.add_weight(
            shape=(self.input_dim,),
            initializer=lambda shape, dtype: -tf.math.log(tf.range(shape[0], dtype=dtype) + 2.7),
            name="bias",
        )

    @property
    def variable_serialization_spec(self):
        """What is saved: the bias too."""
        spec = super().variable_serialization_spec
        return {mode: [*names, "bias"] for mode, names in spec.items()}

    def call(self, inputs, reverse=False):
        """ids to vectors; with `reverse`, vectors (..., units) to logits (..., vocabulary)."""
        result = super().call(inputs, reverse=reverse)
        return result + self.bias if reverse else result
