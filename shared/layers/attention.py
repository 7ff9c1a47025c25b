"""Attention: a weighted mean of a memory, with weights that depend on a query.

    a_tj = softmax_j(e_tj)           over the steps j of the memory that are not masked
    c_t = sum_j a_tj m_j             the context vector

with one of the scores

    additive   e_tj = v . tanh(q_t W + m_j U + b)        Bahdanau et al. 2015
    general    e_tj = q_t . (m_j U)                      Luong et al. 2015

q: (batch, target, query): all steps of a decoder, a single step (target = 1), or the hypotheses of a beam
(target = beam width). m: (batch, source, memory), the outputs of an encoder.
"""

import keras
import tensorflow as tf

from .checks import checked_mask

SCORES = "additive", "general"


@keras.saving.register_keras_serializable(package="peephole")
class Attention(keras.layers.Layer):
    """Attention over a memory; the equations are at the top of this file.

    Args:
        score: one of `SCORES`.
        units: size of the hidden layer of the additive score; the general score does not use it.

    Call arguments:
        query: q, (batch, target, query).
        memory: m, (batch, source, memory).
        keys: result of `self.keys(memory)`, if it is already computed, as in a loop over time steps.
        mask: bool (batch, source). Steps where it is False get the weight 0. In a row without any True,
            all weights and the context are 0.

    Returns:
        Tuple of the context vectors c, (batch, target, memory), and the weights a,
        (batch, target, source).

    Raises:
        ValueError: `score` is unknown, or `units` is not positive.

    Example:

    >>> attention = Attention("additive", units=16)
    >>> query, memory = keras.random.normal((2, 3, 8)), keras.random.normal((2, 5, 12))
    >>> context, weights = attention(query, memory)
    >>> context.shape, weights.shape
    (TensorShape([2, 3, 12]), TensorShape([2, 3, 5]))
    """

    def __init__(self, score="additive", units=128, **kwargs):
        super().__init__(**kwargs)
        if score not in SCORES:
            raise ValueError(f"`score` must be one of {', '.join(SCORES)}. Received: {score!r}")
        if units < 1:
            raise ValueError(f"`units` must be a positive integer. Received: {units!r}")
        self.score = score
        self.units = units
        self.supports_masking = True

    def build(self, query_shape, memory_shape, keys_shape=None):
        """Creates W (query, units), U, b and v of the additive score, or U (memory, query)."""
        query, memory = query_shape[-1], memory_shape[-1]
        units = self.units if self.score == "additive" else query
        self.U = self.add_weight(shape=(memory, units), name="memory_kernel")
        if self.score == "additive":
            self.W = self.add_weight(shape=(query, units), name="query_kernel")
            self.b = self.add_weight(shape=(units,), initializer="zeros", name="bias")
            self.v = self.add_weight(shape=(units, 1), name="score_kernel")

    def keys(self, memory):
        """Returns m U (+ b), (batch, source, units): the part of the score that is independent of q."""
        keys = keras.ops.matmul(memory, self.U)
        return keys + self.b if self.score == "additive" else keys

    def call(self, query, memory, keys=None, mask=None):
        """Computes the context vectors and the weights; see the class."""
        keys = self.keys(memory) if keys is None else keys
        if self.score == "additive":
            q = keras.ops.matmul(query, self.W)
            # (batch, target, source, units)
            hidden = tf.tanh(q[:, :, tf.newaxis] + keys[:, tf.newaxis])
            scores = keras.ops.matmul(hidden, self.v)[..., 0]
        else:
            scores = tf.matmul(query, keys, transpose_b=True)  # (batch, target, source)
            # Without it, Grappler does not know the rank, and prints a warning.
            scores = tf.ensure_shape(scores, [None, None, None])
        mask = checked_mask(mask, memory)
        if mask is not None:
            mask = mask[:, tf.newaxis]
            scores = tf.where(mask, scores, scores.dtype.min)
        weights = tf.nn.softmax(tf.cast(scores, tf.float32))
        if mask is not None:
            # The softmax of a fully masked row is uniform; its weights must be 0.
            weights = tf.where(mask, weights, 0.0)
        weights = tf.cast(weights, memory.dtype)
        return tf.matmul(weights, memory), weights

    def compute_output_spec(self, query, memory, keys=None, mask=None):
        """Returns the output shapes for the functional API."""
        context = (*query.shape[:2], memory.shape[-1])
        weights = (*query.shape[:2], memory.shape[1])
        return tuple(keras.KerasTensor(s, self.compute_dtype) for s in (context, weights))

    def compute_mask(self, query, memory, keys=None, mask=None):
        """Returns no masks: `mask` belongs to the memory, and the outputs follow the query."""
        return None, None

    def get_config(self):
        """Returns every argument of `__init__`."""
        return {**super().get_config(), "score": self.score, "units": self.units}
