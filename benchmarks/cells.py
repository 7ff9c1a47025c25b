"""The recurrent cells against each other: Penn Treebank, equal parameters, equal epochs.

    python -m benchmarks.cells --data-dir DIR                 # a run for each of 4 cells
    python -m benchmarks.cells --data-dir DIR --seeds 1 2 3   # three for each

Each is a run of the app's own `train`, in runs/cells, and one that was interrupted goes on. The units
give each about 2.65 M parameters. The table is in README.md.
"""

import pathlib
import statistics
import subprocess
import sys

from shared import results
from shared.files import read_json
from shared.provenance import hardware, versions

from . import _timing

SETTINGS = {  # units, epochs
    "simple_rnn": (241, 10),
    "gru": (212, 10),
    "lstm": (200, 10),
    "peephole_lstm": (200, 10),
}
RECIPE = ["--layers", 2, "--dropout", 0.25, "--batch-size", 32, "--learning-rate", 0.004]


def command(cell, seed, options, *more):
    """The app's own command that trains a cell."""
    units, epochs = SETTINGS[cell]
    words = ["ptb", "--data-dir", options.data_dir, "--run", options.runs / f"{cell}_{seed}"]
    words += ["--cell", cell, "--seed", seed, "--units", units, "--epochs", epochs, *RECIPE, *more]
    return [sys.executable, "-m", "apps.language_model.train", *map(str, words)]


def train(cell, seed, options):
    """Trains a cell, or goes on; what its run recorded."""
    subprocess.run(command(cell, seed, options), check=True)
    metrics = read_json(options.runs / f"{cell}_{seed}" / "metrics.json")
    return {
        "cell": cell,
        "seed": seed,
        "units": SETTINGS[cell][0],
        "epochs": len(metrics["history"]),
        "seconds": metrics["seconds"],
        "valid_loss": min(row["val_loss"] for row in metrics["history"]),
        "test_perplexity": metrics["test"]["perplexity"],
    }


def main(argv=None):
    parser = _timing.parser("benchmarks.cells")
    parser.add_argument("--data-dir", help="folder with the Penn Treebank")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--runs", type=pathlib.Path, default=pathlib.Path("runs/cells"))
    options = parser.parse_args(argv)
    measured = None
    if not options.tables:
        if not options.data_dir:
            print("skipped: --data-dir names the folder with the Penn Treebank")
            return
        cells = [(cell, seed) for seed in options.seeds for cell in SETTINGS]
        if options.dry_run:
            subprocess.run(command(*cells[0], options, "--dry-run"), check=True)
            return
        rows = [train(cell, seed, options) for cell, seed in cells]
        measured = {"hardware": hardware(), "versions": versions(), "rows": rows}
    _timing.publish("cells", tables, measured, options)


def tables(measured):
    """A row for each cell: the mean over the seeds, the least and the most: {place: table}."""
    rows = measured["rows"]
    body = []
    for cell in SETTINGS:
        mine = [row for row in rows if row["cell"] == cell]
        if not mine:
            continue
        test = sorted(row["test_perplexity"] for row in mine)
        minutes = statistics.mean(row["seconds"] for row in mine) / 60
        spread = f"{test[0]:.2f} to {test[-1]:.2f}" if len(test) > 1 else "-"
        body.append(
            (
                f"`{cell}`",
                mine[0]["units"],
                mine[0]["epochs"],
                f"{minutes:.0f}",
                len(test),
                f"{statistics.mean(test):.2f}",
                spread,
            )
        )
    names = "cell, units, epochs, minutes, seeds, test perplexity, least to most"
    return {"cells": results.table(names.split(", "), body)}


if __name__ == "__main__":
    main()
