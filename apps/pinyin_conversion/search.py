"""The likeliest characters of given syllables, by what network and trigram say of them.

    score(c) = sum_t log p(c_t | c_{t-2}, c_{t-1}) + r (log q(c_t | s) - log u(c_t | s_t))

p is the trigram, q the network, u the trigram's unigram over the readings of the syllable (what the network
adds is what it says beyond that); r is `config.network_weight`.
"""

import numpy as np
import tensorflow as tf

from .dictionary import LONGEST
from .lattice import beam_search

BEFORE = LONGEST - 1  # syllables before, that may be of the same word
ASKED = 16  # readings of a syllable, the network's best, of which the trigram is asked


class Search:
    """Whole sentences at once, or one syllable after the other.

    Args:
        model: as `model.build` gives it.
        config: the app's Config.
        readings, dictionary, trigram: `Readings`, `Dictionary`, `Trigram`.
    """

    def __init__(self, model, config, readings, dictionary, trigram):
        self.model, self.config, self.readings = model, config, readings
        self.dictionary, self.trigram = dictionary, trigram
        self.choices = readings.choices()
        log_u = trigram.alone(np.maximum(self.choices, 0))
        self.log_u = tf.nn.log_softmax(tf.where(self.choices >= 0, log_u, -1e9)).numpy()
        stack = model.recurrent
        count = stack.num_layers * stack.states_per_layer
        self._sizes = [*[stack.units] * count, 1, 1, 1, BEFORE]
        self.width = sum(self._sizes)  # of a state

    def sentences(self, codes, length):
        """The likeliest readings of whole sentences.

        Args:
            codes: int32 (batch, time), padded with 0; length: int32 (batch,).

        Returns:
            readings, int32 (batch, beam, time), the best first, and their scores (batch, beam).
        """
        batch, steps = tf.unstack(tf.shape(codes))
        beam = self.config.beam_width
        choices = tf.gather(self.choices, codes)  # (batch, time, choices)
        most = tf.reduce_max(tf.reduce_sum(tf.cast(choices >= 0, tf.int32), -1))
        choices = choices[..., : tf.maximum(most, 1)]
        guesses = self.dictionary.guesses(codes, causal=not self.config.bidirectional)
        features = self.model.read(codes, *guesses)

        def expand(time, contexts):
            code, now, z = (tf.gather(t, time, axis=1) for t in (codes, choices, features))
            items, scores = self._likeliest(code, now, z)
            items = tf.tile(items[:, tf.newaxis], [1, beam, 1])
            log_p, contexts = self.trigram(
                [c[..., tf.newaxis] for c in contexts], tf.maximum(items, 0)
            )
            return items, scores[:, tf.newaxis] + log_p, contexts

        return beam_search(expand, self.trigram.begin([batch, beam]), length, steps, beam)

    def beginning(self, rows):
        """The state before the first syllable, float32 (rows, width)."""
        contexts = [tf.cast(c, tf.float32)[:, tf.newaxis] for c in self.trigram.begin([rows])]
        zeros = tf.zeros([rows, self.width - 3 - BEFORE])
        return tf.concat([zeros, *contexts, tf.zeros([rows, 1 + BEFORE])], 1)

    def type(self, codes, length, state, chosen):
        """One syllable after the other, each of them the likeliest character after those before.

        A state holds what is known before the last character, and that character, for it may be chosen
        otherwise (its reading stands there one higher, so that 0 is none), and the last codes.

        Args:
            codes: int32 (batch, time), padded with 0; length: int32 (batch,).
            state: float32 (batch, width).
            chosen: string (batch,), the character of the last syllable before; "" for the likeliest.

        Returns:
            the readings, int32 (batch, time); those of the last syllable, the likeliest first, int32
            (batch, choices), -1 where there are fewer, and their log-probabilities; and the new state.
        """
        states, contexts, before, heard = self._parts(state)
        before = self._named(before, heard[:, -1], chosen)
        heard = tf.concat([heard, codes], 1)
        x = self.model.embed(heard, *self.dictionary.guesses(heard, causal=True))[:, BEFORE:]
        steps = tf.shape(codes)[1]
        found = tf.TensorArray(tf.int32, steps, element_shape=[None])
        rows, width = tf.size(length), min(ASKED, self.choices.shape[1])
        nothing = tf.fill([rows, width], -1), tf.fill([rows, width], float("-inf"))
        one = lambda t: t[:, tf.newaxis]  # noqa: E731

        def read_one(time, now, found):
            states, contexts, before, _ = now
            code = codes[:, time]
            y, new = self.model.recurrent.step(x[:, time], states)
            items, scores = self._likeliest(code, tf.gather(self.choices, code), self.model.A(y))
            _, after = self.trigram([one(c) for c in contexts], one(tf.maximum(before, 0)))
            contexts = [
                tf.where(before >= 0, a[:, 0], c) for a, c in zip(after, contexts, strict=True)
            ]
            log_p, _ = self.trigram([one(c) for c in contexts], tf.maximum(items, 0))
            scores, place = tf.math.top_k(scores + log_p, width)
            items = tf.gather(items, place, batch_dims=1)
            real = time < length
            now = tf.nest.map_structure(
                lambda a, b: tf.where(real if a.shape.rank == 1 else one(real), a, b),
                (new, contexts, items[:, 0], (items, scores)),
                now,
            )
            return time + 1, now, found.write(time, items[:, 0])

        _, (states, contexts, before, (likeliest, scores)), found = tf.while_loop(
            lambda time, *_: time < steps,
            read_one,
            (0, (states, contexts, before, nothing), found),
        )
        # Of nothing that was typed, all scores are -inf.
        typed = tf.math.is_finite(scores)
        log_p = tf.nn.log_softmax(tf.where(typed, scores, -1e9))
        log_p = tf.where(typed, log_p, float("-inf"))
        heard = tf.gather(heard, one(length) + tf.range(BEFORE), batch_dims=1)
        numbers = [one(t) for t in (*contexts, before + 1)]
        numbers = [tf.cast(t, tf.float32) for t in (*numbers, heard)]
        found = tf.transpose(tf.reshape(found.stack(), [steps, rows]))
        return found, likeliest, log_p, tf.concat([*states, *numbers], 1)

    def _likeliest(self, codes, choices, z):
        """What the network says of each syllable at one time.

        Args:
            codes: (batch,); choices: (batch, choices), their readings; -1 is none.
            z: (batch, d), the features.

        Returns:
            its best `ASKED` readings (batch, asked), -1 where there are fewer, and what each adds to a
            score, -inf where it is none.
        """
        log_q = self.model.characters.scores(z, choices)
        log_q, place = tf.math.top_k(log_q, tf.minimum(ASKED, tf.shape(choices)[1]))
        items = tf.gather(choices, place, batch_dims=1)
        log_u = tf.gather(tf.gather(self.log_u, codes), place, batch_dims=1)
        added = self.config.network_weight * (log_q - log_u)
        return items, tf.where(items >= 0, added, float("-inf"))

    def _parts(self, state):
        """States, contexts, reading, codes; no number from outside leads out of a table."""
        *states, one, two, before, codes = tf.split(state, self._sizes, axis=1)
        rows = self.trigram.rows()
        number = lambda t, size: tf.clip_by_value(tf.cast(t, tf.int32), 0, size - 1)  # noqa: E731
        contexts = [number(t[:, 0], size) for t, size in zip((one, two), rows, strict=True)]
        before = number(before[:, 0], self.readings.size + 1) - 1
        return states, contexts, before, number(codes, self.choices.shape[0])

    def _named(self, before, last, chosen):
        """The reading of the last syllable that is written as `chosen`; `before` where none is."""
        choices = tf.gather(self.choices, last)
        names = tf.gather(self.readings.characters, tf.maximum(choices, 0))
        named = (choices >= 0) & (names == chosen[:, tf.newaxis])
        place = tf.argmax(tf.cast(named, tf.int32), 1)
        return tf.where(tf.reduce_any(named, 1), tf.gather(choices, place, batch_dims=1), before)
