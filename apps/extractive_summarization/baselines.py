"""Summaries without a recurrent network: simple rules, and a logistic regression.

What a baseline has to choose, such as a number or a threshold, is chosen on valid.
"""

import numpy as np
from tqdm import tqdm

from . import metrics
from .overlap import degrees, largest
from .regression import LogisticRegression, sentence_features, word_features

THRESHOLDS = np.arange(0.1, 0.8, 0.02)


def keep_all(units):
    """Keeps every unit.

    Args:
        units: list of lists of str.

    Returns:
        labels: list of lists of 0 and 1.
    """
    return [[1] * len(row) for row in units]


def first_k(valid, units, level, counts=None):
    """Keeps the first k units; of words, the punctuation mark at the end too.

    Args:
        valid: units and labels, lists of lists; k is the number that has the highest mean F1 on them.
        units: list of lists of str, the texts.
        level: "word" or "sentence".
        counts: list of int, the k of each text; None: one k for all, chosen on valid.

    Returns:
        labels: list of lists of 0 and 1.
    """

    def keep(rows, ks):
        labels = [[int(i < k) for i in range(len(row))] for row, k in zip(rows, ks, strict=True)]
        for row, label in zip(rows, labels, strict=True):
            if level == "word" and row and not any(map(str.isalnum, row[-1])):
                label[-1] = 1
        return labels

    if counts is None:
        rows, gold = valid
        largest = max(map(len, rows))
        k = max(
            range(1, largest + 1),
            key=lambda k: metrics.f1(gold, keep(rows, [k] * len(rows))).mean(),
        )
        counts = [k] * len(units)
    return keep(units, counts)


def centrality(valid, units, language="en", counts=None):
    """Keeps the sentences that have most words in common with the others of their document.

    The centrality is that of `overlap.degrees`. On BBC News it is as good as TextRank, without iterations.

    Args:
        valid, units, counts: as for `first_k`. Without counts, the share of the sentences that is kept is
            chosen on valid.
        language: of the sentences; in Chinese, pairs of characters are compared.

    Returns:
        labels: list of lists of 0 and 1.
    """
    keep = lambda rows, ks: [  # noqa: E731
        largest(degrees(row, language), k) for row, k in zip(rows, ks, strict=True)
    ]
    if counts is None:
        rows, gold = valid
        scores = [degrees(row, language) for row in rows]

        def mean_f1(share):
            labels = [largest(s, max(1, round(share * len(s)))) for s in scores]
            return metrics.f1(gold, labels).mean()

        share = max(np.arange(0.05, 1.01, 0.05), key=mean_f1)
        counts = [max(1, round(share * len(row))) for row in units]
    return keep(units, counts)


def logistic_regression(train, valid, units, level, language="en", counts=None):
    """Keeps the units whose probability by a logistic regression is above a threshold.

    Each unit is labelled by itself, from the words around it and its position; a sentence from its words, its
    position and its centrality.

    Args:
        train: units and labels, lists of lists.
        valid: as for `first_k`; the epoch and the threshold with the highest mean F1 are used.
        units, level, counts: as for `first_k`. With counts, the most probable units of each text are kept.
        language: of the units.

    Returns:
        labels: list of lists of 0 and 1.
    """
    features = word_features(train[0]) if level == "word" else sentence_features(train[0], language)
    model = LogisticRegression()

    def probabilities(rows):
        return _by_row(model.predict(features(rows)), rows)

    rows, gold = valid
    best = (-1.0, None, None)
    train_ids, train_labels = features(train[0]), np.concatenate(train[1])
    valid_ids = features(rows)
    is_short = len(train_labels) < 100_000
    for epoch in tqdm(range(model.EPOCHS), "logistic regression", disable=is_short):
        model.fit_epoch(train_ids, train_labels, epoch)
        found = _by_row(model.predict(valid_ids), rows)
        for threshold in THRESHOLDS:
            score = metrics.f1(gold, [(p > threshold).astype(int) for p in found]).mean()
            if score > best[0]:
                best = (score, threshold, model.weights.copy())
    _, threshold, model.weights = best
    if counts is None:
        return [(p > threshold).astype(int).tolist() for p in probabilities(units)]
    return [largest(p, k) for p, k in zip(probabilities(units), counts, strict=True)]


def _by_row(values, rows):
    """Divides the values of all units into those of each text."""
    return np.split(values, np.cumsum([len(row) for row in rows])[:-1])
