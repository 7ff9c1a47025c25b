"""The first frame of GIF files, inside the graph."""

import tensorflow as tf

MAX_BLOCKS = 20_000  # blocks of a first frame, of at most 255 bytes each


def first_frames(inputs, is_gif):
    """Cuts GIF files behind their first frame, because the decoder reads all frames into memory.

    Args:
        inputs: string (batch,).
        is_gif: bool (batch,); the other rows are returned unchanged.

    Returns:
        string (batch,).
    """
    rows = tf.where(is_gif)

    def cut():
        files = tf.map_fn(_first_frame, tf.gather(inputs, rows[:, 0]))
        return tf.tensor_scatter_nd_update(inputs, rows, files)

    return tf.cond(tf.size(rows) > 0, cut, lambda: inputs)


def _first_frame(file):
    values = tf.io.decode_raw(file + "\0" * 16, tf.uint8)
    end = tf.size(values) - 16
    at = lambda place: tf.cast(values[tf.minimum(place, end)], tf.int32)  # noqa: E731
    table = lambda flags: tf.where(flags >= 0x80, 6 * 2 ** (flags % 8), 0)  # noqa: E731

    def skip(count, place, in_blocks, seen):
        # A block of data begins with its length; 0 ends the blocks of an extension or of a frame.
        first = at(place)
        is_frame, is_extension = ~in_blocks & (first == 0x2C), ~in_blocks & (first == 0x21)
        step = tf.where(in_blocks, 1 + first, end)
        step = tf.where(is_frame, 11 + table(at(place + 9)), tf.where(is_extension, 2, step))
        in_blocks = tf.where(in_blocks, first > 0, is_frame | is_extension)
        return count + 1, place + step, in_blocks, seen | is_frame

    def goes_on(count, place, in_blocks, seen):
        return (count < MAX_BLOCKS) & (place < end) & (in_blocks | ~seen)

    initial = (0, 13 + table(at(10)), tf.constant(False), tf.constant(False))
    _, place, *_ = tf.while_loop(goes_on, skip, initial)
    return tf.strings.substr(file, 0, tf.minimum(place, end)) + ";"
