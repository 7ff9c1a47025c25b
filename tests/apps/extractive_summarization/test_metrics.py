"""Metrics beside values computed by hand."""

import numpy as np
import pytest

from apps.extractive_summarization import metrics


def test_f1():
    labels = [[1, 1, 0, 0], [1, 0], [0, 0], [0, 0], [1, 0]]
    outputs = [[1, 0, 1, 0], [1, 0], [0, 0], [0, 1], [0, 0]]
    np.testing.assert_allclose(metrics.f1(labels, outputs), [0.5, 1, 1, 0, 0])
    assert metrics.f1([], []).shape == (0,)
    with pytest.raises(ValueError, match="1 outputs for 2 labels"):
        metrics.f1([[1, 0]], [[1]])


def test_words_by_hand():
    tokens = [
        ["The", "big", "dog", ",", "Rex", ",", "ran", "."],
        ["It", "was", "``", "ok", "''", "."],
    ]
    labels = [[1, 0, 1, 0, 0, 0, 1, 1], [1, 1, 0, 1, 0, 1]]
    outputs = [[1, 1, 1, 1, 0, 0, 0, 1], [1, 1, 0, 1, 0, 1]]
    figures, definitions = metrics.word_scores(tokens, labels, outputs)
    assert figures["f1"] == pytest.approx(100 * (2 * 3 / 9 + 1) / 2, abs=0.01)
    assert figures["f1_without_punctuation"] == pytest.approx(100 * (2 * 2 / 6 + 1) / 2, abs=0.01)
    # The comma counts; of the second sentence, '' and the full stop do not.
    assert figures["f1_without_final_mark"] == pytest.approx(100 * (2 * 2 / 7 + 1) / 2, abs=0.01)
    assert figures["exact_match"] == 50
    whole = [len("The big dog , Rex , ran ."), len("It was `` ok '' .")]
    ours = [len("The big dog , ."), len("It was ok .")]
    gold = [len("The dog ran ."), len("It was ok .")]
    for name, sizes in (("ratio", ours), ("reference_ratio", gold)):
        expected = np.mean([100 * a / b for a, b in zip(sizes, whole, strict=True)])
        assert figures[name] == pytest.approx(expected, abs=0.01)
    assert definitions.keys() == figures.keys()


def test_chinese_words_are_joined_without_spaces():
    figures, _ = metrics.word_scores(
        [[*"\u94f6\u884c\u7834\u4ea7\u3002"]], [[1, 1, 1, 1, 1]], [[1, 0, 0, 0, 1]], "zh"
    )
    assert figures["ratio"] == 40
    assert figures["f1_without_punctuation"] == pytest.approx(100 * 2 / 5)


def test_nothing_kept():
    figures, _ = metrics.word_scores([["a", "."], ["b"]], [[0, 0], [1]], [[0, 0], [0]])
    assert figures["f1"] == figures["f1_without_punctuation"] == 50
    assert figures["ratio"] == 0


def test_sentences_by_hand():
    pytest.importorskip("rouge_score")
    sentences = [["The dogs ran.", "It rained.", "A cat sat."], ["One.", "Two."]]
    labels = [[1, 0, 1], [0, 1]]
    outputs = [[1, 1, 0], [0, 1]]
    references = ["The dogs ran.\nA cat sat.", "Two."]
    figures, definitions = metrics.sentence_scores(sentences, labels, outputs, references)
    assert figures["label_f1"] == pytest.approx(100 * 2 * 2 / 6, abs=0.01)
    assert figures["label_f1_mean"] == pytest.approx(100 * (0.5 + 1) / 2)
    # Summary: the dog ran it rain; reference: the dog ran a cat sat. Stems, 3 of 5 and of 6 words.
    assert figures["rouge_1"] == pytest.approx(100 * (2 * 3 / 11 + 1) / 2, abs=0.01)
    # 2 of 4 and of 5 word pairs; "Two." has none.
    assert figures["rouge_2"] == pytest.approx(100 * (2 * 2 / 9 + 0) / 2, abs=0.01)
    # Longest common subsequences of each reference sentence: "the dogs ran", and nothing.
    assert figures["rouge_lsum"] == pytest.approx(100 * (2 * 3 / 11 + 1) / 2, abs=0.01)
    assert figures["exact_match"] == 50
    assert definitions.keys() == figures.keys()


def test_rouge_lsum_does_not_depend_on_the_order_of_sentences_as_rouge_2_does():
    pytest.importorskip("rouge_score")
    scores = metrics.rouge(["a b\nc d"], ["c d\na b"])
    assert scores["rouge_lsum"] == [1]
    assert scores["rouge_2"] == pytest.approx([2 / 3])


def test_rouge_of_chinese_and_of_nothing():
    pytest.importorskip("rouge_score")
    scores = metrics.rouge(
        ["\u94f6\u884c\u7834\u4ea7\u3002", "", "", "\u2026"],
        ["\u94f6\u884c\u76c8\u5229\u3002", "", "\u94f6", ""],
        "zh",
    )
    assert scores["rouge_1"] == pytest.approx([0.5, 1, 0, 1])
    assert scores["rouge_2"] == pytest.approx([1 / 3, 1, 0, 1])
    assert metrics.rouge(["\u94f6\u884c"], ["\u94f6\u884c"], "en")["rouge_1"] == [
        1
    ]  # no words for the English tokenizer
