"""Baselines on texts whose right labels a rule makes."""

import numpy as np
import pytest

from apps.extractive_summarization import baselines, metrics, regression
from apps.extractive_summarization.overlap import content_words, degrees, largest


def test_keep_all():
    assert baselines.keep_all([["a", "b"], [], ["c"]]) == [[1, 1], [], [1]]


def test_the_first_words_and_the_final_mark():
    valid = [[*"abcdef."], [*"ghijk!"]], [[1, 1, 0, 0, 0, 0, 1], [1, 1, 0, 0, 0, 1]]
    found = baselines.first_k(valid, [[*"uvwxyz."], ["a"], [*"abcd"]], "word")
    assert found == [[1, 1, 0, 0, 0, 0, 1], [1], [1, 1, 0, 0]]


def test_the_first_sentences():
    valid = [["a."] * 5, ["b."] * 3], [[1, 1, 1, 0, 0], [1, 1, 1]]
    assert baselines.first_k(valid, [["c."] * 4], "sentence") == [[1, 1, 1, 0]]
    assert baselines.first_k(valid, [["c."] * 4, []], "sentence", [1, 0]) == [[1, 0, 0, 0], []]


def test_content_words():
    assert content_words("The U.S. bank's profit, of $1.5bn, rose year-on-year.") == [
        "u.s", "bank's", "profit", "1.5bn", "rose", "year-on-year",
    ]  # fmt: skip
    assert content_words("\u94f6\u884c\u7684\u5229\u6da6\u3002", "zh") == [
        "\u94f6\u884c",
        "\u5229\u6da6",
    ]


def test_degrees_beside_the_definition():
    sentences = [
        "Cats like milk and milk.",
        "Dogs like bones.",
        "Cats drink milk.",
        "It is.",
        "Rain",
    ]
    vectors = [content_words(sentence) for sentence in sentences]

    def cosine(a, b):
        words = sorted({*a, *b})
        counts = np.array([[side.count(w) for w in words] for side in (a, b)], float)
        norms = np.linalg.norm(counts, axis=1)
        return counts[0] @ counts[1] / norms.prod() if norms.all() else 0.0

    expected = [
        sum(cosine(a, b) for k, b in enumerate(vectors) if k != i) for i, a in enumerate(vectors)
    ]
    np.testing.assert_allclose(degrees(sentences), expected, atol=1e-12)
    assert degrees([]).shape == (0,)


def test_largest_keeps_the_first_of_equal_ones():
    assert largest([1.0, 2.0, 1.0, 1.0], 2) == [1, 1, 0, 0]
    assert largest([], 2) == []


def test_centrality_keeps_what_the_document_is_about():
    document = [
        "It rained.",
        "Banks lost money.",
        "Many banks lost money.",
        "A cat sat.",
        "Money was lost.",
    ]
    labels = [0, 1, 1, 0, 1]
    valid = [document] * 2, [labels] * 2
    assert baselines.centrality(valid, [document]) == [labels]
    assert sum(baselines.centrality(valid, [document], counts=[2])[0]) == 2


def texts(count, seed):
    """Sentences in which a word is kept if it follows "keep" or is first in its part between commas."""
    rng = np.random.default_rng(seed)
    rows, labels = [], []
    for _ in range(count):
        row = rng.choice(["keep", "a", "b", "c", "d", ","], rng.integers(3, 12)).tolist()
        rows.append(row)
        labels.append([int(i > 0 and row[i - 1] in ("keep", ",")) for i in range(len(row))])
    return rows, labels


def test_logistic_regression_of_words():
    train, valid, (rows, labels) = texts(400, 0), texts(50, 1), texts(100, 2)
    found = baselines.logistic_regression(train, valid, rows, "word")
    assert metrics.f1(labels, found).mean() > 0.97
    assert [*map(len, found)] == [*map(len, rows)]
    counts = [3] * len(rows)
    assert all(
        sum(row) == 3
        for row in baselines.logistic_regression(train, valid, rows, "word", counts=counts)
    )


@pytest.mark.parametrize("language", ["en", "zh"])
def test_logistic_regression_of_sentences(language):
    word = {
        "en": ("lost ", "rose ", "rain ", "."),
        "zh": ("\u4e8f\u635f", "\u589e\u957f", "\u4e0b\u96e8", "\u3002"),
    }[language]

    def documents(count, seed):
        rng = np.random.default_rng(seed)
        rows, labels = [], []
        for _ in range(count):
            kinds = rng.integers(0, 3, rng.integers(3, 9))
            rows.append([word[k] * int(rng.integers(1, 3)) + word[3] for k in kinds])
            labels.append((kinds != 2).astype(int).tolist())
        return rows, labels

    rows, labels = documents(60, 2)
    found = baselines.logistic_regression(
        documents(200, 0), documents(40, 1), rows, "sentence", language
    )
    assert metrics.f1(labels, found).mean() > 0.95


def test_the_gradient_of_the_regression():
    """A step of AdaGrad from 0 has the sign of the negative gradient, beside finite differences."""
    rng = np.random.default_rng(0)
    ids, labels = rng.integers(0, 9, (40, 3)), rng.integers(0, 2, 40)
    model = regression.LogisticRegression()
    model.fit_epoch(ids, labels, 0)
    assert model.weights[0] == 0

    def loss(weights):
        logits = weights[ids].sum(1)
        return np.sum(np.logaddexp(0, logits) - labels * logits)

    for feature in range(1, 9):
        shift = np.zeros(9)
        shift[feature] = 1e-5
        slope = (loss(shift) - loss(-shift)) / 2e-5
        assert np.sign(model.weights[feature]) == -np.sign(slope)


def test_features_do_not_depend_on_other_rows():
    rows = [["The", "5th", "dog", ",", "Rex", "."], ["a"], ["b", "c"]]
    features = regression.word_features([*rows, *rows])
    together = features(rows)
    alone = np.concatenate([features([row]) for row in rows])
    np.testing.assert_array_equal(together, alone)
    assert together.min() > 0
    assert together.max() < regression.SIZE
    # Lower case and digits are as in the training data.
    np.testing.assert_array_equal(features([["THE", "##", "Dog", ",", "rex", "."]]), together[:6])
    assert len(features([])) == 0
