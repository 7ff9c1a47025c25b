"""The text of units, their places, and how kept words are joined."""

import numpy as np
import pytest
import tensorflow as tf

from apps.extractive_summarization import unit_text


def cut(texts, units):
    """Cuts texts at units that are given as strings, in their order."""
    starts, limits = [], []
    for text, names in zip(texts, units, strict=True):
        content, place = text.encode(), 0
        starts.append([])
        limits.append([])
        for name in names:
            place = content.index(name.encode(), place)
            starts[-1].append(place)
            place += len(name.encode())
            limits[-1].append(place)
    ragged = lambda rows: tf.ragged.constant(rows, dtype=tf.int32, ragged_rank=1)  # noqa: E731
    return unit_text.find(tf.constant(texts, tf.string), ragged(starts), ragged(limits))


def strings(ragged):
    return [[value.decode() for value in row] for row in ragged.to_list()]


def test_units_gaps_and_places_in_characters():
    texts = ["  é b,c ", "", "语言\U0001f600x", "y"]
    found = cut(texts, [["é", "b", ",", "c"], [], ["语", "x"], ["y"]])
    assert strings(found.text) == [["é", "b", ",", "c"], [], ["语", "x"], ["y"]]
    assert strings(found.gap) == [["  ", " ", "", ""], [], ["", "言\U0001f600"], [""]]
    for text, names, starts, limits in zip(
        texts, strings(found.text), found.start.to_list(), found.limit.to_list(), strict=True
    ):
        assert [text[a:b] for a, b in zip(starts, limits, strict=True)] == names


def test_rows_do_not_depend_on_each_other():
    texts = ["a b", "", "é , d e", "f"]
    units = [["a", "b"], [], [",", "d", "e"], ["f"]]
    together = cut(texts, units)
    for i in range(4):
        alone = cut(texts[i : i + 1], units[i : i + 1])
        for name in unit_text.UnitText._fields:
            assert getattr(together, name)[i : i + 1].to_list() == getattr(alone, name).to_list()


@pytest.mark.parametrize("texts", [[], [""], ["", ""]])
def test_without_units(texts):
    found = cut(texts, [[] for _ in texts])
    assert [*map(len, found.text.to_list())] == [0] * len(texts)
    joined = unit_text.join(found, tf.zeros([0], tf.bool), "word", "en")
    assert joined.numpy().tolist() == [b""] * len(texts)


BRACKETS = ["big", "(", "very", "big", ")", "(", "red", ")", "car"]
CASES = [
    # Words that follow each other keep what is between them.
    ("He  said:\n\"No\" .", ["He", "said", ":", '"', "No", '"', "."], "1111111", "He  said:\n\"No\" ."),
    # Where words are dropped there is a space.
    ("a b c d", ["a", "b", "c", "d"], "1001", "a d"),
    # A mark that is joined to the word before it in the text is joined to what is before it now.
    ("He left, she said.", ["He", "left", ",", "she", "said", "."], "110001", "He left."),
    ("He left , she said .", ["He", "left", ",", "she", "said", "."], "110001", "He left ."),
    ("the old man's dog", ["the", "old", "man", "'s", "dog"], "110011"[:5], "the old dog"),
    ("the man's dog", ["the", "man", "'s", "dog"], "1011", "the's dog"),
    ("He did really n't go", ["He", "did", "really", "n't", "go"], "11011", "He did n't go"),
    ("He did reallyn't go", ["He", "did", "really", "n't", "go"], "11011", "He didn't go"),
    # Other words are not joined.
    ("well-known", ["well", "-", "known"], "101", "well known"),
    # Nothing is put after an opening bracket.
    ("big (very big) (red) car", BRACKETS, "110110001", "big (big) car"),
    ("it is (so to say) fine", ["it", "is", "(", "so", "to", "say", ")", "fine"], "11000001", "it is fine"),
    # The text begins and ends with the first and the last word that is kept.
    (" a b c ", ["a", "b", "c"], "010", "b"),
    ("a b", ["a", "b"], "00", ""),
]  # fmt: skip


def test_words_are_joined():
    found = cut([text for text, *_ in CASES], [units for _, units, *_ in CASES])
    keep = [label == "1" for _, units, labels, _ in CASES for label in labels[: len(units)]]
    joined = unit_text.join(found, tf.constant(keep), "word", "en").numpy()
    assert [text.decode() for text in joined] == [expected for *_, expected in CASES]


def test_chinese_words_are_joined_by_nothing_but_latin_ones_by_a_space():
    text = "新的 iPhone 和 iPad 很贵，10 元。"
    units = ["新", "的", "iPhone", "和", "iPad", "很", "贵", "，", "10", "元", "。"]
    found = cut([text] * 3, [units] * 3)
    keep = ["11100000001", "00101000100", "00011100110"]
    keep = tf.constant([label == "1" for row in keep for label in row])
    joined = unit_text.join(found, keep, "word", "zh").numpy()
    assert [row.decode() for row in joined] == [
        "新的 iPhone。",
        "iPhone iPad 10",
        "和 iPad 很10 元",
    ]


def test_sentences_are_joined_by_a_space_or_in_chinese_by_nothing():
    found = cut(["A b.\n\nC d!  E."] * 2, [["A b.", "C d!", "E."]] * 2)
    keep = tf.constant([True, False, True, True, True, False])
    assert unit_text.join(found, keep, "sentence", "en").numpy().tolist() == [
        b"A b. E.",
        b"A b. C d!",
    ]
    assert unit_text.join(found, keep, "sentence", "zh").numpy().tolist() == [
        b"A b.E.",
        b"A b.C d!",
    ]


def test_random_texts_beside_python():
    rng = np.random.default_rng(0)
    alphabet = [*"ab,. \n", "é", "语", "\U0001f600", "\0"]
    texts, starts, limits = [], [], []
    for _ in range(30):
        characters = rng.choice(alphabet, rng.integers(0, 30)).tolist()
        places = np.cumsum([0, *(len(c.encode()) for c in characters)])
        borders = sorted(rng.choice(len(places), min(len(places), 9), replace=False))
        pairs = list(zip(borders[::2], borders[1::2], strict=False))
        texts.append("".join(characters))
        starts.append([int(places[a]) for a, _ in pairs])
        limits.append([int(places[b]) for _, b in pairs])
    ragged = lambda rows: tf.ragged.constant(rows, dtype=tf.int32, ragged_rank=1)  # noqa: E731
    found = unit_text.find(tf.constant(texts), ragged(starts), ragged(limits))
    for i, text in enumerate(texts):
        content, end = text.encode(), 0
        for k, (start, limit) in enumerate(zip(starts[i], limits[i], strict=True)):
            assert found.text[i, k] == content[start:limit]
            assert found.gap[i, k] == content[end:start]
            assert found.start[i, k] == len(content[:start].decode())
            assert found.limit[i, k] == len(content[:limit].decode())
            end = limit
