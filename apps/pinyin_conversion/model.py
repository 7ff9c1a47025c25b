"""A recurrent network over syllables, with a softmax over the characters that each syllable may be."""

import keras
import numpy as np
import tensorflow as tf

from shared.layers.gather import gather_rows
from shared.layers.recurrent import RecurrentStack
from shared.layers.seeds import derive_seeds

from .lexicon.dictionary import NUM_CANDIDATES, NUM_FEATURES
from .lexicon.readings import NUM_TONES


def build(config, assets):
    """Returns an uncompiled `PinyinModel` for `config`, an app's Config, and `assets`, `data.Assets`."""
    readings = assets.readings
    return PinyinModel(
        starts=readings.starts.tolist(),
        tone_masks=(readings.tones @ (1 << np.arange(NUM_TONES))).tolist(),
        cell=config.cell,
        embedding_dim=config.embedding_dim,
        units=config.units,
        num_layers=config.num_layers,
        bidirectional=config.bidirectional,
        dropout=config.dropout,
        recurrent_dropout=config.recurrent_dropout,
        seed=config.seed,
    )


@keras.saving.register_keras_serializable(package=__package__)
class PinyinModel(keras.Model):
    """Labels each syllable of a sentence with a reading, a character of that syllable.

        x_t = (E[s_t] + sum_j u_tj F[g_tj]) sqrt(d) + D u_t
                                              s: codes of syllables, (batch, time); 0 is padding
        h = recurrent(x)                      g, u: candidates of the `Dictionary`, and their features
        z_t = A h_t + a
        log p(c_t | s) = log softmax(F z_t + f)[c_t]                        over the readings of s_t

    A bidirectional network sees the whole sentence. E and F are initialized from N(0, 1 / d), so that
    their terms in x have variance 1. Dropout of x and z drops the same features at all steps.

    The model returns z. The softmax over the few readings of each syllable is the layer `softmax`:
    `compute_loss` asks it for the log-probabilities of the targets, a search for those of all readings of
    a syllable. Logits of all readings are never computed. Compile with `NegativeLogLikelihood`.

    Args:
        starts, tone_masks: as of `ReadingSoftmax`.
        cell, units, num_layers, bidirectional, recurrent_dropout: as of `RecurrentStack`.
        embedding_dim: d, size of a row of E and of F.
        dropout: fraction of the features of x and z, and between layers, that is dropped in training.
        seed: seed of weights and dropout.

    Call arguments:
        inputs: {"codes": int (batch, time), "candidates": int (batch, time, `NUM_CANDIDATES`),
            "candidate_features": float32 (batch, time, `NUM_FEATURES`)}: the syllables, and what
            `Dictionary.candidates` returns for them.
        training: apply dropout.

    Returns:
        z, float32 (batch, time, embedding_dim).
    """

    def __init__(
        self, starts, tone_masks, cell, embedding_dim, units, num_layers, bidirectional, dropout,
        recurrent_dropout, seed=None, **kwargs,
    ):  # fmt: skip
        super().__init__(**kwargs)
        self.starts, self.tone_masks = list(starts), list(tone_masks)
        self.cell, self.embedding_dim, self.units = cell, embedding_dim, units
        self.num_layers, self.bidirectional = num_layers, bidirectional
        self.dropout, self.recurrent_dropout, self.seed = dropout, recurrent_dropout, seed
        seeds = derive_seeds(seed, step=1000)
        self.softmax = ReadingSoftmax(
            starts, tone_masks, embedding_dim, next(seeds), name="softmax"
        )
        self.syllable_embedding = keras.layers.Embedding(
            1 + NUM_TONES * (len(starts) - 1),
            embedding_dim,
            keras.initializers.RandomNormal(0.0, embedding_dim**-0.5, next(seeds)),
            name="syllable_embedding",
        )
        self.recurrent = RecurrentStack(
            cell, units, num_layers, bidirectional, dropout, recurrent_dropout, next(seeds)
        )
        dense = lambda name: keras.layers.Dense(  # noqa: E731
            embedding_dim,
            kernel_initializer=keras.initializers.GlorotUniform(next(seeds)),
            name=name,
        )
        self.output_projection = dense("output_projection")  # A, a
        self.feature_projection = dense("feature_projection")  # D
        self.dropouts = [
            keras.layers.Dropout(dropout, (None, 1, None), next(seeds), name=f"dropout_{i}")
            for i in range(2)
        ]
        self.softmax.build()
        self.syllable_embedding.build()
        self.recurrent.build((None, None, embedding_dim))
        self.output_projection.build((None, None, 2 * units if bidirectional else units))
        self.feature_projection.build((None, None, NUM_FEATURES))
        self.built = True

    def call(self, inputs, training=False):
        """Returns z; see the class."""
        codes = inputs["codes"]
        x = self.embed(codes, inputs["candidates"], inputs["candidate_features"])
        x = self.dropouts[0](x, training=training)
        h, _ = self.recurrent(x, mask=codes > 0, training=training)
        return self.dropouts[1](self.output_projection(h), training=training)

    def embed(self, codes, candidates, candidate_features):
        """Returns x, float32 (batch, time, embedding_dim); see the class."""
        u = candidate_features[..., :NUM_CANDIDATES, tf.newaxis]
        x = self.syllable_embedding(codes) * self.embedding_dim**0.5
        x += tf.reduce_sum(self.softmax.embed(candidates) * u, -2)
        return x + self.feature_projection(candidate_features)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Calls the compiled loss with the log-probabilities of the targets.

        Args:
            x: the inputs.
            y: int (batch, time), the readings; -1 is unknown and needs the weight 0.
            y_pred: z.
            sample_weight: float32 (batch, time), 0 at padding.
            training: whether dropout was applied.

        Returns:
            The loss of the batch, a scalar.
        """
        log_p = self.softmax.log_prob(y_pred, x["codes"], y)
        return super().compute_loss(x, y, log_p, sample_weight, training)

    def get_config(self):
        """Returns every argument of `__init__`."""
        names = (
            "starts", "tone_masks", "cell", "embedding_dim", "units", "num_layers", "bidirectional",
            "dropout", "recurrent_dropout", "seed",
        )  # fmt: skip
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


@keras.saving.register_keras_serializable(package=__package__)
class NegativeLogLikelihood(keras.losses.Loss):
    """Minus the log-probability of the targets, averaged over the sample weights."""

    def __init__(self, reduction="mean_with_sample_weight", **kwargs):
        super().__init__(reduction=reduction, **kwargs)

    def call(self, y_true, y_pred):
        """Returns -y_pred; y_pred has the log-probabilities of y_true, both (batch, time)."""
        return -y_pred


@keras.saving.register_keras_serializable(package=__package__)
class ReadingSoftmax(keras.layers.Layer):
    """An embedding of readings that is also the kernel of a softmax over the readings of a syllable.

        embed:     F[c] sqrt(d)
        log_prob:  log softmax(F z + f)[c]       over the readings that the syllable has in its tone

    Computing the logits of all readings would be a waste, because a syllable has few. So syllables, and
    with them the rows of F, are divided into groups with about equally many readings, and the positions
    of each group are multiplied by the rows of their group only.

    Args:
        starts: list of ints (syllables + 1,), the first reading of each syllable, and the number of
            readings.
        tone_masks: list of ints (readings,); bit t says whether the reading may have tone t.
        embedding_dim: d, size of a row of F.
        seed: seed of F.
        groups: number of groups of syllables.
    """

    def __init__(self, starts, tone_masks, embedding_dim, seed=None, groups=16, **kwargs):
        super().__init__(**kwargs)
        self.starts, self.tone_masks = list(starts), list(tone_masks)
        self.embedding_dim, self.seed, self.groups = embedding_dim, seed, groups
        self.size = len(tone_masks)
        starts = np.array(starts, np.int32)
        counts = np.diff(starts)
        syllables = np.arange(len(counts), dtype=np.int32)
        self._syllable_of, self._first_of = (
            np.repeat(syllables, counts),
            np.repeat(starts[:-1], counts),
        )
        self._masks = np.array(tone_masks, np.int32)
        # The first reading of a syllable decides its group. Groups that would be empty are left out.
        group = starts[:-1].astype(np.int64) * groups // self.size
        _, first, group_of = np.unique(group, return_index=True, return_inverse=True)
        self._group_of = group_of.astype(np.int32)
        self._bounds = np.append(starts[first], self.size)

    def build(self, input_shape=None):
        """Creates F (1 + readings, d), whose row 0 stands for an unknown reading, and f (readings,)."""
        initializer = keras.initializers.RandomNormal(0.0, self.embedding_dim**-0.5, self.seed)
        self.F = self.add_weight(
            (1 + self.size, self.embedding_dim), initializer=initializer, name="F"
        )
        # The readings of a syllable are sorted by frequency: f is initialized by Zipf's law.
        rank = np.arange(self.size) - self._first_of
        zipf = lambda shape, dtype: -tf.math.log(tf.cast(rank, dtype) + 1.0)  # noqa: E731
        self.f = self.add_weight((self.size,), initializer=zipf, name="f")
        super().build(input_shape)

    def embed(self, c):
        """Returns F[c] sqrt(d), (..., d), for readings c, int (...); -1 is an unknown reading."""
        return gather_rows(self.F, c + 1) * self.embedding_dim**0.5

    def log_prob(self, z, codes, c):
        """Returns the log-probability of one reading at each position.

        Args:
            z: (batch, time, d).
            codes: int (batch, time), of the syllables; 0 is padding.
            c: int (batch, time), readings. The result is meaningless, but finite, where c is not a
                reading of its syllable.

        Returns:
            float32 (batch, time), 0 at padding.
        """
        mask = codes > 0
        z, c, codes = (tf.boolean_mask(t, mask) for t in (z, c, codes))  # (positions, ...)
        syllable, tone = (codes - 1) // NUM_TONES, (codes - 1) % NUM_TONES
        group = tf.gather(self._group_of, syllable)
        groups, widths = len(self._bounds) - 1, np.diff(self._bounds)
        order = tf.argsort(group)
        sizes = tf.math.bincount(group, minlength=groups, maxlength=groups)
        split = lambda t: tf.split(tf.gather(t, order), sizes, num=groups)  # noqa: E731
        F = tf.convert_to_tensor(self.F)[1:]
        parts = zip(
            self._bounds[:-1], self._bounds[1:], tf.split(F, widths),
            tf.split(tf.convert_to_tensor(self.f), widths),
            split(z), split(syllable), split(tone), split(c), strict=True,
        )  # fmt: skip
        log_p = []
        for low, high, F_g, f_g, z_g, s_g, t_g, c_g in parts:
            # (positions, readings) of the group
            logits = tf.matmul(z_g, F_g, transpose_b=True) + f_g
            bit = tf.bitwise.left_shift(1, t_g)[:, tf.newaxis]
            possible = self._syllable_of[low:high] == s_g[:, tf.newaxis]
            possible &= tf.bitwise.bitwise_and(self._masks[low:high], bit) > 0
            logits = tf.where(possible, logits, -1e9)
            c_g = tf.maximum(c_g - low, 0)
            log_p.append(-tf.nn.sparse_softmax_cross_entropy_with_logits(c_g, logits))
        log_p = tf.gather(tf.concat(log_p, 0), tf.argsort(order))
        return tf.scatter_nd(tf.where(mask), log_p, tf.shape(mask, tf.int64))

    def log_softmax(self, z, c):
        """Returns the log-probabilities of all readings that are possible at one step.

        Args:
            z: (batch, d).
            c: int (batch, n), the possible readings; -1 is padding.

        Returns:
            float32 (batch, n).
        """
        rows = tf.maximum(c, 0)
        logits = tf.linalg.matvec(tf.gather(self.F, rows + 1), z) + tf.gather(self.f, rows)
        return tf.nn.log_softmax(tf.where(c >= 0, logits, -1e9))

    def get_config(self):
        """Returns every argument of `__init__`."""
        names = ("starts", "tone_masks", "embedding_dim", "seed", "groups")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
