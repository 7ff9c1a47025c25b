"""The tables and the plot of `benchmarks.peephole_lstm`."""

from matplotlib.figure import Figure

from shared import results
from shared.files import read_json

REFERENCE = "PeepholeLSTM"  # the layer that the others are compared with


def line(times):
    """Returns the milliseconds of each layer as text."""
    return ", ".join(f"{name} {ms:.2f} ms" for name, ms in times.items() if name != "shape")


def lines(row):
    """Returns two lines of text for a shape: training step and inference."""
    return [f"{kind}: {line(row[kind])}" for kind in ("train", "inference")]


def tables(measured):
    """Returns {place in README.md: table}."""
    versions = ", ".join(f"{name} {v}" for name, v in measured["versions"].items())
    return {
        "machine": f"{measured['hardware']}; {versions}.\n",
        "train": _times(measured["shapes"], "train"),
        "inference": _times(measured["shapes"], "inference"),
        "once": _once(measured["once"]),
        "extras": _ratios(measured["extras"], "relative time of a training step"),
        "cores": _ratios(measured["cores"], "cores used by a training step"),
        "growth": _growth(measured["growth"]) + "\n![growth](results/peephole_lstm.png)\n",
    }


def _times(rows, kind):
    names = list(dict.fromkeys(name for row in rows for name in row[kind]))
    others = [name for name in names if name != REFERENCE]
    body = [
        (
            ", ".join(map(str, row["shape"])),
            f"{row[kind][REFERENCE]:.2f}",
            *(
                f"{row[kind][name]:.2f} ({row[kind][REFERENCE] / row[kind][name]:.2f})"
                if name in row[kind]
                else "-"
                for name in others
            ),
        )
        for row in rows
    ]
    return results.table(["batch, time, input, units", REFERENCE, *others], body)


def _once(measured):
    body = [
        (
            name,
            shape.strip("()[]"),
            *(f"{m[key]:.2f} s" for key in ("first", "other length", "again")),
            f"{m['MB']:.0f} MB",
        )
        for name, shapes in measured.items()
        for shape, m in shapes.items()
    ]
    names = [
        "layer",
        "batch, time, input, units",
        "first step",
        "other length",
        "other length again",
    ]
    return results.table([*names, "memory of training"], body)


def _ratios(measured, quantity):
    names = list(next(iter(measured.values())))
    body = [
        (shape.strip("()[]"), *(f"{row[name]:.2f}" for name in names))
        for shape, row in measured.items()
    ]
    return results.table([f"{quantity}: batch, time, input, units", *names], body)


def _growth(axes):
    rows = [row for axis in axes.values() for row in axis]
    names = list(dict.fromkeys(name for row in rows for name in row if name != "shape"))
    body = [
        (
            axis,
            ", ".join(map(str, row["shape"])),
            *(f"{row[n]:.2f}" if n in row else "-" for n in names),
        )
        for axis, axis_rows in axes.items()
        for row in axis_rows
    ]
    return results.table(["axis", "batch, time, input, units", *names], body)


def draw(path):
    """Draws the growth along each axis of the result at `path`; writes a PNG beside it."""
    axes = read_json(path)["growth"]
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    titles = {"T": (1, "time"), "H": (3, "units"), "B": (0, "batch")}
    for panel, (axis, rows) in zip(figure.subplots(1, 3), axes.items(), strict=True):
        place, title = titles[axis]
        for name in (n for n in rows[0] if n != "shape"):
            panel.loglog(
                [row["shape"][place] for row in rows],
                [row.get(name) for row in rows],
                marker="o",
                label=name,
            )
        panel.set_xlabel(title)
        panel.set_ylabel("training step, ms")
        panel.grid(alpha=0.3, which="both")
        panel.legend()
    figure.savefig(path.with_suffix(".png"), dpi=100)
