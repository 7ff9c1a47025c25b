"""Text to syllables, inside the graph: what is pinyin in it, and where one syllable ends."""

import os

import numpy as np
import tensorflow as tf

from shared.errors import InputError
from shared.ngram import KneserNey

from .readings import TONES

LONGEST = 10  # characters of a spelling: "chua\u0304ng", "zhuang5", "nu:e4"
BREAK = "\x1f"  # parts the pieces of a text; ASCII's unit separator, which no text has
RUN = r"(?:[\p{Latin}\p{Mn}]+[1-5]?)+"  # what may be syllables


class Syllables(tf.Module):
    """Finds the syllables of a text.

    A run of letters that is a spelling is one syllable: `xian`, where `xi'an` and `xi an` are two.
    Another run is cut into the syllables that are likeliest by a bigram model:

        argmax over s_1 ... s_n, whose spellings make the run, of sum_t log p(s_t | s_{t-1})

    with modified Kneser-Ney smoothing (`shared.ngram`), the ends of a sentence among the s. A run that
    cannot be cut so is no pinyin.

    Args:
        readings: `Readings`.
        path: as `build` writes it, a .npz.
    """

    def __init__(self, readings, path):
        super().__init__()
        try:
            with np.load(path) as file:
                log_p = file["log_p"]
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: no file of syllables ({error})") from None
        self._log_p = tf.Variable(log_p, trainable=False, name="syllables_log_p")
        self._code_of = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                list(readings.codes), list(readings.codes.values()), tf.string, tf.int32
            ),
            default_value=0,
        )

    @classmethod
    def build(cls, sentences, readings, path):
        """Counts the bigrams of sentences, and writes their probabilities to `path`.

        Args:
            sentences: lists of codes.
            readings: `Readings`.
            path: the file to write.
        """
        end = len(readings.syllables)
        ids = np.concatenate([np.append((np.asarray(s) - 1) // TONES, end) for s in sentences])
        model = KneserNey.fit(ids, 2, end + 1, end)
        # A sentence of each syllable before each: the second is asked for, and its end.
        a, b = np.divmod(np.arange(end * end), end)
        p = model.log_prob(np.stack([a, b, np.full_like(a, end)], 1).ravel()).reshape(end, end, 3)
        log_p = np.empty((end + 1, end + 1))
        log_p[:end, :end], log_p[:end, end], log_p[end, :end] = p[..., 1], p[0, :, 2], p[:, 0, 0]
        log_p[end, end] = -np.inf  # no sentence is empty
        half = f"{path}.half.npz"
        np.savez(half, log_p=log_p.astype(np.float32))
        os.replace(half, path)
        return cls(readings, path)

    def pieces(self, text):
        """Cuts a text into what may be pinyin and what is between.

        Args:
            text: string (batch,), valid UTF-8.

        Returns:
            pieces, ragged string (batch, pieces), of which every second may be pinyin; and codes,
            ragged int32 (batch, pieces, syllables), none where a piece is no pinyin.
        """
        text = tf.strings.regex_replace(text, BREAK, " ")
        text = tf.strings.regex_replace(text, "([nlNL])[uU]:", "\\1\u00fc")
        marked = tf.strings.regex_replace(text, RUN, f"{BREAK}\\0{BREAK}")
        pieces = tf.strings.split(marked, BREAK)
        place = tf.ragged.range(pieces.row_lengths())
        runs = tf.where(place.flat_values % 2 == 1, pieces.flat_values, "")
        codes = self.cut(tf.strings.lower(runs, "utf-8"))
        return pieces, pieces.with_values(codes)

    def cut(self, runs):
        """Runs of letters, string (runs,), to codes, ragged int32 (runs, syllables); see the class."""
        whole = self._code_of.lookup(runs)
        long = (whole == 0) & (runs != "")
        unique, place = tf.unique(tf.boolean_mask(runs, long))
        found = tf.gather(self._viterbi(unique), place)
        single = tf.RaggedTensor.from_row_lengths(whole[whole > 0], tf.cast(whole > 0, tf.int64))
        at = tf.cast(tf.where(long)[:, 0], tf.int32)
        lengths = tf.tensor_scatter_nd_add(
            single.row_lengths(), at[:, tf.newaxis], found.row_lengths()
        )
        # Both are in the order of their runs: a stable sort by the run puts them together.
        owner = tf.concat(
            [single.value_rowids(), tf.gather(tf.cast(at, tf.int64), found.value_rowids())], 0
        )
        order = tf.argsort(owner, stable=True)
        values = tf.gather(tf.concat([single.values, found.values], 0), order)
        return tf.RaggedTensor.from_row_lengths(values, lengths)

    def _viterbi(self, runs):
        """The likeliest cut of each run, ragged int32 (runs, syllables); none where there is none."""
        letters = tf.strings.unicode_split(runs, "UTF-8")
        length = tf.cast(letters.row_lengths(), tf.int32)
        letters = letters.to_tensor("")  # (runs, time)
        letters = tf.pad(letters, [[0, 0], [0, tf.maximum(1 - tf.shape(letters)[1], 0)]])
        count, steps = tf.unstack(tf.shape(letters))
        span, codes = tf.fill([count, steps], ""), []
        for n in range(LONGEST):  # of n + 1 letters, by their last
            earlier = tf.pad(letters, [[0, 0], [n, 0]], constant_values="\n")[:, :steps]
            span = earlier + span
            codes.append(self._code_of.lookup(span))
        codes = tf.stack(codes, -1)  # (runs, time, LONGEST)
        syllable = (codes - 1) // TONES
        start = tf.shape(self._log_p)[0] - 1

        # Of the syllable before one of n letters: it ends n letters earlier.
        ended = tf.stack(
            [
                tf.pad(syllable, [[0, 0], [n + 1, 0], [0, 0]], constant_values=-1)[:, :steps]
                for n in range(LONGEST)
            ],
            2,
        )  # (runs, time, LONGEST, LONGEST)
        none = tf.constant(-1e9)
        there = (codes > 0)[..., tf.newaxis] & (ended >= 0)
        move = tf.gather_nd(
            self._log_p,
            tf.stack(
                [
                    tf.maximum(ended, 0),
                    tf.broadcast_to(tf.maximum(syllable, 0)[..., tf.newaxis], tf.shape(ended)),
                ],
                -1,
            ),
        )
        move = tf.where(there, move, none)
        first = tf.gather(self._log_p[start], tf.maximum(syllable, 0))
        whole = (
            tf.range(1, LONGEST + 1) == tf.range(1, steps + 1)[:, tf.newaxis]
        )  # from the beginning
        first = tf.where((codes > 0) & whole, first, none)  # (runs, time, LONGEST)

        # alpha_t[n]: the best cut of the first t letters whose last syllable has n.
        best = tf.TensorArray(tf.int32, steps, element_shape=[None, LONGEST])
        alphas = tf.TensorArray(tf.float32, steps, element_shape=[None, LONGEST])
        last = tf.fill(
            [count, LONGEST, LONGEST], none
        )  # alpha of the last LONGEST times, the latest first

        def body(time, last, best, alphas):
            total = last + move[:, time]  # (runs, LONGEST, LONGEST)
            best = best.write(time, tf.argmax(total, -1, output_type=tf.int32))
            alpha = tf.maximum(tf.reduce_max(total, -1), first[:, time])
            alphas = alphas.write(time, alpha)
            last = tf.concat([alpha[:, tf.newaxis], last[:, :-1]], 1)
            return time + 1, last, best, alphas

        _, _, best, alphas = tf.while_loop(
            lambda time, *_: time < steps, body, (0, last, best, alphas), maximum_iterations=steps
        )
        best = tf.transpose(best.stack(), [1, 0, 2])
        alphas = tf.transpose(alphas.stack(), [1, 0, 2])
        ends = tf.maximum(length - 1, 0)
        final = tf.gather(alphas, ends, batch_dims=1)  # (runs, LONGEST)
        ending = tf.gather(
            self._log_p[:, -1], tf.maximum(tf.gather(syllable, ends, batch_dims=1), 0)
        )
        final = tf.maximum(final + ending, none)
        n = tf.argmax(final, -1, output_type=tf.int32)
        possible = tf.reduce_max(final, -1) > none / 2

        def back(time, n, path):
            # A row is at `time` when that is where its next syllable, from the right, ends.
            at, n = n
            here = at == time
            code = tf.gather(codes[:, time], n, batch_dims=1)
            path = path.write(time, tf.where(here, code, 0))
            before = tf.gather(best[:, time], n, batch_dims=1)
            return time - 1, (tf.where(here, at - n - 1, at), tf.where(here, before, n)), path

        path = tf.TensorArray(tf.int32, steps, element_shape=[None])
        at = tf.where(possible, ends, -1)
        _, _, path = tf.while_loop(lambda time, *_: time >= 0, back, (steps - 1, (at, n), path))
        path = tf.transpose(path.stack())
        return tf.ragged.boolean_mask(path, path > 0)
