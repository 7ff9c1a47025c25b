"""Sentences and documents of the grammar."""

import re
from types import SimpleNamespace

import pytest

from apps.extractive_summarization import embedded
from apps.extractive_summarization.grammar.words import drop, english_text, keep, tidy
from apps.extractive_summarization.labelled import pieces
from shared.errors import InputError

PATTERNS = {
    ("word", "en"): r"\w+(?=n't)|n't|'s|\w+(?:-\w+)*|[^\w\s]",
    ("word", "zh"): r"[a-zA-Z0-9]+|\S",
    ("sentence", "en"): r"\S.*?[.](?=\s|$)",
    ("sentence", "zh"): r"[^\u3002]*\u3002",
}
ALL = [*PATTERNS]


def units_of(level, language):
    return lambda texts: [
        [
            (len(text[: m.start()].encode()), len(text[: m.end()].encode()))
            for m in re.finditer(PATTERNS[level, language], text)
        ]
        for text in texts
    ]


def split(level, language, name):
    config = SimpleNamespace(level=level, language=language)
    return embedded.split(config, name, units_of(level, language))


def test_helpers():
    assert keep("a b", drop("c"), "d") == [("a", 1), ("b", 1), ("c", 0), ("d", 1)]
    assert drop("a", keep("b")) == [("a", 0), ("b", 0)]
    assert english_text(["The", "mayor", "'s", "hat", "(", "old", ")", ",", "did", "n't", "go", "."]) == (
        "The mayor's hat (old), didn't go.",
        [(0, 3), (4, 9), (9, 11), (12, 15), (16, 17), (17, 20), (20, 21), (21, 22), (23, 26), (26, 29),
         (30, 32), (32, 33)],
    )  # fmt: skip
    assert tidy([("a", 0), (",", 0), (".", 1)]) == [("a", 0), (".", 1)]
    assert tidy([("a", 0), (",", 0), (",", 1), ("b", 0)]) == [("a", 0), (",", 1), ("b", 0)]


@pytest.mark.parametrize(("level", "language"), ALL)
def test_no_text_is_in_two_splits(level, language):
    splits = {name: split(level, language, name) for name in ("train", "valid", "test")}
    assert {name: len(part) for name, part in splits.items()} == embedded.COUNTS[level]
    texts = [text for part in splits.values() for text, _ in part]
    assert len(set(texts)) == len(texts)
    assert len({part.digest for part in splits.values()}) == 3


@pytest.mark.parametrize(("level", "language"), ALL)
def test_the_labels_fit_to_the_units(level, language, capsys):
    part = split(level, language, "test")
    assert capsys.readouterr().err == ""
    units = units_of(level, language)([text for text, _ in part])
    for i, ((text, labels), own) in enumerate(zip(part, units, strict=True)):
        kept = [p for p, label in zip(pieces(text, own), labels, strict=True) if label == "1"]
        separator = "\n" if level == "sentence" else " " if language == "en" else ""
        assert part.references(i) == separator.join(kept)
        assert "1" in labels


@pytest.mark.parametrize(("level", "language"), ALL)
def test_the_texts_are_the_same_again(level, language):
    first = split(level, language, "valid")
    embedded._records.cache_clear()
    assert split(level, language, "valid").digest == first.digest


@pytest.mark.parametrize("language", ["en", "zh"])
def test_sentences_are_compressed(language):
    part = split("word", language, "train")
    shares = [labels.count("1") / len(labels) for _, labels in part]
    assert 0.3 < sum(shares) / len(shares) < 0.5
    assert sum(share == 1 for share in shares) < 0.05 * len(shares)
    final = {"en": ".", "zh": "\u3002"}[language]
    for i, (text, labels) in enumerate(part):
        assert text.endswith(final)
        assert labels.endswith("1")
        for wrong in (",.", ",,", ", ,", "\uff0c\u3002", "\uff0c\uff0c", "  "):
            assert wrong not in text
        reference = part.references(i)
        assert not reference.startswith((",", "\uff0c"))
        if language == "en":
            # "a" and "an" fit to the word after them when the adjectives between them are dropped.
            for article, word in re.findall(r"\b(an?) ([\w-]+)", reference, re.IGNORECASE):
                is_vowel = word[0] in "aeiou" and not word.startswith("uni")
                assert (article.lower() == "an") == is_vowel, reference


def test_the_same_words_are_kept_and_dropped():
    """No list of words says what is kept: most nouns, verbs and prepositions have both labels."""
    seen = {}
    part = split("word", "en", "train")
    units = units_of("word", "en")([text for text, _ in part])
    for (text, labels), own in zip(part, units, strict=True):
        for token, label in zip(pieces(text, own), labels, strict=True):
            seen.setdefault(token.lower(), []).append(int(label))
    frequent = {word: sum(v) / len(v) for word, v in seen.items() if len(v) >= 30}
    for word in "bank mayor report sold met in by that who was and of the a ,".split():  # noqa: SIM905
        assert 0.02 < frequent[word] < 0.98, (word, frequent[word])
    both = [word for word, share in frequent.items() if 0.05 < share < 0.95]
    assert len(both) > 0.6 * len(frequent)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_documents(language):
    part = split("sentence", language, "train")
    assert all(6 <= len(labels) <= 14 for _, labels in part)
    firsts = [labels[0] == "1" for _, labels in part]
    assert 0.1 < sum(firsts) / len(firsts) < 0.5  # the first sentence is not the summary
    # The same sentence with a pronoun has both labels: only its document tells.
    pronoun = {"en": "It ", "zh": "\u5b83"}[language]
    units = units_of("sentence", language)([text for text, _ in part])
    labels_of = {}
    for (text, labels), own in zip(part, units, strict=True):
        for sentence, label in zip(pieces(text, own), labels, strict=True):
            if sentence.startswith(pronoun):
                labels_of.setdefault(re.sub(r"\d", "0", sentence), set()).add(label)
    assert sum(len(labels) == 2 for labels in labels_of.values()) > 50


def test_other_languages():
    with pytest.raises(InputError, match=r"needs --language en or zh\. Received: 'de'"):
        split("word", "de", "train")
