"""The language model: an embedding, a recurrent stack, and a softmax tied to the embedding."""

import keras
import tensorflow as tf

from shared.errors import InputError
from shared.layers.checks import checked_rows
from shared.layers.recurrent import RecurrentStack
from shared.layers.seeds import derive_seeds
from shared.layers.tied_embedding import TiedEmbedding


def build(config, assets):
    """Builds the model that predicts each token from the tokens before it.

        x = dropout(E[w])                  w: int (batch, time); E: (vocabulary, units)
        y, s' = stack(x, carry * s)        s: the states at the end of the previous window
        logits = dropout(y) E^T + b        (batch, time, vocabulary)

    Tied weights: Press & Wolf 2017. Dropout on the connections that are not recurrent (Zaremba et al. 2014),
    of the same features at all time steps of a window (Gal & Ghahramani 2016, "variational").

    Args:
        config: the app's Config.
        assets: the app's Assets; `build` reads the size of its vocabulary.

    Returns:
        An uncompiled `LanguageModel` from {"tokens": int32 (batch, time), "carry": float32 (batch,)} to the
        logits, float32 under a mixed dtype policy too. batch must be `config.batch_size`.

    Raises:
        InputError: `sampled_softmax` is negative, or not below the size of the vocabulary.
    """
    vocabulary_size = assets.vocabulary.size
    if not 0 <= config.sampled_softmax < vocabulary_size:
        raise InputError(
            f"--sampled-softmax must be from 0 (full softmax) to {vocabulary_size - 1}, below the size of "
            f"the vocabulary. Received: {config.sampled_softmax}"
        )
    seeds = derive_seeds(config.seed, step=100)
    input_seed, output_seed, sampling_seed = next(seeds), next(seeds), next(seeds)
    stack_seed = next(derive_seeds(config.seed, start=1))
    same_at_all_steps = (None, 1, None)  # the shape of a dropout mask
    tokens = keras.Input((None,), config.batch_size, dtype="int32", name="tokens")
    carry = keras.Input((), config.batch_size, dtype="float32", name="carry")
    embedding = TiedEmbedding(
        vocabulary_size,
        config.units,
        num_sampled=config.sampled_softmax,
        seed=sampling_seed,
        name="embedding",
    )
    x = embedding(tokens)
    x = keras.layers.Dropout(config.dropout, same_at_all_steps, input_seed, name="input_dropout")(x)
    y = CarryingStack(
        config.cell,
        config.units,
        config.num_layers,
        dropout=config.dropout,
        recurrent_dropout=config.recurrent_dropout,
        seed=stack_seed,
        batch_size=config.batch_size,
        name="stack",
    )(x, carry=carry)
    y = keras.layers.Dropout(config.dropout, same_at_all_steps, output_seed, name="output_dropout")(
        y
    )
    logits = embedding(y, reverse=True)
    return LanguageModel({"tokens": tokens, "carry": carry}, logits)


@keras.saving.register_keras_serializable(package=__package__)
class LanguageModel(keras.Model):
    """The model of `build`, which trains with a sampled softmax if `config.sampled_softmax` is not 0."""

    @property
    def state_variables(self):
        """The variables that carry the states from one window to the next, a list.

        They belong to the training text and are not parameters: `--init-from` must not copy them, and the
        number of parameters does not include them.
        """
        return list(self.get_layer("stack").carried_states)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Computes the loss of a batch.

        Args:
            x: the inputs of the model, which are not used.
            y: int (batch, time), the next tokens.
            y_pred: logits (batch, time, vocabulary); in training with a sampled softmax, the input of the
                softmax, (batch, time, units).
            sample_weight: float (batch, time), or None.
            training: whether the batch is a training batch.

        Returns:
            Scalar, in nats per token.
        """
        embedding = self.get_layer("embedding")
        if not (training and embedding.num_sampled):
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        losses = embedding.sampled_loss(y_pred, y)
        ones = tf.ones_like(losses)
        weights = ones if sample_weight is None else tf.cast(sample_weight, losses.dtype)
        return tf.reduce_sum(losses * weights) / tf.reduce_sum(weights)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Updates the metrics; see `keras.Model`.

        Raises:
            ValueError: the model has a sampled softmax and is compiled with metrics.
        """
        if self.get_layer("embedding").num_sampled and len(self.metrics) > 1:
            raise ValueError(
                "A sampled softmax computes no logits in training: compile without metrics. Received: "
                f"{[metric.name for metric in self.metrics[1:]]}"
            )
        return super().compute_metrics(x, y, y_pred, sample_weight)


@keras.saving.register_keras_serializable(package=__package__)
class CarryingStack(RecurrentStack):
    """A `RecurrentStack` that can carry its states from one window of a text to the next.

    Args:
        batch_size: number of rows, each a stream of text.
        *args, **kwargs: see `RecurrentStack`.

    Call arguments:
        x: (batch, time, features).
        carry: float (batch,). 1 continues a row from the last states, 0 starts it from zero. None: the
            layer is a plain `RecurrentStack`, and does not use the carried states.
        initial_state, mask, training: see `RecurrentStack`; `initial_state` is for `carry=None`.

    Returns:
        With `carry`, y, (batch, time, units); without, see `RecurrentStack`.

    Raises:
        ValueError: `x` or `carry` does not have `batch_size` rows. If the number is only known when the graph
            runs, an InvalidArgumentError is raised instead.
    """

    def __init__(self, *args, batch_size, **kwargs):
        super().__init__(*args, **kwargs)
        self.batch_size = batch_size

    def build(self, x_shape):
        """Builds the layers and creates the carried states."""
        super().build(x_shape)
        self.carried_states = [
            self.add_weight(
                shape=(self.batch_size, self.units),
                initializer="zeros",
                trainable=False,
                name=f"carried_{i}",
            )
            for i in range(self.num_layers * self.states_per_layer)
        ]

    def call(self, x, carry=None, initial_state=None, mask=None, training=False):
        """Reads a window of each row; see the class."""
        if carry is None:
            return super().call(x, initial_state, mask, training)
        x, carry = self._checked(x), self._checked(tf.cast(carry, self.compute_dtype))
        factor = carry[:, tf.newaxis]
        initial_state = [tf.cast(s, self.compute_dtype) * factor for s in self.carried_states]
        y, states = super().call(x, initial_state, mask, training)
        for carried, state in zip(self.carried_states, states, strict=True):
            carried.assign(state)
        return y

    def _checked(self, tensor):
        """Returns a tensor (batch, ...) that has `batch_size` rows."""
        return checked_rows(
            tensor,
            self.batch_size,
            f"With `carry`, a batch must have the {self.batch_size} rows of the carried states "
            "(`batch_size`).",
        )

    def compute_output_spec(self, x, carry=None, **kwargs):
        """Returns the output shapes for the functional API."""
        y, states = self.compute_output_shape(x.shape)
        y = keras.KerasTensor(y, self.compute_dtype)
        if carry is not None:
            return y
        return y, [keras.KerasTensor(s, self.compute_dtype) for s in states]

    def get_config(self):
        """Returns every argument of `__init__`."""
        return {**super().get_config(), "batch_size": self.batch_size}
