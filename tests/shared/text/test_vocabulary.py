"""Vocabularies: counting in Python, splitting in the graph, and the way back."""

import collections
import gc
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf

from shared.errors import InputError
from shared.text.vocabulary import END, TOKENIZERS, UNKNOWN, Vocabulary, clean

# White space that Python, Unicode and ASCII each see differently; scripts, marks, and what is none.
ODD = [
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
    """A tensor of strings, as nested lists of str."""
    decode = lambda x: x.decode() if isinstance(x, bytes) else list(map(decode, x))  # noqa: E731
    return decode(tensor.to_list() if isinstance(tensor, tf.RaggedTensor) else tensor.numpy())


def split(text, tokenizer):
    """The tokens of a text, in Python alone."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
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
def odd(request, tmp_path):
    size = 500 if request.param == "subword" else None
    return Vocabulary.build(ODD, request.param, tmp_path / "vocabulary.txt", size)


def build(tmp_path, tokenizer, *lines, name="vocabulary.txt", **options):
    return Vocabulary.build(lines, tokenizer, tmp_path / name, **options)


def decoded(vocabulary, *texts):
    text = vocabulary.decode(*vocabulary.encode(tf.constant(list(texts))))
    return strings(vocabulary.join("", text))


# --- Splitting -----------------------------------------------------------------------------------


def test_the_graph_splits_as_the_reference(odd):
    texts = [*ODD, "a\r\nb\rc\n\n", "\n", "\r", "x\t\r\n\x0by"]
    tokens = strings(odd.tokens(tf.constant(texts)))
    if odd.unit == "subword":  # of which words are joined again here
        tokens = ["".join(row).replace("</s>", " </s>").split(" ")[1:] for row in tokens]
    assert tokens == [split(text, odd.unit) for text in texts]


def test_counting_in_python_agrees_with_splitting_in_the_graph(odd):
    tokens = odd.tokens(tf.constant(ODD)).flat_values
    counts = collections.Counter(t.decode() for t in tokens.numpy())
    counts.pop("</s>", None)
    file = pathlib.Path(odd.path).read_bytes().decode().split("\n")
    assert file.pop() == ""
    assert file[:2] == ["</s>", "<unk>"]
    # Of subwords, pieces that the text does not need stand last.
    assert file[2:][: len(counts)] == sorted(counts, key=lambda t: (-counts[t], t))
    assert odd.unit == "subword" or len(file) == 2 + len(counts)
    assert odd.size == len(file)


def test_every_token_of_the_counted_text_is_known(odd):
    ids, lengths = odd.encode(tf.constant(ODD))
    real = np.arange(ids.shape[1]) < lengths.numpy()[:, None]
    assert UNKNOWN not in ids.numpy()[real]
    assert odd.unit == "subword" or ids.numpy()[real].max() == odd.size - 1
    assert (ids.numpy()[~real] == END).all()


def test_words_come_in_order_of_frequency_then_of_code_points(tmp_path):
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


def test_min_count_leaves_rare_tokens_out(tmp_path):
    vocabulary = build(tmp_path, "word", "a b a c b a", min_count=2)
    ids, _ = vocabulary.encode(tf.constant(["a b c d"]))
    assert vocabulary.size == 4
    assert ids.numpy().tolist() == [[2, 3, UNKNOWN, UNKNOWN]]


@pytest.mark.parametrize("size", [1, 0, -3])
def test_size_too_small_for_the_special_tokens(tmp_path, size):
    with pytest.raises(InputError, match="at least </s> and <unk>"):
        build(tmp_path, "word", "a b", size=size)
    assert not list(tmp_path.iterdir())


def test_a_build_that_is_cut_short_leaves_no_vocabulary(tmp_path):
    def lines():
        yield "a b"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Vocabulary.build(lines(), "word", tmp_path / "vocabulary.txt")
    assert not (tmp_path / "vocabulary.txt").exists()
    build(tmp_path, "word", "a b")
    assert [p.name for p in tmp_path.iterdir()] == ["vocabulary.txt"]


# --- There and back ------------------------------------------------------------------------------


def test_round_trip(odd):
    texts = [*ODD, "plain\n\ntext\n", "\n", "\n\n"]
    expected = [text.replace("\r", "\n") for text in texts]
    if odd.unit != "char":
        expected = ["\n".join(" ".join(split(x, "word")) for x in t.split("\n")) for t in expected]
    assert decoded(odd, *texts) == expected
    # What comes back reads the same again.
    assert decoded(odd, *expected) == expected


def test_unknown_tokens(tmp_path):
    words, characters = build(tmp_path, "word", "a b"), build(tmp_path, "char", "ab", name="c.txt")
    assert decoded(words, "a 漢字 b") == ["a <unk> b"]
    assert decoded(characters, "a漢\U0001f600b") == ["a\ufffd\ufffdb"]


def test_special_tokens_written_out_in_the_text(tmp_path):
    lines = "a </s> b", "a <unk> x</s>y <unk>s"
    words = build(tmp_path, "word", *lines)
    assert strings(words.token(tf.range(2, words.size))) == ["a", "<unk>s", "b", "x</s>y"]
    # As words of their own they are the special tokens, as in the Penn Treebank.
    ids, _ = words.encode(tf.constant(["a </s> b", "a\nb", "<unk>"]))
    assert ids.numpy()[0].tolist() == ids.numpy()[1].tolist()
    assert ids.numpy()[2, 0] == UNKNOWN
    # Within a word they are letters.
    assert decoded(words, lines[1], "x</s>y\n") == [lines[1], "x</s>y\n"]
    characters = build(tmp_path, "char", *lines, name="c.txt")
    assert decoded(characters, *lines) == list(lines)


def test_empty_strings_and_batches(odd):
    ids, lengths = odd.encode(tf.constant(["", ""]))
    assert ids.numpy().tolist() == [[END], [END]]
    assert lengths.numpy().tolist() == [0, 0]
    ids, lengths = odd.encode(tf.constant([], tf.string))
    assert ids.shape == (0, 1)
    assert lengths.shape == (0,)
    assert odd.decode(ids, lengths).shape == (0,)
    assert decoded(odd, "") == [""]
    # An answer without any token.
    assert strings(odd.decode(tf.zeros([2, 0], tf.int32), tf.zeros([2], tf.int32))) == ["", ""]


def test_a_batch_is_its_rows(odd):
    texts = [*ODD, b"broken \xff", "line\r\nline"]
    ids, lengths = (t.numpy() for t in odd.encode(tf.constant(texts)))
    for text, row, length in zip(texts, ids, lengths, strict=True):
        alone, [same] = (t.numpy() for t in odd.encode(tf.constant([text])))
        assert same == length
        assert alone[0, :same].tolist() == row[:length].tolist()
        assert alone.shape[1] == max(1, same)


def test_decode_counts_only_lengths(odd):
    ids, lengths = odd.encode(tf.constant(["plain text", "plain two"]))
    junk = tf.pad(ids, [[0, 0], [0, 3]], constant_values=3)
    assert strings(odd.join("", odd.decode(junk, lengths))) == ["plain text", "plain two"]


def test_a_lines_end_is_a_newline_in_tokens_and_in_text(odd):
    assert strings(odd.token(tf.constant([[END]]))) == [["\n"]]


# --- Mending -------------------------------------------------------------------------------------


def test_invalid_utf8_harms_its_row_alone(odd):
    # A bad byte, a cut character, a surrogate, an overlong "/", and above the last code point.
    bad = [b"a\xff b", b"ok \xe6\xbc", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80"]
    rows = [piece for pair in zip(map(str.encode, ODD), bad, strict=False) for piece in pair]
    text, error = clean(tf.constant(rows))
    for row, mended, message in zip(rows, text.numpy(), error.numpy(), strict=True):
        if row in bad:
            assert b"U+FFFD" in message
            assert "\ufffd" in mended.decode()
        else:
            assert message == b""
            assert mended == row
    ids, lengths = odd.encode(tf.constant(rows))
    good = [i for i, row in enumerate(rows) if row not in bad]
    alone, alone_lengths = odd.encode(tf.constant([rows[i] for i in good]))
    assert lengths.numpy()[good].tolist() == alone_lengths.numpy().tolist()
    for i, row in zip(good, alone.numpy(), strict=True):
        length = lengths.numpy()[i]
        assert ids.numpy()[i, :length].tolist() == row[:length].tolist()


def test_line_ends_are_mended_without_a_word():
    text, error = clean(tf.constant(["a\r\nb", "a\rb", "a\r\r\nb", "\ufffd", ""]))
    assert strings(text) == ["a\nb", "a\nb", "a\n\nb", "\ufffd", ""]
    assert strings(error) == [""] * 5


# --- join ----------------------------------------------------------------------------------------


def test_join(tmp_path):
    text = tf.constant(["the cat", "the cat ", "the\n", "", "the\ncat", "漢字", "the", ""])
    more = tf.constant(["sat on", "sat", "cat", "the", "sat", "sat", "", ""])
    words, characters = build(tmp_path, "word", "a"), build(tmp_path, "char", "a", name="c.txt")
    assert strings(words.join(text, more)) == [
        "the cat sat on", "the cat sat", "the\ncat", "the", "the\ncat sat", "漢字 sat", "the", "",
    ]  # fmt: skip
    plain = [a + b for a, b in zip(strings(text), strings(more), strict=True)]
    assert strings(characters.join(text, more)) == plain


def test_subwords_bring_their_spaces_along(tmp_path):
    subwords = build(tmp_path, "subword", "a", size=10)
    text = tf.constant(["the cat", "the cat", "the ", "the\n", "", ""])
    more = tf.constant([" sat", "s sat", " cat", " cat", " the", ""])
    assert strings(subwords.join(text, more)) == [
        "the cat sat", "the cats sat", "the cat", "the\ncat", "the", "",
    ]  # fmt: skip


# --- Files, and several of them ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "begins with </s> and <unk>"),
        (b"a\nb\n", "begins with </s> and <unk>"),
        (b"</s>\n", "begins with </s> and <unk>"),
        (b"<unk>\n</s>\na\n", "begins with </s> and <unk>"),
        (b"</s>\n<unk>\na\nb\na\n", "'a' stands there twice"),
    ],
)
def test_a_file_that_is_no_vocabulary(tmp_path, content, message):
    path = tmp_path / "v.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        Vocabulary(path, "word")
    assert str(path) in str(caught.value)


def test_a_vocabulary_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"none\.txt: no vocabulary file \(No such file"):
        Vocabulary(tmp_path / "none.txt", "word")
    with pytest.raises(InputError, match="Is a directory"):
        Vocabulary(tmp_path, "word")


def test_an_unknown_unit(tmp_path):
    with pytest.raises(
        ValueError, match=r"`tokenizer` is one of word, char, subword\. Received: 'byte'"
    ):
        Vocabulary(tmp_path, "byte")


def test_a_last_line_without_its_end_is_a_token_too(tmp_path):
    path = tmp_path / "v.txt"
    path.write_bytes("</s>\n<unk>\na\n漢".encode())
    vocabulary = Vocabulary(path, "char")
    assert vocabulary.size == 4
    assert vocabulary.encode(tf.constant(["漢a"]))[0].numpy().tolist() == [[3, 2]]


def test_two_vocabularies_in_one_process(tmp_path):
    one = build(tmp_path, "word", "a b c", name="one.txt")
    two = build(tmp_path, "word", "c c b", name="two.txt")

    @tf.function
    def both(text):
        return one.encode(text)[0], two.encode(text)[0]

    ids = [t.numpy().tolist() for t in both(tf.constant(["a b c"]))]
    assert ids == [[[2, 3, 4]], [[UNKNOWN, 3, 2]]]


def test_the_same_content_twice_and_one_of_them_gone(tmp_path):
    one = build(tmp_path, "word", "a b", name="one.txt")
    two = build(tmp_path, "word", "a b", name="two.txt")
    assert decoded(one, "a b") == ["a b"]
    del one
    gc.collect()
    assert decoded(two, "a b") == ["a b"]


def test_an_export_knows_no_path_and_may_be_moved(tmp_path):
    vocabulary = build(tmp_path, "word", "a b \u6f22")
    module = tf.Module()
    module.vocabulary = vocabulary
    module.echo = tf.function(
        lambda text: vocabulary.decode(*vocabulary.encode(text)),
        input_signature=[tf.TensorSpec([None], tf.string)],
    )
    tf.saved_model.save(module, str(tmp_path / "written"))
    for file in (tmp_path / "written").rglob("*"):
        assert file.is_dir() or str(tmp_path).encode() not in file.read_bytes()
    shutil.move(tmp_path / "written", tmp_path / "moved")
    (tmp_path / "vocabulary.txt").unlink()
    again = tf.saved_model.load(str(tmp_path / "moved"))
    text = tf.constant(["b  a \u6f22 c\n", ""])
    assert strings(again.echo(text)) == ["b a \u6f22 <unk>\n", ""]
    assert [p.name for p in (tmp_path / "moved" / "assets").iterdir()] == ["vocabulary.txt"]
