"""Embedding, recurrent stack, softmax tied to the embedding."""

import keras
import tensorflow as tf

from shared.errors import InputError
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
        config.layers,
        dropout=config.dropout,
        recurrent_dropout=config.recurrent_dropout,
        seed=config.seed + 1,
        batch_size=config.batch_size,
        name="stack",
    )(x, carry=carry)
    y = keras.layers.Dropout(config.dropout, locked, config.seed + 100, name="output_dropout")(y)
    logits = embedding(y, reverse=True)
    return LanguageModel({"tokens": tokens, "carry": carry}, logits, name="language_model")


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
        """Metrics, of validation alone where y_pred are features in training."""
        if y_pred.shape[-1] != self.output_shape[-1]:
            return self.get_metrics_result()
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
    """`ReversibleEmbedding` with a bias on its way back to the vocabulary, and a sampled softmax.

    The vocabulary is in order of frequency, so the bias begins at Zipf's law in Mandelbrot's form,
    p(rank) ~ 1 / (rank + 2.7). Begun at zero, a model of PTB was still worse than a unigram after its
    first epoch.

    Args:
        sampled: words drawn for `sampled_loss`; 0: it is not used.
        seed: of the draws.
        others: as of `ReversibleEmbedding`.
    """

    def __init__(self, *args, sampled=0, seed=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.sampled, self.seed = sampled, seed
        if sampled:
            self.draws = keras.random.SeedGenerator(seed)

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

    def call(self, inputs, reverse=False, training=False):
        """ids to vectors; with `reverse`, vectors (..., units) to logits (..., vocabulary).

        Where a sampled softmax is trained, `reverse` leaves the vectors to `sampled_loss`.
        """
        if reverse and training and self.sampled:
            return inputs
        result = super().call(inputs, reverse=reverse)
        return result + self.bias if reverse else result

    def compute_output_spec(self, inputs, reverse=False, training=False):
        """Shapes for the functional API: those of inference."""
        return super().compute_output_spec(inputs, reverse)

    def sampled_loss(self, y, targets):
        """An estimate of the cross-entropy that computes few of the logits.

            loss = log(exp(l_t) + sum_{i in S, i != t} exp(l_i) / p_i) - l_t     l = E y + b

        S are `sampled` words, drawn anew for each batch, p_i the probability that word i is among
        them. The sum's expectation is the softmax's own (importance sampling: Bengio & Senecal 2003,
        Jean et al. 2015). They are drawn without replacement, in proportion to q, Zipf's law: each
        word waits for a time e_i ~ Exp(q_i), and the first of them win. Given the time tau of the
        first that loses, p_i = 1 - exp(-q_i tau) (Cohen & Kaplan 2007, "Summarizing data using
        bottom-k sketches"): near 1 for frequent words, whose part of the sum is nearly exact. The
        loss is on average a little below the exact one, for the logarithm is concave.

        Args:
            y: float (batch, time, units).
            targets: int (batch, time).

        Returns:
            float32 (batch, time).
        """
        y, t = tf.cast(y, tf.float32), tf.reshape(targets, [-1])
        shape, y = tf.shape(y)[:-1], tf.reshape(y, [-1, self.output_dim])  # (tokens, units)
        q = 1 / (tf.range(self.input_dim, dtype=tf.float32) + 2.7)
        e = -tf.math.log(keras.random.uniform([self.input_dim], seed=self.draws)) / q
        times, words = tf.math.top_k(-e, self.sampled + 1)
        S, tau = words[:-1], -times[-1]
        log_p = tf.math.log(-tf.math.expm1(-tau * tf.gather(q, S)))
        ids = tf.concat([S, t], 0)
        E_S, E_t = tf.split(_rows(tf.convert_to_tensor(self.embeddings), ids), [self.sampled, -1])
        b_S, b_t = tf.split(_rows(tf.convert_to_tensor(self.bias), ids), [self.sampled, -1])
        l_S = tf.matmul(y, E_S, transpose_b=True) + (b_S - log_p)  # (tokens, sampled)
        l_S = tf.where(t[:, tf.newaxis] == S, l_S.dtype.min, l_S)
        l_t = tf.reduce_sum(y * E_t, -1, keepdims=True) + b_t[:, tf.newaxis]  # (tokens, 1)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
            tf.zeros_like(t), tf.concat([l_t, l_S], -1)
        )
        return tf.reshape(losses, shape)

    def get_config(self):
        """Every argument of `__init__`."""
        return {**super().get_config(), "sampled": self.sampled, "seed": self.seed}


@tf.custom_gradient
def _rows(E, ids):
    """Rows of E, with a dense gradient: Keras takes no account of rows that come twice in a sparse one."""

    def gradient(upstream):
        return tf.math.unsorted_segment_sum(upstream, ids, tf.shape(E)[0]), None

    return tf.gather(E, ids), gradient
