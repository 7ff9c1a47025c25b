"""What the model reads of a word: its embedding, its characters and its position."""

import keras
import tensorflow as tf

from shared.layers.gather import gather_rows
from shared.layers.seeds import derive_seeds

MAX_POSITIONS = 128  # later words have the embedding of the last position


@keras.saving.register_keras_serializable(package=__package__)
class WordFeatures(keras.layers.Layer):
    """The features of each word of a sequence.

        x_t = [E[w_t]; max_k tanh(T_-1[c_t,k-1] + T_0[c_t,k] + T_1[c_t,k+1] + b); P[t]]

    The second part is a convolution of width 3 over the characters of the word and its maximum (Ma & Hovy
    2016). A kernel applied to the embedding of a character is a row of a table, T_o = C K_o, so that the
    tables are learned and no product is computed. A word without characters has zeros there.

    Args:
        vocabulary_size: number of words.
        embedding_dim: size of E[w].
        num_characters: number of characters.
        char_filters: size of the second part; 0: none.
        position_dim: size of P[t]; 0: none.
        seed: seed of the weights.

    Call arguments:
        words: int (batch, time); 0 is padding.
        characters: int (batch, time, characters); 0 is padding. None if `char_filters` is 0.

    Returns:
        (batch, time, embedding_dim + char_filters + position_dim).
    """

    def __init__(
        self, vocabulary_size, embedding_dim, num_characters=0, char_filters=0, position_dim=0, seed=None,
        **kwargs,
    ):  # fmt: skip
        super().__init__(**kwargs)
        self.vocabulary_size, self.embedding_dim = vocabulary_size, embedding_dim
        self.num_characters, self.char_filters = num_characters, char_filters
        self.position_dim, self.seed = position_dim, seed

    def build(self, words_shape, characters_shape=None):
        """Creates E, T, b and P."""
        seeds = derive_seeds(self.seed, step=100)

        def table(name, rows, size, scale):
            initializer = keras.initializers.RandomNormal(0.0, scale, next(seeds))
            return self.add_weight((rows, size), initializer=initializer, name=name)

        self.E = table("word_embeddings", self.vocabulary_size, self.embedding_dim, 0.3)
        if self.char_filters:
            self.T = [
                table(f"characters_{o}", self.num_characters, self.char_filters, 0.5)
                for o in ("before", "at", "after")
            ]
            self.b = self.add_weight((self.char_filters,), initializer="zeros", name="bias")
        if self.position_dim:
            self.P = table("position_embeddings", MAX_POSITIONS, self.position_dim, 0.3)

    def call(self, words, characters=None):
        """Computes x; see the class."""
        parts = [gather_rows(self.E, words)]
        if self.char_filters:
            parts.append(self._convolve(characters))
        if self.position_dim:
            t = tf.minimum(tf.range(tf.shape(words)[1]), MAX_POSITIONS - 1)
            P = gather_rows(self.P, t)[tf.newaxis]
            parts.append(tf.tile(P, [tf.shape(words)[0], 1, 1]))
        return tf.concat([tf.cast(part, self.compute_dtype) for part in parts], -1)

    def _convolve(self, characters):
        """Returns the second part of x."""
        padding = [[0, 0], [0, 0], [1, 1]]
        c = tf.pad(characters, padding)
        size = tf.shape(characters)[2]
        is_character = tf.cast(c > 0, self.compute_dtype)[..., tf.newaxis]
        total = self.b
        for o, T in enumerate(self.T):
            shifted = slice(o, o + size)
            rows = tf.cast(gather_rows(T, c[:, :, shifted]), self.compute_dtype)
            total += rows * is_character[:, :, shifted]
        y = tf.tanh(total)
        mask = characters[..., tf.newaxis] > 0
        y = tf.reduce_max(tf.where(mask, y, -1.0), 2)
        return tf.where(tf.reduce_any(mask, 2), y, 0.0)

    def compute_output_spec(self, words, characters=None):
        """Returns the output shape for the functional API."""
        size = self.embedding_dim + self.char_filters + self.position_dim
        return keras.KerasTensor((*words.shape, size), self.compute_dtype)

    def get_config(self):
        """Returns every argument of `__init__`."""
        names = (
            "vocabulary_size", "embedding_dim", "num_characters", "char_filters", "position_dim", "seed",
        )  # fmt: skip
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
