"""Clean-up of input text and of its error messages, inside the graph."""

import tensorflow as tf


def clean(inputs, max_bytes=None):
    r"""Makes text valid UTF-8 whose lines end with "\n", and refuses inputs that are too long.

    Args:
        inputs: string (batch,).
        max_bytes: int, maximum size of an input in bytes, such as `config.max_request_bytes`; None: no
            limit.

    Returns:
        text: string (batch,). Invalid bytes are replaced by U+FFFD; "\r\n" and "\r" become "\n"; a byte
            order mark at the start is removed, which is never a part of the text. A refused input becomes
            "", before any other work, so that it costs the other rows nothing.
        error: string (batch,), what was wrong with each row; "" if nothing. Line ends and byte order marks
            are not an error.

    Example:

    >>> text, error = clean(tf.constant([b"a\r\nb", b"a\xff", b"abcdef"]), max_bytes=5)
    >>> text.numpy()
    array([b'a\nb', b'a\xef\xbf\xbd', b''], dtype=object)
    >>> error.numpy()[1:]
    array([b'invalid UTF-8 was replaced by U+FFFD',
           b'6 bytes: refused, because max_request_bytes is 5'], dtype=object)
    """
    refused = tf.fill(tf.shape(inputs), "")
    if max_bytes is not None:
        size = tf.strings.length(inputs)
        message = tf.strings.as_string(size) + (
            f" bytes: refused, because max_request_bytes is {max_bytes}"
        )
        refused = tf.where(size > max_bytes, message, "")
        inputs = tf.where(size > max_bytes, "", inputs)
    text = tf.strings.unicode_transcode(inputs, "UTF-8", "UTF-8", errors="replace")
    error = add_error(refused, text != inputs, "invalid UTF-8 was replaced by U+FFFD")
    text = tf.strings.regex_replace(text, r"^\x{feff}+", "")
    return tf.strings.regex_replace(text, "\r\n?", "\n"), error


# White space, control characters, and characters without a glyph: format characters such as U+200B and
# U+FEFF, variation selectors, the fillers of Hangul, the empty Braille pattern.
BLANK = (
    r"[\s\pZ\pC\x{034f}\x{115f}\x{1160}\x{17b4}\x{17b5}\x{180b}-\x{180f}\x{2800}\x{3164}"
    r"\x{fe00}-\x{fe0f}\x{ffa0}\x{e0100}-\x{e01ef}]*"
)


def is_blank(text):
    """Returns which texts have nothing to read: only white space, control and invisible characters.

    Args:
        text: string (batch,), valid UTF-8.

    Returns:
        bool (batch,).

    Example:

    >>> is_blank(tf.constant(["", " \\n", "\\u200b\\ufeff", "a"])).numpy()
    array([ True,  True,  True, False])
    """
    return tf.strings.regex_full_match(text, BLANK)


def lower(text):
    r"""Lower-cases text.

    `tf.strings.lower` cuts a text at a NUL, so a NUL becomes U+FFFD here.

    Args:
        text: string (batch,), valid UTF-8.

    Returns:
        string (batch,).

    Example:

    >>> [row.decode() for row in lower(tf.constant(["\u00c4b C", "A\0B"])).numpy()]
    ['äb c', 'a�b']
    """
    return tf.strings.lower(tf.strings.regex_replace(text, r"\x00", "\ufffd"), "utf-8")


def add_error(error, condition, message):
    """Appends a message to the errors of some rows; "; " separates it from earlier messages.

    Args:
        error: string (batch,), the messages so far; "" if none.
        condition: bool (batch,), the rows that get the message.
        message: a string, or string (batch,).

    Returns:
        string (batch,).

    Example:

    >>> error = tf.constant(["", "too long", ""])
    >>> add_error(error, [True, True, False], "no words").numpy()
    array([b'no words', b'too long; no words', b''], dtype=object)
    """
    return tf.where(condition, tf.where(error == "", message, error + "; " + message), error)
