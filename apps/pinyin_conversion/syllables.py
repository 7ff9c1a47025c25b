"""Text to syllables, inside the graph: what is pinyin in it, and where one syllable ends."""

import numpy as np
import tensorflow as tf

from shared.files import read_npz, write_npz
from shared.text.ngram import KneserNey

from .readings import TONES

LONGEST = 10  # characters of a spelling: "chua\u0304ng", "zhuang5", "nu:e4"
PATHS = 2  # cuts of a run that are found
NEVER = -1e9  # log p of what cannot be; finite, for sums of it are compared
BREAK = "\x1f"  # parts the pieces of a text; ASCII's unit separator, which no text has
RUN = r"(?:[\p{Latin}\p{Mn}]+[1-5]?)+"  # what may be syllables


class Syllables(tf.Module):
    """Finds the syllables of a text.

    A run of letters that is a spelling is one syllable: `xian`, where `xi'an` and `xi an` are two.
    Another run is cut into the syllables that are likeliest by a bigram model:

        argmax over s_1 ... s_n, whose spellings make the run, of sum_t log p(s_t | s_{t-1})

    with modified Kneser-Ney smoothing (`shared.text.ngram`), the ends of a sentence among the s. The second
    best cut is found too, for which of them is meant, often only the characters tell. A run that cannot
    be cut is no pinyin.

    Args:
        readings: `Readings`.
        path: as `build` writes it, a .npz.
    """

    def __init__(self, readings, path):
        super().__init__()
        tables = read_npz(path)
        self._log_p = tf.Variable(tables["log_p"], trainable=False, name="syllables_log_p")
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
        write_npz(path, log_p=log_p.astype(np.float32))
        return cls(readings, path)

    def pieces(self, text):
        """Cuts a text into what may be pinyin and what is between.

        Args:
            text: string (batch,), valid UTF-8.

        Returns:
            pieces, ragged string (batch, pieces), of which every second may be pinyin;
            codes, ragged int32 (batch, pieces, syllables), none where a piece is no pinyin;
            the codes again, where the run of each text that is least certain has its second best cut;
            and by how much that one is less likely, float32 (batch,), a difference of logarithms, 1e9
            where there is no other cut.
        """
        text = tf.strings.regex_replace(text, BREAK, " ")
        text = tf.strings.regex_replace(text, "([nlNL])[uU]:", "\\1\u00fc")
        marked = tf.strings.regex_replace(text, RUN, f"{BREAK}\\0{BREAK}")
        pieces = tf.strings.split(marked, BREAK)
        place = tf.ragged.range(pieces.row_lengths())
        runs = tf.where(place.flat_values % 2 == 1, pieces.flat_values, "")
        first, second, less = self.cut(tf.strings.lower(runs, "utf-8"))
        least = tf.reduce_min(pieces.with_values(less), axis=1)
        doubtful = (less == tf.gather(least, pieces.value_rowids())) & (less < -NEVER)
        other = _choose(doubtful, second, first)
        return pieces, pieces.with_values(first), pieces.with_values(other), least

    def cut(self, runs):
        """Cuts runs of letters; see the class.

        Args:
            runs: string (runs,), in lower case.

        Returns:
            codes of the best cut and of the second best, each ragged int32 (runs, syllables), none
            where there is none; and by how much the second is less likely, float32 (runs,), 1e9 where
            there is none.
        """
        whole = self._code_of.lookup(runs)
        single = tf.RaggedTensor.from_row_lengths(whole[whole > 0], tf.cast(whole > 0, tf.int64))
        long = (whole == 0) & (runs != "")
        unique, place = tf.unique(tf.boolean_mask(runs, long))
        first, second, less = self._likeliest(unique)
        count = tf.size(runs)
        place = tf.tensor_scatter_nd_update(
            tf.range(count), tf.cast(tf.where(long), tf.int32), count + place
        )
        of_runs = lambda short, long: tf.gather(tf.concat([short, long], 0), place)  # noqa: E731
        none = tf.RaggedTensor.from_row_lengths(whole[:0], tf.zeros([count], tf.int64))
        certain = tf.fill([count], -NEVER)
        return of_runs(single, first), of_runs(none, second), of_runs(certain, less)

    def _likeliest(self, runs):
        """As `cut`, of runs that are none of them a syllable: the Viterbi algorithm, of two paths.

        Where a cut is at letter t, its last syllable has n letters. A path goes from (t - n, m), m the
        letters of the syllable before, to (t, n); of each (t, n) the two best that lead there are kept.
        """
        codes, length = self._spans(runs)  # (runs, time, LONGEST)
        syllable = tf.maximum((codes - 1) // TONES, 0)
        first, move = self._moves(codes, syllable)
        count, steps, _ = tf.unstack(tf.shape(codes))
        states = LONGEST * PATHS

        def forward(time, last, origins, alphas):
            # last: of the LONGEST times before, the latest first: (runs, LONGEST, LONGEST, PATHS)
            paths = tf.reshape(last + move[:, time, ..., tf.newaxis], [count, LONGEST, states])
            paths = tf.concat([paths, first[:, time, :, tf.newaxis]], -1)
            alpha, origin = tf.math.top_k(paths, PATHS)  # (runs, LONGEST, PATHS)
            origins = origins.write(time, tf.reshape(origin, [count, states]))
            alphas = alphas.write(time, alpha)
            last = tf.concat([alpha[:, tf.newaxis], last[:, :-1]], 1)
            return time + 1, last, origins, alphas

        _, _, origins, alphas = tf.while_loop(
            lambda time, *_: time < steps,
            forward,
            (
                0,
                tf.fill([count, LONGEST, LONGEST, PATHS], NEVER),
                tf.TensorArray(tf.int32, steps, element_shape=[None, states]),
                tf.TensorArray(tf.float32, steps, element_shape=[None, LONGEST, PATHS]),
            ),
        )
        ends = tf.maximum(length - 1, 0)
        final = tf.gather(tf.transpose(alphas.stack(), [1, 0, 2, 3]), ends, batch_dims=1)
        final += tf.gather(self._log_p[:, -1], tf.gather(syllable, ends, batch_dims=1))[..., None]
        log_p, state = tf.math.top_k(tf.reshape(final, [count, states]), PATHS)  # (runs, PATHS)
        possible = log_p > NEVER / 2

        def back(time, at, state, found):
            # A path is at `time` when that is where its next syllable, from the right, ends.
            here = at == time
            n = state // PATHS
            found = found.write(time, tf.where(here, tf.gather(codes[:, time], n, batch_dims=1), 0))
            origin = tf.gather(origins.read(time), state, batch_dims=1)
            origin = tf.minimum(origin, states - 1)  # of one that begins here, it no longer matters
            return time - 1, tf.where(here, at - n - 1, at), tf.where(here, origin, state), found

        found = tf.TensorArray(tf.int32, steps, element_shape=[None, PATHS])
        at = tf.where(possible, ends[:, tf.newaxis], -1)
        *_, found = tf.while_loop(lambda time, *_: time >= 0, back, (steps - 1, at, state, found))
        paths = tf.transpose(found.stack(), [2, 1, 0])  # (PATHS, runs, time)
        best, second = (tf.ragged.boolean_mask(paths[i], paths[i] > 0) for i in range(PATHS))
        return best, second, tf.where(possible[:, 1], log_p[:, 0] - log_p[:, 1], -NEVER)

    def _spans(self, runs):
        """Codes of what ends at each letter and has 1, 2, ... LONGEST letters, (runs, time, LONGEST).

        0 is none. And how many letters a run has, (runs,).
        """
        letters = tf.strings.unicode_split(runs, "UTF-8")
        length = tf.cast(letters.row_lengths(), tf.int32)
        letters = letters.to_tensor("")  # (runs, time)
        letters = tf.pad(letters, [[0, 0], [0, tf.maximum(1 - tf.shape(letters)[1], 0)]])
        steps = tf.shape(letters)[1]
        span, codes = tf.fill(tf.shape(letters), ""), []
        for n in range(LONGEST):
            span = tf.pad(letters, [[0, 0], [n, 0]], constant_values="\n")[:, :steps] + span
            codes.append(self._code_of.lookup(span))
        return tf.stack(codes, -1), length

    def _moves(self, codes, syllable):
        """log p of the syllables of n letters that end at each letter, `NEVER` where there is none.

        Returns:
            as the first of the run (runs, time, n); and after one of m letters, (runs, time, n, m).
        """
        steps = tf.shape(codes)[1]
        start = tf.shape(self._log_p)[0] - 1
        whole = tf.range(1, LONGEST + 1) == tf.range(1, steps + 1)[:, tf.newaxis]
        first = tf.where((codes > 0) & whole, tf.gather(self._log_p[start], syllable), NEVER)

        def earlier(t):  # what ends n letters earlier
            return tf.stack(
                [tf.pad(t, [[0, 0], [n + 1, 0], [0, 0]])[:, :steps] for n in range(LONGEST)], 2
            )

        before = earlier(syllable)
        pair = tf.stack([before, tf.broadcast_to(syllable[..., None], tf.shape(before))], -1)
        there = (codes > 0)[..., tf.newaxis] & (earlier(codes) > 0)
        return first, tf.where(there, tf.gather_nd(self._log_p, pair), NEVER)


def _choose(which, one, other):
    """Rows of `one` where `which`, of `other` elsewhere; all ragged (rows, ...)."""
    count = tf.size(which)
    place = tf.where(which, tf.range(count), count + tf.range(count))
    return tf.gather(tf.concat([one, other], 0), place)
