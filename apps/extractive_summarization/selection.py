"""Which units are kept: at least one, or as many as are asked for."""

import tensorflow as tf

HAS_WORD = r"(?s).*[\pL\pN].*"
DECIMALS = 1_000_000  # precision of a ratio


def at_least_one(keep, probability, cut):
    """Keeps the most probable unit of each text in which none is kept.

    Args:
        keep: bool (units,), of all texts.
        probability: float32 (units,).
        cut: `unit_text.UnitText`.

    Returns:
        bool (units,).
    """
    row, rows = cut.text.value_rowids(), cut.text.nrows()
    has_one = tf.math.unsorted_segment_max(tf.cast(keep, tf.int32), row, rows) > 0
    one = most_probable(tf.where(has_one, tf.zeros_like(rows), 1), probability, cut)
    return keep | one


def rounded(ratio, count):
    """Returns round-half-up(ratio * count), at least 1, int64 (batch,).

    Args:
        ratio: float32 (batch,), from 0 to 1. It is read with six decimals: in 32 bits, 0.35 is a little less.
        count: int64 (batch,).
    """
    parts = tf.cast(tf.round(tf.cast(ratio, tf.float64) * DECIMALS), tf.int64)
    return tf.maximum((2 * parts * count + DECIMALS) // (2 * DECIMALS), 1)


def most_probable(count, probability, cut, allowed=None):
    """Keeps the most probable units of each text; of equal ones, the first.

    The first that is chosen has a letter or a digit, if any has: a full stop alone is no summary.

    Args:
        count: int64 (batch,), how many are kept in each text; fewer if there are fewer.
        probability: float32 (units,), of all texts.
        cut: `unit_text.UnitText`.
        allowed: bool (units,), those that may be kept; None: all.

    Returns:
        bool (units,).
    """
    row = cut.text.value_rowids()
    is_word = tf.strings.regex_full_match(cut.text.values, HAS_WORD)
    allowed = tf.ones_like(is_word) if allowed is None else allowed
    rows = cut.text.nrows()
    key = tf.where(is_word & allowed, probability, -1.0)
    best = tf.gather(tf.math.unsorted_segment_max(key, row, rows), row)
    place = tf.where((key == best) & (best >= 0), tf.range(tf.size(row)), tf.size(row))
    first = tf.gather(tf.math.unsorted_segment_min(place, row, rows), row)
    key = probability + tf.where(place == first, 2.0, 0.0)
    rank = _ranks(tf.where(allowed, key, -1.0), row, cut.text.row_starts())
    return (rank < tf.gather(count, row)) & allowed


def in_best_sentences(found, probability, limit):
    """Returns which tokens are in the sentences with the highest mean probability, bool (tokens,).

    Args:
        found: `units.Units` of the level word.
        probability: float32 (tokens,), of all texts.
        limit: int64 (batch,), the maximum number of sentences of each text.
    """
    row = tf.cast(found.row, tf.int64)
    mean = tf.math.unsorted_segment_mean(probability, found.token_sentence, tf.size(row))
    # A sentence without tokens is never chosen before another.
    mean = tf.where(found.words.row_lengths() > 0, mean, -1.0)
    count = tf.math.bincount(found.row, minlength=tf.size(limit, tf.int32), dtype=tf.int64)
    rank = _ranks(mean, row, tf.cumsum(count, exclusive=True))
    return tf.gather(rank < tf.gather(limit, row), found.token_sentence)


def _ranks(key, row, starts):
    """Returns the rank of each value in its row, from 0 for the greatest; of equal ones, the first is before.

    Args:
        key: float32 (n,).
        row: int64 (n,), ascending.
        starts: int64 (batch,), the place of the first value of each row.

    Returns:
        int64 (n,).
    """
    order = tf.argsort(key, direction="DESCENDING", stable=True)
    order = tf.gather(order, tf.argsort(tf.gather(row, order), stable=True))
    place = tf.cast(tf.math.invert_permutation(order), tf.int64)
    return place - tf.gather(starts, row)
