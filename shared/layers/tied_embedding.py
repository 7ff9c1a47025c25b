"""An embedding that is also the kernel of the output softmax, with an optional sampled softmax.

    x = E[w]                    w: ids; E: (vocabulary, units)
    l = y E^T + b               y: (..., units); l: logits (..., vocabulary)

Sources: Press & Wolf 2017 (tied weights), Bengio & Senecal 2003 and Jean et al. 2015 (sampling).
"""

import keras
import tensorflow as tf

from .gather import gather_rows


@keras.saving.register_keras_serializable(package="peephole")
class TiedEmbedding(keras.layers.ReversibleEmbedding):
    """`keras.layers.ReversibleEmbedding` with an output bias and a sampled softmax.

    The vocabulary must be sorted by falling frequency: the bias is initialized with Zipf's law in
    Mandelbrot's form, p(rank) ~ 1 / (rank + 2.7). With a bias of zeros, a model of Penn Treebank was still
    worse than a unigram model after its first epoch.

    Args:
        input_dim: size of the vocabulary.
        output_dim: size of an embedding.
        num_sampled: number of words drawn by `sampled_loss`; 0 for the full softmax.
        seed: seed of the draws.
        **kwargs: other arguments of `keras.layers.ReversibleEmbedding`.

    Call arguments:
        inputs: int (...), ids; with `reverse`, float (..., units).
        reverse: whether to compute logits from vectors.
        training: in training with `num_sampled`, `reverse` returns `inputs` unchanged, for
            `sampled_loss`.

    Returns:
        Embeddings (..., units); with `reverse`, logits (..., vocabulary) of the type of the variables. Under
        a mixed dtype policy that is float32, so that the softmax is computed in 32 bits.

    Example:

    >>> embedding = TiedEmbedding(input_dim=100, output_dim=8)
    >>> x = embedding(tf.constant([[3, 1, 4]]))
    >>> x.shape, embedding(x, reverse=True).shape
    (TensorShape([1, 3, 8]), TensorShape([1, 3, 100]))
    """

    def __init__(self, input_dim, output_dim, *, num_sampled=0, seed=None, **kwargs):
        super().__init__(input_dim, output_dim, **kwargs)
        self.num_sampled = num_sampled
        self.seed = seed
        if num_sampled:
            self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, input_shape=None):
        """Creates the embeddings and the bias (vocabulary,)."""
        super().build(input_shape)
        self.bias = self.add_weight(
            shape=(self.input_dim,),
            initializer=lambda shape, dtype: -tf.math.log(tf.range(shape[0], dtype=dtype) + 2.7),
            autocast=False,  # see `call`
            name="bias",
        )

    @property
    def variable_serialization_spec(self):
        """The names of the saved variables: those of Keras and the bias."""
        spec = super().variable_serialization_spec
        return {mode: [*names, "bias"] for mode, names in spec.items()}

    def call(self, inputs, reverse=False, training=False):
        """Computes embeddings or logits; see the class."""
        if reverse and training and self.num_sampled:
            return inputs
        result = super().call(inputs, reverse=reverse)
        return tf.cast(result, self.bias.dtype) + self.bias if reverse else result

    def compute_output_spec(self, inputs, reverse=False, training=False):
        """Returns the output shapes of inference, for the functional API."""
        spec = super().compute_output_spec(inputs, reverse)
        return keras.KerasTensor(spec.shape, self.variable_dtype) if reverse else spec

    def sampled_loss(self, y, targets):
        """Estimates the cross-entropy from the logits of a sample of words.

            loss = log(exp(l_t) + sum_{i in S, i != t} exp(l_i) / p_i) - l_t     l = E y + b

        S is a new sample of `num_sampled` words for each batch, and p_i the probability that S contains
        word i. The expectation of the sum is the sum of the full softmax (importance sampling: Bengio &
        Senecal 2003, Jean et al. 2015). The words are drawn without replacement, in proportion to q, Zipf's
        law: each word gets a waiting time e_i ~ Exp(q_i), and S has the words with the smallest times.
        Given the smallest time tau outside S, p_i = 1 - exp(-q_i tau) (Cohen & Kaplan 2007, "Summarizing
        data using bottom-k sketches"). p_i is near 1 for frequent words, so their part of the sum is nearly
        exact. The mean of the loss is slightly below the exact loss, because the logarithm is concave.

        Args:
            y: float (batch, time, units).
            targets: int (batch, time).

        Returns:
            float32 (batch, time), in nats.
        """
        y, t = tf.cast(y, tf.float32), tf.reshape(tf.cast(targets, tf.int32), [-1])
        shape, y = tf.shape(y)[:-1], tf.reshape(y, [-1, self.output_dim])  # (tokens, units)
        q = 1 / (tf.range(self.input_dim, dtype=tf.float32) + 2.7)
        u = keras.random.uniform([self.input_dim], dtype="float32", seed=self.seed_generator)
        e = -tf.math.log(u) / q
        negative_times, words = tf.math.top_k(-e, self.num_sampled + 1)
        S, tau = words[:-1], -negative_times[-1]
        log_p = tf.math.log(-tf.math.expm1(-tau * tf.gather(q, S)))
        ids = tf.concat([S, t], 0)
        E, b = (tf.cast(gather_rows(w, ids), y.dtype) for w in (self.embeddings, self.bias))
        E_S, E_t = tf.split(E, [self.num_sampled, -1])
        b_S, b_t = tf.split(b, [self.num_sampled, -1])
        l_S = tf.matmul(y, E_S, transpose_b=True) + (b_S - log_p)  # (tokens, num_sampled)
        l_S = tf.where(t[:, tf.newaxis] == S, l_S.dtype.min, l_S)
        l_t = tf.reduce_sum(y * E_t, -1, keepdims=True) + b_t[:, tf.newaxis]  # (tokens, 1)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
            tf.zeros_like(t), tf.concat([l_t, l_S], -1)
        )
        return tf.reshape(losses, shape)

    def get_config(self):
        """Returns every argument of `__init__`."""
        return {**super().get_config(), "num_sampled": self.num_sampled, "seed": self.seed}


def scale_embedding(x):
    """Returns x sqrt(d) for embeddings x of (..., d).

    A softmax kernel needs a variance near 1 / d, the recurrent layers an input of variance 1 (Vaswani et al.
    2017, section 3.4).

    Args:
        x: float (..., d).

    Returns:
        The shape and type of `x`.
    """
    return x * x.shape[-1] ** 0.5
