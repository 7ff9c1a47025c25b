"""The text of units, their places in characters, and the text of those that are kept."""

from typing import NamedTuple

import tensorflow as tf

from shared.text.languages import is_unseparated

# A word that is joined to the one before it, or to the one after it, if it is so in the text.
CLOSES = r"[\p{Pe}\p{Pf}.,;:!?%\x{3001}\x{3002}]+|[\x{27}\x{2019}]\pL*|[nN][\x{27}\x{2019}][tT]"
OPENS = r"[\p{Ps}\p{Pi}$\x{a3}\x{20ac}\x{a5}#]+"
LATIN = r"[\x{21}-\x{24f}]+"


class UnitText(NamedTuple):
    """The units of texts.

    Attributes:
        text: ragged string (texts, units), as it is in the text.
        gap: ragged string (texts, units), what is between the unit before it, or the start of the text,
            and this unit.
        start, limit: ragged int32 (texts, units), places in characters.
    """

    text: tf.RaggedTensor
    gap: tf.RaggedTensor
    start: tf.RaggedTensor
    limit: tf.RaggedTensor


def find(texts, start, limit):
    """Cuts texts into units and what is between them.

    Args:
        texts: string (batch,), valid UTF-8.
        start, limit: ragged int32 (batch, units), byte offsets, in the order of the text.

    Returns:
        `UnitText`. Time and memory grow with the size of the texts: no text is copied for each of its units.
    """
    characters, offset = tf.strings.unicode_split_with_offsets(texts, "UTF-8")
    # Places in the concatenation of all texts, so that one search serves all rows.
    size = tf.cast(tf.strings.length(texts), tf.int64) + 1
    base = tf.cumsum(size, exclusive=True)

    def place(ragged):
        return tf.gather(base, ragged.value_rowids()) + tf.cast(ragged.flat_values, tf.int64)

    first, last, at = place(start), place(limit), place(offset)
    count = tf.size(first)
    # The unit that starts at a character or before it, in the same text; otherwise -1.
    unit = tf.searchsorted(first, at, side="right") - 1
    row = tf.concat([start.value_rowids(), [-1]], 0)
    own = tf.gather(row, tf.where(unit < 0, count, unit)) == offset.value_rowids()
    inside = own & (at < tf.gather(tf.concat([last, [0]], 0), tf.where(own, unit, count)))
    is_before = tf.gather(row, tf.minimum(unit + 1, count)) == offset.value_rowids()
    piece = tf.where(inside, 2 * unit + 1, tf.where(is_before, 2 * unit + 2, 2 * count))
    pieces = tf.strings.unsorted_segment_join(characters.flat_values, piece, 2 * count + 1)
    gap, text = tf.unstack(tf.reshape(pieces[:-1], [count, 2]), axis=1)
    before = tf.cast(tf.gather(offset.row_starts(), start.value_rowids()), tf.int32)
    in_characters = lambda p: tf.searchsorted(at, p) - before  # noqa: E731
    return UnitText(
        *(start.with_values(t) for t in (text, gap, in_characters(first), in_characters(last)))
    )


def join(cut, keep, level, language):
    """Returns the text of the units that are kept.

    Sentences are joined by a space; in Chinese, by nothing. Words that follow each other in the text keep
    what is between them. Where words were dropped there is a space; but none before a punctuation mark or a
    clitic that is joined to the word before it in the text, none after an opening bracket, and in Chinese
    only between two words of Latin letters or digits.

    Args:
        cut: `UnitText`.
        keep: bool (units,), of all texts.
        level: "word" or "sentence".
        language: of the texts.

    Returns:
        string (batch,).
    """
    kept = tf.where(keep)[:, 0]
    row = cut.text.value_rowids()
    text, gap, rows = (tf.gather(t, kept) for t in (cut.text.values, cut.gap.values, row))
    shift = lambda t, first: tf.concat([[first], t], 0)[: tf.size(kept)]  # noqa: E731
    before = shift(kept, tf.constant(-1, kept.dtype))
    is_first = shift(rows, tf.constant(-1, rows.dtype)) != rows
    chinese = is_unseparated(language)
    if level == "sentence":
        separator = tf.fill(tf.shape(text), "" if chinese else " ")
    else:
        previous = shift(text, "")
        matches = tf.strings.regex_full_match
        if chinese:
            is_joined = ~(matches(text, LATIN) & matches(previous, LATIN))
        else:
            # The gap after the previous kept word, before the word that follows it in the text.
            next_gap = tf.gather(tf.concat([cut.gap.values, [""]], 0), before + 1)
            is_joined = (gap == "") & matches(text, CLOSES)
            is_joined |= (next_gap == "") & matches(previous, OPENS)
        separator = tf.where(before + 1 == kept, gap, tf.where(is_joined, "", " "))
    pieces = tf.where(is_first, "", separator) + text
    pieces = tf.RaggedTensor.from_value_rowids(pieces, rows, nrows=cut.text.nrows(), validate=False)
    return tf.strings.reduce_join(pieces, axis=1)
