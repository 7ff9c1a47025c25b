"""Subwords: encoding is compared with the `tokenizers` package; decoding restores the text."""

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


def round_trip(vocabulary, *texts):
    text = vocabulary.join("", vocabulary.decode(*vocabulary.encode(tf.constant(list(texts)))))
    return [t.decode() for t in text.numpy()]


def random_texts(n, seed=0):
    """Yields texts made of random parts of TEXT and random characters of all its scripts."""
    rng = random.Random(seed)
    for _ in range(n):
        text = ""
        while len(text) < rng.randrange(60):
            begin = rng.randrange(40)
            text += rng.choice(TEXT)[begin : begin + rng.randrange(8)]
            text += "".join(rng.choices([*ALPHABET, " "], k=rng.randrange(4)))
        yield text


def test_encoding_equals_that_of_tokenizers(vocabulary):
    """Its WordPiece model has the same pieces; the 1,000 texts are of several scripts."""
    tokenizers = pytest.importorskip("tokenizers")
    tokens = vocabulary.token(tf.range(vocabulary.size)).numpy()
    ids = {token.decode(): i for i, token in enumerate(tokens)}
    reference = tokenizers.models.WordPiece(
        ids, unk_token="<unk>", continuing_subword_prefix="", max_input_chars_per_word=1000
    )
    texts = list(random_texts(1000))
    rows = pieces(vocabulary, *texts)
    for text, row in zip(texts, rows, strict=True):
        words = [f" {word.decode()}" for word in text.encode().split()]
        assert row == [token.value for word in words for token in reference.tokenize(word)], text
    assert max(map(len, rows)) > 20


def test_decoding_restores_the_text(vocabulary):
    texts = [*TEXT, *random_texts(200, seed=1)]
    assert round_trip(vocabulary, *texts) == [
        b" ".join(text.encode().split()).decode() for text in texts
    ]


def test_the_longest_piece_is_taken_from_the_left(tmp_path):
    path = tmp_path / "v.txt"
    path.write_text("</s>\n<unk>\n \n a\n ab\nb\nbc\nabc\nc\n", encoding="utf-8")
    vocabulary = Vocabulary(path, "subword")
    assert pieces(vocabulary, "abc", "abcabc bc", "a", "cab") == [
        [" ab", "c"],
        [" ab", "c", "abc", " ", "bc"],
        [" a"],
        [" ", "c", "<unk>", "b"],
    ]


def test_an_unknown_character_does_not_affect_the_rest_of_the_word(vocabulary):
    assert pieces(vocabulary, "dog☃and") == [[" dog", "<unk>", "a", "nd"]]
    assert round_trip(vocabulary, "The dog☃ care") == ["The dog\ufffd care"]


def test_new_words_are_split_into_known_pieces(vocabulary):
    ids, lengths = vocabulary.encode(tf.constant(["Donaufox Zweidog"]))
    assert UNKNOWN not in ids.numpy()[0]
    assert lengths.numpy()[0] < len("Donaufox Zweidog")


def test_no_piece_has_letters_and_punctuation(vocabulary):
    for token in vocabulary.token(tf.range(2, vocabulary.size)).numpy():
        kinds = {unicodedata.category(c)[0] in "LNM" for c in token.decode().strip(" ")}
        assert len(kinds) <= 1, token
    assert pieces(vocabulary, "dog, dog.")[0] == [" dog", ",", " dog", "."]


def test_special_tokens_within_a_word_are_characters(vocabulary):
    """Only as a separate word is "</s>" the special token."""
    ids, _ = vocabulary.encode(tf.constant(["</s>", "\n", "x</s>"]))
    assert ids.numpy()[0, 0] == ids.numpy()[1, 0] == END
    assert END not in ids.numpy()[2]


def test_a_long_word_beside_short_ones(vocabulary):
    long = "dog" * 700
    rows = pieces(vocabulary, long, "the dog", "")
    assert "".join(rows[0]) == f" {long}"
    assert rows[1:] == [[" the", " dog"], []]


def test_a_size_is_required(tmp_path):
    with pytest.raises(InputError, match="--vocabulary-size"):
        Vocabulary.build(TEXT, "subword", tmp_path / "v.txt")
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named_in_the_error():
    with (
        mock.patch.dict("sys.modules", tokenizers=None),
        pytest.raises(InputError, match="pip install tokenizers"),
    ):
        subwords.train({"a": 1}, 10)
