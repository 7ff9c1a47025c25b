"""Image files for the tests."""

import io

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def image_file():
    """A function: seed -> a PNG file of 20 x 30 pixels."""

    def make(seed=0, format_="PNG"):
        pixels = np.random.default_rng(seed).integers(0, 255, (4, 6, 3)).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(np.kron(pixels, np.ones((5, 5, 1), np.uint8))).save(file, format_)
        return file.getvalue()

    return make


@pytest.fixture
def folder(tmp_path, image_file):
    """A folder of images with captions.{train,valid,test}.tsv."""
    (tmp_path / "images").mkdir()
    rows = {"train": range(6), "valid": range(6, 8), "test": range(8, 10)}
    for name, numbers in rows.items():
        lines = []
        for i in numbers:
            (tmp_path / "images" / f"{i}.png").write_bytes(image_file(i))
            lines += [f"{i}.png\tPicture {i % 3} , a test .\n", f"{i}.png\tthe picture {i % 3}\n"]
        (tmp_path / f"captions.{name}.tsv").write_text("".join(lines))
    return tmp_path
