"""Labels found from summaries."""

import itertools
from collections import Counter

import numpy as np
import pytest

from apps.extractive_summarization import oracle
from apps.extractive_summarization.oracle import label_all, sentence_labels, word_labels, words


def slow_score(sentences, summary):
    """F of 1-grams and of 2-grams, by counting."""
    total = 0
    for n in (1, 2):
        grams = [
            Counter(
                gram
                for text in texts
                for gram in zip(*(words(text)[i:] for i in range(n)), strict=False)
            )
            for texts in (sentences, summary.split("\n"))
        ]
        both = (grams[0] & grams[1]).total()
        total += 2 * both / max(1, grams[0].total() + grams[1].total())
    return total


def slow_greedy(sentences, summary):
    """Adds the best sentence, as long as the score rises."""
    chosen, best = set(), 0.0
    while True:
        scores = {
            i: slow_score([sentences[k] for k in sorted(chosen | {i})], summary)
            for i in range(len(sentences))
            if i not in chosen
        }
        candidate = max(scores, key=lambda i: (scores[i], -i), default=None)
        if candidate is None or scores[candidate] <= best + 1e-9:
            return [int(i in chosen) for i in range(len(sentences))]
        best = scores[candidate]
        chosen.add(candidate)


def test_words():
    assert words("Don't, 3.5% \u00c4rger\u2026") == ["don", "t", "3", "5", "\u00e4rger"]
    assert words("\u4e0a\u6d77\uff0cAB12\u6771\u3002\u30ab") == [
        "\u4e0a",
        "\u6d77",
        "ab12",
        "\u6771",
        "\u30ab",
    ]
    assert words("_ \n") == []


def test_sentences_beside_a_slow_reference():
    rng = np.random.default_rng(0)
    sentence = lambda: " ".join(rng.choice([*"abcdefg"], rng.integers(1, 6)))  # noqa: E731
    for _ in range(60):
        document = [sentence() for _ in range(rng.integers(1, 7))]
        summary = "\n".join(sentence() for _ in range(rng.integers(1, 4)))
        assert sentence_labels(document, summary) == slow_greedy(document, summary)


def test_sentences():
    document = ["The cat sat.", "A dog ran away!", "The cat sat on the mat."]
    assert sentence_labels(document, "the cat sat on the mat") == [0, 0, 1]
    assert sentence_labels(document, "the cat sat on the mat\nA dog ran.") == [0, 1, 1]
    assert sentence_labels(document, "nothing else") == [0, 0, 0]
    assert sentence_labels([], "a") == []
    assert sentence_labels(
        ["\u6211\u7231\u4f60\u3002", "\u4ed6\u8d70\u4e86\u3002"], "\u4ed6\u8d70"
    ) == [0, 1]


def longest(tokens, reference):
    """Length of a longest common subsequence, by trying all."""
    for size in range(min(len(tokens), len(reference)), 0, -1):
        subsequences = set(itertools.combinations(reference, size))
        if any(part in subsequences for part in itertools.combinations(tokens, size)):
            return size
    return 0


def test_words_are_a_longest_common_subsequence():
    rng = np.random.default_rng(1)
    for _ in range(100):
        tokens = rng.choice([*"abcd"], rng.integers(1, 8)).tolist()
        reference = rng.choice([*"abcd"], rng.integers(1, 7)).tolist()
        labels = word_labels(tokens, " ".join(reference))
        kept = [token for token, label in zip(tokens, labels, strict=True) if label]
        assert len(kept) == longest(tokens, reference)
        place = iter(reference)
        assert all(token in place for token in kept)  # a subsequence


@pytest.mark.parametrize(
    ("tokens", "summary", "expected"),
    [
        ("the man saw the dog .", "The dog", "000110"),
        ("the man saw the dog .", "man saw dog.", "011011"),
        ("he did n't go ( yet )", "he did n't go", "1111000"),
        ("a b", "x", "00"),
        ("a b", " ", "00"),
    ],
)
def test_words_of_plain_text(tokens, summary, expected):
    assert word_labels(tokens.split(), summary) == [*map(int, expected)]


def test_chinese_words():
    assert word_labels(
        [*"\u94f6\u884c\u5173\u95ed\u4e86\u5206\u884c\u3002"], "\u94f6\u884c\u5206\u884c"
    ) == [1, 1, 0, 0, 0, 1, 1, 0]


def test_many_labels_are_read_from_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PEEPHOLE_CACHE", str(tmp_path))
    monkeypatch.setattr(oracle, "SLOW", 3)
    pairs = [(["a b", "c"], "c"), (["x"], "y"), (["q"], "q")]
    assert label_all(iter(pairs[:2]), 2, "sentence") == [[0, 1], [0]]
    assert not list(tmp_path.iterdir())
    first = label_all(iter(pairs), 3, "sentence")
    assert first == [[0, 1], [0], [1]]
    [path] = (tmp_path / "oracle").iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(oracle, "sentence_labels", None)
        assert label_all(iter(pairs), 3, "sentence") == first
        with pytest.raises(TypeError):  # another summary
            label_all(iter([*pairs[:2], (["q"], "r")]), 3, "sentence")
    path.write_text("01\n")  # damaged: it is computed again
    assert label_all(iter(pairs), 3, "sentence") == first
