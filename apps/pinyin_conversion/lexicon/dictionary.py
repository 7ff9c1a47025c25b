"""A dictionary in the graph: how likely each character is, given the words that the syllables may form."""

import numpy as np
import tensorflow as tf

from shared.files import read_npz, write_npz
from shared.text.tables import find_rows, read, variables

from .readings import NUM_TONES

MAX_WORD_LENGTH = 4  # syllables
UNSEEN_COUNT = 0.5  # added to the count of each reading as a word of one character
MAX_HOMOPHONES = 12  # words with the same syllables that are considered, the most frequent
NUM_CANDIDATES = 4  # most likely characters of a syllable that are given to the network
NUM_FEATURES = NUM_CANDIDATES + 2


class Dictionary(tf.Module):
    """A unigram model of words, summed over all segmentations of the syllables into words:

        p(w_1 ... w_m) = prod_i p(w_i)                             p(w) = count(w) / sum_v count(v)
        alpha_t = sum_w alpha_{t-|w|} p(w)                  over the words w that end with syllable t
        beta_t  = sum_w p(w) beta_{t+|w|}                   over the words w that begin after it
        u(c_t | s) = sum_w alpha_{i} p(w) beta_{i+|w|} / alpha_n
                                                            over the words w that have c_t at t

    with alpha_0 = beta_n = 1: the forward-backward algorithm over a lattice of words. Every reading is
    also a word of one character.

    A word of n syllables is found by an int64 key in a sorted array: the row of its first n - 1
    syllables, and its last syllable. `start` says where the words of a row begin, the most frequent first.

    Args:
        readings: `Readings`.
        path: a .npz file written by `build`.

    Raises:
        InputError: the file is missing or damaged.
    """

    def __init__(self, readings, path):
        super().__init__()
        self.num_syllables = len(readings.syllables)
        self.max_readings = int(np.diff(readings.starts).max())  # of a syllable
        readings_of = readings.starts[:-1, np.newaxis] + np.arange(self.max_readings)
        readings_of[readings_of >= readings.starts[1:, np.newaxis]] = -1
        tables = read_npz(path) | {
            "readings_of": readings_of.astype(np.int32),
            "starts": readings.starts,
            "tones": readings.tones.ravel(),
        }
        self._tables = variables(tables, "dictionary")

    @classmethod
    def build(cls, counts, readings, path):
        """Writes the tables to `path`.

        Args:
            counts: {(pinyin, word): count}, as `annotate.word_counts` returns it. Words of more than
                `MAX_WORD_LENGTH` syllables and words with a reading that is not in `readings` are skipped.
            readings: `Readings`.
            path: the .npz file to write.

        Returns:
            The `Dictionary` of that file.
        """
        syllable = np.repeat(np.arange(len(readings.syllables)), np.diff(readings.starts))
        single = np.full(readings.size, UNSEEN_COUNT)
        words = {n: [] for n in range(2, MAX_WORD_LENGTH + 1)}
        for (pinyin, text), count in counts.items():
            fits = len(text) <= MAX_WORD_LENGTH
            word = readings.numbers(pinyin.split(), text) if fits else None
            if word and len(word) > 1:
                words[len(word)].append((word, count))
            elif word:
                single[word] += count
        total = single.sum() + sum(count for pairs in words.values() for _, count in pairs)
        tables = {"log_p_1": np.log(single / total).astype(np.float32)}
        # A row for each sequence of syllables that begins a word, and a last row for all others.
        rows = {(s,): s for s in range(len(readings.syllables))}
        for n in range(2, MAX_WORD_LENGTH + 1):
            key_of = {}
            for m in range(n, MAX_WORD_LENGTH + 1):
                for word, _ in words[m]:
                    prefix = tuple(syllable[list(word[:n])])
                    key_of[prefix] = rows[prefix[:-1]] * len(readings.syllables) + prefix[-1]
            keys = np.array(sorted(key_of.values()), np.int64)
            rows = {prefix: int(np.searchsorted(keys, key)) for prefix, key in key_of.items()}
            pairs = sorted(words[n], key=lambda pair: -pair[1])
            row = np.array([rows[tuple(syllable[list(word)])] for word, _ in pairs], np.int64)
            order = np.argsort(row, kind="stable")
            start = np.searchsorted(row[order], np.arange(len(keys) + 2))
            members = np.array([word for word, _ in pairs]).reshape(-1, n)[order]
            log_p = np.log(np.array([count for _, count in pairs]) / total)[order]
            tables |= {
                f"keys_{n}": np.append(keys, np.iinfo(np.int64).max),
                f"start_{n}": start.astype(np.int32),
                # The last row is not a word.
                f"words_{n}": np.append(members, [[-1] * n], 0).astype(np.int32),
                f"log_p_{n}": np.append(log_p, -np.inf).astype(np.float32),
            }
        write_npz(path, **tables)
        return cls(readings, path)

    def candidates(self, codes, causal):
        """Returns the most likely characters of each syllable, and features for the network.

        Args:
            codes: int (batch, time); 0 is padding.
            causal: use only the last `MAX_WORD_LENGTH` syllables up to each position, as if they were the
                whole sentence.

        Returns:
            candidates: int32 (batch, time, `NUM_CANDIDATES`), readings, the most likely first; 0 at
                padding.
            features: float32 (batch, time, `NUM_FEATURES`), u of each candidate, and the
                probabilities that a word begins and that a word ends here; 0 at padding.
        """
        if causal:
            batch, steps = tf.unstack(tf.shape(codes))
            windows = [_shift(codes, i - MAX_WORD_LENGTH + 1, 0) for i in range(MAX_WORD_LENGTH)]
            windows = tf.reshape(tf.stack(windows, -1), [batch * steps, MAX_WORD_LENGTH])
            u, begins = self(windows)
            u = tf.reshape(u[:, -1], [batch, steps, self.max_readings])
            begins = tf.reshape(begins[:, -1], [batch, steps])
            ends = tf.ones_like(begins)
        else:
            u, begins = self(codes)
            ends = _shift(begins, 1, 1.0)
        best, rank = tf.math.top_k(u, NUM_CANDIDATES)
        features = tf.concat([best, tf.stack([begins, ends], -1)], -1)
        first = tf.gather(read(self._tables)["starts"], tf.maximum((codes - 1) // NUM_TONES, 0))
        # A syllable with fewer readings gets readings of the next syllable, with u = 0.
        candidates = tf.minimum(first[..., tf.newaxis] + rank, tf.size(self._tables["log_p_1"]) - 1)
        mask = (codes > 0)[..., tf.newaxis]
        return tf.where(mask, candidates, 0), tf.where(mask, features, 0.0)

    def __call__(self, codes):
        """Computes u and the word boundaries; see the class.

        Args:
            codes: int (batch, time); 0 is padding, on either side.

        Returns:
            u: float32 (batch, time, `max_readings`), of the readings of each syllable in order; 0 where
                a syllable has fewer.
            begins: float32 (batch, time), the probability that a word begins here.
        """
        starts = read(self._tables)["starts"]
        syllable = tf.maximum((codes - 1) // NUM_TONES, 0)
        words = self._words(codes)
        sums = [tf.reduce_logsumexp(log_p, -1) for _, log_p in words]  # of words that begin here
        sums[0] = tf.where(codes > 0, sums[0], 0.0)  # padding has probability 1
        ending = [_shift(z, -n, float("-inf")) for n, z in enumerate(sums)]
        # The forward sums, and the backward sums of the reversed sequence, in one loop.
        both = tf.concat([tf.stack(ending, -1), tf.reverse(tf.stack(sums, -1), [1])], 0)
        alpha, beta = tf.split(_path_sums(both), 2)
        beta = tf.reverse(beta, [1])
        total = alpha[:, -1:]
        begins = tf.exp(alpha + beta - total)[:, :-1]

        batch, steps = tf.unstack(tf.shape(codes))
        position = tf.reshape(tf.range(batch * steps), [batch, steps])
        u = tf.zeros([batch * steps * self.max_readings])
        for n, (members, log_p) in enumerate(words, 1):
            context = alpha[:, :-1] - total + _shift(beta, n, float("-inf"))[:, :steps]
            p = tf.exp(log_p + context[..., tf.newaxis])  # (batch, time, words)
            for i in range(n):
                first = _shift(tf.gather(starts, syllable), i, 0)[..., tf.newaxis]
                # A row that is not a word has p = 0, so it may be added anywhere.
                rank = tf.clip_by_value(members[..., i] - first, 0, self.max_readings - 1)
                place = _shift(position, i, 0)[..., tf.newaxis] * self.max_readings + rank
                u = tf.tensor_scatter_nd_add(u, place[..., tf.newaxis], p)
        u = tf.reshape(u, [batch, steps, self.max_readings])
        return u, begins

    def _words(self, codes):
        """Looks up the words that begin with each syllable, of 1, 2, ... `MAX_WORD_LENGTH` syllables.

        Returns:
            list of (readings int32 (batch, time, words, syllables), log p float32 (batch, time, words)),
            -inf where there is no such word or a tone does not match.
        """
        t = read(self._tables)
        syllable, tone = tf.where(codes > 0, (codes - 1) // NUM_TONES, -1), (codes - 1) % NUM_TONES
        single = tf.gather(t["readings_of"], tf.maximum(syllable, 0))
        exists = (single >= 0) & (syllable >= 0)[..., tf.newaxis]
        log_p = tf.where(exists, tf.gather(t["log_p_1"], tf.maximum(single, 0)), float("-inf"))
        words, row = [(single[..., tf.newaxis], log_p)], syllable
        for n in range(2, MAX_WORD_LENGTH + 1):
            last, keys = _shift(syllable, n - 1, -1), t[f"keys_{n}"]
            key = tf.cast(row, tf.int64) * self.num_syllables + tf.cast(last, tf.int64)
            row = find_rows(keys, tf.where(last >= 0, key, -1))
            first, end = (tf.gather(t[f"start_{n}"], row + i)[..., tf.newaxis] for i in range(2))
            place = first + tf.range(MAX_HOMOPHONES)
            no_word = tf.shape(t[f"words_{n}"])[0] - 1
            place = tf.where(place < end, place, no_word)
            words.append((tf.gather(t[f"words_{n}"], place), tf.gather(t[f"log_p_{n}"], place)))
        for n, (members, log_p) in enumerate(words):
            for i in range(n + 1):
                reading, its_tone = tf.maximum(members[..., i], 0), _shift(tone, i, 0)
                allowed = tf.gather(t["tones"], reading * NUM_TONES + its_tone[..., tf.newaxis])
                log_p = tf.where(allowed, log_p, float("-inf"))
            words[n] = members, log_p
        return words


def _shift(x, offset, fill):
    """Returns x[:, t + offset] for each t, (batch, time); `fill` outside of x."""
    steps = tf.shape(x)[1]
    if offset >= 0:
        return tf.pad(x, [[0, 0], [0, offset]], constant_values=fill)[:, offset:]
    return tf.pad(x, [[0, 0], [-offset, 0]], constant_values=fill)[:, :steps]


def _path_sums(ending):
    """Computes log alpha_0 ... log alpha_time.

    Args:
        ending: float32 (batch, time, n), log-probabilities of the words of 1, 2, ... n syllables that end
            with each syllable.

    Returns:
        float32 (batch, 1 + time).
    """
    batch, steps, max_length = tf.shape(ending)[0], tf.shape(ending)[1], ending.shape[2]
    alphas = tf.TensorArray(tf.float32, steps + 1, element_shape=[None])
    zero = tf.zeros([batch])
    padding = [[0, 0], [0, max_length - 1]]
    recent = tf.pad(zero[:, tf.newaxis], padding, constant_values=float("-inf"))

    def step(time, recent, alphas):
        alpha = tf.reduce_logsumexp(recent + ending[:, time], -1)
        recent = tf.concat([alpha[:, tf.newaxis], recent[:, :-1]], 1)
        return time + 1, recent, alphas.write(time + 1, alpha)

    *_, alphas = tf.while_loop(
        lambda time, *_: time < steps,
        step,
        (0, recent, alphas.write(0, zero)),
        maximum_iterations=steps,
    )
    return tf.transpose(alphas.stack())
