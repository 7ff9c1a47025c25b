"""Image files to tensors, inside the graph. A row that is not an image does not affect the others.

The headers of a file tell its format and its size. What is refused is never decoded, because a file of a few
kilobytes can have hundreds of megapixels.
"""

import tensorflow as tf

from shared.text.cleaning import add_error

from . import gif, jpeg

MAX_PIXELS = 50_000_000
HEADER = 64  # bytes of a file in which the format and the size are found
BITFIELDS = 3  # the kind of compression of a BMP file that has colour masks
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WebP")
JPEG, PNG, GIF, BMP, WEBP = range(5)
MAGIC = {  # the first bytes of each format; None: any byte
    JPEG: b"\xff\xd8\xff",
    PNG: b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    GIF: b"GIF8",
    BMP: b"BM",
}
# Formats that are named in the error message, because a user could take them for supported ones.
UNSUPPORTED = {
    "TIFF": (b"II*\0", b"MM\0*"),
    "JPEG XL": (b"\xff\x0a", b"\0\0\0\x0cJXL "),
    "HEIC or AVIF": (b"\0\0\0?ftyp",),
    "PDF": (b"%PDF",),
}


def decode(inputs, size, max_bytes):
    """Decodes image files and resizes them to squares; the aspect ratio is not kept.

    JPEG files are turned as their EXIF orientation says. Transparent pixels become white. Of a
    GIF file, the first frame is used.

    Args:
        inputs: string (batch,), JPEG, PNG, GIF, BMP or WebP files.
        size: height and width of the results.
        max_bytes: size of a file above which it is refused.

    Returns:
        images: float32 (batch, size, size, 3), RGB from 0 to 255; zeros for rows with an error.
        error: string (batch,), why a row was not decoded; "" if it was.
    """
    bytes_ = tf.strings.length(inputs)
    too_long = bytes_ > max_bytes
    inputs = tf.where(too_long, "", inputs)
    message = tf.strings.as_string(bytes_) + (
        f" bytes: refused, because max_request_bytes is {max_bytes}"
    )
    error = tf.where(too_long, message, "")
    header = _header(inputs)
    kind, animated = _kind(header), _is_animated_webp(header)
    pixels, orientation = jpeg.read_header(inputs, kind == JPEG)
    pixels = tf.where(kind == JPEG, pixels, _pixels(header))
    error = add_error(error, (inputs == "") & ~too_long, "the input is empty")
    known = kind >= 0
    for name, beginnings in UNSUPPORTED.items():
        matches = tf.reduce_any([_starts_with(header, b) for b in beginnings], 0)
        error = add_error(error, matches & ~known & (error == ""), f"{name} is not supported")
    is_other = ~known & (error == "")
    error = add_error(error, is_other, f"not an image file ({', '.join(FORMATS)})")
    error = add_error(error, animated, "animated WebP is not supported")
    message = "a BMP file with a palette, compression or unusual colour masks is not supported"
    error = add_error(error, (kind == BMP) & ~_is_plain_bmp(header), message)
    has_no_size = (kind == JPEG) & (pixels == 0)
    error = add_error(error, has_no_size, "the image file is damaged")
    error = add_error(error, pixels > MAX_PIXELS, _too_many_pixels(pixels))
    inputs = gif.first_frames(inputs, (error == "") & (kind == GIF))
    images, is_damaged = _decode_rows(inputs, error == "", _has_alpha(header), size)
    error = add_error(error, is_damaged, "the image file is damaged")
    return _turned(images, orientation), error


def _too_many_pixels(pixels):
    limit = MAX_PIXELS // 1_000_000
    count = tf.strings.as_string(pixels // 1_000_000)
    return "an image of " + count + f" megapixels: refused, because the limit is {limit}"


def _header(inputs):
    """Returns the first bytes of each file, int32 (batch, HEADER), padded with 0."""
    padding = "\0" * HEADER
    # A last row, so that an empty batch has columns too.
    rows = tf.concat([tf.strings.substr(inputs, 0, HEADER), [padding]], 0)
    rows = tf.strings.substr(rows + padding, 0, HEADER)
    return tf.cast(tf.io.decode_raw(rows, tf.uint8), tf.int32)[:-1]


def _starts_with(header, beginning):
    """Whether each file starts with some bytes, of which "?" is any; bool (batch,)."""
    values = [(i, byte) for i, byte in enumerate(beginning) if byte != ord("?")]
    return tf.reduce_all([header[:, i] == byte for i, byte in values], 0)


def _kind(header):
    """Returns the format of each file, int32 (batch,), an index into FORMATS; -1 for others."""
    kind = tf.fill(tf.shape(header)[:1], -1)
    for format_, beginning in MAGIC.items():
        kind = tf.where(_starts_with(header, beginning), format_, kind)
    return tf.where(_starts_with(header, b"RIFF????WEBP"), WEBP, kind)


def _is_animated_webp(header):
    return _starts_with(header, b"RIFF????WEBPVP8X") & (header[:, 20] // 2 % 2 == 1)


def _is_plain_bmp(header):
    """Whether a BMP file has 24 or 32 bits per pixel, no compression and no unusual masks; bool (batch,).

    The op ignores a palette and colour masks, and gives other colours. A file that ends within its header
    is left to the op, which fails.
    """
    is_old = _number(header, 14, 4) == 12  # BITMAPCOREHEADER
    bits = tf.where(is_old, _number(header, 24, 2), _number(header, 28, 2))
    compression = tf.where(is_old, tf.cast(0, tf.int64), _number(header, 30, 4))
    # Colour masks that describe the usual order: blue, green, red.
    has_usual_masks = (_number(header, 54, 4) == 0xFF0000) & (_number(header, 58, 4) == 0xFF00)
    is_plain = (compression == 0) | ((compression == BITFIELDS) & has_usual_masks)
    return (bits == 0) | (((bits == 24) | (bits == 32)) & is_plain)


def _has_alpha(header):
    """Whether pixels may be transparent, bool (batch,): all PNG files, and WebP files with this flag."""
    flags = {b"VP8X": (20, 16), b"VP8L": (24, 16)}  # byte and bit of the flag
    webp = [
        _starts_with(header, b"RIFF????WEBP" + name) & (header[:, byte] // bit % 2 == 1)
        for name, (byte, bit) in flags.items()
    ]
    return tf.reduce_any([_kind(header) == PNG, *webp], 0)


def _number(header, begin, count, big_endian=False):
    """Returns the unsigned number of `count` bytes at `begin`, int64 (batch,)."""
    columns = [tf.cast(header[:, begin + i], tf.int64) for i in range(count)]
    columns = columns[::-1] if big_endian else columns
    return tf.add_n([column * 256**i for i, column in enumerate(columns)])


def _pixels(header):
    """Returns the number of pixels of each file, int64 (batch,); 0 where the header does not tell it."""
    number = lambda *args: _number(header, *args)  # noqa: E731
    signed = lambda begin: tf.abs(((number(begin, 4) + 2**31) % 2**32) - 2**31)  # noqa: E731
    is_old_bmp = number(14, 4) == 12  # BITMAPCOREHEADER
    lossless = number(21, 4)
    sizes = {
        "PNG": (number(16, 4, True), number(20, 4, True)),
        "GIF": (number(6, 2), number(8, 2)),
        "BMP": (
            tf.where(is_old_bmp, number(18, 2), signed(18)),
            # A negative height: the first row is at the top.
            tf.where(is_old_bmp, number(20, 2), signed(22)),
        ),
        "VP8 ": (number(26, 2) % 0x4000, number(28, 2) % 0x4000),
        "VP8L": (lossless % 0x4000 + 1, (lossless // 0x4000 % 0x4000) + 1),
        "VP8X": (number(24, 3) + 1, number(27, 3) + 1),
    }
    kind = _kind(header)
    pixels = tf.zeros_like(kind, tf.int64)
    for name, (width, height) in sizes.items():
        is_this = (
            kind == FORMATS.index(name)
            if name in FORMATS
            else _starts_with(header, b"RIFF????WEBP" + name.encode())
        )
        pixels = tf.where(is_this, width * height, pixels)
    return pixels


def _decode_rows(inputs, is_read, has_alpha, size):
    """Decodes some rows.

    Args:
        inputs: string (batch,).
        is_read: bool (batch,), the rows that are decoded.
        has_alpha: bool (batch,), whether pixels may be transparent.
        size: height and width of the results.

    Returns:
        images: float32 (batch, size, size, 3), zeros for the other rows and for damaged files.
        is_damaged: bool (batch,).
    """

    def with_alpha(file):
        image = tf.io.decode_image(file, channels=4, expand_animations=False)
        image = tf.cast(image, tf.float32)
        opacity = image[..., 3:] / 255
        return image[..., :3] * opacity + 255 * (1 - opacity)

    def opaque(file):
        return tf.io.decode_image(file, channels=3, expand_animations=False)

    parts = [
        _decode_with(decoder, inputs, tf.where(rows)[:, 0], size)
        for decoder, rows in ((with_alpha, is_read & has_alpha), (opaque, is_read & ~has_alpha))
    ]
    decoded, images = (tf.concat(part, 0) for part in zip(*parts, strict=True))
    decoded, batch = decoded[:, tf.newaxis], tf.shape(inputs, tf.int64)
    images = tf.scatter_nd(decoded, images, tf.concat([batch, [size, size, 3]], 0))
    is_decoded = tf.scatter_nd(decoded, tf.ones_like(decoded[:, 0]), batch) > 0
    return tf.ensure_shape(images, [None, size, size, 3]), is_read & ~is_decoded


def _decode_with(decoder, inputs, rows, size):
    """Decodes some rows, one after the other, so that memory holds one image at full size.

    A dataset is the only way to continue after an op that fails. Its function is instantiated at each
    request: it is short, and used only if there are rows.

    Returns:
        the rows that were decoded, int64 (n,); and images, float32 (n, size, size, 3).
    """
    nothing = tf.zeros([0], tf.int64), tf.zeros([0, size, size, 3])

    def decode_row(row, file):
        image = tf.image.resize(decoder(file), [size, size], antialias=True)
        return row, tf.ensure_shape(image, [size, size, 3])

    def decode_all():
        options = tf.data.Options()
        options.autotune.enabled = False
        dataset = tf.data.Dataset.from_tensor_slices((rows, tf.gather(inputs, rows)))
        dataset = dataset.map(decode_row).ignore_errors().batch(tf.size(rows, tf.int64))
        return dataset.with_options(options).reduce(nothing, lambda _, batch: batch)

    return tf.cond(tf.size(rows) > 0, decode_all, lambda: nothing)


def _turned(images, orientation):
    """Turns square images as EXIF's orientation, 1 to 8, says: transposed, then mirrored.

    Most images are upright: only the others are read and written.
    """
    rows = tf.where(orientation != 1)

    def turn():
        turned = _turned_all(tf.gather_nd(images, rows), tf.gather_nd(orientation, rows))
        return tf.tensor_scatter_nd_update(images, rows, turned)

    return tf.cond(tf.size(rows) > 0, turn, lambda: images)


def _turned_all(images, orientation):
    def is_one_of(*values):
        is_this = tf.reduce_any(orientation[:, tf.newaxis] == list(values), 1)
        return is_this[:, tf.newaxis, tf.newaxis, tf.newaxis]

    images = tf.where(is_one_of(5, 6, 7, 8), tf.transpose(images, [0, 2, 1, 3]), images)
    images = tf.where(is_one_of(2, 3, 6, 7), images[:, :, ::-1], images)
    return tf.where(is_one_of(3, 4, 7, 8), images[:, ::-1], images)
