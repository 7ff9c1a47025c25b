"""Clean-up of text, and error messages of rows."""

import tensorflow as tf

from shared.text.cleaning import add_error, clean, is_blank, lower

VALID = [
    "plain text",
    "no-break\u00a0space, ideographic\u3000space, line\u2028separator, next\x85line",
    " tab\tvertical \x0bfeed \x0c, nul\0byte, two  spaces ",
    "\u6f22\u5b57 e\u0301 \u00e9 \U0001f469\u200d\U0001f467 \U0010ffff",
    "mark \ufeff within, zero\u200bwidth, \x1cfile \x1dgroup \x1erecord \x1funit",
    "a replaced \ufffd one",
    "",
]
# An invalid byte, a truncated character, a surrogate, an overlong "/", and a code point that is too large.
INVALID = [b"a\xff b", b"ok \xe6\xbc", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80"]


def strings(tensor):
    return [value.decode() for value in tensor.numpy()]


def test_invalid_utf8_is_replaced_and_reported():
    valid = [text.encode() for text in VALID]
    rows = [row for pair in zip(valid, INVALID, strict=False) for row in pair]
    text, error = clean(tf.constant(rows))
    for row, cleaned, message in zip(rows, text.numpy(), error.numpy(), strict=True):
        if row in INVALID:
            assert b"U+FFFD" in message
            assert "\ufffd" in cleaned.decode()
        else:
            assert message == b""
            assert cleaned == row


def test_valid_text_is_unchanged():
    text, error = clean(tf.constant(VALID))
    assert strings(text) == VALID
    assert strings(error) == [""] * len(VALID)


def test_line_ends_are_normalised_without_an_error():
    text, error = clean(tf.constant(["a\r\nb", "a\rb", "a\r\r\nb", "\ufffd", ""]))
    assert strings(text) == ["a\nb", "a\nb", "a\n\nb", "\ufffd", ""]
    assert strings(error) == [""] * 5


def test_a_byte_order_mark_at_the_start_is_removed_without_an_error():
    rows = [
        "\ufeffa",
        "\ufeff",
        "\ufeff\ufeffa\ufeff",
        "a\ufeff",
        "\n\ufeffa",
        " \ufeff",
        "\ufeff\r\na",
    ]
    text, error = clean(tf.constant(rows))
    expected = ["a", "", "a\ufeff", "a\ufeff", "\n\ufeffa", " \ufeff", "\na"]
    assert strings(text) == expected
    assert strings(error) == [""] * len(rows)
    assert strings(clean(text)[0]) == expected
    _, error = clean(tf.constant([b"\xef\xbb\xbfa\xff"]))
    assert strings(error) == ["invalid UTF-8 was replaced by U+FFFD"]


def test_add_error_appends_to_earlier_messages():
    error = tf.constant(["", "first", "", "first"])
    error = add_error(error, tf.constant([True, True, False, False]), "second")
    assert strings(error) == ["second", "first; second", "", "first"]
    third = tf.constant(["a", "b", "c", "d"])
    error = add_error(error, tf.constant([True, False, True, True]), "third: " + third)
    assert strings(error) == ["second; third: a", "first; second", "third: c", "first; third: d"]


def test_inputs_above_the_limit_are_refused():
    rows = [b"abcde", b"abcdef", "\u6f22\u5b57".encode(), b"\xff" * 6, b""]
    text, error = clean(tf.constant(rows), max_bytes=5)
    assert strings(text) == ["abcde", "", "", "", ""]
    message = "6 bytes: refused, because max_request_bytes is 5"
    assert strings(error) == ["", message, message, message, ""]


def test_blank_text():
    blank = [
        "",
        " ",
        "\t\n\x0b\r ",
        "\u00a0\u3000\u2028",
        "\u200b\u200d\u2060\ufeff\u00ad",
        "\0\x1f",
    ]
    blank += ["\ufe0f", "\u115f\u3164\uffa0", "\u2800", "\U000e0001\U000e0100"]
    other = ["a", " . ", "\u4f60", "\U0001f600", "\u0301", "\ufffd", "\u200b1"]
    assert is_blank(tf.constant(blank)).numpy().tolist() == [True] * len(blank)
    assert is_blank(tf.constant(other)).numpy().tolist() == [False] * len(other)


def test_no_rows():
    text, error = clean(tf.constant([], tf.string))
    assert text.shape == error.shape == (0,)
    assert add_error(error, tf.constant([], tf.bool), "message").shape == (0,)


def test_lower_keeps_what_follows_a_nul():
    rows = ["\u00c4B \u0130", "A\0B\0", "\0", "\u6f22A", ""]
    assert strings(lower(tf.constant(rows))) == [
        "\u00e4b i\u0307",
        "a\ufffdb\ufffd",
        "\ufffd",
        "\u6f22a",
        "",
    ]
    assert lower(tf.constant([], tf.string)).shape == (0,)
