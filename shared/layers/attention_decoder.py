"""A recurrent decoder with attention, for whole sequences in training and single steps in decoding."""

import keras
import tensorflow as tf

from .attention import Attention
from .encoder import optional_norm
from .masking import padding_mask
from .recurrent import RecurrentStack
from .seeds import derive_seeds
from .tied_embedding import scale_embedding


@keras.saving.register_keras_serializable(package="peephole")
class AttentionDecoder(keras.layers.Layer):
    """Predicts each step of a sequence from the steps before it and from a memory.

        s_0, r_0 = tanh(mean_j(m_j) W_0 + b_0)
        q_t, s_t = lower([x_t sqrt(features); o_{t-1}], s_{t-1})    o_{t-1} only with input feeding
        c_t, a_t = attention(q_t, m)
        u_t, r_t = upper([q_t; c_t], r_{t-1})           all layers but the first; without them, u_t = q_t
        o_t = tanh([u_t; c_t] W_o + b_o)

    The context of the first layer is an input of all layers above it (Wu et al. 2016), so later steps know
    what was attended to even without input feeding (Luong et al. 2015). Without input feeding, all steps
    of a training batch are computed at once.

    Args:
        cell, units, dropout, recurrent_dropout, seed: see `RecurrentStack`. With `input_feeding`, there is
            no dropout between the layers.
        output_dim: size of o.
        num_layers: number of recurrent layers, the first one included.
        layer_norm: whether to normalize q and u.
        score: see `Attention`.
        input_feeding: whether o_{t-1} is an input of the first layer.

    Call arguments:
        x: embeddings of the previous tokens, (batch, target, features).
        memory: m, (batch, source, memory).
        length: int (batch,), number of real steps in each row of the memory; None if no step is padding,
            as in a grid of image features.
        return_attention: whether to return a too.
        training: whether to apply dropout.

    Returns:
        o, (batch, target, output_dim); with `return_attention`, a tuple of o and a, (batch, target, source).

    Raises:
        ValueError: `num_layers` is not positive, or `input_feeding` is combined with
            `recurrent_dropout`.

    Example:

    >>> decoder = AttentionDecoder("peephole_lstm", units=16, output_dim=8, num_layers=2)
    >>> x, memory = keras.random.normal((2, 3, 8)), keras.random.normal((2, 5, 12))
    >>> decoder(x, memory).shape
    TensorShape([2, 3, 8])

    One step of decoding, from `initial_states`:

    >>> states, keys = decoder.initial_states(memory), decoder.attention.keys(memory)
    >>> output, states, weights = decoder.step(x[:, 0], states, memory, keys)
    >>> output.shape, weights.shape
    (TensorShape([2, 8]), TensorShape([2, 5]))
    """

    def __init__(
        self,
        cell,
        units,
        output_dim,
        num_layers=1,
        dropout=0.0,
        recurrent_dropout=0.0,
        layer_norm=False,
        score="additive",
        input_feeding=False,
        seed=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if num_layers < 1:
            raise ValueError(f"`num_layers` must be a positive integer. Received: {num_layers!r}")
        if input_feeding and recurrent_dropout:
            raise ValueError(
                "`input_feeding` requires `recurrent_dropout=0`. Received: "
                f"recurrent_dropout={recurrent_dropout}"
            )
        self.cell = cell
        self.units = units
        self.output_dim = output_dim
        self.num_layers = num_layers
        self.dropout = dropout
        self.recurrent_dropout = recurrent_dropout
        self.layer_norm = layer_norm
        self.score = score
        self.input_feeding = input_feeding
        self.seed = seed
        seeds = derive_seeds(seed, step=100)
        # Without `dtype`, the sub-layers would take the global policy instead of this layer's.
        policy = {"dtype": self.dtype_policy}
        dropouts = {"dropout": dropout, "recurrent_dropout": recurrent_dropout}
        self.lower = RecurrentStack(
            cell, units, **dropouts, seed=next(seeds), **policy, name="lower"
        )
        self.upper = self.norm_u = None
        if num_layers > 1:
            self.upper = RecurrentStack(
                cell, units, num_layers - 1, **dropouts, seed=next(seeds), **policy, name="upper"
            )
        self.attention = Attention(score, units, **policy, name="attention")
        num_states = self.lower.states_per_layer * num_layers
        self.bridge = keras.layers.Dense(num_states * units, "tanh", **policy, name="bridge")
        self.out = keras.layers.Dense(output_dim, "tanh", **policy, name="out")
        self.norm_q = optional_norm(layer_norm, **policy, name="norm_q")
        if num_layers > 1:
            self.norm_u = optional_norm(layer_norm, **policy, name="norm_u")

    def build(self, x_shape, memory_shape, length_shape=None):
        """Builds the layers."""
        batch, features = x_shape[0], x_shape[-1]
        memory = memory_shape[-1]
        steps = (batch, None)
        self.lower.build((*steps, features + (self.output_dim if self.input_feeding else 0)))
        self.attention.build((*steps, self.units), memory_shape)
        if self.upper:
            self.upper.build((*steps, self.units + memory))
        self.bridge.build((batch, memory))
        self.out.build((*steps, self.units + memory))
        self.norm_q.build((*steps, self.units))
        if self.upper:
            self.norm_u.build((*steps, self.units))

    def initial_states(self, memory, length=None):
        """Returns the states before the first step, computed from the mean of the memory.

        Args:
            memory: m, (batch, source, memory).
            length: see the class.

        Returns:
            List of (batch, units): the states of all layers. With input feeding, the last item is o_0,
            zeros (batch, output_dim).
        """
        if length is None:
            mean = tf.reduce_mean(memory, 1)
        else:
            mask = tf.cast(padding_mask(length, memory), memory.dtype)[..., tf.newaxis]
            mean = tf.reduce_sum(memory * mask, 1) / tf.maximum(tf.reduce_sum(mask, 1), 1)
        states = tf.split(self.bridge(mean), self.bridge.units // self.units, axis=-1)
        if self.input_feeding:
            states.append(tf.zeros([tf.shape(memory)[0], self.output_dim], memory.dtype))
        return states

    def call(self, x, memory, length=None, return_attention=False, training=False):
        """Computes o for all steps; see the class."""
        mask, states = padding_mask(length, memory), self.initial_states(memory, length)
        keys = self.attention.keys(memory)
        if self.input_feeding:
            o, a = self._loop(x, states, memory, keys, mask)
            return (o, a) if return_attention else o
        n = self.lower.states_per_layer
        q, _ = self.lower(scale_embedding(x), initial_state=states[:n], training=training)
        u = q = self.norm_q(q)
        c, a = self.attention(q, memory, keys=keys, mask=mask)
        if self.upper:
            u, _ = self.upper(tf.concat([q, c], -1), initial_state=states[n:], training=training)
            u = self.norm_u(u)
        o = self.out(tf.concat([u, c], -1))
        return (o, a) if return_attention else o

    def attention_weights(self, x, memory, length=None):
        """Returns the attention weights a of all steps in inference, (batch, target, source).

        It computes step by step: the hidden layer of the additive score of all steps would need
        (batch, target, source, units).

        Args:
            x, memory, length: see the class.
        """
        mask, states = padding_mask(length, memory), self.initial_states(memory, length)
        return self._loop(x, states, memory, self.attention.keys(memory), mask)[1]

    def _loop(self, x, states, memory, keys, mask):
        """Computes o and a step by step in inference, or for input feeding."""
        time = tf.shape(x)[1]
        inputs = tf.TensorArray(x.dtype, time).unstack(tf.transpose(x, [1, 0, 2]))
        outputs, weights = (tf.TensorArray(x.dtype, time) for _ in range(2))

        def body(t, states, outputs, weights):
            o, states, a = self.step(inputs.read(t), states, memory, keys, mask)
            return t + 1, states, outputs.write(t, o), weights.write(t, a)

        *_, outputs, weights = tf.while_loop(
            lambda t, *_: t < time,
            body,
            (0, states, outputs, weights),
            maximum_iterations=time,
        )
        return tuple(tf.transpose(array.stack(), [1, 0, 2]) for array in (outputs, weights))

    def step(self, x, states, memory, keys, mask=None):
        """Computes one step of decoding, for `beam` hypotheses of each row of the memory.

        Args:
            x: embeddings of the last tokens, (batch * beam, features).
            states: list of (batch * beam, ...), from `initial_states`, each row repeated `beam` times.
            memory: m, (batch, source, memory).
            keys: `attention.keys(memory)`.
            mask: `padding_mask(length, memory)`, or None.

        Returns:
            o, (batch * beam, output_dim); the new states; and a, (batch * beam, source).
        """
        n, batch = self.lower.states_per_layer, tf.shape(memory)[0]
        x = scale_embedding(x)
        if self.input_feeding:
            *states, o = states
            x = tf.concat([x, o], -1)
        q, s = self.lower.step(x, states[:n])
        u = q = self.norm_q(q)
        beam = tf.shape(q)[0] // tf.maximum(batch, 1)
        c, a = self.attention(
            tf.reshape(q, [batch, beam, q.shape[-1]]), memory, keys=keys, mask=mask
        )
        c, a = tf.reshape(c, [-1, c.shape[-1]]), tf.reshape(a, [-1, tf.shape(memory)[1]])
        r = []
        if self.upper:
            u, r = self.upper.step(tf.concat([q, c], -1), states[n:])
            u = self.norm_u(u)
        o = self.out(tf.concat([u, c], -1))
        return o, [*s, *r, *([o] if self.input_feeding else [])], a

    def compute_output_spec(self, x, memory, length=None, return_attention=False, training=False):
        """Returns the output shapes for the functional API."""
        o = keras.KerasTensor((*x.shape[:-1], self.output_dim), self.compute_dtype)
        a = keras.KerasTensor((*x.shape[:-1], memory.shape[1]), self.compute_dtype)
        return (o, a) if return_attention else o

    def get_config(self):
        """Returns every argument of `__init__`."""
        return {
            **super().get_config(),
            "cell": self.cell,
            "units": self.units,
            "output_dim": self.output_dim,
            "num_layers": self.num_layers,
            "dropout": self.dropout,
            "recurrent_dropout": self.recurrent_dropout,
            "layer_norm": self.layer_norm,
            "score": self.score,
            "input_feeding": self.input_feeding,
            "seed": self.seed,
        }
