"""Vocabularies: counting in Python, splitting, encoding and decoding in the graph."""

import collections
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from shared.errors import InputError
from shared.text.vocabulary import END, TOKENIZERS, UNKNOWN, Vocabulary

# White space as defined by Python, Unicode and ASCII; several scripts; control characters.
TEXTS = [
    "plain words, plain text",
    "no-break\u00a0space and ideographic\u3000space",
    "line\u2028separator and paragraph\u2029separator",
    "tab\tand  two spaces ",
    " \x0bvertical \x0cfeed, next\x85line, \x1cfile \x1dgroup \x1erecord \x1funit",
    "a lone\rcarriage return",
    "zero\u200bwidth, mark\ufeff",
    "\ufeffmark first",
    "漢字とかな、 עברית العربية हिन्दी ไทย Ελληνικά",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f1eb\U0001f1f7 e\u0301 é \U0010ffff",
    "nul\0byte \0 a\0b",
    "a replaced \ufffd one",
    "",
    "   ",
]
ASCII_WHITE = " \t\n\r\x0b\x0c"


def strings(tensor):
    """Converts a tensor of strings to nested lists of str."""
    decode = lambda x: x.decode() if isinstance(x, bytes) else list(map(decode, x))  # noqa: E731
    return decode(tensor.to_list() if isinstance(tensor, tf.RaggedTensor) else tensor.numpy())


def split(text, tokenizer):
    """Splits a text into tokens in Python; the reference for the graph."""
    lines = text.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    tokens = []
    for i, line in enumerate(lines):
        if tokenizer == "char":
            tokens += line
        else:
            words = [""]
            for c in line:
                if c in ASCII_WHITE:
                    words.append("")
                else:
                    words[-1] += c
            tokens += filter(None, words)
        tokens += ["</s>"] if i + 1 < len(lines) else []
    return tokens


@pytest.fixture(params=TOKENIZERS)
def vocabulary(request, tmp_path):
    size = 500 if request.param == "subword" else None
    return Vocabulary.build(TEXTS, request.param, tmp_path / "vocabulary.txt", size)


def build(tmp_path, tokenizer, *lines, name="vocabulary.txt", **options):
    return Vocabulary.build(lines, tokenizer, tmp_path / name, **options)


def decoded(vocabulary, *texts):
    text = vocabulary.decode(*vocabulary.encode(tf.constant(list(texts))))
    return strings(vocabulary.join("", text))


def test_splitting_equals_the_reference(vocabulary):
    texts = [*TEXTS, "a\r\nb\rc\n\n", "\n", "\r", "x\t\r\n\x0by"]
    tokens = strings(vocabulary.tokens(tf.constant(texts)))
    if vocabulary.tokenizer == "subword":  # the pieces are joined to words again
        tokens = ["".join(row).replace("</s>", " </s>").split(" ")[1:] for row in tokens]
    assert tokens == [split(text, vocabulary.tokenizer) for text in texts]


def test_counting_in_python_agrees_with_splitting_in_the_graph(vocabulary):
    tokens = vocabulary.tokens(tf.constant(TEXTS)).flat_values
    counts = collections.Counter(t.decode() for t in tokens.numpy())
    counts.pop("</s>", None)
    file = pathlib.Path(vocabulary.path).read_bytes().decode().split("\n")
    assert file.pop() == ""
    assert file[:2] == ["</s>", "<unk>"]
    # Subwords that do not occur in the text are last.
    assert file[2:][: len(counts)] == sorted(counts, key=lambda t: (-counts[t], t))
    assert vocabulary.tokenizer == "subword" or len(file) == 2 + len(counts)
    assert vocabulary.size == len(file)


def test_every_token_of_the_counted_text_is_known(vocabulary):
    ids, lengths = vocabulary.encode(tf.constant(TEXTS))
    real = np.arange(ids.shape[1]) < lengths.numpy()[:, None]
    assert UNKNOWN not in ids.numpy()[real]
    assert vocabulary.tokenizer == "subword" or ids.numpy()[real].max() == vocabulary.size - 1
    assert (ids.numpy()[~real] == END).all()


def test_tokens_are_sorted_by_frequency_then_by_code_point(tmp_path):
    vocabulary = build(tmp_path, "word", "b a c b", "c b z")
    assert (tmp_path / "vocabulary.txt").read_bytes() == b"</s>\n<unk>\nb\nc\na\nz\n"
    ids, lengths = vocabulary.encode(tf.constant(["z b new\na"]))
    assert ids.numpy().tolist() == [[5, 2, UNKNOWN, END, 4]]
    assert lengths.numpy().tolist() == [5]


def test_size_keeps_the_most_frequent(tmp_path):
    vocabulary = build(tmp_path, "char", "aaabbc", size=4)
    assert vocabulary.size == 4
    assert decoded(vocabulary, "abc") == ["ab\ufffd"]
    assert build(tmp_path, "char", "aaabbc", size=2).size == 2
    assert build(tmp_path, "char", "aaabbc", size=99).size == 5


def test_min_count_drops_rare_tokens(tmp_path):
    vocabulary = build(tmp_path, "word", "a b a c b a", min_count=2)
    ids, _ = vocabulary.encode(tf.constant(["a b c d"]))
    assert vocabulary.size == 4
    assert ids.numpy().tolist() == [[2, 3, UNKNOWN, UNKNOWN]]


@pytest.mark.parametrize("size", [1, 0, -3])
def test_size_too_small_for_the_special_tokens(tmp_path, size):
    with pytest.raises(InputError, match="at least 2, for </s> and <unk>"):
        build(tmp_path, "word", "a b", size=size)
    assert not list(tmp_path.iterdir())


def test_an_interrupted_build_leaves_no_vocabulary(tmp_path):
    def lines():
        yield "a b"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Vocabulary.build(lines(), "word", tmp_path / "vocabulary.txt")
    assert not (tmp_path / "vocabulary.txt").exists()
    build(tmp_path, "word", "a b")
    assert [p.name for p in tmp_path.iterdir()] == ["vocabulary.txt"]


def test_round_trip(vocabulary):
    texts = [*TEXTS, "plain\n\ntext\n", "\n", "\n\n"]
    expected = [text.lstrip("\ufeff").replace("\r", "\n") for text in texts]
    if vocabulary.tokenizer != "char":
        expected = ["\n".join(" ".join(split(x, "word")) for x in t.split("\n")) for t in expected]
    assert decoded(vocabulary, *texts) == expected
    # Decoded text is encoded and decoded without further changes.
    assert decoded(vocabulary, *expected) == expected


def test_unknown_tokens(tmp_path):
    words, characters = build(tmp_path, "word", "a b"), build(tmp_path, "char", "ab", name="c.txt")
    assert decoded(words, "a 漢字 b") == ["a <unk> b"]
    assert decoded(characters, "a漢\U0001f600b") == ["a\ufffd\ufffdb"]


def test_ids_of_tokens_of_any_shape(tmp_path):
    vocabulary = Vocabulary.build(["the cat", "the dog"], "word", tmp_path / "v.txt")
    ids = vocabulary.id(tf.constant([["the", "cow"], ["dog", "</s>"]]))
    assert ids.dtype == tf.int32
    assert ids.numpy().tolist() == [[2, UNKNOWN], [4, END]]
    tokens = vocabulary.token(ids).numpy().tolist()
    assert tokens == [[b"the", b"<unk>"], [b"dog", b"\n"]]
    assert vocabulary.id(tf.zeros([0, 3], tf.string)).shape == (0, 3)


def test_special_tokens_as_words_of_the_text(tmp_path):
    lines = "a </s> b", "a <unk> x</s>y <unk>s"
    words = build(tmp_path, "word", *lines)
    assert strings(words.token(tf.range(2, words.size))) == ["a", "<unk>s", "b", "x</s>y"]
    # As separate words they are the special tokens, as in the Penn Treebank.
    ids, _ = words.encode(tf.constant(["a </s> b", "a\nb", "<unk>"]))
    assert ids.numpy()[0].tolist() == ids.numpy()[1].tolist()
    assert ids.numpy()[2, 0] == UNKNOWN
    # Within a word they are characters.
    assert decoded(words, lines[1], "x</s>y\n") == [lines[1], "x</s>y\n"]
    characters = build(tmp_path, "char", *lines, name="c.txt")
    assert decoded(characters, *lines) == list(lines)


def test_empty_strings_and_batches(vocabulary):
    ids, lengths = vocabulary.encode(tf.constant(["", ""]))
    assert ids.numpy().tolist() == [[END], [END]]
    assert lengths.numpy().tolist() == [0, 0]
    ids, lengths = vocabulary.encode(tf.constant([], tf.string))
    assert ids.shape == (0, 1)
    assert lengths.shape == (0,)
    assert vocabulary.decode(ids, lengths).shape == (0,)
    assert decoded(vocabulary, "") == [""]
    # No time steps.
    empty = vocabulary.decode(tf.zeros([2, 0], tf.int32), tf.zeros([2], tf.int32))
    assert strings(empty) == ["", ""]


def test_rows_do_not_depend_on_their_batch(vocabulary):
    texts = [*TEXTS, b"broken \xff", "line\r\nline"]
    ids, lengths = (t.numpy() for t in vocabulary.encode(tf.constant(texts)))
    for text, row, length in zip(texts, ids, lengths, strict=True):
        alone, [alone_length] = (t.numpy() for t in vocabulary.encode(tf.constant([text])))
        assert alone_length == length
        assert alone[0, :length].tolist() == row[:length].tolist()
        assert alone.shape[1] == max(1, length)


def test_invalid_utf8_does_not_affect_other_rows(vocabulary):
    invalid = [b"a\xff b", b"ok \xe6\xbc", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80"]
    rows = [row for pair in zip(TEXTS, invalid, strict=False) for row in pair]
    ids, lengths = vocabulary.encode(tf.constant(rows))
    valid = [i for i, row in enumerate(rows) if row not in invalid]
    alone, alone_lengths = vocabulary.encode(tf.constant([rows[i] for i in valid]))
    assert lengths.numpy()[valid].tolist() == alone_lengths.numpy().tolist()
    for i, row in zip(valid, alone.numpy(), strict=True):
        length = lengths.numpy()[i]
        assert ids.numpy()[i, :length].tolist() == row[:length].tolist()


def test_decode_ignores_ids_beyond_lengths(vocabulary):
    ids, lengths = vocabulary.encode(tf.constant(["plain text", "plain two"]))
    padded = tf.pad(ids, [[0, 0], [0, 3]], constant_values=3)
    text = vocabulary.join("", vocabulary.decode(padded, lengths))
    assert strings(text) == ["plain text", "plain two"]


def test_the_end_of_a_line_is_decoded_as_a_newline(vocabulary):
    assert strings(vocabulary.token(tf.constant([[END]]))) == [["\n"]]


def test_join(tmp_path):
    text = tf.constant(["the cat", "the cat ", "the\n", "", "the\ncat", "漢字", "the", ""])
    continuation = tf.constant(["sat on", "sat", "cat", "the", "sat", "sat", "", ""])
    words, characters = build(tmp_path, "word", "a"), build(tmp_path, "char", "a", name="c.txt")
    assert strings(words.join(text, continuation)) == [
        "the cat sat on", "the cat sat", "the\ncat", "the", "the\ncat sat", "漢字 sat", "the", "",
    ]  # fmt: skip
    joined = [a + b for a, b in zip(strings(text), strings(continuation), strict=True)]
    assert strings(characters.join(text, continuation)) == joined


def test_join_of_subwords_keeps_the_spaces_of_the_pieces(tmp_path):
    subwords = build(tmp_path, "subword", "a", size=10)
    text = tf.constant(["the cat", "the cat", "the ", "the\n", "", ""])
    continuation = tf.constant([" sat", "s sat", " cat", " cat", " the", ""])
    assert strings(subwords.join(text, continuation)) == [
        "the cat sat", "the cats sat", "the cat", "the\ncat", "the", "",
    ]  # fmt: skip
