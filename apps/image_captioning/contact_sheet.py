"""A picture of images with their captions, references and attention maps."""

import io
import textwrap
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from shared import plots
from shared.files import written

MAX_TOKENS = 12  # attention maps of a caption that are shown


class Row(NamedTuple):
    """An image and its caption; `attention` is float (tokens, height, width)."""

    title: str
    file: bytes
    caption: str
    references: list[str]
    tokens: list[str]
    attention: np.ndarray


def write(rows, path):
    """Writes a PNG file: for each row the image, its captions, and a map for each token.

    Args:
        rows: list of `Row`.
        path: the PNG file.
    """
    from matplotlib.figure import Figure

    with plots.fonts_for_all_scripts():
        maps = max([1, *(min(len(row.tokens), MAX_TOKENS) for row in rows)])
        figure = Figure(figsize=(4.5 + 1.2 * maps, 2.2 * len(rows)), layout="constrained")
        grid = figure.add_gridspec(len(rows), maps + 2, width_ratios=[1.6, 2.1, *[1] * maps])
        for i, row in enumerate(rows):
            image = _opened(row.file)
            axis = figure.add_subplot(grid[i, 0])
            axis.imshow(image)
            axis.axis("off")
            axis = figure.add_subplot(grid[i, 1])
            axis.axis("off")
            lines = [row.title, "", f"> {row.caption}", "", *row.references[:5]]
            text = "\n".join(textwrap.fill(line, 38) if line else "" for line in lines)
            axis.text(0, 1, text, va="top", fontsize=7, transform=axis.transAxes)
            pairs = zip(row.tokens[:MAX_TOKENS], row.attention, strict=False)
            for k, (token, weights) in enumerate(pairs):
                axis = figure.add_subplot(grid[i, 2 + k])
                axis.imshow(image)
                heat = Image.fromarray(np.asarray(weights / max(weights.max(), 1e-9), np.float32))
                # As an array: matplotlib does not read images of floats.
                heat = np.asarray(heat.resize((160, 160), Image.BICUBIC))
                axis.imshow(heat, cmap="gray", alpha=0.65, vmin=0, vmax=1)
                axis.set_title(token, fontsize=8)
                axis.axis("off")
        with written(path) as partial:
            figure.savefig(partial, format="png", dpi=80)


def _opened(file):
    """Returns an image as the model sees it, squared; a gray one if the file is damaged."""
    try:
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(file)))
        return image.convert("RGB").resize((160, 160))
    except Exception:  # Pillow raises many types for a damaged file
        return Image.new("RGB", (160, 160), "gray")
