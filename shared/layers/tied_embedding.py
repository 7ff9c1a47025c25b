"""An embedding that is also the softmax's kernel, and a softmax of which few logits are computed.

    x = E[w]                    w: ids; E: (vocabulary, units)
    l = y E^T + b               y: (..., units); l: logits (..., vocabulary)

Sources: Press & Wolf 2017 (tied weights), Bengio & Senecal 2003 and Jean et al. 2015 (sampling).
"""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="peephole")
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
