"""A dictionary, asked inside the graph: what the words that may be here say of each character."""

import numpy as np
import tensorflow as tf

from shared.files import read_npz, write_npz

from .readings import TONES
from .tables import read, row_of, variables

LONGEST = 4  # syllables of a word
UNSEEN = 0.5  # what is added to the count of each reading as a word
HOMOPHONES = 12  # words of the same syllables, the most frequent, that are thought of
GUESSES = 4  # characters of a syllable, the likeliest, that the network is told


class Dictionary(tf.Module):
    """A unigram model of words, of all ways to cut the syllables into words:

        p(w_1 ... w_m) = prod_i p(w_i)                             p(w) = count(w) / sum_v count(v)
        alpha_t = sum_w alpha_{t-|w|} p(w)                  over the words w that end with syllable t
        beta_t  = sum_w p(w) beta_{t+|w|}                   over the words w that begin after it
        u(c_t | s) = sum_w alpha_{i} p(w) beta_{i+|w|} / alpha_n
                                                            over the words w that have c_t at t

    with alpha_0 = beta_n = 1: a forward-backward algorithm over the lattice of words. Every reading is a
    word too.

    The words of n syllables are found by the row of their first n - 1 syllables and the last one, an
    int64 key in a sorted list; `start` says where the words of a row begin, the most frequent first.

    Args:
        readings: `Readings`.
        path: as `build` writes it, a .npz.
    """

    def __init__(self, readings, path):
        super().__init__()
        self.syllables = len(readings.syllables)
        self.width = int(np.diff(readings.starts).max())  # readings of a syllable, at most
        of_syllable = readings.starts[:-1, np.newaxis] + np.arange(self.width)
        of_syllable[of_syllable >= readings.starts[1:, np.newaxis]] = -1
        tables = read_npz(path) | {
            "of_syllable": of_syllable.astype(np.int32),
            "starts": readings.starts,
            "tones": readings.tones.ravel(),
        }
        self._tables = variables(tables, "dictionary")

    @classmethod
    def build(cls, counts, readings, path):
        """Writes the tables to `path`.

        Args:
            counts: {(pinyin, word): count}, as of `annotate.word_counts`; those of more than `LONGEST`
                syllables, or of a reading that is none of `readings`, are left out.
            readings: `Readings`.
            path: the file to write.
        """
        syllable = np.repeat(np.arange(len(readings.syllables)), np.diff(readings.starts))
        alone = np.full(readings.size, UNSEEN)
        words = {n: [] for n in range(2, LONGEST + 1)}
        for (pinyin, text), count in counts.items():
            word = readings.numbers(pinyin.split(), text) if len(text) <= LONGEST else None
            if word and len(word) > 1:
                words[len(word)].append((word, count))
            elif word:
                alone[word] += count
        total = alone.sum() + sum(count for of in words.values() for _, count in of)
        tables = {"log_p_1": np.log(alone / total).astype(np.float32)}
        # A row for each sequence of syllables that begins a word, and one more for all others.
        rows = {(s,): s for s in range(len(readings.syllables))}
        for n in range(2, LONGEST + 1):
            longer = [word for m in range(n, LONGEST + 1) for word, _ in words[m]]
            key_of = {}
            for word in longer:
                of = tuple(syllable[list(word[:n])])
                key_of[of] = rows[of[:-1]] * len(readings.syllables) + of[-1]
            keys = np.array(sorted(key_of.values()), np.int64)
            rows = {of: int(np.searchsorted(keys, key)) for of, key in key_of.items()}
            order = sorted(words[n], key=lambda pair: -pair[1])
            at = np.array([rows[tuple(syllable[list(word)])] for word, _ in order], np.int64)
            by_row = np.argsort(at, kind="stable")
            begin = np.searchsorted(at[by_row], np.arange(len(keys) + 2))
            found = np.array([word for word, _ in order]).reshape(-1, n)[by_row]
            log_p = np.log(np.array([count for _, count in order]) / total)[by_row]
            tables |= {
                f"keys_{n}": np.append(keys, np.iinfo(np.int64).max),
                f"start_{n}": begin.astype(np.int32),
                # The last of these is no word.
                f"words_{n}": np.append(found, [[-1] * n], 0).astype(np.int32),
                f"log_p_{n}": np.append(log_p, -np.inf).astype(np.float32),
            }
        write_npz(path, **tables)
        return cls(readings, path)

    def guesses(self, codes, causal):
        """The characters that the dictionary has in mind.

        Args:
            codes: int (batch, time); 0 is padding.
            causal: whether what is to come is not known yet, nor anything but the last `LONGEST`
                syllables: as if these were the whole sentence.

        Returns:
            readings, int32 (batch, time, `GUESSES`), the likeliest first; and float32 (batch, time,
            `GUESSES` + 2): u of each, and how likely it is that a word begins and ends here. All of it
            is 0 at padding.
        """
        if causal:
            batch, steps = tf.unstack(tf.shape(codes))
            windows = [_shifted(codes, i - LONGEST + 1, 0) for i in range(LONGEST)]
            windows = tf.reshape(tf.stack(windows, -1), [batch * steps, LONGEST])
            u, begins = self(windows)
            u = tf.reshape(u[:, -1], [batch, steps, self.width])
            begins = tf.reshape(begins[:, -1], [batch, steps])
            ends = tf.ones_like(begins)
        else:
            u, begins = self(codes)
            ends = _shifted(begins, 1, 1.0)
        best, rank = tf.math.top_k(u, GUESSES)
        told = tf.concat([best, tf.stack([begins, ends], -1)], -1)
        first = tf.gather(read(self._tables)["starts"], tf.maximum((codes - 1) // TONES, 0))
        # Of few readings, what comes after them has u = 0.
        readings = tf.minimum(first[..., tf.newaxis] + rank, tf.size(self._tables["log_p_1"]) - 1)
        real = (codes > 0)[..., tf.newaxis]
        return tf.where(real, readings, 0), tf.where(real, told, 0.0)

    def __call__(self, codes):
        """The formulas above.

        Args:
            codes: int (batch, time); 0 is padding, on either side.

        Returns:
            u of the readings of each syllable, in order, float32 (batch, time, `width`), 0 where there
            are fewer; and how likely it is that a word begins here, float32 (batch, time).
        """
        starts = read(self._tables)["starts"]
        syllable = tf.maximum((codes - 1) // TONES, 0)
        words = self._words(codes)
        sums = [tf.reduce_logsumexp(log_p, -1) for _, log_p in words]  # of words that begin here
        sums[0] = tf.where(codes > 0, sums[0], 0.0)  # padding is passed by
        ending = [_shifted(z, -n, float("-inf")) for n, z in enumerate(sums)]
        # From the left and, the other way around, from the right, in one loop.
        both = tf.concat([tf.stack(ending, -1), tf.reverse(tf.stack(sums, -1), [1])], 0)
        alpha, beta = tf.split(_path_sums(both), 2)
        beta = tf.reverse(beta, [1])
        whole = alpha[:, -1:]
        begins = tf.exp(alpha + beta - whole)[:, :-1]

        batch, steps = tf.unstack(tf.shape(codes))
        cell = tf.reshape(tf.range(batch * steps), [batch, steps])
        u = tf.zeros([batch * steps * self.width])
        for n, (found, log_p) in enumerate(words, 1):
            before = alpha[:, :-1] - whole + _shifted(beta, n, float("-inf"))[:, :steps]
            share = tf.exp(log_p + before[..., tf.newaxis])  # (batch, time, words)
            for i in range(n):
                rank = found[..., i] - _shifted(tf.gather(starts, syllable), i, 0)[..., tf.newaxis]
                # Of what is no word, the share is 0, wherever it is added.
                rank = tf.clip_by_value(rank, 0, self.width - 1)
                place = _shifted(cell, i, 0)[..., tf.newaxis] * self.width + rank
                u = tf.tensor_scatter_nd_add(u, place[..., tf.newaxis], share)
        u = tf.reshape(u, [batch, steps, self.width])
        return u, begins

    def _words(self, codes):
        """The words that begin with each syllable, of 1, 2, ... `LONGEST` syllables.

        Returns:
            list of (readings int32 (batch, time, words, syllables), log p float32 (batch, time, words),
            -inf where there is no such word or a tone is another).
        """
        t = read(self._tables)
        syllable, tone = tf.where(codes > 0, (codes - 1) // TONES, -1), (codes - 1) % TONES
        found = tf.gather(t["of_syllable"], tf.maximum(syllable, 0))
        real = (found >= 0) & (syllable >= 0)[..., tf.newaxis]
        log_p = tf.where(real, tf.gather(t["log_p_1"], tf.maximum(found, 0)), float("-inf"))
        words, row = [(found[..., tf.newaxis], log_p)], syllable
        for n in range(2, LONGEST + 1):
            last, keys = _shifted(syllable, n - 1, -1), t[f"keys_{n}"]
            key = tf.cast(row, tf.int64) * self.syllables + tf.cast(last, tf.int64)
            row = row_of(keys, tf.where(last >= 0, key, -1))
            first, end = (tf.gather(t[f"start_{n}"], row + i)[..., tf.newaxis] for i in range(2))
            place = first + tf.range(HOMOPHONES)
            none = tf.shape(t[f"words_{n}"])[0] - 1
            place = tf.where(place < end, place, none)
            words.append((tf.gather(t[f"words_{n}"], place), tf.gather(t[f"log_p_{n}"], place)))
        for n, (found, log_p) in enumerate(words):
            for i in range(n + 1):
                cell = tf.maximum(found[..., i], 0) * TONES + _shifted(tone, i, 0)[..., tf.newaxis]
                log_p = tf.where(tf.gather(t["tones"], cell), log_p, float("-inf"))
            words[n] = found, log_p
        return words


def _shifted(x, by, fill):
    """x[:, t + by] for each t, (batch, time); `fill` where there is none."""
    steps = tf.shape(x)[1]
    if by >= 0:
        return tf.pad(x, [[0, 0], [0, by]], constant_values=fill)[:, by:]
    return tf.pad(x, [[0, 0], [-by, 0]], constant_values=fill)[:, :steps]


def _path_sums(ending):
    """log alpha of the first 0, 1, ... steps: (batch, time, n), of what ends with each and has 1, 2, ... n
    steps, to (batch, 1 + time)."""
    batch, steps, longest = tf.shape(ending)[0], tf.shape(ending)[1], ending.shape[2]
    alphas = tf.TensorArray(tf.float32, steps + 1, element_shape=[None])
    zero = tf.zeros([batch])
    last = tf.pad(zero[:, tf.newaxis], [[0, 0], [0, longest - 1]], constant_values=float("-inf"))

    def step(time, last, alphas):
        alpha = tf.reduce_logsumexp(last + ending[:, time], -1)
        last = tf.concat([alpha[:, tf.newaxis], last[:, :-1]], 1)
        return time + 1, last, alphas.write(time + 1, alpha)

    *_, alphas = tf.while_loop(
        lambda time, *_: time < steps,
        step,
        (0, last, alphas.write(0, zero)),
        maximum_iterations=steps,
    )
    return tf.transpose(alphas.stack())
