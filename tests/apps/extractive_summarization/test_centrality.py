"""Centrality of sentences by the words that they share, beside NumPy with whole matrices."""

import numpy as np
import pytest
import tensorflow as tf

from apps.extractive_summarization import centrality, overlap

DOCUMENTS = [
    ["the new bridge was opened", "bridge , new bridge", "a school", "the", "new school bridge school"],
    ["one cat", "two dogs"],
    ["alone"],
    [],
    ["the last words here", "the last words here", "last dogs", "70 dogs .", "80 dogs"],
]  # fmt: skip


def features(documents, kind, language="en", split=str.split):
    sentences = [split(s) for document in documents for s in document]
    row = np.repeat(np.arange(len(documents)), [*map(len, documents)])
    words = tf.ragged.constant(sentences, dtype=tf.string, ragged_rank=1)
    return centrality.features(words, tf.constant(row, tf.int32), kind, language).numpy()


def reference(document, language="en"):
    """Returns degree and TextRank of each sentence."""
    rows = [overlap.content_words(s, language) for s in document]
    names = sorted({word for row in rows for word in row})
    c = np.array([[row.count(name) for name in names] for row in rows], float)
    c = c.reshape(len(rows), len(names))
    norm = np.linalg.norm(c, axis=1, keepdims=True)
    c /= np.where(norm > 0, norm, 1)
    w = c @ c.T
    np.fill_diagonal(w, 0)
    y, x = w.sum(1), np.ones(len(rows))
    for _ in range(200):
        x = 0.15 + 0.85 * w @ np.where(y > 1e-9, x / np.where(y > 1e-9, y, 1), 0)
    return y, x


def ranks(values):
    values = np.round(np.array(values), 4)
    below = (values[:, None] > values).sum(1) + ((values[:, None] == values).sum(1) - 1) / 2
    return np.log((below + 0.5) / (len(values) - below - 0.5))


def test_degree_and_textrank_beside_matrices():
    found = features(DOCUMENTS, "textrank")
    assert found.shape == (13, 4)
    place = 0
    for document in DOCUMENTS:
        for column, values in zip((0, 2), reference(document), strict=True):
            part = found[place : place + len(document)]
            expected = (
                values / values.mean() if len(values) and values.mean() > 1e-9 else 0 * values
            )
            np.testing.assert_allclose(part[:, column], expected, atol=2e-3)
            np.testing.assert_allclose(part[:, column + 1], ranks(expected), atol=1e-6)
        place += len(document)
    np.testing.assert_allclose(features(DOCUMENTS, "degree"), found[:, :2], atol=1e-6)


def test_degree_is_that_of_the_baseline():
    document = DOCUMENTS[0]
    degree = overlap.degrees(document)
    np.testing.assert_allclose(
        features([document], "degree")[:, 0], degree / degree.mean(), atol=1e-5
    )


def test_chinese_compares_pairs_of_characters():
    document = ["市长宣布新桥完工", "新桥，很长", "学校的新桥", "市", ""]
    found = features([document], "degree", "zh", list)
    degree, _ = reference(document, "zh")
    assert degree[0] > 0
    np.testing.assert_allclose(found[:, 0], degree / degree.mean(), atol=1e-5)


def test_documents_do_not_depend_on_each_other():
    together, place = features(DOCUMENTS, "textrank"), 0
    for document in DOCUMENTS:
        part = together[place : place + len(document)]
        if document:
            np.testing.assert_allclose(features([document], "textrank"), part, atol=1e-5)
        place += len(document)


@pytest.mark.parametrize("kind", ["none", "degree", "textrank"])
def test_without_sentences_or_words(kind):
    size = centrality.NUM_FEATURES[kind]
    assert features([[], []], kind).shape == (0, size)
    np.testing.assert_array_equal(features([["", "."], [""]], kind), np.zeros((3, size)) + (
        np.array([0, 0, 1, 0], np.float32)[:size]
    ))  # fmt: skip


def test_the_size_of_a_document_is_not_squared():
    """A matrix of all pairs of 30,000 sentences would need 3.6 GB."""
    found = features([[f"a word number{i % 7}" for i in range(30_000)]], "textrank")
    assert np.isfinite(found).all()
