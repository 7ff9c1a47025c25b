"""The likeliest characters of given syllables, by all that reader, writer and trigram say of them.

    score(c) = sum_t log p(c_t | c_<t) + r (log q(c_t | s) - log u(c_t | s_t))
                     + k log p_3(c_t | c_{t-2}, c_{t-1})

p is the writer, q the reader, u the trigram's unigram over the readings of the syllable (what the reader
adds is what it says beyond that), p_3 the trigram; r and k are `config.reader` and `config.trigram`.
"""

import numpy as np
import tensorflow as tf

from .dictionary import LONGEST
from .lattice import beam_search
from .readings import TONES

BEFORE = LONGEST - 1  # syllables before, that may be of the same word
ASKED = 12  # readings of a syllable, the networks' best, of which the trigram is asked


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
        stacks = model.reader, model.writer
        self._counts = [stack.layers * stack.states_per_layer for stack in stacks]
        sizes = [s.units for s, n in zip(stacks, self._counts, strict=True) for _ in range(n)]
        self._sizes = [*sizes, 1, 1, 1, BEFORE]
        self.width = sum(self._sizes)  # of a state

    def sentences(self, codes, length):
        """The likeliest readings of whole sentences.

        Args:
            codes: int32 (batch, time), padded with 0; length: int32 (batch,).

        Returns:
            readings, int32 (batch, beam, time), the best first, and their scores (batch, beam).
        """
        batch, steps = tf.unstack(tf.shape(codes))
        beam = self.config.beam
        choices = tf.gather(self.choices, codes)  # (batch, time, choices)
        most = tf.reduce_max(tf.reduce_sum(tf.cast(choices >= 0, tf.int32), -1))
        choices = choices[..., : tf.maximum(most, 1)]
        guesses = self.dictionary.guesses(codes, causal=not self.config.bidirectional)
        features = self.model.read(codes, *guesses)

        def expand(time, states, last):
            before, contexts = last
            code, now, read = (tf.gather(t, time, axis=1) for t in (codes, choices, features))
            scores, states = self._scores(code, now, read, tf.reshape(before, [-1]), states, beam)
            scores, best = tf.math.top_k(scores, tf.minimum(ASKED, tf.shape(now)[1]))
            items = tf.gather(now, best, batch_dims=1)
            log_p, contexts = self.trigram(
                [c[..., tf.newaxis] for c in contexts], tf.maximum(items, 0)
            )
            scores = tf.where(items >= 0, scores + self.config.trigram * log_p, float("-inf"))
            return items, scores, states, (items, contexts)

        states = [tf.zeros([batch * beam, self.model.writer.units])] * self._counts[1]
        last = tf.fill([batch, beam], -1), self.trigram.begin([batch, beam])
        return beam_search(expand, states, last, length, steps, beam)

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
        nothing = tf.fill([tf.size(length), self.choices.shape[1]], float("-inf"))
        one = lambda t: t[:, tf.newaxis]  # noqa: E731

        def read_one(time, now, scores, found):
            states, contexts, before = now
            code = codes[:, time]
            choices = tf.gather(self.choices, code)
            y, reading = self.model.reader.step(x[:, time], states[: self._counts[0]])
            new, writing = self._scores(
                code, choices, self.model.A(y), before, states[self._counts[0] :]
            )
            _, after = self.trigram([one(c) for c in contexts], one(tf.maximum(before, 0)))
            contexts = [
                tf.where(before >= 0, a[:, 0], c) for a, c in zip(after, contexts, strict=True)
            ]
            log_p, _ = self.trigram([one(c) for c in contexts], tf.maximum(choices, 0))
            least = tf.math.top_k(new[:, 0], min(ASKED, choices.shape[1]))[0][:, -1:]
            asked = (choices >= 0) & (new[:, 0] >= least)
            new = tf.where(asked, new[:, 0] + self.config.trigram * log_p, float("-inf"))
            best = tf.gather(choices, tf.argmax(new, 1), batch_dims=1)
            real = time < length
            *now, scores = tf.nest.map_structure(
                lambda a, b: tf.where(real if a.shape.rank == 1 else one(real), a, b),
                ([*reading, *writing], contexts, best, new),
                (*now, scores),
            )
            return time + 1, tuple(now), scores, found.write(time, best)

        _, (states, contexts, before), scores, found = tf.while_loop(
            lambda time, *_: time < steps,
            read_one,
            (0, (states, contexts, before), nothing, found),
        )
        there = tf.math.is_finite(scores)
        log_p, place = tf.math.top_k(
            tf.where(there, tf.nn.log_softmax(tf.where(there, scores, -1e9)), float("-inf")),
            self.choices.shape[1],
        )
        heard = tf.gather(heard, one(length) + tf.range(BEFORE), batch_dims=1)
        likeliest = tf.gather(tf.gather(self.choices, heard[:, -1]), place, batch_dims=1)
        likeliest = tf.where(tf.math.is_finite(log_p), likeliest, -1)
        numbers = [one(t) for t in (*contexts, before + 1)]
        numbers = [tf.cast(t, tf.float32) for t in (*numbers, heard)]
        found = tf.reshape(found.stack(), [steps, tf.size(length)])
        return tf.transpose(found), likeliest, log_p, tf.concat([*states, *numbers], 1)

    def _scores(self, codes, choices, features, before, states, beam=1):
        """What writer and reader say of each choice after each of several hypotheses.

        Args:
            codes: (batch,), of the syllable; choices: (batch, choices), its readings; -1 is none.
            features: (batch, d), the reader's.
            before: (batch * beam,), the reading before; -1 at the beginning.
            states: list of (batch * beam, units), the writer's.

        Returns:
            (batch, beam, choices), and the writer's states.
        """
        syllables = tf.repeat(tf.maximum((codes - 1) // TONES, 0), beam)
        log_p, written, states = self.model.write(syllables, before, states)
        written = tf.reshape(written, [-1, beam, written.shape[-1]])
        both = tf.concat([written, features[:, tf.newaxis]], 1)
        both = self.model.characters.scores(both, choices)
        log_u = tf.gather(self.log_u, codes)[:, tf.newaxis, : tf.shape(choices)[1]]
        reader = self.config.reader * (both[:, beam:] - log_u)
        return tf.reshape(log_p, [-1, beam, 1]) + both[:, :beam] + reader, states

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
