"""Logistic regression over hashed features, for the baselines."""

import re

import numpy as np
from tqdm import tqdm

from .overlap import content_words, degrees

SIZE = 2**20  # number of weights
FEATURES = "features of the logistic regression"  # in the progress bar
UNKNOWN = 1  # number of words that are rare in train; 0 is no word


class LogisticRegression:
    """Logistic regression over sparse binary features, by AdaGrad.

        p = sigmoid(sum_f w_f)          f: the features of a unit

    The loss of a unit is its cross entropy plus L2 / 2 sum_f w_f^2 over its own features.

    Feature 0 is no feature: its weight stays 0.
    """

    EPOCHS = 6
    LEARNING_RATE = 0.1
    BATCH = 512
    L2 = 1e-3

    def __init__(self):
        self.weights = np.zeros(SIZE)
        self._squares = np.full(SIZE, 1e-8)

    def predict(self, ids):
        """Returns the probability of label 1, float64 (units,).

        Args:
            ids: int (units, features).
        """
        return 1 / (1 + np.exp(-np.clip(self.weights[ids].sum(1), -30, 30)))

    def fit_epoch(self, ids, labels, epoch):
        """Passes once over the units in a new order.

        Args:
            ids: int (units, features).
            labels: 0 and 1, (units,).
            epoch: seed of the order.
        """
        order = np.random.default_rng(epoch).permutation(len(ids))
        for begin in range(0, len(order), self.BATCH):
            rows = order[begin : begin + self.BATCH]
            used, place = np.unique(ids[rows], return_inverse=True)
            place = place.reshape(len(rows), -1)
            weights = self.weights[used]
            error = 1 / (1 + np.exp(-np.clip(weights[place].sum(1), -30, 30))) - labels[rows]
            gradient = error[:, np.newaxis] + self.L2 * weights[place]
            total = np.bincount(place.ravel(), gradient.ravel(), len(used)) / np.sqrt(len(rows))
            total[used == 0] = 0
            self._squares[used] += total**2
            self.weights[used] -= self.LEARNING_RATE * total / np.sqrt(self._squares[used])


def word_features(train):
    """Returns a function from lists of tokens to the features of each token.

    The features are the words around a token, its ending, its position, the commas around it, and the words
    that start the sentence and the part between commas in which it is.

    Args:
        train: list of lists of str. Words that occur once in them are unknown.

    Returns:
        A function of a list of lists of str that returns int32 (tokens, features), below `SIZE`.
    """
    words, counts = np.unique([_normal(w) for row in train for w in row], return_counts=True)
    known = [w for w, n in zip(words.tolist(), counts, strict=True) if n > 1 and w != "<unk>"]
    number = {w: i for i, w in enumerate(known, UNKNOWN + 1)}

    def features(rows):
        shown = tqdm(rows, FEATURES, mininterval=1, disable=len(rows) < 5000)
        columns = [_hashed(_word_columns(row, number)) for row in shown if row]
        return np.concatenate(columns) if columns else np.zeros((0, 1), np.int32)

    return features


def _normal(word):
    """Returns a word as Google's compression data has it: lower-case, and "##" if it has a digit."""
    return "##" if re.search("[0-9]", word) else word.lower()


def _word_columns(row, number):
    """Returns int64 (tokens, features, 2): each feature is a pair of numbers."""
    tokens = [_normal(word) for word in row]
    n, at = len(row), np.arange(len(row))
    ids = np.zeros(n + 6, np.int64)
    ids[3:-3] = [number.get(token, UNKNOWN) for token in tokens]
    around = {k: ids[3 + k : 3 + k + n] for k in range(-3, 4)}
    endings = np.array([_code(token[-3:]) for token in tokens])
    comma = np.array([not token[:1].isalnum() and token != "##" for token in tokens])
    before = np.cumsum(comma) - comma
    after = comma.sum() - before - comma
    last = np.maximum.accumulate(np.where(comma, at, -1))
    last = np.concatenate([[-1], last[:-1]])
    following = np.minimum.accumulate(np.where(comma, at, n)[::-1])[::-1]
    opening = ids[3 + np.minimum(last + 1, n - 1)]  # the first word of the part between commas
    marks = 8 * np.minimum(before, 7) + np.minimum(after, 7)
    place, rest = np.minimum(at, 30), np.minimum(n - 1 - at, 30)
    zero = np.zeros(n, np.int64)
    pairs = [
        *((word, zero) for word in around.values()),
        (around[-1], around[0]),
        (around[0], around[1]),
        (around[-2], around[-1]),
        (around[1], around[2]),
        (around[-1], around[1]),
        (endings, zero),
        (np.concatenate([[0], endings[:-1]]), endings),
        (endings, np.concatenate([endings[1:], [0]])),
        (place, zero),
        (rest, zero),
        (place // 3, np.minimum(n // 4, 12) + zero),
        (marks, zero),
        (marks, around[0]),
        (np.minimum(at - last, 12), zero),
        (np.minimum(following - at, 12), zero),
        (opening, zero),
        (opening, marks),
        (opening, around[0]),
        (ids[3] + zero, np.minimum(before, 7)),
        (place // 2, around[0]),
        (zero, zero),
    ]
    return np.array([np.stack(pair) for pair in pairs]).transpose(2, 0, 1)


def sentence_features(train, language):
    """Returns a function from lists of sentences to the features of each sentence.

    The features are the words of a sentence, its position, its length, its centrality and its words in common
    with the first sentence.

    Args:
        train: list of lists of str. Words that occur once in them are unknown.
        language: of the sentences.

    Returns:
        A function of a list of lists of str that returns int32 (sentences, features), below `SIZE`.
    """
    texts = [word for row in train for s in row for word in set(content_words(s, language))]
    words, counts = np.unique(texts, return_counts=True)
    number = {w: i for i, w in enumerate(words[counts > 1].tolist(), UNKNOWN + 1)}

    def features(rows):
        shown = tqdm(rows, FEATURES, mininterval=1, disable=len(rows) < 1000)
        columns = [_sentence_columns(row, number, language) for row in shown if row]
        return np.concatenate(columns) if columns else np.zeros((0, 1), np.int32)

    return features


MAX_WORDS = 40  # words of a sentence that are features


def _sentence_columns(row, number, language):
    """Returns int32 (sentences, features)."""
    n, at = len(row), np.arange(len(row))
    words = [[*dict.fromkeys(content_words(sentence, language))] for sentence in row]
    length = np.array([*map(len, words)])
    degree = degrees(row, language)
    relative = np.minimum(10 * degree / max(degree.mean(), 1e-9), 25).astype(int)
    rank = 10 * np.argsort(np.argsort(-degree, kind="stable")) // n
    length_rank = 10 * np.argsort(np.argsort(-length, kind="stable")) // n
    first = np.minimum([len(set(own) & set(words[0])) for own in words], 6)
    zero = np.zeros(n, np.int64)
    pairs = [
        (np.minimum(at, 12), zero),
        (np.minimum(n - 1 - at, 6), zero),
        (10 * at // n, zero),
        (np.minimum(length, 30), zero),
        (length_rank, zero),
        (rank, zero),
        (relative, zero),
        (rank, np.minimum(n // 5, 8) + zero),
        (rank, length_rank),
        (rank, np.minimum(at, 3)),
        (relative // 2, np.minimum(length // 4, 6)),
        (first, np.minimum(at, 1)),
        (np.array([int(any(map(str.isdigit, s))) for s in row]), zero),
        (np.array([int(any(q in s for q in '"“”「')) for s in row]), zero),
        (zero, zero),
    ]
    ids = np.zeros((n, len(pairs) + MAX_WORDS), np.int32)
    ids[:, : len(pairs)] = _hashed(np.array([np.stack(p) for p in pairs]).transpose(2, 0, 1))
    for i, own in enumerate(words):
        known = [number[word] for word in own if word in number][:MAX_WORDS]
        own_ids = np.array([[[word, 0]] for word in known], np.int64).reshape(-1, 1, 2)
        ids[i, len(pairs) : len(pairs) + len(known)] = _hashed(own_ids, len(pairs))[:, 0]
    return ids


def _code(text):
    """Returns a number for a short text, the same in every process."""
    return int.from_bytes(text.encode()[-6:], "big")


def _hashed(pairs, first=0):
    """Returns a number from 1 to SIZE - 1 for each feature.

    Args:
        pairs: int64 (units, features, 2).
        first: number of the first feature; equal pairs of different features have different numbers.
    """
    kinds = np.arange(first, first + pairs.shape[1])
    # The multipliers are odd and large, as for multiplicative hashing; overflow is intended.
    with np.errstate(over="ignore"):
        mixed = pairs[..., 0].astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= pairs[..., 1].astype(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F)
        mixed = (mixed ^ kinds.astype(np.uint64) * np.uint64(0x165667B19E3779F9)) * np.uint64(
            0xD6E8FEB86659FD93
        )
    return (1 + (mixed >> np.uint64(32)) % np.uint64(SIZE - 1)).astype(np.int32)
