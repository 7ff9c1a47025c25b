"""A Kneser-Ney trigram of readings, asked inside the graph: the baseline, and a second opinion."""

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from shared.files import read_npz, write_npz
from shared.ngram import KneserNey

from .lattice import beam_search

TABLES = [
    "p_1", "row_1", "begin", "gamma_1", "gamma_2", "keys_2", "alpha_2", "keys_3", "alpha_3",
]  # fmt: skip


class Trigram(tf.Module):
    """p(c_t | c_{t-2}, c_{t-1}) of readings; see `shared.ngram` for the formulas.

    An n-gram is found by its key, an int64, in a sorted list. What comes before a reading is a pair of
    rows: that of c_{t-1}, and that of (c_{t-2}, c_{t-1}) among the bigrams.

    Args:
        path: as `build` writes it, a .npz.
    """

    def __init__(self, path):
        super().__init__()
        tables = read_npz(path, TABLES)
        self.size = len(tables["p_1"])
        self._tables = {
            name: tf.Variable(table, trainable=False, name=f"trigram_{name}")
            for name, table in tables.items()
        }

    @classmethod
    def build(cls, sentences, size, path):
        """Counts the n-grams of sentences, and writes them to `path`.

        Args:
            sentences: lists of readings, ints below `size`.
            size: how many readings there are.
            path: the file to write.
        """
        end = size
        ids = np.concatenate([np.append(s, end) for s in sentences])
        model = KneserNey.fit(ids, 3, size + 1, end)
        words = np.arange(size)
        row_1 = np.searchsorted(model.keys[1], words)
        row_1[model.keys[1][row_1] != words] = len(model.keys[1]) - 1
        write_npz(
            path,
            p_1=(model.alpha[1][row_1] + model.gamma[0][0] * model.alpha[0][0]).astype(np.float32),
            row_1=row_1.astype(np.int32),
            # The row of <s>, which is the last word there is.
            begin=np.int32(len(model.keys[1]) - 2),
            gamma_1=model.gamma[1].astype(np.float32),
            gamma_2=model.gamma[2].astype(np.float32),
            keys_2=model.keys[2],
            alpha_2=model.alpha[2].astype(np.float32),
            keys_3=model.keys[3],
            alpha_3=model.alpha[3].astype(np.float32),
        )
        return cls(path)

    def begin(self, shape):
        """What comes before the first reading of a sentence, two int32 of `shape`."""
        unseen = tf.size(self._tables["keys_2"]) - 1
        return tf.fill(shape, self._tables["begin"]), tf.fill(shape, unseen)

    def rows(self):
        """How many rows what comes before may have: of the first of the pair, and of the second."""
        return self._tables["gamma_1"].shape[0], self._tables["gamma_2"].shape[0]

    def alone(self, readings):
        """log p of each reading by itself, float32 (...)."""
        return tf.math.log(tf.gather(self._tables["p_1"], readings))

    def __call__(self, before, readings):
        """Asks for several readings after each of several histories.

        Args:
            before: two int32 (..., 1), as `begin` or an earlier call gave them.
            readings: int (..., readings).

        Returns:
            log p (..., readings), float32; and what comes before the next, two int32 (..., readings).
        """
        one, two = before
        t = self._tables
        row_1 = tf.gather(t["row_1"], readings)
        row_2 = self._row(t["keys_2"], one, readings)
        row_3 = self._row(t["keys_3"], two, readings)
        p = tf.gather(t["p_1"], readings)
        p = tf.gather(t["alpha_2"], row_2) + tf.gather(t["gamma_1"], one) * p
        p = tf.gather(t["alpha_3"], row_3) + tf.gather(t["gamma_2"], two) * p
        return tf.math.log(p), (row_1, row_2)

    def _row(self, keys, context, readings):
        """Where each n-gram stands; the last row is that of all that are not there."""
        key = tf.cast(context, tf.int64) * (self.size + 2) + tf.cast(readings, tf.int64)
        row = tf.searchsorted(keys, tf.reshape(key, [-1]))
        row = tf.reshape(row, tf.shape(key))
        return tf.where(tf.gather(keys, row) == key, row, tf.size(keys) - 1)


def baselines(trigram, readings, counts, sentences, beam=128, batch_size=50):
    """What can be said without a network, {name: texts}.

    One takes the most frequent character of each syllable. The other takes the characters that are
    likeliest together:

        argmax over c_1 ... c_n of sum_t log p(c_t | c_{t-2}, c_{t-1}) + log p(tone_t | c_t)

    by a wide beam, for a trigram knows nothing of what is to come; of syllables without tones the second
    term is zero.

    Args:
        trigram: `Trigram`; readings: `Readings`.
        counts: (readings, tones), how often each reading had which tone in train.
        sentences: lists of codes, int32 (time,).

    Returns:
        {name: list of strings}.
    """
    choices = readings.choices()
    log_tone = np.log((counts + 0.5) / (counts.sum(1, keepdims=True) + 0.5 * counts.shape[1]))
    log_tone[:, 0] = 0.0  # not told
    log_tone = tf.constant(log_tone, tf.float32)
    single = counts.sum(1)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, None], tf.int32), tf.TensorSpec([None, None], tf.int32),
            tf.TensorSpec([None], tf.int32),
        ]
    )  # fmt: skip
    def search(choices, tones, length):
        rows, steps, _ = tf.unstack(tf.shape(choices))

        def expand(time, kept, contexts):
            now = choices[:, time]
            items = tf.tile(tf.maximum(now, 0)[:, tf.newaxis], [1, beam, 1])
            log_p, contexts = trigram([c[..., tf.newaxis] for c in contexts], items)
            told = tf.broadcast_to(tones[:, time, tf.newaxis], tf.shape(now))
            log_p += tf.gather_nd(log_tone, tf.stack([tf.maximum(now, 0), told], -1))[:, tf.newaxis]
            log_p = tf.where((now >= 0)[:, tf.newaxis], log_p, float("-inf"))
            return items, log_p, kept, contexts

        found, _ = beam_search(expand, (), trigram.begin([rows, beam]), length, steps, beam)
        return found[:, 0]

    order = sorted(range(len(sentences)), key=lambda i: len(sentences[i]))
    frequent, likeliest = [""] * len(order), [""] * len(order)
    name = lambda found: "".join(readings.characters[c] for c in found)  # noqa: E731
    for first in tqdm(range(0, len(order), batch_size), desc="baselines", mininterval=1):
        rows = order[first : first + batch_size]
        length = np.array([len(sentences[i]) for i in rows], np.int32)
        codes = np.zeros((len(rows), max(1, length.max())), np.int32)
        for row, i in zip(codes, rows, strict=True):
            row[: len(sentences[i])] = sentences[i]
        possible = choices[codes]
        tones = np.where(codes > 0, (codes - 1) % counts.shape[1], 0)
        weight = single[possible] * np.exp(log_tone.numpy()[possible, tones[..., np.newaxis]])
        best = np.where(possible >= 0, weight, -1).argmax(-1)
        best = np.take_along_axis(possible, best[..., np.newaxis], -1)[..., 0]
        width = (possible >= 0).sum(-1).max()
        together = search(possible[..., :width], tones, length).numpy()
        for i, a, b, n in zip(rows, best, together, length, strict=True):
            frequent[i], likeliest[i] = name(a[:n]), name(b[:n])
    return {
        "most frequent character": frequent,
        "modified Kneser-Ney trigram": likeliest,
    }
