"""A trigram model of ids that is evaluated inside the graph."""

import numpy as np
import tensorflow as tf

from shared.files import read_npz, write_npz
from shared.text.ngram import KneserNey

from .tables import find_rows, read, variables


class TrigramTable(tf.Module):
    """p(w_t | w_{t-2}, w_{t-1}) with modified Kneser-Ney smoothing; `shared.text.ngram` has the formulas.

    Each n-gram has an int64 key in a sorted array. A context is a pair of rows: that of the unigram
    w_{t-1}, and that of the bigram (w_{t-2}, w_{t-1}).

    Args:
        path: a .npz file written by `build`.

    Raises:
        InputError: the file is missing or damaged.

    Example:

    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/trigram.npz"
    >>> table = TrigramTable.build([[0, 1, 2], [0, 1, 1]], 3, path)
    >>> context = table.initial_context([1, 1])
    >>> log_p, context = table(context, tf.constant([[0, 1, 2]]))
    >>> log_p.shape
    TensorShape([1, 3])
    >>> int(tf.argmax(log_p[0]))
    0
    """

    def __init__(self, path):
        super().__init__()
        tables = read_npz(path)
        self.size = len(tables["p_1"])
        self._tables = variables(tables, "trigram")

    @classmethod
    def build(cls, sequences, size, path):
        """Counts the n-grams of `sequences` and writes the table to `path`.

        Args:
            sequences: list of int arrays (time,), ids from 0 to `size` - 1. Sequences that are empty or
                contain -1 are skipped.
            size: number of ids.
            path: the .npz file to write.

        Returns:
            The `TrigramTable` of that file.

        Raises:
            ValueError: every sequence is skipped.
        """
        end = size
        complete = [s for s in sequences if len(s) and np.min(s) >= 0]
        if not complete:
            raise ValueError("`sequences` must contain a sequence of known ids; received none")
        ids = np.concatenate([np.append(s, end) for s in complete])
        model = KneserNey.fit(ids, 3, size + 1, end)
        unigrams = np.arange(size)
        row_1 = np.searchsorted(model.keys[1], unigrams)
        row_1[model.keys[1][row_1] != unigrams] = len(model.keys[1]) - 1
        write_npz(
            path,
            p_1=(model.alpha[1][row_1] + model.gamma[0][0] * model.alpha[0][0]).astype(np.float32),
            row_1=row_1.astype(np.int32),
            # The row of <s>: its key is the largest of the unigrams.
            begin=np.int32(len(model.keys[1]) - 2),
            gamma_1=model.gamma[1].astype(np.float32),
            gamma_2=model.gamma[2].astype(np.float32),
            keys_2=model.keys[2],
            alpha_2=model.alpha[2].astype(np.float32),
            keys_3=model.keys[3],
            alpha_3=model.alpha[3].astype(np.float32),
        )
        return cls(path)

    def initial_context(self, shape):
        """Returns the context at the start of a sequence: two int32 tensors of `shape`."""
        unseen = tf.size(self._tables["keys_2"]) - 1
        return tf.fill(shape, self._tables["begin"]), tf.fill(shape, unseen)

    def context_sizes(self):
        """Returns the numbers of rows that the two parts of a context can have, two ints."""
        return self._tables["gamma_1"].shape[0], self._tables["gamma_2"].shape[0]

    def unigram_log_prob(self, ids):
        """Returns log p(w), float32 of the shape of `ids`."""
        return tf.math.log(tf.gather(read(self._tables)["p_1"], ids))

    def __call__(self, context, ids):
        """Returns the log-probabilities of `ids` after `context`, and the contexts that follow them.

        Args:
            context: two int32 tensors (..., 1), from `initial_context` or an earlier call.
            ids: int (..., n).

        Returns:
            log p, float32 (..., n), and the next context after each id, two int32 tensors (..., n).
        """
        unigram, bigram = context
        t = read(self._tables)
        row_1 = tf.gather(t["row_1"], ids)
        row_2 = self._find(t["keys_2"], unigram, ids)
        row_3 = self._find(t["keys_3"], bigram, ids)
        p = tf.gather(t["p_1"], ids)
        p = tf.gather(t["alpha_2"], row_2) + tf.gather(t["gamma_1"], unigram) * p
        p = tf.gather(t["alpha_3"], row_3) + tf.gather(t["gamma_2"], bigram) * p
        return tf.math.log(p), (row_1, row_2)

    def _find(self, keys, context, ids):
        """Returns the rows of the n-grams; unseen n-grams have the last row."""
        return find_rows(
            keys, tf.cast(context, tf.int64) * (self.size + 2) + tf.cast(ids, tf.int64)
        )
