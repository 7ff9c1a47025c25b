"""A Kneser-Ney trigram of readings, asked inside the graph."""

import numpy as np
import tensorflow as tf

from shared.errors import InputError
from shared.files import read_npz, write_npz
from shared.text.ngram import KneserNey

from .tables import read, row_of, variables


class Trigram(tf.Module):
    """p(c_t | c_{t-2}, c_{t-1}) of readings; see `shared.text.ngram` for the formulas.

    An n-gram is found by its key, an int64, in a sorted list. What comes before a reading is a pair of
    rows: that of c_{t-1}, and that of (c_{t-2}, c_{t-1}) among the bigrams.

    Args:
        path: as `build` writes it, a .npz.
    """

    def __init__(self, path):
        super().__init__()
        tables = read_npz(path)
        self.size = len(tables["p_1"])
        self._tables = variables(tables, "trigram")

    @classmethod
    def build(cls, sentences, size, path):
        """Counts the n-grams of sentences, and writes them to `path`.

        Args:
            sentences: arrays of readings, ints below `size`; one that is empty, or has a -1, is left out.
            size: how many readings there are.
            path: the file to write.

        Raises:
            InputError: no sentence is left.
        """
        end = size
        whole = [s for s in sentences if len(s) and np.min(s) >= 0]
        if not whole:
            raise InputError("no sentence of train has only characters that are read as it says")
        ids = np.concatenate([np.append(s, end) for s in whole])
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
        return tf.math.log(tf.gather(read(self._tables)["p_1"], readings))

    def __call__(self, before, readings):
        """Asks for several readings after each of several histories.

        Args:
            before: two int32 (..., 1), as `begin` or an earlier call gave them.
            readings: int (..., readings).

        Returns:
            log p (..., readings), float32; and what comes before the next, two int32 (..., readings).
        """
        one, two = before
        t = read(self._tables)
        row_1 = tf.gather(t["row_1"], readings)
        row_2 = self._row(t["keys_2"], one, readings)
        row_3 = self._row(t["keys_3"], two, readings)
        p = tf.gather(t["p_1"], readings)
        p = tf.gather(t["alpha_2"], row_2) + tf.gather(t["gamma_1"], one) * p
        p = tf.gather(t["alpha_3"], row_3) + tf.gather(t["gamma_2"], two) * p
        return tf.math.log(p), (row_1, row_2)

    def _row(self, keys, context, readings):
        """Where each n-gram stands; the last row is that of all that are not there."""
        return row_of(
            keys, tf.cast(context, tf.int64) * (self.size + 2) + tf.cast(readings, tf.int64)
        )
