"""The search for the best characters of given syllables, with the scores of the network and of the trigram.

    score(c) = sum_t log p(c_t | c_{t-2}, c_{t-1}) + r (log q(c_t | s) - log u(c_t | s_t))

p is the trigram, q the network, and u the unigram of the trigram, normalized over the readings of the
syllable, so that the second term is what the network knows beyond the frequency of the character; r is
`config.network_weight`.
"""

import numpy as np
import tensorflow as tf

from shared.serving.candidate_search import candidate_beam_search

from .grouping import in_two_groups
from .lexicon.dictionary import MAX_WORD_LENGTH

NUM_RECENT = MAX_WORD_LENGTH - 1  # previous syllables that may belong to the same word
MAX_STATE = (
    1e4  # greatest value of a cell state that `step` accepts; those of real text are far smaller
)
TOP_READINGS = 16  # readings of a syllable, the best of the network, that the trigram scores


class Search:
    """Converts whole sentences, or one syllable after the other.

    The suffix of erhua, the code `erhua` of `Syllables`, is always 儿; for the network and the dictionary it
    is the syllable `er` without a tone.

    Args:
        model: a `PinyinModel`.
        config: the app's Config.
        assets: `data.Assets`.

    Attributes:
        state_size: int, features of the state of `step`.
    """

    def __init__(self, model, config, assets):
        self.model, self.config = model, config
        self.readings, self.dictionary = assets.readings, assets.dictionary
        self.trigram = assets.trigram
        possible = self.readings.possible()
        suffix = np.full([1, possible.shape[1]], -1, np.int32)
        suffix[0, :1] = self.readings.numbers(["er"], "儿") or -1
        self.possible = np.concatenate([possible, suffix])  # (codes, readings)
        self.erhua, self.er = len(possible), self.readings.codes.get("er", 0)
        log_u = self.trigram.unigram_log_prob(np.maximum(self.possible, 0))
        self.log_u = tf.nn.log_softmax(tf.where(self.possible >= 0, log_u, -1e9)).numpy()
        stack = model.recurrent
        count = stack.num_layers * stack.states_per_layer
        # States of the network; both parts of the trigram's context; the last reading; recent codes.
        self._sizes = [*[stack.units] * count, 1, 1, 1, NUM_RECENT]
        self.state_size = sum(self._sizes)
        codes, length = (tf.TensorSpec([None] * rank, tf.int32) for rank in (2, 1))
        state = tf.TensorSpec([None, self.state_size], tf.float32)
        chosen = tf.TensorSpec([None], tf.string)
        # Not inlined: a group that is empty costs nothing then.
        graph = lambda function, *specs: tf.function(  # noqa: E731
            function,
            input_signature=specs,
            autograph=False,
            experimental_attributes={"_noinline": True},
        )
        self._convert_group = graph(self._convert, codes, length)
        self._step_group = graph(self._step, codes, length, state, chosen)

    def convert(self, codes, length):
        """Finds the best readings of whole sentences by a beam search.

        Args:
            codes: int32 (batch, time), padded with 0.
            length: int32 (batch,).

        Returns:
            readings: int32 (batch, beam, time), the best hypothesis first.
            scores: float32 (batch, beam); -inf where there are fewer hypotheses, whose readings mean
                nothing.
        """
        return in_two_groups(self._convert_group, codes, length)

    def _convert(self, codes, length):
        batch, steps = tf.unstack(tf.shape(codes))
        beam = self.config.beam_width
        possible = tf.gather(self.possible, codes)  # (batch, time, readings)
        width = tf.reduce_max(tf.reduce_sum(tf.cast(possible >= 0, tf.int32), -1))
        possible = possible[..., : tf.maximum(width, 1)]
        z = self.model(self._inputs(codes))

        def expand(time, contexts):
            code, possible_now, z_now = (tf.gather(t, time, axis=1) for t in (codes, possible, z))
            readings, scores = self._top_readings(code, possible_now, z_now)
            readings = tf.tile(readings[:, tf.newaxis], [1, beam, 1])
            log_p, contexts = self.trigram(
                [c[..., tf.newaxis] for c in contexts], tf.maximum(readings, 0)
            )
            return readings, scores[:, tf.newaxis] + log_p, contexts

        contexts = self.trigram.initial_context([batch, beam])
        readings, scores = candidate_beam_search(expand, contexts, length, steps, beam)
        return tf.maximum(readings, 0), scores  # the items of a missing hypothesis may be -1

    def initial_state(self, rows):
        """Returns the state before the first syllable, float32 (rows, state_size)."""
        context = self.trigram.initial_context([rows])
        context = [tf.cast(c, tf.float32)[:, tf.newaxis] for c in context]
        zeros = tf.zeros([rows, self.state_size - 3 - NUM_RECENT])
        return tf.concat([zeros, *context, tf.zeros([rows, 1 + NUM_RECENT])], 1)

    def has_syllable(self, state):
        """Returns whether a syllable was read before a state, bool (batch,)."""
        return state[:, -1] > 0

    def step(self, codes, length, state, chosen):
        """Reads further syllables and takes the best character for each, given those before it.

        A state has the context before the last character, and that character, because the user may
        choose another one. It is stored as its reading plus 1; 0 is none.

        Args:
            codes: int32 (batch, time), padded with 0.
            length: int32 (batch,).
            state: float32 (batch, state_size).
            chosen: string (batch,), the character of the last syllable before `codes`; "" for the best.

        Returns:
            readings: int32 (batch, time).
            top: int32 (batch, n), the readings of the last syllable, the best first; -1 is padding.
            log_p: float32 (batch, n), their log-probabilities; 0 at padding.
            state: float32 (batch, state_size), the new state.
        """
        return in_two_groups(self._step_group, codes, length, state, chosen)

    def _step(self, codes, length, state, chosen):
        states, context, last, recent_codes = self._split(state)
        last = self._chosen_reading(last, recent_codes[:, -1], chosen)
        all_codes = tf.concat([recent_codes, codes], 1)
        x = self.model.embed(**self._inputs(all_codes))[:, NUM_RECENT:]
        steps = tf.shape(codes)[1]
        readings = tf.TensorArray(tf.int32, steps, element_shape=[None])
        rows, width = tf.size(length), min(TOP_READINGS, self.possible.shape[1])
        empty = tf.fill([rows, width], -1), tf.fill([rows, width], float("-inf"))
        column = lambda t: t[:, tf.newaxis]  # noqa: E731

        def read(time, loop_state, readings):
            states, context, last, _ = loop_state
            code = codes[:, time]
            h, new_states = self.model.recurrent.step(x[:, time], states)
            z = self.model.output_projection(h)
            top, scores = self._top_readings(code, tf.gather(self.possible, code), z)
            _, following = self.trigram([column(c) for c in context], column(tf.maximum(last, 0)))
            context = [
                tf.where(last >= 0, after[:, 0], before)
                for after, before in zip(following, context, strict=True)
            ]
            log_p, _ = self.trigram([column(c) for c in context], tf.maximum(top, 0))
            scores, place = tf.math.top_k(scores + log_p, width)
            top = tf.gather(top, place, batch_dims=1)
            active = time < length
            loop_state = tf.nest.map_structure(
                lambda a, b: tf.where(active if a.shape.rank == 1 else column(active), a, b),
                (new_states, context, top[:, 0], (top, scores)),
                loop_state,
            )
            return time + 1, loop_state, readings.write(time, top[:, 0])

        _, (states, context, last, (top, scores)), readings = tf.while_loop(
            lambda time, *_: time < steps,
            read,
            (0, (states, context, last, empty), readings),
        )
        # If no syllable was read, all scores are -inf.
        finite = tf.math.is_finite(scores)
        log_p = tf.nn.log_softmax(tf.where(finite, scores, -1e9))
        top, log_p = tf.where(finite, top, -1), tf.where(finite, log_p, 0.0)
        recent_codes = tf.gather(all_codes, column(length) + tf.range(NUM_RECENT), batch_dims=1)
        numbers = [column(t) for t in (*context, last + 1)]
        numbers = [tf.cast(t, tf.float32) for t in (*numbers, recent_codes)]
        readings = tf.transpose(tf.reshape(readings.stack(), [steps, rows]))
        return readings, top, log_p, tf.concat([*states, *numbers], 1)

    def _inputs(self, codes):
        """Returns the inputs of the model."""
        codes = tf.where(codes == self.erhua, self.er, codes)
        causal = not self.config.bidirectional
        candidates, features = self.dictionary.candidates(codes, causal)
        return {"codes": codes, "candidates": candidates, "candidate_features": features}

    def _top_readings(self, codes, possible, z):
        """Scores the readings of the syllables at one time step by the network.

        Args:
            codes: int32 (batch,).
            possible: int32 (batch, readings), the readings of each code; -1 is padding.
            z: float32 (batch, d), outputs of the model.

        Returns:
            readings: int32 (batch, n), the best `TOP_READINGS`; -1 is padding.
            scores: float32 (batch, n), r (log q - log u); -inf at padding.
        """
        log_q = self.model.softmax.log_softmax(z, possible)
        log_q, place = tf.math.top_k(log_q, tf.minimum(TOP_READINGS, tf.shape(possible)[1]))
        readings = tf.gather(possible, place, batch_dims=1)
        log_u = tf.gather(tf.gather(self.log_u, codes), place, batch_dims=1)
        scores = self.config.network_weight * (log_q - log_u)
        return readings, tf.where(readings >= 0, scores, float("-inf"))

    def _split(self, state):
        """Splits a state; its numbers come from a client, so they are clipped to what a state may have.

        Returns:
            states of the network, context of the trigram, last reading or -1, recent codes.
        """
        state = tf.where(tf.math.is_finite(state), state, 0.0)
        *states, unigram, bigram, last, codes = tf.split(state, self._sizes, axis=1)
        states = [tf.clip_by_value(t, -MAX_STATE, MAX_STATE) for t in states]
        sizes = self.trigram.context_sizes()
        index = lambda t, size: tf.clip_by_value(tf.cast(t, tf.int32), 0, size - 1)  # noqa: E731
        context = [index(t[:, 0], size) for t, size in zip((unigram, bigram), sizes, strict=True)]
        last = index(last[:, 0], self.readings.size + 1) - 1
        return states, context, last, index(codes, self.possible.shape[0])

    def _chosen_reading(self, last, codes, chosen):
        """Returns the reading of `codes` (batch,) whose character is `chosen`; `last` if there is none."""
        possible = tf.gather(self.possible, codes)
        names = tf.gather(self.readings.characters, tf.maximum(possible, 0))
        match = (possible >= 0) & (names == chosen[:, tf.newaxis])
        place = tf.argmax(tf.cast(match, tf.int32), 1)
        return tf.where(tf.reduce_any(match, 1), tf.gather(possible, place, batch_dims=1), last)
