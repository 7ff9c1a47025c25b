"""Attention: what of a memory matters for a query.

    a_tj = softmax_j(e_tj)           over the steps j of the memory that are no padding
    c_t = sum_j a_tj m_j             the context

with the score of one of

    additive   e_tj = v . tanh(q_t W + m_j U + b)        Bahdanau et al. 2015
    general    e_tj = q_t . (m_j U)                      Luong et al. 2015

q: (batch, target, query), all steps of a decoder at once, or one step as target = 1, or the hypotheses
of a beam as target = beam. m: (batch, source, memory), the outputs of an encoder.
"""

import keras
import tensorflow as tf

SCORES = "additive", "general"


@keras.saving.register_keras_serializable(package="peephole")
class Attention(keras.layers.Layer):
    """Attention over a memory; the equations are at the file's top.

    Args:
        score: one of `SCORES`.
        units: size of the hidden layer of an additive score.

    Call arguments:
        query: q, (batch, target, query).
        memory: m, (batch, source, memory).
        keys: `self.keys(memory)`, where it is there already, as in a loop over steps.
        mask: bool (batch, source); a step where it is False gets no weight. A row without any step
            has the context 0.

    Returns:
        c, (batch, target, memory), and a, (batch, target, source).

    Raises:
        ValueError: there is no such score, or `units` is not positive.
    """

    def __init__(self, score="additive", units=128, **kwargs):
        super().__init__(**kwargs)
        if score not in SCORES:
            raise ValueError(f"`score` is one of {', '.join(SCORES)}. Received: {score!r}")
        if units < 1:
            raise ValueError(f"`units` is a positive integer. Received: {units!r}")
        self.score, self.units = score, units
        self.supports_masking = True

    def build(self, query_shape, memory_shape, keys_shape=None):
        """Makes W (query, units), U, b and v of an additive score, or U (memory, query)."""
        query, memory = query_shape[-1], memory_shape[-1]
        units = self.units if self.score == "additive" else query
        weight = lambda name, shape, start="glorot_uniform": self.add_weight(  # noqa: E731
            shape=shape, initializer=start, name=name
        )
        self.U = weight("memory_kernel", (memory, units))
        if self.score == "additive":
            self.W = weight("query_kernel", (query, units))
            self.b = weight("bias", (units,), "zeros")
            self.v = weight("score_kernel", (units, 1))

    def keys(self, memory):
        """m U (+ b), (batch, source, units): the part of the score that no query enters."""
        keys = keras.ops.matmul(memory, self.U)
        return keys + self.b if self.score == "additive" else keys

    def call(self, query, memory, keys=None, mask=None):
        """The context and the weights; see the class."""
        keys = self.keys(memory) if keys is None else keys
        if self.score == "additive":
            q = keras.ops.matmul(query, self.W)
            hidden = tf.tanh(
                q[:, :, tf.newaxis] + keys[:, tf.newaxis]
            )  # (batch, target, source, units)
            scores = keras.ops.matmul(hidden, self.v)[..., 0]
        else:
            scores = tf.matmul(query, keys, transpose_b=True)  # (batch, target, source)
        if mask is not None:
            mask = mask[:, tf.newaxis]
            scores = tf.where(mask, scores, scores.dtype.min)
        weights = tf.nn.softmax(tf.cast(scores, tf.float32))
        if mask is not None:
            weights = tf.where(mask, weights, 0.0)  # a row of padding alone would be even
        weights = tf.cast(weights, memory.dtype)
        return tf.matmul(weights, memory), weights

    def compute_output_spec(self, query, memory, keys=None, mask=None):
        """Shapes for the functional API."""
        context = (*query.shape[:2], memory.shape[-1])
        weights = (*query.shape[:2], memory.shape[1])
        return tuple(keras.KerasTensor(s, self.compute_dtype) for s in (context, weights))

    def compute_mask(self, query, memory, keys=None, mask=None):
        """What comes out is masked by whoever masks the query."""
        return None, None

    def get_config(self):
        """Every argument of `__init__`."""
        return {**super().get_config(), "score": self.score, "units": self.units}
