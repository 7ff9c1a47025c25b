"""Pages and pictures of highlighted examples."""

import html.parser

import numpy as np
import pytest
from PIL import Image

from apps.extractive_summarization import highlights
from apps.extractive_summarization.highlights import Example, choose
from shared import plots

EXAMPLE = Example(
    "F1 50 % of a & b",
    "<b>Tom</b> & Ann cost $5\nor $6.",
    [(0, 10), (11, 12), (13, 16), (17, 21), (22, 24)],
    [1, 0, 1, 0, 0],
    [1, 1, 0, 0, 0],
    [0.9, 0.6, 0.4, 0.1, 0.0],
)


class Spans(html.parser.HTMLParser):
    """Collects (class, title, text) of the spans, and all tags."""

    def __init__(self, page):
        super().__init__()
        self.spans, self.tags, self.text = [], set(), ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag == "span":
            attributes = dict(attributes)
            self.spans.append(
                [attributes["class"], attributes.get("title"), "", attributes["style"]]
            )

    def handle_data(self, data):
        self.text += data
        if self.spans:
            self.spans[-1][2] += data


def test_html(tmp_path):
    path = tmp_path / "h.html"
    highlights.write_html([EXAMPLE], path, "A <page>")
    content = path.read_text("utf-8")
    page = Spans(content)
    legend, spans = page.spans[:4], page.spans[4:]
    assert [span[0] for span in spans] == ["hit", "extra", "missed", "dropped", "dropped"]
    assert [span[0] for span in legend] == [*highlights.KINDS]
    assert EXAMPLE.text in page.text  # escaped, and whole
    assert "F1 50 % of a & b" in page.text
    assert "A <page>" in page.text
    assert not page.tags & {"b", "page", "script", "link", "img"}  # one file, without links
    assert spans[0][1] == "kept, as in the reference; probability 0.90"
    opacity = [float(span[3].split("/")[1].rstrip(" )")) for span in spans]
    assert opacity[2] > opacity[3] > opacity[4]


def test_html_without_probabilities_and_with_control_characters(tmp_path):
    path = tmp_path / "h.html"
    example = Example("t\0", "a\0b", [(0, 3)], [1], [1])
    highlights.write_html([example], path)
    content = path.read_text("utf-8")
    assert "\0" not in content.replace("t\0", "")
    assert "a\ufffdb" in content
    assert "probability 1" not in content.split("<h2>")[1]


def test_unit_offsets_are_bytes(tmp_path):
    example = Example("", "caf\u00e9 \u94f6\u884c", [(0, 5), (6, 9), (9, 12)], [1, 0, 1], [1, 0, 0])
    segments = [*highlights._segments(example)]
    assert segments == [
        ("caf\u00e9", "hit", 1), (" ", None, 0), ("\u94f6", "dropped", 0), ("\u884c", "missed", 0),
    ]  # fmt: skip


def picture(path, examples, capsys):
    highlights.write_png(examples, path)
    printed = capsys.readouterr().err
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(int), printed


def test_png(tmp_path, capsys):
    image, printed = picture(tmp_path / "h.png", [EXAMPLE], capsys)
    assert printed == ""
    assert image.shape[1] == highlights.WIDTH
    below = image[60:]  # the text, without the legend
    assert (below == 255).all(-1).mean() > 0.6
    red, green, blue = np.moveaxis(below, -1, 0)
    for colour in ((green - red > 40) & (green - blue > 30), (red - blue > 60), (blue - red > 30)):
        assert colour.sum() > 100  # kept and right, kept and wrong, missed
    assert [p.name for p in tmp_path.iterdir()] == ["h.png"]


def test_png_depends_on_probabilities(tmp_path, capsys):
    one, _ = picture(tmp_path / "a.png", [EXAMPLE], capsys)
    other, _ = picture(tmp_path / "b.png", [EXAMPLE._replace(probabilities=[0.1] * 5)], capsys)
    assert one.shape == other.shape
    assert (one != other).any()
    assert other[60:].mean() > one[60:].mean()


def test_png_of_long_texts_is_cut(tmp_path, capsys):
    text = "word " * 20_000
    units = [(5 * i, 5 * i + 4) for i in range(20_000)]
    example = Example("long", text, units, [1] * 20_000, [0] * 20_000)
    image, _ = picture(tmp_path / "h.png", [example, EXAMPLE], capsys)
    assert image.shape[0] < 600
    wide, _ = picture(tmp_path / "w.png", [Example("", "x" * 3000, [(0, 3000)], [1], [1])], capsys)
    assert (wide[:, -8:] == 255).all()  # broken into lines


def test_png_without_a_chinese_font(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(plots, "CHINESE_FONTS", ())
    example = Example(
        "\u53e5\u5b50", "\u94f6\u884c\u3002", [(0, 3), (3, 6), (6, 9)], [1, 0, 1], [1, 1, 1]
    )
    _, printed = picture(tmp_path / "h.png", [example], capsys)
    assert len(printed.splitlines()) == 1
    assert "install" in printed


@pytest.mark.parametrize("count", [1, 2, 3])
def test_choose(count):
    scores = np.array([0.5, 0.9, 0.1, 0.7, 0.3, 0.8, 0.2])
    names, indices = zip(*choose(scores, count), strict=True)
    assert len(set(indices)) == len(indices)
    assert names[0] == "best"
    assert indices[0] == 1
    assert indices[-1] == 2
    if count < 3:
        assert [names.count(n) for n in ("best", "median", "worst")] == [count] * 3
        assert 0 in [i for n, i in choose(scores, count) if n == "median"]


def test_choose_of_few():
    assert choose([0.5], 2) == [("best", 0)]
    assert choose([], 2) == []
    assert choose([0.1, 0.5, 0.3], 2) == [("best", 1), ("best", 2), ("worst", 0)]
