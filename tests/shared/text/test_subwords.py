"""Subwords: those of the graph are those of the library, and no text is lost."""

import random
import unicodedata
from unittest import mock

import pytest
import tensorflow as tf

from shared.errors import InputError
from shared.text import subwords
from shared.text.vocabulary import END, UNKNOWN, Vocabulary

TEXT = [
    "The quick brown fox jumps over the lazy dog, and the dog does not care.",
    "Zwei Männer stehen am Donaudampfschiff; der Hund schläft.",
    "他是研究生物的，我们也是。",
    "Ελληνικά עברית हिन्दी \U0001f469\u200d\U0001f467 e\u0301",
]
ALPHABET = sorted(set("".join(TEXT)))


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    return Vocabulary.build(TEXT * 3, "subword", tmp_path_factory.mktemp("v") / "v.txt", 300)


def pieces(vocabulary, *texts):
    tokens = vocabulary.tokens(tf.constant(list(texts))).to_list()
    return [[token.decode() for token in row] for row in tokens]


def back(vocabulary, *texts):
    text = vocabulary.join("", vocabulary.decode(*vocabulary.encode(tf.constant(list(texts)))))
    return [t.decode() for t in text.numpy()]


def random_texts(n, seed=0):
    """Of the characters of all scripts at once, and of parts of TEXT cut anywhere."""
    rng = random.Random(seed)
    for _ in range(n):
        text = ""
        while len(text) < rng.randrange(60):
            begin = rng.randrange(40)
            text += rng.choice(TEXT)[begin : begin + rng.randrange(8)]
            text += "".join(rng.choices([*ALPHABET, " "], k=rng.randrange(4)))
        yield text


def test_it_cuts_as_tokenizers_does(vocabulary):
    """`tokenizers`' own WordPiece with the same pieces, on 1,000 texts of several scripts."""
    tokenizers = pytest.importorskip("tokenizers")
    tokens = vocabulary.token(tf.range(vocabulary.size)).numpy()
    known = {token.decode(): i for i, token in enumerate(tokens)}
    reference = tokenizers.models.WordPiece(
        known, unk_token="<unk>", continuing_subword_prefix="", max_input_chars_per_word=1000
    )
    texts = list(random_texts(1000))
    ours = pieces(vocabulary, *texts)
    for text, row in zip(texts, ours, strict=True):
        words = [f" {word.decode()}" for word in text.encode().split()]
        assert row == [token.value for word in words for token in reference.tokenize(word)], text
    assert max(map(len, ours)) > 20


def test_nothing_is_lost(vocabulary):
    texts = [*TEXT, *random_texts(200, seed=1)]
    assert back(vocabulary, *texts) == [b" ".join(text.encode().split()).decode() for text in texts]


def test_pieces_are_longest_from_the_left(tmp_path):
    path = tmp_path / "v.txt"
    path.write_text("</s>\n<unk>\n \n a\n ab\nb\nbc\nabc\nc\n", encoding="utf-8")
    vocabulary = Vocabulary(path, "subword")
    assert pieces(vocabulary, "abc", "abcabc bc", "a", "cab") == [
        [" ab", "c"],
        [" ab", "c", "abc", " ", "bc"],
        [" a"],
        [" ", "c", "<unk>", "b"],
    ]


def test_an_unknown_character_costs_itself_alone(vocabulary):
    assert pieces(vocabulary, "dog☃and") == [[" dog", "<unk>", "a", "nd"]]
    assert back(vocabulary, "The dog☃ care") == ["The dog\ufffd care"]


def test_new_words_are_cut_and_not_unknown(vocabulary):
    ids, lengths = vocabulary.encode(tf.constant(["Donaufox Zweidog"]))
    assert UNKNOWN not in ids.numpy()[0]
    assert lengths.numpy()[0] < len("Donaufox Zweidog")


def test_pieces_do_not_reach_from_letters_to_punctuation(vocabulary):
    for token in vocabulary.token(tf.range(2, vocabulary.size)).numpy():
        kinds = {unicodedata.category(c)[0] in "LNM" for c in token.decode().strip(" ")}
        assert len(kinds) <= 1, token
    assert pieces(vocabulary, "dog, dog.")[0] == [" dog", ",", " dog", "."]


def test_special_tokens_are_no_pieces(vocabulary):
    """As words they are; within a word they are letters, and here unknown ones."""
    ids, _ = vocabulary.encode(tf.constant(["</s>", "\n", "x</s>"]))
    assert ids.numpy()[0, 0] == ids.numpy()[1, 0] == END
    assert END not in ids.numpy()[2]


def test_one_long_word_and_many_short_ones(vocabulary):
    long = "dog" * 700
    rows = pieces(vocabulary, long, "the dog", "")
    assert "".join(rows[0]) == f" {long}"
    assert rows[1:] == [[" the", " dog"], []]


def test_a_size_is_needed(tmp_path):
    with pytest.raises(InputError, match="--vocabulary-size"):
        Vocabulary.build(TEXT, "subword", tmp_path / "v.txt")
    assert not list(tmp_path.iterdir())


def test_the_package_is_named_where_it_is_missing():
    with (
        mock.patch.dict("sys.modules", tokenizers=None),
        pytest.raises(InputError, match="pip install tokenizers"),
    ):
        subwords.count({"a": 1}, 10)
