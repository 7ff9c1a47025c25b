"""Learning curves and attention matrices as PNG files."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from shared import plots

HISTORY = [
    {"epoch": i, "loss": 4 / (i + 1), "val_loss": 5 / (i + 1), "rate": 0.1 * i} for i in range(5)
]


def pixels(path):
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def test_a_curve_is_plotted(tmp_path):
    path = tmp_path / "curve.png"
    plots.curve(HISTORY, path)
    image = pixels(path)
    assert image.shape == (300, 800, 3)  # two panels: loss, rate
    # Not blank: lines in two colours on white, in the left panel.
    left = image[:, :400].reshape(-1, 3)
    coloured = left[left.max(axis=1).astype(int) - left.min(axis=1) > 100]
    assert (left == 255).all(axis=1).mean() > 0.5
    assert len(coloured) > 200
    assert len({tuple(c) for c in (coloured // 64).tolist()}) >= 2
    assert [p.name for p in tmp_path.iterdir()] == ["curve.png"]


def test_the_curve_depends_on_its_numbers(tmp_path):
    """Equal numbers give equal plots, different numbers different ones."""
    other = [
        {**row, "val_loss": reversed_row["val_loss"]}
        for row, reversed_row in zip(HISTORY, HISTORY[::-1], strict=True)
    ]
    for name, history in {"a": HISTORY, "b": HISTORY, "c": other, "d": HISTORY[:3]}.items():
        plots.curve(history, tmp_path / name)
    a, b, c, d = (pixels(tmp_path / name) for name in "abcd")
    assert (a == b).all()
    assert (a != c).any()
    assert (a != d).any()
    # Only the panel of the changed numbers differs.
    assert (a[:, 420:] == c[:, 420:]).all()


def test_one_epoch_and_numbers_that_are_not_finite(tmp_path):
    path = tmp_path / "curve.png"
    plots.curve([{"epoch": 0, "loss": 1.5}], path)
    assert pixels(path).shape == (300, 400, 3)
    plots.curve([{"epoch": 0, "loss": float("nan")}, {"epoch": 1, "loss": float("inf")}], str(path))
    assert pixels(path).shape == (300, 400, 3)


def test_an_empty_history_writes_no_file(tmp_path):
    plots.curve([], tmp_path / "curve.png")
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "curve.png"
    plots.curve(HISTORY, path)
    before = path.read_bytes()

    def partial(self, file, **_):
        with open(file, "wb") as out:
            out.write(b"an incomplete picture")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Figure, "savefig", partial)
        with pytest.raises(KeyboardInterrupt):
            plots.curve(HISTORY[:2], path)
    assert path.read_bytes() == before
    plots.curve(HISTORY[:2], path)
    assert path.read_bytes() != before
    assert [p.name for p in tmp_path.iterdir()] == ["curve.png"]


def test_attention_with_characters_that_no_font_has(tmp_path, monkeypatch, capsys):
    """The plot is written, and one line says that a font is missing."""
    monkeypatch.setattr(plots, "CHINESE_FONTS", ())
    rng = np.random.default_rng(0)
    panels = [
        (rng.random((3, 5)), ["\u6f22", "\u5b57", "\n"], list("abcde")),
        (rng.random((2, 4)), ["a", "b"], ["\u05d0", " ", "c", "d"]),
    ]
    plots.attention(panels, tmp_path / "a.png")
    printed = capsys.readouterr().err.splitlines()
    assert len(printed) == 1
    assert "install" in printed[0]
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width > picture.height
        assert len(picture.convert("RGB").getcolors(100_000)) > 20
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
