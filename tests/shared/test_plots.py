"""The learning curve as a picture."""

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


def test_a_curve_is_drawn(tmp_path):
    path = tmp_path / "curve.png"
    plots.curve(HISTORY, path)
    found = pixels(path)
    assert found.shape == (300, 800, 3)  # two panels: loss, rate
    # Not blank: lines in two colours on white, in the left panel.
    left = found[:, :400].reshape(-1, 3)
    coloured = left[left.max(axis=1).astype(int) - left.min(axis=1) > 100]
    assert (left == 255).all(axis=1).mean() > 0.5
    assert len(coloured) > 200
    assert len({tuple(c) for c in (coloured // 64).tolist()}) >= 2
    assert [p.name for p in tmp_path.iterdir()] == ["curve.png"]


def test_the_curve_shows_its_numbers(tmp_path):
    """Other numbers make another picture, the same numbers the same."""
    other = [
        {**row, "val_loss": turned["val_loss"]}
        for row, turned in zip(HISTORY, HISTORY[::-1], strict=True)
    ]
    for name, history in {"a": HISTORY, "b": HISTORY, "c": other, "d": HISTORY[:3]}.items():
        plots.curve(history, tmp_path / name)
    a, b, c, d = (pixels(tmp_path / name) for name in "abcd")
    assert (a == b).all()
    assert (a != c).any()
    assert (a != d).any()
    # And only the panel that they are in.
    assert (a[:, 420:] == c[:, 420:]).all()


def test_one_epoch_and_numbers_that_are_none(tmp_path):
    path = tmp_path / "curve.png"
    plots.curve([{"epoch": 0, "loss": 1.5}], path)
    assert pixels(path).shape == (300, 400, 3)
    plots.curve([{"epoch": 0, "loss": float("nan")}, {"epoch": 1, "loss": float("inf")}], str(path))
    assert pixels(path).shape == (300, 400, 3)


def test_no_history_no_file(tmp_path):
    plots.curve([], tmp_path / "curve.png")
    assert not list(tmp_path.iterdir())


def test_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "curve.png"
    plots.curve(HISTORY, path)
    before = path.read_bytes()

    def half(self, file, **_):
        with open(file, "wb") as out:
            out.write(b"half a picture")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Figure, "savefig", half)
        with pytest.raises(KeyboardInterrupt):
            plots.curve(HISTORY[:2], path)
    assert path.read_bytes() == before
    plots.curve(HISTORY[:2], path)
    assert path.read_bytes() != before
    assert [p.name for p in tmp_path.iterdir()] == ["curve.png"]


def test_attention_of_another_script(tmp_path, monkeypatch, capsys):
    """A picture all the same where no font has its letters, and a line that says so."""
    monkeypatch.setattr(plots, "CHINESE", ())
    rng = np.random.default_rng(0)
    panels = [
        (rng.random((3, 5)), ["\u6f22", "\u5b57", "\n"], list("abcde")),
        (rng.random((2, 4)), ["a", "b"], ["\u05d0", " ", "c", "d"]),
    ]
    plots.attention(panels, tmp_path / "a.png")
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert "install" in said[0]
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width > picture.height
        assert len(picture.convert("RGB").getcolors(100_000)) > 20
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
