"""A reader of the syllables and a writer of the characters: two recurrent networks, one vocabulary."""

import keras
import numpy as np
import tensorflow as tf

from shared.layers.recurrent import RecurrentStack

from .characters import Characters
from .dictionary import GUESSES
from .readings import TONES


def build(config, readings, *_):
    """The model that is trained: an uncompiled `PinyinModel`."""
    return PinyinModel(
        starts=readings.starts.tolist(),
        tones=(readings.tones @ (1 << np.arange(TONES))).tolist(),
        cell=config.cell,
        embedding=config.embedding,
        units=config.units,
        layers=config.layers,
        bidirectional=config.bidirectional,
        dropout=config.dropout,
        recurrent_dropout=config.recurrent_dropout,
        seed=config.seed,
    )


@keras.saving.register_keras_serializable(package=__package__)
class PinyinModel(keras.Model):
    """What a reader and a writer say of each character.

        x_t = (E[s_t] + sum_j u_tj F[g_tj]) sqrt(d) + D u_t
                                              s: codes of syllables, (batch, time); 0 is padding
        h = reader(x)                         g, u: what the `Dictionary` guesses
        log q(c_t | s) = log softmax(F (A h_t + a) + f)[c_t]                over the readings of s_t

        y = writer(F[c_{t-1}] sqrt(d))        c: readings, (batch, time)
        log p(c_t | c_<t) = log softmax(G y_t + g)[s_t] + log softmax(F (B y_t + b) + f)[c_t]

    The reader is a labelling: it sees all syllables, those to come too, if it is bidirectional, and the
    characters that they would be as words of the dictionary, by their frequency alone. The
    writer is a language model: it says the syllable before the character (a softmax by classes: Goodman
    2001), which is cheap, for a search knows the syllable. E and F begin at N(0, 1 / d), and
    so come in with variance 1. Dropout on what is not recurrent, of the same features at all steps.

    Args:
        starts, tones: as of `Characters`.
        cell, layers, bidirectional, dropout, recurrent_dropout, seed: as of `RecurrentStack`, the
            reader's; the writer is never bidirectional.
        embedding: d, size of a row of E and of F.
        units: size of the reader's state; in both directions twice as many, as the writer always has.

    Call arguments:
        inputs: {"codes": int (batch, time), "guesses": int (batch, time, `GUESSES`), "told": float
            (batch, time, `GUESSES` + 2), "characters": int (batch, time)}: what is read, what the
            dictionary says of it, and the readings, of which -1 is one that is not known.

    Returns:
        log q + log p, float32 (batch, time); 0 at padding.
    """

    def __init__(
        self, starts, tones, cell, embedding, units, layers, bidirectional, dropout,
        recurrent_dropout, seed=None, **kwargs,
    ):  # fmt: skip
        super().__init__(**kwargs)
        self.settings = {
            "starts": starts, "tones": tones, "cell": cell, "embedding": embedding, "units": units,
            "layers": layers, "bidirectional": bidirectional, "dropout": dropout,
            "recurrent_dropout": recurrent_dropout, "seed": seed,
        }  # fmt: skip
        self.d = embedding
        seeds = iter(range(seed or 0, (seed or 0) + 20_000, 1000))
        syllables = len(starts) - 1
        stack = lambda units, both, name: RecurrentStack(  # noqa: E731
            cell, units, layers, both, dropout, recurrent_dropout, next(seeds), name=name
        )
        self.characters = Characters(starts, tones, embedding, next(seeds), name="characters")
        spread = keras.initializers.RandomNormal(0.0, embedding**-0.5, next(seeds))
        self.E = keras.layers.Embedding(1 + TONES * syllables, embedding, spread, name="syllables")
        self.reader = stack(units, bidirectional, "reader")
        self.writer = stack(2 * units, False, "writer")
        dense = lambda size, name: keras.layers.Dense(  # noqa: E731
            size, kernel_initializer=keras.initializers.GlorotUniform(next(seeds)), name=name
        )
        self.A, self.B = dense(embedding, "reader_features"), dense(embedding, "writer_features")
        self.D = dense(embedding, "told")
        self.G = dense(syllables, "writer_syllables")
        self.drops = [
            keras.layers.Dropout(dropout, (None, 1, None), next(seeds), name=f"dropout_{i}")
            for i in range(4)
        ]
        wide, both = (None, None, embedding), 2 * units if bidirectional else units
        self.characters.build()
        self.E.build()
        self.reader.build(wide)
        self.writer.build(wide)
        self.A.build((None, None, both))
        self.D.build((None, None, GUESSES + 2))
        self.B.build((None, None, 2 * units))
        self.G.build((None, None, 2 * units))
        self.built = True

    def call(self, inputs, training=False):
        """log q + log p; see the class."""
        codes, c = inputs["codes"], inputs["characters"]
        drop = [lambda t, d=d: d(t, training=training) for d in self.drops]
        x = drop[0](self.embed(codes, inputs["guesses"], inputs["told"]))
        h, _ = self.reader(x, mask=codes > 0, training=training)
        q = self.characters.log_p(drop[1](self.A(h)), codes, c)

        before = tf.pad(c, [[0, 0], [1, 0]], constant_values=-1)[:, :-1]
        y, _ = self.writer(drop[2](self.characters.embed(before)), training=training)
        y = drop[3](y)
        syllable = tf.maximum((codes - 1) // TONES, 0)
        p = -tf.nn.sparse_softmax_cross_entropy_with_logits(syllable, self.G(y))
        # Of tones the writer knows nothing.
        p += self.characters.log_p(self.B(y), codes - (codes - 1) % TONES, c)
        return tf.where(codes > 0, q + p, 0.0)

    def embed(self, codes, guesses, told):
        """x, float32 (batch, time, d), of what the class names."""
        guessed = self.characters.embed(guesses) * told[..., :GUESSES, tf.newaxis]
        return self.E(codes) * self.d**0.5 + tf.reduce_sum(guessed, -2) + self.D(told)

    def read(self, codes, guesses, told):
        """A h + a, float32 (batch, time, d), of whole sentences."""
        h, _ = self.reader(self.embed(codes, guesses, told), mask=codes > 0)
        return self.A(h)

    def write(self, syllables, before, states):
        """One step of the writer.

        Args:
            syllables: int (rows,), those to come.
            before: int (rows,), the reading before; -1 at the beginning.
            states: list of (rows, units).

        Returns:
            log p of the syllables (rows,); B y + b (rows, d); and the new states.
        """
        y, states = self.writer.step(self.characters.embed(before), states)
        p = -tf.nn.sparse_softmax_cross_entropy_with_logits(syllables, self.G(y))
        return p, self.B(y), states

    def get_config(self):
        """Every argument of `__init__`."""
        return {**super().get_config(), **self.settings}


@keras.saving.register_keras_serializable(package=__package__)
class NegativeLogLikelihood(keras.losses.Loss):
    """Minus what the model says of each character; the mean over the characters that count."""

    def __init__(self, reduction="mean_with_sample_weight", **kwargs):
        super().__init__(reduction=reduction, **kwargs)

    def call(self, characters, log_p):
        """(batch, time): the model was told which characters, and says how likely they are."""
        return -log_p
