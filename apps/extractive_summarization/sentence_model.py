"""SummaRuNNer (Nallapati, Zhai & Zhou 2017): words to sentence vectors, sentences to a document."""

import keras
import tensorflow as tf

from shared.layers.encoder import BidirectionalEncoder
from shared.layers.gather import gather_rows
from shared.layers.seeds import derive_seeds

from .word_model import WordFeatures

MAX_POSITIONS = 64  # later sentences have the embedding of the last position
PARTS = 10  # parts of a document, for the relative position


@keras.saving.register_keras_serializable(package=__package__)
class SentenceEncoder(keras.layers.Layer):
    """The vector of each sentence, from the embeddings x_w of its words.

        mean:       s = tanh(W mean_w x_w + b)
        attention:  s = tanh(W sum_w a_w x_w + b)       a = softmax_w(v . tanh(U x_w))
        recurrent:  s = tanh(W mean_w h_w + b)          h = bidirectional(x), as in the paper

    Args:
        vocabulary_size: number of words.
        embedding_dim: size of x.
        units: size of s.
        kind: "mean", "attention" or "recurrent". The last reads every word of a document with a recurrent
            layer, which takes most of the time of the model.
        cell: the cell of the recurrent layer.
        dropout: dropout rate of x, the same features for all words of a sentence.
        seed: seed of the weights.

    Call arguments:
        words: int (batch, sentences, words); 0 is padding.
        training: whether to apply dropout.

    Returns:
        s, (batch, sentences, units); 0 for a sentence without words.
    """

    def __init__(
        self, vocabulary_size, embedding_dim, units, kind="attention", cell="gru", dropout=0.0, seed=None,
        **kwargs,
    ):  # fmt: skip
        super().__init__(**kwargs)
        self.vocabulary_size, self.embedding_dim, self.units = vocabulary_size, embedding_dim, units
        self.kind, self.cell, self.dropout, self.seed = kind, cell, dropout, seed
        seeds = derive_seeds(seed, step=100)
        policy = self.dtype_policy  # without it, the sub-layers would take the global policy
        self.embed = WordFeatures(
            vocabulary_size, embedding_dim, seed=next(seeds), dtype=policy, name="word_features"
        )
        self.drop = keras.layers.Dropout(dropout, (None, 1, None), next(seeds), dtype=policy)
        dense = lambda name: keras.layers.Dense(  # noqa: E731
            units,
            activation="tanh",
            kernel_initializer=keras.initializers.GlorotUniform(next(seeds)),
            name=name,
            dtype=policy,
        )
        self.output_projection = dense("output_projection")  # W, b
        self.attention_projection = self.recurrent = None
        if kind == "attention":
            self.attention_projection = dense("attention_projection")  # U
        if kind == "recurrent":
            self.recurrent = BidirectionalEncoder(
                cell,
                max(1, units // 2),
                seed=next(seeds),
                scale=False,
                dtype=policy,
                name="recurrent",
            )

    def build(self, words_shape):
        """Creates the weights."""
        size, x_shape = self.embedding_dim, (None, None, self.embedding_dim)
        self.embed.build(words_shape)
        if self.kind == "attention":
            self.attention_projection.build(x_shape)
            normal = keras.initializers.RandomNormal(0.0, self.units**-0.5, self.seed)
            self.v = self.add_weight((self.units,), initializer=normal, name="v")
        if self.kind == "recurrent":
            self.recurrent.build(x_shape)
            size = 2 * self.recurrent.units
        self.output_projection.build((None, size))

    def call(self, words, training=False):
        """Computes s; see the class."""
        batch, sentences, time = tf.unstack(tf.shape(words))
        s = self.encode(tf.reshape(words, [batch * sentences, time]), training)
        return tf.reshape(s, [batch, sentences, self.units])

    def encode(self, words, training=False):
        """Returns the vectors of sentences, (sentences, units), from words, int (sentences, words)."""
        mask = words > 0
        x = self.drop(self.embed(words), training=training)
        if self.kind == "attention":
            score = tf.linalg.matvec(self.attention_projection(x), tf.cast(self.v, x.dtype))
            # A softmax in float32, over the words of each sentence; zeros without words.
            score = tf.where(mask, tf.cast(score, tf.float32), -1e9)
            a = tf.where(mask, tf.nn.softmax(score), 0.0)
        else:
            a = tf.cast(mask, tf.float32)
            count = tf.reduce_sum(a, 1, keepdims=True)
            a = tf.math.divide_no_nan(a, count)
            if self.kind == "recurrent":
                x = self.recurrent(x, tf.cast(count[:, 0], tf.int32), training=training)
        mean = tf.linalg.matvec(x, tf.cast(a, x.dtype), transpose_a=True)
        s = self.output_projection(mean)
        return tf.where(tf.reduce_any(mask, 1, keepdims=True), s, tf.zeros_like(s))

    def compute_output_spec(self, words, training=False):
        """Returns the output shape for the functional API."""
        return keras.KerasTensor((*words.shape[:2], self.units), self.compute_dtype)

    def get_config(self):
        """Returns every argument of `__init__`."""
        names = (
            "vocabulary_size", "embedding_dim", "units", "kind", "cell", "dropout", "seed",
        )  # fmt: skip
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


@keras.saving.register_keras_serializable(package=__package__)
class SentenceScore(keras.layers.Layer):
    """The logit of each sentence, from the outputs h of the document's recurrent layers.

        d   = tanh(W_d mean_j h_j + b_d)                                        the document
        z_j = w_c . h_j + h_j . W_s d - h_j . W_r tanh(o_j) + a_j + r_j + w_f . f_j + b
        o_j = sum_{i < j} p_i h_i          p_i = sigmoid(z_i)                   the summary before j

    The terms are the content, the salience, the novelty, the absolute position (an embedding of j), the
    relative position (of the tenth of the document) and features such as the centrality. Without novelty,
    all z_j are computed at once; with it, in a loop over the sentences, of a few small products each.

    Args:
        novelty: whether to have the third term.
        seed: seed of the weights.

    Call arguments:
        h: (batch, sentences, size).
        length: int (batch,), number of sentences in each row.
        f: float (batch, sentences, features), or None.

    Returns:
        float32 (batch, sentences, 2): logits of the labels 0 and 1, which are 0 and z.
    """

    def __init__(self, novelty=True, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.novelty, self.seed = novelty, seed
        self.supports_masking = True  # the length says what is padding; Keras would warn of a mask

    def build(self, h_shape, length_shape=None, f_shape=None):
        """Creates the weights."""
        seeds = derive_seeds(self.seed, step=100)
        size = h_shape[-1]

        def weight(name, *shape, scale=1.0):
            initializer = "zeros"
            if scale:
                arguments = scale, "fan_avg", "uniform", next(seeds)
                initializer = keras.initializers.VarianceScaling(*arguments)
            return self.add_weight(shape, initializer=initializer, name=name)

        self.W_d, self.b_d = weight("document", size, size), weight("document_bias", size, scale=0)
        self.w_c = weight("content", size, 1)
        self.W_s = weight("salience", size, size, scale=0.1)
        self.W_r = weight("novelty", size, size, scale=0.1) if self.novelty else None
        self.a = weight("absolute_position", MAX_POSITIONS, 1, scale=0)
        self.r = weight("relative_position", PARTS, 1, scale=0)
        self.b = weight("bias", 1, scale=0)
        self.w_f = weight("features", f_shape[-1], 1, scale=0) if f_shape else None

    def call(self, h, length, f=None):
        """Computes the logits; see the class."""
        # In float32: there are few sentences, and the sum over them would lose digits in 16 bits.
        h = tf.cast(h, tf.float32)
        W_d, b_d, w_c, W_s, b = (
            tf.cast(w, tf.float32) for w in (self.W_d, self.b_d, self.w_c, self.W_s, self.b)
        )
        steps, count = tf.range(tf.shape(h)[1]), tf.cast(length, tf.int32)[:, tf.newaxis]
        mask = tf.cast(steps < count, tf.float32)
        total = tf.reduce_sum(h * mask[..., tf.newaxis], 1)
        mean = total / tf.maximum(tf.cast(count, tf.float32), 1.0)
        d = tf.tanh(tf.matmul(mean, W_d) + b_d)
        z = tf.matmul(h, w_c)[..., 0] + tf.linalg.matvec(h, tf.matmul(d, W_s, transpose_b=True)) + b
        z += tf.cast(gather_rows(self.a, tf.minimum(steps, MAX_POSITIONS - 1))[:, 0], tf.float32)
        part = tf.minimum(steps * PARTS // tf.maximum(count, 1), PARTS - 1)
        z += tf.cast(gather_rows(self.r, part)[..., 0], tf.float32)
        if f is not None:
            z += tf.matmul(tf.cast(f, tf.float32), tf.cast(self.w_f, tf.float32))[..., 0]
        if self.novelty:
            z = self._subtract_redundancy(z, h, mask)
        return tf.stack([tf.zeros_like(z), z], -1)

    def _subtract_redundancy(self, z, h, mask):
        """Returns z with the third term, in a loop over the sentences."""
        g = tf.matmul(h, tf.cast(self.W_r, tf.float32))  # (batch, sentences, size)
        batch, time = tf.unstack(tf.shape(z))
        by_time = lambda t: tf.transpose(t, [1, 0, *range(2, t.shape.rank)])  # noqa: E731
        arrays = [
            tf.TensorArray(tf.float32, time, element_shape=[None, *t.shape[2:]]).unstack(by_time(t))
            for t in (z, g, h, mask)
        ]
        results = tf.TensorArray(tf.float32, time, element_shape=[None])

        def step(j, o, results):
            z_j, g_j, h_j, m_j = (array.read(j) for array in arrays)
            z_j -= tf.reduce_sum(g_j * tf.tanh(o), 1)
            p_j = tf.sigmoid(z_j) * m_j
            return j + 1, o + p_j[:, tf.newaxis] * h_j, results.write(j, z_j)

        o = tf.zeros([batch, h.shape[-1]])
        *_, results = tf.while_loop(
            lambda j, *_: j < time, step, (0, o, results), maximum_iterations=time
        )
        return tf.transpose(results.stack())

    def compute_output_spec(self, h, length, f=None):
        """Returns the output shape for the functional API."""
        return keras.KerasTensor((*h.shape[:2], 2), "float32")

    def get_config(self):
        """Returns every argument of `__init__`."""
        return {**super().get_config(), "novelty": self.novelty, "seed": self.seed}
