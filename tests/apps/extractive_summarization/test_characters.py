"""Classes of characters, and spans of random text: offsets, white space, rows, ops and memory."""

import doctest
import random
import re
import unicodedata

import numpy as np
import pytest
import tensorflow as tf

from apps.extractive_summarization import characters, sentences, tokens
from apps.extractive_summarization.characters import CUT, Spans, character_classes, spans
from shared.serving.problems import OPS

FUNCTIONS = {
    "english tokens": lambda texts: tokens.tokenize(texts, "en"),
    "chinese tokens": lambda texts: tokens.tokenize(texts, "zh"),
    "sentences": sentences.split,
}
FUNCTIONS = {
    name: tf.function(f, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    for name, f in FUNCTIONS.items()
}
PIECES = [
    *"aAbZ z09.,!?;:'\"()[]{}-_/\\@#$%&*+=<>|~^`\n\r\t \x00\x01\x07\x08\x0b\x0c\x0e\x1c\x1f\x7f",
    *"\x85\xa0\xadéÉßİı²½中文。！？…，「」“”’《》　\u0301\u200b\u200d\ufeff\u2028\u202eאبيहि٣؟กำ가か０．",
    *("👍🏽", "👨‍👩‍👧", "🇨🇳", "1️⃣", "\ufffd", "\uffff", "\U0010ffff", "\U000e0001"),
    *("Mr.", "U.S.", "http://x.y/z", "n't", "'s", "cannot", "...", "``", "<unk>", "The ", "\n\n"),
]


def random_texts(rng, number):
    """Texts of pieces that matter to the rules, of random bytes and of random characters."""

    def text():
        size, kind = rng.choice([0, 1, 3, 30]), rng.random()
        if kind < 0.7:
            return "".join(rng.choices(PIECES, k=size)).encode()
        if kind < 0.85:
            return rng.randbytes(size)
        return "".join(chr(rng.randrange(0xD800)) for _ in range(size)).encode()

    return [text() for _ in range(number)]


def as_lists(result):
    return [ragged.to_list() for ragged in result]


@pytest.mark.parametrize("module", [characters, sentences, tokens])
def test_examples(module):
    assert doctest.testmod(module).failed == 0


def test_each_character_has_a_class_of_one_byte():
    numbers = [*range(0x3400), *range(0x3400, 0xD800, 29), *range(0xE000, 0x110000, 97)]
    text = "".join(map(chr, numbers))
    classes = character_classes(tf.constant([text])).numpy()[0].decode("ascii")
    assert len(classes) == len(text)
    assert CUT not in classes
    for character, code in zip(text, classes, strict=True):
        assert (code in " \n") == character.isspace(), hex(ord(character))
        category = unicodedata.category(character)
        if category == "Cn":  # TensorFlow may know a newer version of Unicode
            continue
        if "!" <= character <= "~":
            assert code == character
        elif code.isalpha():
            assert category == ("Lu" if code == "X" else "Ll")
        elif code.isdigit():
            assert category[0] == "N"


def test_line_ends_stay_two_characters():
    assert character_classes(tf.constant(["a\r\nb\rc"])).numpy()[0] == b"a \nb\nc"


def test_spans_are_between_cuts():
    text = ["a é 中b", "", " x"]
    classes = [f"a x{CUT} \x01b", "", " x"]
    words = spans(tf.constant(text), tf.constant(classes), at_spaces=True)
    assert words.text.to_list() == [[b"a", "é".encode(), "中b".encode()], [], [b"x"]]
    parts = spans(tf.constant(text), tf.constant(classes), at_spaces=False)
    assert isinstance(parts, Spans)
    assert parts.text.to_list() == [["a é".encode(), "中b".encode()], [], [b"x"]]
    assert parts.start.to_list() == [[0, 5], [], [1]]
    assert parts.limit.to_list() == [[4, 9], [], [2]]
    assert parts.start_character.to_list() == [[0, 4], [], [1]]
    assert parts.limit_character.to_list() == [[3, 6], [], [2]]
    assert parts.start.dtype == parts.limit_character.dtype == tf.int32


@pytest.mark.parametrize("name", FUNCTIONS)
def test_random_text_is_divided_into_valid_spans(name):
    """Spans are slices of the text that hold all of it but white space; rows are as if alone."""
    rng = random.Random(3)
    texts = random_texts(rng, 300)
    clean = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace").numpy()
    result = as_lists(FUNCTIONS[name](tf.constant(texts)))
    for content, *row in zip(clean, *result, strict=True):
        last = 0
        for span, start, limit, first, end in zip(*row, strict=True):
            assert content[start:limit] == span
            assert content.decode()[first:end] == span.decode()
            assert not content[last:start].decode().strip()
            assert span.decode().strip() == span.decode() != ""
            assert name == "sentences" or not re.search(r"\s", span.decode())
            last = limit
        assert not content[last:].decode().strip()
    for row in rng.sample(range(len(texts)), 20):
        alone = as_lists(FUNCTIONS[name](tf.constant(texts[row : row + 1])))
        assert [x[0] for x in alone] == [x[row] for x in result]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_normalized_random_text(name):
    result = FUNCTIONS[name](tf.constant(random_texts(random.Random(4), 100)))
    normalized = tokens.normalize(result)
    assert normalized.row_lengths().numpy().tolist() == result.text.row_lengths().numpy().tolist()
    for token in normalized.flat_values.numpy():
        token.decode()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_batches_without_text(name):
    for ragged in FUNCTIONS[name](tf.constant([], tf.string)):
        assert ragged.shape[0] == 0
        assert ragged.flat_values.shape == (0,)
    for ragged in FUNCTIONS[name](tf.constant(["", " \n\t", ""])):
        assert ragged.to_list() == [[], [], []]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_graph_has_core_ops_only(name):
    function = FUNCTIONS[name]
    normalized = tf.function(lambda texts: tokens.normalize(function(texts)), autograph=False)
    graph = normalized.get_concrete_function(tf.TensorSpec([None], tf.string)).graph.as_graph_def()
    nodes = [*graph.node, *(n for f in graph.library.function for n in f.node_def)]
    functions = {f.signature.name for f in graph.library.function}
    assert {node.op for node in nodes} - OPS - functions == set()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_long_row_costs_the_others_nothing(name):
    """Padded to the longest, 500 rows of 200,000 bytes would be 100 million characters."""
    short = "Mr. Lee didn't go. He can't. 不去。"
    texts = tf.constant([*[short] * 500, "The cat sat. " * 15_000])
    result = FUNCTIONS[name](texts)
    alone = as_lists(FUNCTIONS[name](tf.constant([short])))
    assert [ragged[499].numpy().tolist() for ragged in result] == [x[0] for x in alone]
    assert np.max(result.limit[500]) == 15_000 * 13 - 1
