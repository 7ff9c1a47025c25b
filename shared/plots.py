"""Plots, written as PNG files."""

import contextlib
import sys
import warnings

from shared.files import written

# Fonts with Chinese characters; those that are installed are used.
CHINESE_FONTS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei", "PingFang SC", "Hiragino Sans GB", "Microsoft YaHei", "SimHei",
)  # fmt: skip


def curve(history, path):
    """Plots the learning curves: one panel per metric, training and validation in each.

    Args:
        history: list of one dict of numbers per epoch, as in metrics.json; if empty, nothing is written.
        path: the PNG file to write.
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
    """Plots attention matrices side by side, one row per output token.

    Args:
        panels: list of (weights, row labels, column labels); weights is float (target, source), in [0, 1].
        path: the PNG file to write.
    """
    with fonts_for_all_scripts():
        max_columns = max(len(columns) for _, _, columns in panels)
        max_rows = max(len(rows) for _, rows, _ in panels)
        figure, axes = _figure(len(panels), (1.2 + 0.24 * max_columns, 1.2 + 0.24 * max_rows))
        for axis, (weights, rows, columns) in zip(axes, panels, strict=True):
            axis.imshow(weights, cmap="Blues", vmin=0, vmax=1, aspect="auto")
            axis.set_yticks(range(len(rows)), rows, fontsize=8)
            axis.set_xticks(range(len(columns)), columns, fontsize=8, rotation=90)
            axis.xaxis.tick_top()
        _write(figure, path)


@contextlib.contextmanager
def fonts_for_all_scripts():
    """Uses the installed `CHINESE_FONTS`; replaces the warnings about missing characters by one line."""
    import matplotlib
    from matplotlib import font_manager

    installed = {font.name for font in font_manager.fontManager.ttflist}
    families = ["DejaVu Sans", *(name for name in CHINESE_FONTS if name in installed)]
    with (
        matplotlib.rc_context({"font.family": families}),
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("always")
        yield
    missing = [w for w in caught if "missing from font" in str(w.message)]
    for w in caught:
        if w not in missing:
            warnings.warn_explicit(w.message, w.category, w.filename, w.lineno)
    if missing:
        print(
            "the plot shows boxes for characters that no installed font has; for Chinese, install a font "
            "such as Noto Sans CJK",
            file=sys.stderr,
        )


def _figure(panels, size=(4, 3)):
    """Returns a figure with `panels` axes in a row, each of `size` (width, height) in inches."""
    # Without pyplot: no display and no global state. Imported here because it is slow to import.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(size[0] * panels, size[1]), layout="constrained")
    return figure, figure.subplots(1, panels, squeeze=False)[0]


def _write(figure, path):
    with written(path) as partial:
        figure.savefig(partial, format="png", dpi=100)
