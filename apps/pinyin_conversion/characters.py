"""A softmax over the few characters that a syllable may be."""

import keras
import numpy as np
import tensorflow as tf

from .readings import TONES


@keras.saving.register_keras_serializable(package=__package__)
class Characters(keras.layers.Layer):
    """An embedding of readings that is also the kernel of their softmax: no character is ever misread.

        embed:  F[c] sqrt(d)
        log_p:  log softmax(F z + f)[c]          over the readings of a syllable (and of its tone)

    So few of the logits are wanted that it would be a waste to compute them all: syllables, and with
    them the rows of F, fall into groups of about as many readings, and the positions of each group are
    multiplied by its own rows of F.

    Args:
        starts: list of ints (syllables + 1,), the first reading of each syllable, and their number.
        tones: list of ints (readings,), in which bit t says whether the reading may have tone t.
        embedding: d, size of a row of F.
        seed: of F.
        groups: how many groups of syllables.
    """

    def __init__(self, starts, tones, embedding, seed=None, groups=16, **kwargs):
        super().__init__(**kwargs)
        self.settings = {
            "starts": starts, "tones": tones, "embedding": embedding, "seed": seed, "groups": groups
        }  # fmt: skip
        self.d = embedding
        self.starts, self.tones = np.array(starts, np.int32), np.array(tones, np.int32)
        self.size = len(tones)
        self.syllable_of = np.repeat(np.arange(len(starts) - 1, dtype=np.int32), np.diff(starts))
        # The group of a syllable is that of its first reading, if all readings were dealt evenly; of few
        # syllables some groups would be empty.
        even = self.starts[:-1].astype(np.int64) * groups // self.size
        _, first, group_of = np.unique(even, return_index=True, return_inverse=True)
        self.group_of = group_of.astype(np.int32)
        self.bounds = np.append(self.starts[first], self.size)

    def build(self, input_shape=None):
        """Makes F (1 + readings, d), of which row 0 is before the first, and f (readings,)."""
        spread = keras.initializers.RandomNormal(0.0, self.d**-0.5, self.settings["seed"])
        self.F = self.add_weight((1 + self.size, self.d), initializer=spread, name="F")
        # The readings of a syllable are in order of frequency: Zipf's law is where to begin.
        rank = np.arange(self.size) - np.repeat(self.starts[:-1], np.diff(self.starts))
        zipf = lambda shape, dtype: -tf.math.log(tf.cast(rank, dtype) + 1.0)  # noqa: E731
        self.f = self.add_weight((self.size,), initializer=zipf, name="f")
        super().build(input_shape)

    def embed(self, c):
        """F[c] sqrt(d): int (...) to (..., d); -1 is what is before the first, or not known."""
        return _rows(tf.convert_to_tensor(self.F), c + 1) * self.d**0.5

    def log_p(self, z, codes, c):
        """Log-probabilities of readings.

        Args:
            z: (batch, time, d).
            codes: int (batch, time), of the syllables; 0 is padding.
            c: int (batch, time), of which a reading that is none of its syllable's gets no meaning.

        Returns:
            float32 (batch, time), 0 at padding.
        """
        real = codes > 0
        z, c, codes = (tf.boolean_mask(t, real) for t in (z, c, codes))  # (positions, ...)
        syllable, tone = (codes - 1) // TONES, (codes - 1) % TONES
        group = tf.gather(self.group_of, syllable)
        groups, widths = len(self.bounds) - 1, np.diff(self.bounds)
        order = tf.argsort(group)
        sizes = tf.math.bincount(group, minlength=groups, maxlength=groups)
        deal = lambda t: tf.split(tf.gather(t, order), sizes, num=groups)  # noqa: E731
        F = tf.convert_to_tensor(self.F)[1:]
        parts = zip(
            self.bounds[:-1], self.bounds[1:], tf.split(F, widths),
            tf.split(tf.convert_to_tensor(self.f), widths),
            deal(z), deal(syllable), deal(tone), deal(c), strict=True,
        )  # fmt: skip
        log_p = []
        for low, high, F_g, f_g, z_g, s_g, t_g, c_g in parts:
            # (positions, readings) of the group
            logits = tf.matmul(z_g, F_g, transpose_b=True) + f_g
            bit = tf.bitwise.left_shift(1, t_g)[:, tf.newaxis]
            possible = self.syllable_of[low:high] == s_g[:, tf.newaxis]
            possible &= tf.bitwise.bitwise_and(self.tones[low:high], bit) > 0
            logits = tf.where(possible, logits, -1e9)
            c_g = tf.maximum(c_g - low, 0)
            log_p.append(-tf.nn.sparse_softmax_cross_entropy_with_logits(c_g, logits))
        log_p = tf.gather(tf.concat(log_p, 0), tf.argsort(order))
        return tf.scatter_nd(tf.where(real), log_p, tf.shape(real, tf.int64))

    def scores(self, z, choices):
        """Log-probabilities of all that is possible in one step, for a search.

        Args:
            z: (batch, d).
            choices: int (batch, choices), readings; -1 is none.

        Returns:
            (batch, choices).
        """
        rows = tf.maximum(choices, 0)
        logits = tf.linalg.matvec(tf.gather(self.F, rows + 1), z) + tf.gather(self.f, rows)
        return tf.nn.log_softmax(tf.where(choices >= 0, logits, -1e9))

    def get_config(self):
        """Every argument of `__init__`."""
        return {**super().get_config(), **self.settings}


@tf.custom_gradient
def _rows(F, c):
    """Rows of F, with a dense gradient: Keras takes no account of rows that come twice in a sparse one."""

    def gradient(upstream):
        flat = tf.reshape(upstream, [-1, tf.shape(F)[1]])
        return tf.math.unsorted_segment_sum(flat, tf.reshape(c, [-1]), tf.shape(F)[0]), None

    return tf.gather(F, c), gradient
