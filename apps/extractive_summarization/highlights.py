"""Examples with their kept units highlighted, as an HTML page and as a picture."""

import html
import re
from typing import NamedTuple

import numpy as np

from shared import plots
from shared.files import write_text, written

from .oracle import CJK

KINDS = {  # name: (red, green, blue), legend
    "hit": ((44, 160, 60), "kept, as in the reference"),
    "extra": ((255, 140, 20), "kept, but not in the reference"),
    "missed": ((40, 90, 200), "in the reference, but dropped"),
    "dropped": ((120, 120, 120), "dropped, as in the reference"),
}
ATOM = re.compile(rf"\s+|[{CJK}]|[^\s{CJK}]{{1,40}}")  # what may stand alone on a line
MAX_CHARACTERS = 1500  # of a text in the picture
DPI, WIDTH, MARGIN, FONT_SIZE, LINE = 100, 1000, 16, 9, 21  # pixels, except the font size


class Example(NamedTuple):
    """A text with its labels.

    Attributes:
        title: str, such as its name and its F1.
        text: str.
        units: list of (start, limit), byte offsets.
        labels: list of 0 and 1, the reference.
        outputs: list of 0 and 1.
        probabilities: list of float, that each unit is kept; None: they are not known.
    """

    title: str
    text: str
    units: list
    labels: list
    outputs: list
    probabilities: list | None = None


def choose(scores, count=2):
    """Returns the best, median and worst examples, without repetition.

    Args:
        scores: float (examples,), higher is better.
        count: number of examples of each kind.

    Returns:
        a list of (name, index).

    Example:

    >>> choose([0.5, 0.9, 0.1], 1)
    [('best', 1), ('median', 0), ('worst', 2)]
    """
    order = np.argsort(-np.asarray(scores), kind="stable").tolist()
    middle = max(0, (len(order) - count) // 2)
    parts = {
        "best": order[:count],
        "worst": order[max(count, len(order) - count) :],
        "median": order[middle : middle + count],
    }
    names = {}
    for name, part in parts.items():
        for index in part:
            names.setdefault(index, name)
    return [(n, i) for n in ("best", "median", "worst") for i in order if names.get(i) == n]


def write_html(examples, path, heading="Summaries"):
    """Writes one HTML page without other files: kept units against the reference, shaded by probability.

    Args:
        examples: list of `Example`.
        path: the .html file.
        heading: of the page.
    """
    legend = " ".join(
        f'<span class="{name}" style="background:{_css(name, 0.8)}">{html.escape(text)}</span>'
        for name, (_, text) in KINDS.items()
    )
    body = []
    for example in examples:
        spans = []
        for text, kind, probability in _segments(example):
            escaped = html.escape(_printable(text, keep="\n\t"))
            if kind is None:
                spans.append(escaped)
                continue
            about = KINDS[kind][1]
            if example.probabilities is not None:
                about = f"{about}; probability {probability:.2f}"
            style = f"background:{_css(kind, _shade(kind, probability))}"
            spans.append(f'<span class="{kind}" style="{style}" title="{about}">{escaped}</span>')
        body.append(f"<h2>{html.escape(example.title)}</h2>\n<p>{''.join(spans)}</p>")
    write_text(path, PAGE.format(heading=html.escape(heading), legend=legend, body="\n".join(body)))


PAGE = """<!DOCTYPE html>
<html>
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{heading}</title>
<style>
body {{ font: 16px/1.7 sans-serif; max-width: 56em; margin: 2em auto; padding: 0 1em; color: #111 }}
html {{ background: #fff }}
p {{ white-space: pre-wrap; overflow-wrap: anywhere }}
h2 {{ font-size: 1em; margin-bottom: 0 }}
span {{ border-radius: 3px; padding: 1px 0 }}
.missed, .hit {{ text-decoration: underline }}
.dropped {{ color: #666 }}
</style>
</head>
<body>
<h1>{heading}</h1>
<p>{legend}</p>
<p>Underlined: kept in the reference. The darker, the higher is the probability of being kept.</p>
{body}
</body>
</html>
"""


def write_png(examples, path):
    """Writes a picture of the same; long texts are cut.

    Args:
        examples: list of `Example`.
        path: the PNG file.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties
    from matplotlib.patches import Rectangle

    with plots.fonts_for_all_scripts():
        renderer = FigureCanvasAgg(Figure(dpi=DPI)).get_renderer()
        font = FontProperties(size=FONT_SIZE)
        measured = {}

        def width(text):
            if text not in measured:
                # A trailing space has no width of its own, so it is measured between letters.
                size = lambda t: renderer.get_text_width_height_descent(t, font, False)[0]  # noqa: E731
                measured[text] = size(f"x{text}x") - size("xx")
            return measured[text]

        cells, height = _layout(examples, width)
        figure = Figure(figsize=(WIDTH / DPI, height / DPI), dpi=DPI)
        axis = figure.add_axes((0, 0, 1, 1))
        axis.set(xlim=(0, WIDTH), ylim=(height, 0))
        axis.axis("off")
        for x, y, size, text, kind, probability in cells:
            if kind in KINDS:
                colour = [value / 255 for value in KINDS[kind][0]]
                alpha = _shade(kind, probability)
                box = (x, y - 15), size, LINE - 3
                axis.add_patch(Rectangle(*box, facecolor=colour, alpha=alpha, linewidth=0))
                if kind in ("hit", "missed"):
                    axis.plot([x, x + size], [y + 3, y + 3], color=colour, linewidth=1.2)
            # Few Chinese fonts have a bold face; matplotlib would log that it is missing.
            weight = "bold" if kind == "title" and text.isascii() else "normal"
            colour = "#666666" if kind == "dropped" else "#111111"
            axis.text(
                x, y, text, fontproperties=font, weight=weight, color=colour, parse_math=False
            )
        with written(path) as partial:
            figure.savefig(partial, format="png", dpi=DPI)


def _layout(examples, width):
    """Places the words of all examples on lines.

    Returns:
        a list of (x, y, width, text, kind, probability), in pixels from the top left; y is the base line; and
        the height of the picture.
    """
    cells, y = [], MARGIN + LINE // 2
    x = MARGIN
    for name, (_, text) in KINDS.items():
        cells.append((x, y, width(text), text, name, 0.8))
        x += width(text) + 2 * MARGIN
    for example in examples:
        y += 2 * LINE
        cells.append((MARGIN, y, 0, _printable(example.title)[:140], "title", 0))
        x, y, shown = MARGIN, y + LINE, 0
        for text, kind, probability in _segments(example):
            for atom in ATOM.findall(_printable(text)):
                atom = " " if atom.isspace() else atom
                if shown < MAX_CHARACTERS <= shown + len(atom):
                    cells.append((x, y, width("\u2026"), "\u2026", None, 0))
                shown += len(atom)
                if shown >= MAX_CHARACTERS:
                    continue
                size = width(atom)
                if x + size > WIDTH - MARGIN:
                    x, y = MARGIN, y + LINE
                    if atom == " ":
                        continue
                cells.append((x, y, size, atom, kind, probability))
                x += size
    return cells, y + LINE + MARGIN


def _segments(example):
    """Yields (text, kind, probability) of the units and of what is between them, whose kind is None."""
    content, place = example.text.encode(), 0
    probabilities = example.outputs if example.probabilities is None else example.probabilities
    rows = zip(example.units, example.labels, example.outputs, probabilities, strict=True)
    for (start, limit), label, output, probability in rows:
        if start > place:
            yield content[place:start].decode(errors="replace"), None, 0.0
        kind = (("dropped", "missed"), ("extra", "hit"))[bool(output)][bool(label)]
        yield content[start:limit].decode(errors="replace"), kind, float(probability)
        place = max(place, limit)
    if place < len(content):
        yield content[place:].decode(errors="replace"), None, 0.0


def _shade(kind, probability):
    """Returns the opacity of a background."""
    return (0.15 if kind in ("hit", "extra") else 0.0) + 0.6 * min(max(probability, 0.0), 1.0)


def _css(kind, opacity):
    return f"rgb({' '.join(map(str, KINDS[kind][0]))} / {opacity:.2f})"


def _printable(text, keep=""):
    """Replaces control characters, except white space, which becomes a space or is kept."""
    return "".join(
        c if c.isprintable() or c in keep else " " if c.isspace() else "\ufffd" for c in text
    )
