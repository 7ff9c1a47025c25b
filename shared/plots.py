"""Pictures, as PNG."""

import contextlib
import os
import pathlib
import sys
import warnings

# Fonts with Chinese characters, of which a machine may have one.
CHINESE = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei", "PingFang SC", "Hiragino Sans GB", "Microsoft YaHei", "SimHei",
)  # fmt: skip


def curve(history, path):
    """Draws the learning curve: a panel for each metric, training beside validation.

    Args:
        history: a dict of numbers for each epoch, as in metrics.json.
        path: the PNG file.
    """
    if not history:
        return
    names = [n for n in history[0] if n != "epoch" and not n.startswith("val_")]
    figure, axes = _figure(len(names))
    epochs = [row["epoch"] for row in history]
    for axis, name in zip(axes, names, strict=True):
        for key, label in ((name, "train"), (f"val_{name}", "valid")):
            if key in history[0]:
                axis.plot(epochs, [row[key] for row in history], marker=".", label=label)
        axis.set_title(name)
        axis.set_xlabel("epoch")
        axis.grid(alpha=0.3)
        axis.legend()
    _write(figure, path)


def attention(panels, path):
    """Draws attention matrices side by side, a row for each token that was written.

    Args:
        panels: list of (weights (target, source), names of the rows, names of the columns).
        path: the PNG file.
    """
    with _any_script():
        widest = max(len(columns) for _, _, columns in panels)
        tallest = max(len(rows) for _, rows, _ in panels)
        figure, axes = _figure(len(panels), (1.2 + 0.24 * widest, 1.2 + 0.24 * tallest))
        for axis, (weights, rows, columns) in zip(axes, panels, strict=True):
            axis.imshow(weights, cmap="Blues", vmin=0, vmax=1, aspect="auto")
            axis.set_yticks(range(len(rows)), rows, fontsize=8)
            axis.set_xticks(range(len(columns)), columns, fontsize=8, rotation=90)
            axis.xaxis.tick_top()
        _write(figure, path)


@contextlib.contextmanager
def _any_script():
    """Text in it is drawn with a font of Chinese characters; where the machine has none, a line says so."""
    import matplotlib
    from matplotlib import font_manager

    there = {font.name for font in font_manager.fontManager.ttflist}
    families = ["DejaVu Sans", *(name for name in CHINESE if name in there)]
    with (
        matplotlib.rc_context({"font.family": families}),
        warnings.catch_warnings(record=True) as said,
    ):
        warnings.simplefilter("always")
        yield
    boxes = [w for w in said if "missing from font" in str(w.message)]
    for w in said:
        if w not in boxes:
            warnings.warn_explicit(w.message, w.category, w.filename, w.lineno)
    if boxes:
        print(
            "in the picture boxes stand for letters that no font here has: for Chinese, install one such "
            "as Noto Sans CJK",
            file=sys.stderr,
        )


def _figure(panels, size=(4, 3)):
    # Without pyplot: no display, no global state, and imported only when something is drawn.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(size[0] * panels, size[1]), layout="constrained")
    return figure, figure.subplots(1, panels, squeeze=False)[0]


def _write(figure, path):
    path = pathlib.Path(path)
    half = path.with_name(f".{path.name}.half")
    figure.savefig(half, format="png", dpi=100)
    os.replace(half, path)
