"""Labels of texts whose own spans differ from the units that are found in them."""

import itertools
import re

import numpy as np
import pytest

from apps.extractive_summarization.labelled import (
    LabelledSplit,
    Record,
    joined,
    labelled_split,
    layout,
    pieces,
    transfer,
)
from shared.errors import InputError


def words_of(texts):
    """A simple tokenizer: the units are words and punctuation marks."""
    return [
        [
            (len(text[: m.start()].encode()), len(text[: m.end()].encode()))
            for m in re.finditer(r"\w+|[^\w\s]", text)
        ]
        for text in texts
    ]


def test_layout_and_pieces():
    parts = ["caf\u00e9", "a b", "\u4e0a\u6d77"]
    for separator in ("", " ", "\n\n"):
        text, spans = layout(parts, separator)
        assert text == separator.join(parts)
        assert pieces(text, spans) == parts


def test_equal_spans_have_equal_labels():
    assert transfer("a b", [(0, 1), (2, 3)], [0, 1], [[0, 1], [2, 3]]) == ([0, 1], True)


@pytest.mark.parametrize(
    ("spans", "labels", "units", "expected"),
    [
        ([(0, 9)], [1], [(0, 4), (5, 9)], ([1, 1], True)),  # a span of two units
        ([(0, 2), (2, 4), (5, 9)], [1, 1, 0], [(0, 4), (5, 9)], ([1, 0], True)),
        ([(0, 3), (3, 4), (5, 9)], [1, 0, 0], [(0, 4), (5, 9)], ([1, 0], False)),
        ([(0, 2), (2, 4), (5, 9)], [1, 0, 0], [(0, 4), (5, 9)], ([0, 0], False)),  # only half
        ([(0, 4), (5, 9)], [1, 1], [(0, 4)], ([1], False)),  # kept text that is in no unit
        ([(0, 4), (5, 9)], [1, 0], [(0, 5), (5, 9)], ([1, 0], True)),  # a space more
    ],
)
def test_labels_follow_the_bytes(spans, labels, units, expected):
    assert transfer("abcd efgh", spans, labels, units) == expected


def test_transfer_beside_a_slow_reference():
    rng = np.random.default_rng(0)

    def cut(size):
        places = sorted({0, size, *rng.integers(0, size + 1, 5).tolist()})
        return list(itertools.pairwise(places))

    for _ in range(200):
        text = "".join(rng.choice([*"ab "], 20))
        spans, units = cut(20), cut(20)
        labels = rng.integers(0, 2, len(spans)).tolist()
        found, fits = transfer(text, spans, labels, units)
        kept = {
            i for (a, b), label in zip(spans, labels, strict=True) if label for i in range(a, b)
        }
        shares = [[i in kept for i in range(a, b) if text[i] != " "] for a, b in units]
        if spans == units:
            assert (found, fits) == (labels, True)
            continue
        assert found == [int(2 * sum(share) > len(share)) for share in shares]
        assert fits == all(len(set(share)) < 2 for share in shares)


def test_joined():
    assert joined(["a", "b"], "word", "en") == "a b"
    assert joined(["\u4e00", "\u4e8c"], "word", "zh") == "\u4e00\u4e8c"
    assert joined(["A. ", "B."], "sentence", "zh") == "A.\nB."


def test_a_split_of_records(capsys):
    records = [
        Record("a dog runs.", [(0, 1), (2, 5), (6, 11)], [0, 1, 1]),
        Record("the man saw a dog", summary="man saw dog"),
        Record("ab-cd", [(0, 4), (4, 5)], [1, 0]),
        Record("a b", summary="x y"),
    ]
    split = labelled_split("test", records, words_of, "word", "en")
    assert split[:] == [
        ("a dog runs.", "0111"),
        ("the man saw a dog", "01101"),
        ("ab-cd", "110"),
        ("a b", "00"),
    ]
    assert [split.references(i) for i in range(4)] == ["dog runs .", "man saw dog", "ab -", "x y"]
    printed = capsys.readouterr().err.splitlines()
    assert printed[0].startswith(
        "test: 1 of 4 texts (the first is test, example 3) in which a word is"
    )
    assert printed[1].startswith(
        "test: 1 of 4 texts (the first is test, example 4) that have no word"
    )


def test_a_text_without_units_is_named():
    records = [Record("a", [(0, 1)], [1]), Record(" ", [(0, 1)], [1])]
    with pytest.raises(InputError, match=r"^test, example 2: the text has no words"):
        labelled_split("test", records, words_of, "word", "en")
    with pytest.raises(InputError, match=r"^b, line 7: the text has no sentences"):
        labelled_split("test", records, words_of, "sentence", "en", ["a, line 1", "b, line 7"])


def test_the_digest_is_that_of_texts_labels_and_summaries():
    base = LabelledSplit("x", [("a b", "01")], ["b"])
    assert base.digest == LabelledSplit("y", [("a b", "01")], ["b"]).digest
    for examples, summaries in (
        ([("a c", "01")], ["b"]),
        ([("a b", "11")], ["b"]),
        ([("a b", "01")], ["c"]),
    ):
        assert LabelledSplit("x", examples, summaries).digest != base.digest
