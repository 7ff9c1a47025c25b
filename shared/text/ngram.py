"""Interpolated modified Kneser-Ney n-gram language models, of words or of characters.

    p_n(w | h) = alpha(h w) + gamma(h) p_{n-1}(w | h')   h: the n - 1 words before; h': n - 2
    p_0(w)     = 1 / V                                   V: the size of the vocabulary
    alpha(h w) = (c(h w) - D(c(h w))) / c(h .)           c(h .): the sum of c(h w) over all w
    gamma(h)   = (D_1 N_1(h .) + D_2 N_2(h .) + D_3 N_3(h .)) / c(h .)
    D_j        = j - (j + 1) Y n_{j+1} / n_j             Y = n_1 / (n_1 + 2 n_2); D(0) = 0

For the highest order, the count c(g) is the number of occurrences of the n-gram g; for lower orders it
is the number of different words that occur before g. n_j is the number of n-grams of one order with
c = j; N_j(h .) is the number of words w with c(h w) = j; N_3 and D_3 stand for c >= 3. If h was not
seen, p_n is p_{n-1}.

Each sentence begins with a symbol <s>, which is context and is never predicted. No word occurs before
an n-gram that begins with <s>, so its c is its number of occurrences, as in SRILM and KenLM.

S. F. Chen and J. Goodman, "An Empirical Study of Smoothing Techniques for Language Modeling",
TR-10-98, Harvard University, 1998 (D_j is its eq. 26), and Computer Speech & Language 13, 1999.
K. Heafield et al., "Scalable Modified Kneser-Ney Language Model Estimation", ACL 2013.
"""

import operator
from dataclasses import dataclass, field

import numpy as np

# Larger than the key of any n-gram, so that searchsorted always returns a row of the table.
_UNSEEN_KEY = np.iinfo(np.int64).max


def discounts(counts):
    """Computes the discounts of one order: what is subtracted from the count of each n-gram.

    If the formula is undefined (one of n_1 to n_4 is zero) or gives a D_j <= 0, as on very small data,
    the discounts are 0.5, 1 and 1.5, as in KenLM.

    Args:
        counts: int64[n-grams], the c of each n-gram; zeros are ignored.

    Returns:
        float64[4]: D_0 = 0, D_1, D_2, and D_3 for counts of 3 and more.
    """
    n = np.bincount(np.minimum(counts, 5), minlength=6).astype(np.float64)
    if np.all(n[1:5] > 0):
        j = np.arange(1, 4)
        y = n[1] / (n[1] + 2 * n[2])
        d = j - (j + 1) * y * n[2:5] / n[1:4]
        if np.all(d > 0):
            return np.concatenate([[0.0], d])
    return np.array([0.0, 0.5, 1.0, 1.5])


@dataclass(frozen=True, eq=False)
class KneserNey:
    """A fitted n-gram model; created by `KneserNey.fit`.

    The tables are lists over the order n, from 0, the order of the empty n-gram. The key of an n-gram is
    `row of its first n - 1 words * (vocabulary_size + 1) + its last word`, which fits into 63 bits for
    any order. The last row of each table stands for all n-grams that were not seen.

    Attributes:
        order: the n of the longest n-grams.
        vocabulary_size: V; words are 0 to V - 1, and V is <s> in the keys.
        end_id: the word that ends a sentence, or None for running text, which has no <s>.
        keys: `order + 1` arrays int64[rows], ascending; the last key is 2^63 - 1.
        alpha: `order + 1` arrays float64[rows], the alpha of each n-gram; 0 in the last row.
        gamma: `order` arrays float64[rows], the weight of p_{n-1} after each n-gram; 1 in the last row.

    Example:

    >>> text = [2, 3, 0, 2, 4, 0]  # "the cat </s> the dog </s>"
    >>> model = KneserNey.fit(text, order=2, vocabulary_size=5, end_id=0)
    >>> np.exp(model.log_prob([2, 3, 0])).round(3)
    array([0.6 , 0.35, 0.65])
    """

    order: int
    vocabulary_size: int
    end_id: int | None
    keys: list = field(repr=False)
    alpha: list = field(repr=False)
    gamma: list = field(repr=False)

    @classmethod
    def fit(cls, ids, order, vocabulary_size, end_id=None):
        """Fits a model to all n-grams of a text, without a minimum count.

        Args:
            ids: integer[tokens], the words of the text, sentence after sentence.
            order: int >= 1, the n of the longest n-grams.
            vocabulary_size: int >= 1, the number of words, including those that do not occur.
            end_id: the word that ends each sentence, which is predicted too; None for running text.

        Returns:
            A `KneserNey`.

        Raises:
            ValueError: `order`, `vocabulary_size` or `end_id` is out of range, or `ids` is empty, is
                not a vector of integers, or contains a word outside the vocabulary.
        """
        order, v = operator.index(order), operator.index(vocabulary_size)
        if order < 1:
            raise ValueError(f"`order` must be at least 1; received {order}")
        if v < 1:
            raise ValueError(f"`vocabulary_size` must be at least 1; received {v}")
        if end_id is not None and not 0 <= operator.index(end_id) < v:
            raise ValueError(f"`end_id` must be None or from 0 to {v - 1}; received {end_id}")
        words = _symbols(ids, v, end_id)
        if not words.size:
            raise ValueError("`ids` must have at least one word; received none")

        # Row 0 of order 0 is the empty n-gram, the context of every unigram.
        keys, counts, starts = [np.zeros(1, np.int64)], [None], [None]
        context = row = np.zeros(len(words), np.int64)
        for n in range(1, order + 1):
            positions = np.flatnonzero(context < len(keys[n - 1]))
            key, first, inverse, count = np.unique(
                context[positions] * (v + 1) + words[positions],
                return_index=True,
                return_inverse=True,
                return_counts=True,
            )
            if n == 1:
                is_start = key == v
                count[is_start] = 0  # <s> is never predicted
            else:
                is_start = starts[n - 1][key // (v + 1)]
                # An n-gram without its first word is the (n-1)-gram that ends at the same position.
                predecessors = np.bincount(row[positions[first]], minlength=len(keys[n - 1]))
                counts[n - 1] = np.where(starts[n - 1], counts[n - 1], predecessors)
            row = np.full(len(words), len(key))
            row[positions] = inverse
            context = _contexts(row, words, v, len(key))
            keys.append(key)
            counts.append(count)
            starts.append(is_start)

        alpha, gamma = [np.array([1 / v, 0.0])], []
        for n in range(1, order + 1):
            h = keys[n] // (v + 1)
            d = discounts(counts[n])[np.minimum(counts[n], 3)]
            rows = len(keys[n - 1]) + 1
            total = np.bincount(h, weights=counts[n], minlength=rows)
            discounted = np.bincount(h, weights=d, minlength=rows)
            # A total of 0: no word follows h, because it ends the text; p_n is p_{n-1}.
            gamma.append(np.divide(discounted, total, out=np.ones(rows), where=total > 0))
            alpha.append(np.append((counts[n] - d) / np.maximum(total, 1)[h], 0.0))
        keys = [np.append(key, _UNSEEN_KEY) for key in keys]
        return cls(order, v, None if end_id is None else int(end_id), keys, alpha, gamma)

    def log_prob(self, ids):
        """Computes the log-probability of each word of a text, given the words before it.

        Args:
            ids: integer[tokens], as for `fit`; may be empty, and the last sentence may lack its end.
                The context begins at <s>, at the start of the sentence; in running text, at the start
                of `ids`.

        Returns:
            float64[tokens], natural logarithms; `exp(-mean)` is the perplexity.

        Raises:
            ValueError: `ids` is not a vector of integers or contains a word outside the vocabulary.
        """
        v = self.vocabulary_size
        words = _symbols(ids, v, self.end_id)
        p = np.full(len(words), self.alpha[0][0])
        context = np.zeros(len(words), np.int64)
        for n in range(1, self.order + 1):
            key = context * (v + 1) + words
            row = np.searchsorted(self.keys[n], key)
            unseen = len(self.keys[n]) - 1
            row[self.keys[n][row] != key] = unseen
            p = self.alpha[n][row] + self.gamma[n - 1][context] * p
            context = _contexts(row, words, v, unseen)
        return np.log(p[words != v])


def _symbols(ids, v, end_id):
    """Checks the words and inserts <s>, which is v, before each sentence; returns int64[symbols]."""
    ids = np.asarray(ids)
    if ids.ndim != 1 or (ids.size and not np.issubdtype(ids.dtype, np.integer)):
        raise ValueError(
            f"`ids` must be a vector of integers; received {ids.dtype} of shape {ids.shape}"
        )
    out_of_range = ids[(ids < 0) | (ids >= v)]
    if out_of_range.size:
        raise ValueError(f"`ids` must be from 0 to {v - 1}; received {out_of_range[0]}")
    ids = ids.astype(np.int64)
    if end_id is None or not ids.size:
        return ids
    starts = np.concatenate([[0], np.flatnonzero(ids[:-1] == end_id) + 1])
    return np.insert(ids, starts, v)


def _contexts(row, words, v, unseen):
    """Returns the row of the n-gram that ends before each word; `unseen` at the start of a sentence."""
    context = np.concatenate([[unseen], row[:-1]])[: len(row)]
    context[words == v] = unseen
    return context
