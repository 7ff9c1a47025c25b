"""A recurrent network over the syllables, and a softmax over the characters that each may be."""

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
        embedding=config.embedding_dim,
        units=config.units,
        num_layers=config.num_layers,
        bidirectional=config.bidirectional,
        dropout=config.dropout,
        recurrent_dropout=config.recurrent_dropout,
        seed=config.seed,
    )


@keras.saving.register_keras_serializable(package=__package__)
class PinyinModel(keras.Model):
    """Which character each syllable of a sentence is: a labelling.

        x_t = (E[s_t] + sum_j u_tj F[g_tj]) sqrt(d) + D u_t
                                              s: codes of syllables, (batch, time); 0 is padding
        h = recurrent(x)                      g, u: what the `Dictionary` guesses
        log q(c_t | s) = log softmax(F (A h_t + a) + f)[c_t]                over the readings of s_t

    The network sees all syllables, those to come too, if it is bidirectional, and the characters that
    they would be as words of the dictionary, by their frequency alone. E and F begin at N(0, 1 / d), and
    so come in with variance 1. Dropout of the same features at all steps.

    Args:
        starts, tones: as of `Characters`.
        cell, units, num_layers, bidirectional, dropout, recurrent_dropout, seed: as of `RecurrentStack`.
        embedding: d, size of a row of E and of F.

    Call arguments:
        inputs: {"codes": int (batch, time), "guesses": int (batch, time, `GUESSES`), "told": float
            (batch, time, `GUESSES` + 2), "characters": int (batch, time)}: what is read, what the
            dictionary says of it, and the readings c, of which -1 is one that is not known.

    Returns:
        log q of the characters, float32 (batch, time); 0 at padding.
    """

    def __init__(
        self, starts, tones, cell, embedding, units, num_layers, bidirectional, dropout,
        recurrent_dropout, seed=None, **kwargs,
    ):  # fmt: skip
        super().__init__(**kwargs)
        self.settings = {
            "starts": starts, "tones": tones, "cell": cell, "embedding": embedding, "units": units,
            "num_layers": num_layers, "bidirectional": bidirectional, "dropout": dropout,
            "recurrent_dropout": recurrent_dropout, "seed": seed,
        }  # fmt: skip
        self.d = embedding
        seeds = iter(range(seed or 0, (seed or 0) + 20_000, 1000))
        self.characters = Characters(starts, tones, embedding, next(seeds), name="characters")
        self.E = keras.layers.Embedding(
            1 + TONES * (len(starts) - 1),
            embedding,
            keras.initializers.RandomNormal(0.0, embedding**-0.5, next(seeds)),
            name="syllables",
        )
        self.recurrent = RecurrentStack(
            cell, units, num_layers, bidirectional, dropout, recurrent_dropout, next(seeds)
        )
        dense = lambda name: keras.layers.Dense(  # noqa: E731
            embedding, kernel_initializer=keras.initializers.GlorotUniform(next(seeds)), name=name
        )
        self.A, self.D = dense("features"), dense("told")
        self.drops = [
            keras.layers.Dropout(dropout, (None, 1, None), next(seeds), name=f"dropout_{i}")
            for i in range(2)
        ]
        self.characters.build()
        self.E.build()
        self.recurrent.build((None, None, embedding))
        self.A.build((None, None, 2 * units if bidirectional else units))
        self.D.build((None, None, GUESSES + 2))
        self.built = True

    def call(self, inputs, training=False):
        """log q; see the class."""
        codes = inputs["codes"]
        z = self.read(codes, inputs["guesses"], inputs["told"], training)
        return self.characters.log_p(z, codes, inputs["characters"])

    def embed(self, codes, guesses, told):
        """x, float32 (batch, time, d), of what the class names."""
        guessed = self.characters.embed(guesses) * told[..., :GUESSES, tf.newaxis]
        return self.E(codes) * self.d**0.5 + tf.reduce_sum(guessed, -2) + self.D(told)

    def read(self, codes, guesses, told, training=False):
        """A h + a, float32 (batch, time, d), of whole sentences."""
        x = self.drops[0](self.embed(codes, guesses, told), training=training)
        h, _ = self.recurrent(x, mask=codes > 0, training=training)
        return self.drops[1](self.A(h), training=training)

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
