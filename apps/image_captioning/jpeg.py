"""The header of JPEG files, inside the graph: size and EXIF orientation, without decoding."""

import tensorflow as tf

MAX_SEGMENTS = 200  # segments of a file that are read; cameras write up to about 60
EXIF_BYTES = 2048  # bytes of the EXIF data in which the orientation is found
# Start-of-frame markers; 0xC4, 0xC8 and 0xCC in between have other meanings.
START_OF_FRAME = [0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF]


def read_header(inputs, is_jpeg):
    """Reads the sizes and orientations of JPEG files.

    Args:
        inputs: string (batch,).
        is_jpeg: bool (batch,); the other rows are not read.

    Returns:
        pixels: int64 (batch,), width times height; 0 if it was not found.
        orientation: int32 (batch,), 1 to 8 as in EXIF; 1, upright, if it was not found.
    """
    rows = tf.where(is_jpeg)
    batch = tf.shape(inputs, tf.int64)
    files = tf.gather(inputs, rows[:, 0])
    pixels, exif = _walk(files)
    orientation = _orientation(files, exif)
    return (
        tf.scatter_nd(rows, pixels, batch),
        1 + tf.scatter_nd(rows, orientation - 1, batch),
    )


def _bytes(files, begin, count):
    """Returns `count` bytes of each file from `begin`, int32 (batch, count); 0 after its end."""
    padding = "\0" * count
    begin = tf.minimum(begin, tf.strings.length(files))
    parts = tf.strings.substr(files, begin, tf.fill(tf.shape(begin), count)) + padding
    # A last row, so that an empty batch has columns too.
    parts = tf.concat([tf.strings.substr(parts, 0, count), [padding]], 0)
    parts = tf.ensure_shape(tf.io.decode_raw(parts, tf.uint8), [None, count])
    return tf.cast(parts, tf.int32)[:-1]


def _walk(files):
    """Walks through the segments of each file up to the start of its frame.

    Returns:
        pixels: int64 (batch,), 0 if there is no frame; exif: int32 (batch,), where the EXIF data begins, or
        -1.
    """

    def read_segment(count, place, is_open, pixels, exif):
        b = _bytes(files, place, 10)
        marker, length = b[:, 1], 256 * b[:, 2] + b[:, 3]
        is_marker = b[:, 0] == 0xFF
        is_fill = is_marker & (marker == 0xFF)
        is_frame = is_marker & tf.reduce_any(marker[:, tf.newaxis] == START_OF_FRAME, 1)
        height, width = (tf.cast(256 * b[:, i] + b[:, i + 1], tf.int64) for i in (5, 7))
        size = height * width
        pixels = tf.where(is_open & is_frame, size, pixels)
        is_exif = is_marker & (marker == 0xE1)
        is_exif &= tf.reduce_all(b[:, 4:] == list(b"Exif\0\0"), 1)
        exif = tf.where(is_open & is_exif & (exif < 0), place + 10, exif)
        is_open &= is_marker & ~is_frame & (is_fill | (length >= 2))
        place += tf.where(is_open, tf.where(is_fill, 1, 2 + length), 0)
        return count + 1, place, is_open, pixels, exif

    zeros = tf.zeros(tf.shape(files), tf.int32)
    initial = (0, zeros + 2, zeros == 0, tf.cast(zeros, tf.int64), zeros - 1)
    *_, pixels, exif = tf.while_loop(
        lambda count, place, is_open, *_: (count < MAX_SEGMENTS) & tf.reduce_any(is_open),
        read_segment,
        initial,
    )
    return pixels, exif


def _orientation(files, exif):
    """Returns the orientation in the EXIF data, a TIFF file: byte order, 42, the place of a table."""
    b = _bytes(files, tf.maximum(exif, 0), EXIF_BYTES)
    is_little = b[:, 0] == ord("I")

    def two(place):  # the number of two bytes at `place`, int32 (batch, n)
        first, second = (
            tf.gather(b, tf.clip_by_value(place + i, 0, EXIF_BYTES - 1), batch_dims=1)
            for i in (0, 1)
        )
        return tf.where(is_little[:, tf.newaxis], first + 256 * second, 256 * first + second)

    # The place is a number of four bytes, of which two are enough.
    table = two(tf.where(is_little, 4, 6)[:, tf.newaxis])
    count = two(table)
    n = tf.range(EXIF_BYTES // 12)
    entries = table + 2 + 12 * n  # (batch, n)
    is_orientation = (n < count) & (two(entries) == 0x0112) & (entries < EXIF_BYTES - 12)
    value = tf.reduce_max(tf.where(is_orientation, two(entries + 8), 0), 1)
    return tf.where((exif >= 0) & (value >= 1) & (value <= 8), value, 1)
