"""Clean-up of input text and of its error messages, inside the graph."""

import tensorflow as tf


def clean(inputs):
    r"""Makes text valid UTF-8 whose lines end with "\n".

    Args:
        inputs: string (batch,).

    Returns:
        text: string (batch,). Invalid bytes are replaced by U+FFFD; "\r\n" and "\r" become "\n".
        error: string (batch,), what was wrong with each row; "" if nothing. Line ends are not an error.

    Example:

    >>> text, error = clean(tf.constant([b"a\r\nb", b"a\xff"]))
    >>> text.numpy()
    array([b'a\nb', b'a\xef\xbf\xbd'], dtype=object)
    >>> error.numpy()
    array([b'', b'invalid UTF-8 was replaced by U+FFFD'], dtype=object)
    """
    text = tf.strings.unicode_transcode(inputs, "UTF-8", "UTF-8", errors="replace")
    error = tf.where(text == inputs, "", "invalid UTF-8 was replaced by U+FFFD")
    return tf.strings.regex_replace(text, "\r\n?", "\n"), error


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
