"""A bidirectional encoder, and a decoder that attends to what it read."""

import keras
import tensorflow as tf

from shared.errors import InputError
from shared.layers.attention import Attention
from shared.layers.recurrent import RecurrentStack
from shared.layers.tied_embedding import TiedEmbedding


def build(config, source, target):
    """The model that is trained: a sentence and the translation so far, to the next tokens.

        m = encoder(E_x[x])                      x: the sentence, int (batch, source)
        o = decoder(E_y[y], m)                   y: the translation, behind "</s>", (batch, target)
        logits = dropout(o) E_y^T + b            (batch, target, vocabulary)

    Returns:
        an uncompiled `keras.Model` of {"source": int32 (batch, source), "source_length": int32
        (batch,), "target": int32 (batch, target)}.

    Raises:
        InputError: settings that do not go together.
    """
    if config.input_feeding and config.recurrent_dropout:
        raise InputError("--input-feeding goes without --recurrent-dropout")
    x = keras.Input((None,), dtype="int32", name="source")
    length = keras.Input((), dtype="int32", name="source_length")
    y = keras.Input((None,), dtype="int32", name="target")
    seed = iter(range(config.seed, config.seed + 10_000, 1000))
    spread = lambda: keras.initializers.RandomNormal(0.0, config.embedding_dim**-0.5, next(seed))  # noqa: E731
    embed = TiedEmbedding(
        target.size, config.embedding_dim, embeddings_initializer=spread(), name="embedding"
    )
    embed_source = embed
    if not config.shared_vocabulary:
        embed_source = keras.layers.Embedding(
            source.size, config.embedding_dim, spread(), name="source_embedding"
        )
    drop = lambda t: keras.layers.Dropout(config.dropout, (None, 1, None), next(seed))(t)  # noqa: E731
    stack = {"cell": config.cell, "units": config.units, "dropout": config.dropout}
    encoder = Encoder(
        **stack,
        num_layers=config.encoder_layers,
        recurrent_dropout=config.recurrent_dropout,
        layer_norm=config.layer_norm,
        seed=next(seed),
        name="encoder",
    )
    decoder = Decoder(
        **stack,
        num_layers=config.decoder_layers,
        recurrent_dropout=config.recurrent_dropout,
        layer_norm=config.layer_norm,
        output=config.embedding_dim,
        score=config.attention,
        input_feeding=config.input_feeding,
        seed=next(seed),
        name="decoder",
    )
    m = drop(encoder(drop(embed_source(x)), length))
    o = decoder(drop(embed(y)), m, length)
    logits = embed(drop(o), reverse=True)
    inputs = {"source": x, "source_length": length, "target": y}
    return keras.Model(inputs, logits)


def _scaled(x):
    """x sqrt(d): an embedding of variance 1 / d, as its softmax needs it, comes in with variance 1."""
    return x * x.shape[-1] ** 0.5


def _norm(on, name):
    return (keras.layers.LayerNormalization if on else keras.layers.Identity)(name=name)


@keras.saving.register_keras_serializable(package=__package__)
class Encoder(keras.layers.Layer):
    """Reads the sentence in both directions.

        m_j = [forward_j; backward_j]            of the last layer; layer-normalised, if asked for

    The first reads x sqrt(features) (Vaswani et al. 2017, section 3.4). Without the root
    the memory would begin near zero.

    Args:
        cell, units, num_layers, dropout, recurrent_dropout, seed: as of `RecurrentStack`.
        layer_norm: whether m is normalised.

    Call arguments:
        x: (batch, source, features).
        length: int (batch,); what comes after it is padding.

    Returns:
        m, (batch, source, 2 units).
    """

    def __init__(
        self, cell, units, num_layers, dropout, recurrent_dropout, layer_norm, seed=None, **kwargs
    ):
        super().__init__(**kwargs)
        self.settings = {
            "cell": cell, "units": units, "num_layers": num_layers, "dropout": dropout,
            "recurrent_dropout": recurrent_dropout, "layer_norm": layer_norm, "seed": seed,
        }  # fmt: skip
        self.stack = RecurrentStack(
            cell, units, num_layers, True, dropout, recurrent_dropout, seed, name="stack"
        )
        self.norm = _norm(layer_norm, "norm")

    def build(self, x_shape, length_shape=None):
        """Builds the stack and the normalisation."""
        self.stack.build(x_shape)
        self.norm.build((*x_shape[:-1], 2 * self.stack.units))

    def call(self, x, length, training=False):
        """m; see the class."""
        m, _ = self.stack(_scaled(x), mask=padding_mask(length, x), training=training)
        return self.norm(m)

    def compute_output_spec(self, x, length, training=False):
        """Shapes for the functional API."""
        return keras.KerasTensor((*x.shape[:-1], 2 * self.stack.units), self.compute_dtype)

    def get_config(self):
        """Every argument of `__init__`."""
        return {**super().get_config(), **self.settings}


def padding_mask(length, x):
    """bool (batch, time): the steps of x (batch, time, ...) that are no padding."""
    return tf.range(tf.shape(x)[1])[tf.newaxis] < tf.cast(length, tf.int32)[:, tf.newaxis]


@keras.saving.register_keras_serializable(package=__package__)
class Decoder(keras.layers.Layer):
    """Writes the translation, one token after the other.

        s_0, r_0 = tanh(mean_j(m_j) W_0 + b_0)
        q_t, s_t = lower([x_t sqrt(features); o_{t-1}], s_{t-1})    o_{t-1}: with input feeding alone
        c_t, a_t = attention(q_t, m)
        u_t, r_t = upper([q_t; c_t], r_{t-1})           the other layers; if there are none, u_t = q_t
        o_t = tanh([u_t; c_t] W_o + b_o)

    The attention of the first layer enters all that are above it (Wu et al. 2016), so that it is known
    to the next steps without input feeding (Luong et al. 2015); and without that all steps of training
    are computed at once.

    Args:
        cell, units, num_layers, dropout, recurrent_dropout, seed: as of `RecurrentStack`.
        layer_norm: whether q and u are normalised.
        output: size of o.
        score: as of `Attention`.
        input_feeding: whether o_{t-1} enters the first layer.

    Call arguments:
        x: the embedded translation so far, (batch, target, features).
        memory: m, (batch, source, memory).
        length: int (batch,), of m; what comes after it is padding.

    Returns:
        o, (batch, target, output).
    """

    def __init__(
        self, cell, units, num_layers, dropout, recurrent_dropout, layer_norm, output, score,
        input_feeding, seed=None, **kwargs,
    ):  # fmt: skip
        super().__init__(**kwargs)
        self.settings = {
            "cell": cell, "units": units, "num_layers": num_layers, "dropout": dropout,
            "recurrent_dropout": recurrent_dropout, "layer_norm": layer_norm, "output": output,
            "score": score, "input_feeding": input_feeding, "seed": seed,
        }  # fmt: skip
        self.input_feeding = input_feeding
        upper_seed = None if seed is None else seed + 100
        self.lower = RecurrentStack(
            cell, units, 1, False, dropout, recurrent_dropout, seed, name="lower"
        )
        self.upper = num_layers > 1 and RecurrentStack(
            cell, units, num_layers - 1, False, dropout, recurrent_dropout, upper_seed, name="upper"
        )
        self.attention = Attention(score, units, name="attention")
        states = self.lower.states_per_layer * num_layers
        self.bridge = keras.layers.Dense(states * units, "tanh", name="bridge")
        self.out = keras.layers.Dense(output, "tanh", name="out")
        self.norm_q = _norm(layer_norm, "norm_q")
        self.norm_u = self.upper and _norm(layer_norm, "norm_u")

    def build(self, x_shape, memory_shape, length_shape=None):
        """Builds the layers."""
        units, output, memory = self.lower.units, self.settings["output"], memory_shape[-1]
        rows = (x_shape[0], None)
        self.lower.build((*rows, x_shape[-1] + (output if self.input_feeding else 0)))
        self.attention.build((*rows, units), memory_shape)
        if self.upper:
            self.upper.build((*rows, units + memory))
        self.bridge.build((x_shape[0], memory))
        self.out.build((*rows, units + memory))
        self.norm_q.build((*rows, units))
        if self.upper:
            self.norm_u.build((*rows, units))

    def begin(self, memory, length):
        """The states before the first step, from the mean of m: a list of (batch, units); and o_0."""
        real = tf.cast(padding_mask(length, memory), memory.dtype)[..., tf.newaxis]
        mean = tf.reduce_sum(memory * real, 1) / tf.maximum(tf.reduce_sum(real, 1), 1)
        units = self.lower.units
        states = tf.split(self.bridge(mean), self.bridge.units // units, axis=-1)
        if self.input_feeding:
            states.append(tf.zeros([tf.shape(memory)[0], self.settings["output"]], memory.dtype))
        return states

    def call(self, x, memory, length, training=False):
        """o of all steps; see the class."""
        return self._all_steps(x, memory, length, training)[0]

    def attend(self, x, memory, length):
        """a of all steps, (batch, target, source); in inference."""
        return self._all_steps(x, memory, length, False)[1]

    def _all_steps(self, x, memory, length, training):
        mask, states = padding_mask(length, memory), self.begin(memory, length)
        keys = self.attention.keys(memory)
        if self.input_feeding:
            return self._one_by_one(x, states, memory, keys, mask)
        n = self.lower.states_per_layer
        q, _ = self.lower(_scaled(x), initial_state=states[:n], training=training)
        u = q = self.norm_q(q)
        c, a = self.attention(q, memory, keys=keys, mask=mask)
        if self.upper:
            u, _ = self.upper(tf.concat([q, c], -1), initial_state=states[n:], training=training)
            u = self.norm_u(u)
        return self.out(tf.concat([u, c], -1)), a

    def _one_by_one(self, x, states, memory, keys, mask):
        time = tf.shape(x)[1]
        steps = tf.TensorArray(x.dtype, time).unstack(tf.transpose(x, [1, 0, 2]))
        outputs, weights = (tf.TensorArray(x.dtype, time) for _ in range(2))

        def body(t, states, outputs, weights):
            o, states, a = self.step(steps.read(t), states, memory, keys, mask)
            return t + 1, states, outputs.write(t, o), weights.write(t, a)

        *_, outputs, weights = tf.while_loop(
            lambda t, *_: t < time,
            body,
            (0, states, outputs, weights),
            maximum_iterations=time,
        )
        return tuple(tf.transpose(array.stack(), [1, 0, 2]) for array in (outputs, weights))

    def step(self, x, states, memory, keys, mask):
        """One step of decoding, for `beam` hypotheses of each sentence.

        Args:
            x: the embedded token, (batch * beam, features).
            states: list of (batch * beam, ...), from `begin`, repeated `beam` times.
            memory, keys, mask: m, `attention.keys(m)` and `padding_mask`, of each sentence once.

        Returns:
            o, (batch * beam, output); the new states; and a, (batch * beam, source).
        """
        n, batch = self.lower.states_per_layer, tf.shape(memory)[0]
        x = _scaled(x)
        if self.input_feeding:
            *states, o = states
            x = tf.concat([x, o], -1)
        q, s = self.lower.step(x, states[:n])
        u = q = self.norm_q(q)
        rows = tf.shape(q)[0] // tf.maximum(batch, 1)
        c, a = self.attention(
            tf.reshape(q, [batch, rows, q.shape[-1]]), memory, keys=keys, mask=mask
        )
        c, a = tf.reshape(c, [-1, c.shape[-1]]), tf.reshape(a, [-1, tf.shape(memory)[1]])
        r = []
        if self.upper:
            u, r = self.upper.step(tf.concat([q, c], -1), states[n:])
            u = self.norm_u(u)
        o = self.out(tf.concat([u, c], -1))
        return o, [*s, *r, *([o] if self.input_feeding else [])], a

    def compute_output_spec(self, x, memory, length, training=False):
        """Shapes for the functional API."""
        return keras.KerasTensor((*x.shape[:-1], self.settings["output"]), self.compute_dtype)

    def get_config(self):
        """Every argument of `__init__`."""
        return {**super().get_config(), **self.settings}


@keras.saving.register_keras_serializable(package=__package__)
class SmoothedCrossentropy(keras.losses.Loss):
    """Cross-entropy with targets of which a part is spread over the vocabulary (Szegedy et al. 2016).

        loss = -(1 - s) log p_t - s mean_i(log p_i)

    Args:
        smoothing: s.
    """

    def __init__(self, smoothing, reduction="mean_with_sample_weight", **kwargs):
        super().__init__(reduction=reduction, **kwargs)
        self.smoothing = smoothing

    def call(self, targets, logits):
        """int (batch, time) and (batch, time, vocabulary) to the loss of each token, (batch, time)."""
        logits, targets = tf.cast(logits, tf.float32), tf.cast(targets, tf.int32)
        entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
        if not self.smoothing:
            return entropy
        logit = tf.gather(logits, targets, batch_dims=2)
        return entropy + self.smoothing * (logit - tf.reduce_mean(logits, -1))

    def get_config(self):
        """Every argument of `__init__`."""
        return {**super().get_config(), "smoothing": self.smoothing}
