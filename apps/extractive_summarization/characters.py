r"""Classes of characters, and spans of characters as byte offsets, inside the graph.

The rules for tokens and sentences are regular expressions. They are applied to a copy of the text in which
each character is one byte: an ASCII character stands for itself, another one is replaced by its class. The
expressions are then short, which keeps them fast (with the classes of Unicode, RE2 runs out of the memory
of its automaton), and a position in the copy is the number of a character.
"""

from typing import NamedTuple

import tensorflow as tf

# Classes that no ASCII character stands for.
SINGLE = "\x01"  # a letter of a script without spaces between words, such as Chinese
MARK = "\x02"  # combines with the character before it: accents, variation selectors, skin tones
SYMBOL = "\x03"  # any other character
JOINER = "\x04"  # joins two characters, or is not visible inside a word: U+200D, soft hyphen
FLAG = "\x05"  # half of a flag emoji
STOP = "\x06"  # ends a sentence, with or without a space after it: 。！？
ELLIPSIS = "\x07"
UNCASED = "\x0e"  # a letter that is neither small nor capital, of Arabic or Korean for example
# Inserted by the rules at a boundary; not the class of any character.
CUT = "\x08"

# In this order; a character that was replaced is not replaced again.
_CLASSES = (
    (r"[\x00-\x08\x0e-\x1b\x7f]", SYMBOL),
    (r"\r\n", " \n"),
    (r"[\x0b-\r\x1c-\x1e\x{85}\x{2028}\x{2029}]", "\n"),
    (r"[\t\x1f\x{a0}\x{1680}\x{2000}-\x{200a}\x{202f}\x{205f}\x{3000}]", " "),
    (r"[’ʼ＇]", "'"),
    (r"[，、；：]", ","),
    (r"[。！？｡؟۔।॥]", STOP),
    (r"[…‥⋯]", ELLIPSIS),
    (r"[^\x00-\x7f\P{Ps}]|[‘“‛‟«‹]", "("),
    (r"[^\x00-\x7f\P{Pe}]|[”»›]", ")"),
    (r"[\x{ad}\x{200c}\x{200d}\x{2060}]", JOINER),
    (r"[\x{1f1e6}-\x{1f1ff}]", FLAG),
    (r"\pM|[\x{1f3fb}-\x{1f3ff}\x{e0020}-\x{e007f}]", MARK),
    (r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}]", SINGLE),
    (r"[^\x00-\x7f\P{Lu}]", "X"),
    (r"[^\x00-\x7f\P{Ll}]", "x"),
    (r"[^\x00-\x7f\PL]", UNCASED),
    (r"[^\x00-\x7f\PN]", "0"),
    (r"[^\x00-\x7f]", SYMBOL),
)


def character_classes(text):
    r"""Replaces each character by one byte, its class.

    Args:
        text: string (batch,), valid UTF-8.

    Returns:
        string (batch,). ASCII letters, digits and punctuation stand for themselves. White space is " " or
        "\n"; other capital and small letters are "X" and "x", other digits "0", other brackets and quotes
        "(", ")" and "'".

    Example:

    >>> character_classes(tf.constant(["Él, “zwölf”\t3½", "好。"])).numpy()
    array([b'Xl, (zwxlf) 30', b'\x01\x06'], dtype=object)
    """
    for pattern, rewrite in _CLASSES:
        text = tf.strings.regex_replace(text, pattern, rewrite)
    return text


class Spans(NamedTuple):
    """Parts of the texts of a batch, in order; white space is between them only.

    Attributes:
        text: ragged string (batch, spans).
        start: ragged int32 (batch, spans), offset of the first byte of a span in the text of its row.
        limit: ragged int32 (batch, spans), offset of the byte after its last one.
        start_character, limit_character: the same, counted in characters (code points).
    """

    text: tf.RaggedTensor
    start: tf.RaggedTensor
    limit: tf.RaggedTensor
    start_character: tf.RaggedTensor
    limit_character: tf.RaggedTensor


def spans(text, classes, at_spaces):
    """Returns the spans between cuts. Time and memory are proportional to the bytes of all rows.

    Args:
        text: string (batch,), valid UTF-8.
        classes: string (batch,), the result of `character_classes` with `CUT` inserted at boundaries.
        at_spaces: whether white space is a boundary too.

    Returns:
        `Spans`; none is empty, and each character that is not white space is in one of them.
    """
    classes += CUT
    code = tf.cast(tf.io.decode_raw(tf.strings.reduce_join(classes), tf.uint8), tf.int32)
    is_cut = code == ord(CUT)
    is_space = (code == ord(" ")) | (code == ord("\n"))
    span = tf.cumsum(tf.cast(is_cut | is_space if at_spaces else is_cut, tf.int32))
    character = tf.cumsum(tf.cast(~is_cut, tf.int32), exclusive=True)
    visible = tf.where(~(is_cut | is_space))[:, 0]
    span, character = tf.gather(span, visible), tf.gather(character, visible)
    changes = tf.concat([span[1:] != span[:-1], tf.fill(tf.minimum(tf.shape(span), 1), True)], 0)
    is_start = tf.concat(
        [changes[-1:], changes[:-1]], 0
    )  # the last one is True, so the first becomes True
    start = tf.boolean_mask(character, is_start)
    limit = tf.boolean_mask(character, changes) + 1

    row = tf.searchsorted(
        tf.cumsum(tf.strings.length(classes)),
        tf.cast(tf.boolean_mask(visible, is_start), tf.int32),
        side="right",
    )
    rows = lambda values: tf.RaggedTensor.from_value_rowids(  # noqa: E731
        values, row, nrows=tf.size(text), validate=False
    )
    code_points = tf.strings.unicode_decode(text, "UTF-8").flat_values
    sizes = [tf.cast(code_points >= first, tf.int32) for first in (0, 0x80, 0x800, 0x10000)]
    byte = tf.concat([[0], tf.cumsum(tf.add_n(sizes))], 0)  # of each character in the joined texts
    first_byte = tf.gather(tf.cumsum(tf.strings.length(text), exclusive=True), row)
    characters = tf.strings.length(text, "UTF8_CHAR")
    first_character = tf.gather(tf.cumsum(characters, exclusive=True), row)
    # Not `tf.strings.substr`, which would copy the text of a row for each of its spans.
    part = tf.ragged.range(start, limit)
    part = part.with_values(tf.gather(code_points, part.values))
    return Spans(
        rows(tf.strings.unicode_encode(part, "UTF-8")),
        rows(tf.gather(byte, start) - first_byte),
        rows(tf.gather(byte, limit) - first_byte),
        rows(start - first_character),
        rows(limit - first_character),
    )
