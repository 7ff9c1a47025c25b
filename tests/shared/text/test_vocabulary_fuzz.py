"""Random text of odd code points, encoded and decoded in the graph and by a reference in Python."""

import random

import pytest
import tensorflow as tf

from shared.text.vocabulary import END, TOKENIZERS, UNKNOWN, Vocabulary

LINES = [
    "the cat sat on the mat, it's 3007!",
    "\u6211\u4eec\u53bb\u897f\u5b89",
    "e\u0301 \u00e9 \U0001f600 \u0928\u092e",
]
ODD = [
    *"\u3007\u96f6\u2f00\u4e00\u3400\U00020000\U0002a6d6\U0003134f",  # look-alikes, outside the BMP
    *"\U0001f601\U0001f468\u200d\U0001f3fd\ufe0f\u20e3\U0001f1e8\U0001f1f3\U000e0067\U0010ffff",
    *"\u0430\u0435\uff41\uff13\u0131\u017f\u212a\u00df\u1e9e\ufb01\u0149",  # like Latin letters
    *"\u0300\u0308\u0327\u1ab0\u093f\u0e31\u064b\u05b0",  # combining marks
    *"\u00a0\u2003\u3000\u200b\u00ad\u2060\ufeff\u2028\u2029\u0085\u001c\u001f\u0000\u007f",
    *"\ue000\uf8ff\uffff\ufffe\ufdd0\U0001ffff\ufffd",  # private use, noncharacters
    *"<unk></s>\u2581##@@",
]
INVALID = [
    b"\xff",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\xed\xb0\x80",
    b"\xf5",
    b"\xe6\xbc",
    b"\xf0\x9f\x98",
]


def random_rows(count, seed):
    """Returns byte strings: pieces of known text, odd characters, white space and invalid bytes."""
    rng = random.Random(seed)
    known = "".join(LINES)
    rows = []
    for _ in range(count):
        row = b""
        for _ in range(rng.randrange(25)):
            kind = rng.random()
            if kind < 0.4:
                begin = rng.randrange(len(known))
                row += known[begin : begin + rng.randrange(1, 5)].encode()
            elif kind < 0.8:
                row += rng.choice(ODD).encode()
            elif kind < 0.95:
                row += rng.choice([b" ", b"\n", b"\r\n", b"\r", b"\t"])
            else:
                row += rng.choice(INVALID)
        rows.append(row)
    return rows


def replaced(row):
    """Decodes UTF-8 with one U+FFFD for each invalid part, as the Unicode standard recommends."""
    return row.decode("utf-8", "replace")


def reference(text, tokenizer, ids):
    """Returns the ids of a text: one for each character, word, or longest piece from the left."""
    lines = text.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    longest = max(map(len, ids))
    encoded = []
    for line in lines:
        tokens = list(line) if tokenizer == "char" else [w.decode() for w in line.encode().split()]
        if tokenizer != "subword":
            encoded += [ids.get(token, UNKNOWN) for token in tokens]
        for word in tokens if tokenizer == "subword" else []:
            if word == "</s>":
                encoded.append(END)
                continue
            begin, word = 0, f" {word}"
            while begin < len(word):
                ends = range(min(len(word), begin + longest), begin, -1)
                end = next((e for e in ends if ids.get(word[begin:e], 0) > UNKNOWN), None)
                encoded.append(UNKNOWN if end is None else ids[word[begin:end]])
                begin = end or begin + 1
        encoded.append(END)
    return encoded[:-1]


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_ids_equal_the_reference(tokenizer, tmp_path):
    """No character is dropped, and none is joined with its neighbours: an unknown one is `<unk>`."""
    vocabulary = Vocabulary.build(LINES * 2, tokenizer, tmp_path / "v.txt", 120)
    lines = (tmp_path / "v.txt").read_text(encoding="utf-8").split("\n")[:-1]
    ids_of = {token: i for i, token in enumerate(lines)}
    rows = random_rows(1500, seed=1)
    encoded = vocabulary.encode_ragged(tf.constant(rows)).to_list()
    unknown = 0
    for row, ids in zip(rows, encoded, strict=True):
        assert ids == reference(replaced(row), tokenizer, ids_of), row
        unknown += ids.count(UNKNOWN)
    assert unknown > 1000


@pytest.mark.parametrize("tokenizer", ["char", "subword"])
def test_decoded_text_has_a_replacement_for_each_unknown_character(tokenizer, tmp_path):
    vocabulary = Vocabulary.build(LINES * 2, tokenizer, tmp_path / "v.txt", 120)
    known = {*"".join(LINES), "\n"}
    rows = [row.replace(b"</s>", b"") for row in random_rows(500, seed=2)]
    ids, lengths = vocabulary.encode(tf.constant(rows))
    text = vocabulary.join("", vocabulary.decode(ids, lengths)).numpy()
    for row, output in zip(rows, text, strict=True):
        expected = replaced(row).lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
        if tokenizer == "subword":
            words = [b" ".join(line.split()).decode() for line in expected.encode().split(b"\n")]
            expected = "\n".join(words)
        expected = "".join(c if c in known else "\ufffd" for c in expected)
        assert output.decode() == expected, row
