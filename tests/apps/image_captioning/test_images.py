"""Decoding of image files in the graph, beside Pillow; and what is refused."""

import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from apps.image_captioning import images

SIZE = 48
LIMIT = 400_000
RNG = np.random.default_rng(0)
PIXELS = np.kron(RNG.integers(0, 255, (6, 5, 3)), np.ones((30, 40, 1))).astype(np.uint8)
PICTURE = Image.fromarray(PIXELS)


@pytest.fixture(scope="module")
def decode():
    """A function: list of files -> images and errors."""
    graph = tf.function(
        lambda files: images.decode(files, SIZE, LIMIT),
        input_signature=[tf.TensorSpec([None], tf.string)],
        autograph=False,
    )

    def decode_files(files):
        values, error = graph(tf.constant(files, tf.string))
        return values.numpy(), [e.decode() for e in error.numpy()]

    return decode_files


def encoded(picture, format_, **options):
    file = io.BytesIO()
    picture.save(file, format_, **options)
    return file.getvalue()


def with_orientation(value, byte_order):
    """A JPEG file whose EXIF data has the orientation after another entry."""
    entries = [(0x010F, 2, 1, b"A\0\0\0"), (0x0112, 3, 1, struct.pack(byte_order + "HH", value, 0))]
    table = struct.pack(byte_order + "H", len(entries))
    for tag, kind, count, content in entries:
        table += struct.pack(byte_order + "HHI", tag, kind, count) + content
    start = (b"II" if byte_order == "<" else b"MM") + struct.pack(byte_order + "HI", 42, 8)
    exif = b"Exif\0\0" + start + table + bytes(4)
    jpeg = encoded(PICTURE, "JPEG", quality=95)
    segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    return jpeg[:2] + segment + jpeg[2:]


def transparent():
    picture = PICTURE.convert("RGBA")
    picture.putalpha(Image.fromarray((PIXELS[..., 0] > 100).astype(np.uint8) * 255))
    return picture


def frames(count=4):
    return [
        Image.fromarray(
            np.kron(RNG.integers(0, 255, (5, 5, 3)), np.ones((20, 20, 1))).astype(np.uint8)
        )
        for _ in range(count)
    ]


def animated(format_):
    first, *others = frames()
    return encoded(first, format_, save_all=True, append_images=others)


def bmp_with_masks(*masks):
    """A BMP file of 32 bits per pixel whose header has the masks of red, green and blue."""
    bmp = encoded(PICTURE.convert("RGBA"), "BMP")
    begin = struct.unpack("<I", bmp[10:14])[0]
    header = bmp[14:30] + struct.pack("<I", 3) + bmp[34:54] + struct.pack("<3I", *masks)
    start = struct.pack("<2sIII", b"BM", len(bmp) - begin + 66, 0, 66)
    return start + header + bmp[begin:]


SUPPORTED = {
    "jpeg": encoded(PICTURE, "JPEG", quality=95),
    "progressive": encoded(PICTURE, "JPEG", quality=95, progressive=True),
    "gray jpeg": encoded(PICTURE.convert("L"), "JPEG", quality=95),
    "cmyk jpeg": encoded(PICTURE.convert("CMYK"), "JPEG", quality=95),
    "png": encoded(PICTURE, "PNG"),
    "interlaced": encoded(PICTURE, "PNG", interlace=True),
    "gray png": encoded(PICTURE.convert("L"), "PNG"),
    "palette": encoded(PICTURE.convert("P"), "PNG"),
    "transparent": encoded(transparent(), "PNG"),
    "16 bits": encoded(Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257), "PNG"),
    "gif": encoded(PICTURE.convert("P"), "GIF"),
    "bmp": encoded(PICTURE, "BMP"),
    "transparent bmp": encoded(PICTURE.convert("RGBA"), "BMP"),
    "masks bmp": bmp_with_masks(0xFF0000, 0xFF00, 0xFF),
    "webp": encoded(PICTURE, "WEBP", lossless=True),
    "transparent webp": encoded(transparent(), "WEBP", lossless=True),
    "transparent lossy webp": encoded(transparent(), "WEBP", quality=95),
    "lossy webp": encoded(PICTURE, "WEBP", quality=95),
    "1x1": encoded(Image.new("RGB", (1, 1), (9, 80, 200)), "PNG"),
    "animated gif": animated("GIF"),
    **{f"exif {i} {order}": with_orientation(i, order) for i in range(1, 9) for order in "<>"},
}


def expected(file):
    """Decodes and resizes with Pillow."""
    picture = ImageOps.exif_transpose(Image.open(io.BytesIO(file)))
    if picture.mode == "RGBA":
        white = Image.new("RGBA", picture.size, (255,) * 4)
        picture = Image.alpha_composite(white, picture)
    if picture.mode.startswith("I"):
        picture = Image.fromarray((np.array(picture) >> 8).astype(np.uint8))
    return np.asarray(picture.convert("RGB").resize((SIZE, SIZE), Image.BILINEAR), np.float32)


def test_supported_files_are_decoded_as_by_pillow(decode):
    values, errors = decode(list(SUPPORTED.values()))
    assert errors == [""] * len(SUPPORTED)
    for (name, file), value in zip(SUPPORTED.items(), values, strict=True):
        # JPEG decoders differ a little.
        assert np.abs(value - expected(file)).mean() < 1.5, name
        assert value.min() >= 0, name
        assert value.max() <= 255.01, name


def png_header(width, height):
    def chunk(kind, content):
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IEND", b"")


def resized_jpeg(width, height):
    """A JPEG file whose header names another size."""
    jpeg = encoded(PICTURE, "JPEG")
    place = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:place] + struct.pack(">HH", height, width) + jpeg[place + 4 :]


BMP_MESSAGE = "a BMP file with a palette, compression or unusual colour masks is not supported"
REFUSED = {
    "": "the input is empty",
    "text": "not an image file",
    "zeros": "not an image file",
    "tiff": "TIFF is not supported",
    "jpeg xl": "JPEG XL is not supported",
    "avif": "HEIC or AVIF is not supported",
    "animated webp": "animated WebP is not supported",
    "too long": "400001 bytes: refused, because max_request_bytes is 400000",
    "large png": "an image of 100 megapixels: refused",
    "large jpeg": "an image of 60 megapixels: refused",
    "largest jpeg": "an image of 4290 megapixels: refused",
    "large gif": "an image of 100 megapixels: refused",
    "large bmp": "an image of 100 megapixels: refused",
    "large webp": "an image of 100 megapixels: refused",
    "cut jpeg": "the image file is damaged",
    "cut png": "the image file is damaged",
    "cut bmp": "the image file is damaged",
    "start of bmp": "the image file is damaged",
    "palette bmp": BMP_MESSAGE,
    "gray bmp": BMP_MESSAGE,
    "two colours bmp": BMP_MESSAGE,
    "other masks bmp": BMP_MESSAGE,
    "cut gif": "the image file is damaged",
    "start of jpeg": "the image file is damaged",
    "png without pixels": "the image file is damaged",
}
REFUSED_FILES = {
    "": b"",
    "text": b"a photo of a dog",
    "zeros": bytes(100),
    "tiff": encoded(PICTURE, "TIFF"),
    "jpeg xl": b"\xff\x0a" + bytes(20),
    "avif": b"\0\0\0\x1cftypavif" + bytes(20),
    "animated webp": animated("WEBP"),
    "too long": SUPPORTED["jpeg"].ljust(LIMIT + 1, b"\0"),
    "large png": png_header(10_000, 10_000),
    "large jpeg": resized_jpeg(10_000, 6_000),
    "largest jpeg": resized_jpeg(65_500, 65_500),
    "large gif": b"GIF89a" + struct.pack("<HH", 10_000, 10_000) + bytes(20),
    "large bmp": b"BM" + bytes(12) + struct.pack("<Iii", 40, 10_000, -10_000) + bytes(30),
    "large webp": b"RIFF\x20\0\0\0WEBPVP8L\x10\0\0\0\x2f"
    + struct.pack("<I", 9_999 | 9_999 << 14)
    + bytes(20),
    "cut jpeg": SUPPORTED["jpeg"][:500],
    "cut bmp": SUPPORTED["bmp"][:500],
    "start of bmp": SUPPORTED["bmp"][:20],
    "palette bmp": encoded(PICTURE.convert("P"), "BMP"),
    "gray bmp": encoded(PICTURE.convert("L"), "BMP"),
    "two colours bmp": encoded(PICTURE.convert("1"), "BMP"),
    "other masks bmp": bmp_with_masks(0xFF, 0xFF00, 0xFF0000),
    "cut png": SUPPORTED["png"][:200],
    "cut gif": SUPPORTED["gif"][:900],
    "start of jpeg": b"\xff\xd8\xff",
    "png without pixels": png_header(20, 20),
}


def test_refused_files_say_why_and_leave_the_others_alone(decode):
    good = [SUPPORTED["jpeg"], SUPPORTED["png"], SUPPORTED["exif 6 <"]]
    alone, _ = decode(good)
    files = [good[0], *REFUSED_FILES.values(), *good[1:]]
    values, errors = decode(files)
    for name, error in zip(REFUSED_FILES, errors[1:-2], strict=True):
        assert error.startswith(REFUSED[name]), name
    assert [errors[0], *errors[-2:]] == [""] * 3
    np.testing.assert_array_equal(values[[0, -2, -1]], alone)
    assert not values[1:-2].any()


def test_whole_shapes_of_an_empty_batch(decode):
    values, errors = decode([])
    assert values.shape == (0, SIZE, SIZE, 3)
    assert errors == []


def test_a_gif_is_cut_behind_its_first_frame(decode):
    file = animated("GIF")
    cut = images.gif.first_frames(tf.constant([file, b"other"]), tf.constant([True, False])).numpy()
    assert cut[1] == b"other"
    assert len(cut[0]) < len(file) / 2
    with Image.open(io.BytesIO(cut[0])) as picture:
        assert picture.n_frames == 1
        first = np.array(picture.convert("RGB"))
    with Image.open(io.BytesIO(file)) as picture:
        np.testing.assert_array_equal(first, np.array(picture.convert("RGB")))


def test_a_jpeg_header_behind_many_segments(decode):
    segment = b"\xff\xe2" + struct.pack(">H", 60_000) + bytes(59_998)
    jpeg = resized_jpeg(10_000, 6_000)
    _, errors = decode([jpeg[:2] + 5 * segment + jpeg[2:]])
    assert errors[0].startswith("an image of 60 megapixels")
    _, errors = decode([jpeg[:2] + b"\xff" * 400 + jpeg[2:]])
    assert errors == ["the image file is damaged"]
    endless = b"\xff\xd8" + b"\xff\xe2\0\x02" * 50_000
    _, errors = decode([endless])
    assert errors == ["the image file is damaged"]


FUZZ = """
import numpy as np, tensorflow as tf
from apps.image_captioning import images
from tests.apps.image_captioning.test_images import SUPPORTED, animated
graph = tf.function(lambda files: images.decode(files, 16, 10**6), autograph=False,
                    input_signature=[tf.TensorSpec([None], tf.string)])
rng = np.random.default_rng(1)
files = [*SUPPORTED.values(), animated("WEBP")]
good = SUPPORTED["png"]
alone = graph(tf.constant([good]))[0].numpy()
for _ in range(25):
    batch = []
    for file in files:
        file = np.frombuffer(file, np.uint8).copy()
        begin = int(rng.integers(len(file)))
        places = rng.integers(begin, min(len(file), begin + 200), 5)
        places = np.concatenate([places, rng.integers(0, min(40, len(file)), 2)])
        file[places] = rng.integers(0, 256, len(places))
        length = rng.integers(1, len(file) + 1) if rng.random() < 0.3 else len(file)
        batch.append(file[:length].tobytes())
    values, errors = graph(tf.constant([*batch, good]))
    assert np.isfinite(values).all()
    assert errors[-1] == b""
    np.testing.assert_array_equal(values[-1:], alone)
print("survived")
"""


def test_damaged_files_do_not_end_the_process():
    """In a process of its own, because a decoder could abort it."""
    process = subprocess.run(
        [sys.executable, "-c", FUZZ], capture_output=True, text=True, check=False
    )
    assert process.stdout == "survived\n", process.stderr[-2000:]
