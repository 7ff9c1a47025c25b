"""Compares the recurrent cells on Penn Treebank, with equal parameters and equal epochs.

    python -m benchmarks.cells --data-dir DIR                        # one run for each of 4 cells
    python -m benchmarks.cells --data-dir DIR --cells gru --seeds 2 3

Each cell is trained by the app's `train` in runs/cells; an interrupted run is resumed. Earlier results
with the same recipe stay in the table, which is in README.md.
"""

import pathlib
import statistics
import subprocess
import sys

from apps.language_model import train as language_model
from shared import results
from shared.files import read_json
from shared.training.provenance import hardware, versions

from . import _timing

UNITS = {"simple_rnn": 348, "gru": 313, "lstm": 300, "peephole_lstm": 300}  # 3.73 M parameters each
# Not the SGD of the preset, whose learning rate was chosen for one of the four cells.
RECIPE = (
    "--epochs 7 --num-layers 1 --dropout 0.3 --recurrent-dropout 0 --sampled-softmax 1000 --batch-size 20 "
    "--optimizer adamw --learning-rate 0.003 --warmup-steps 300 --weight-decay 0 --clip-norm 1"
)


def arguments(cell, seed, options):
    """Returns the arguments of the app's `train` for a cell."""
    run = options.runs / f"{cell}_{seed}"
    flags = ["--cell", cell, "--seed", seed, "--units", UNITS[cell], *RECIPE.split()]
    return [*map(str, ["ptb", "--data-dir", options.data_dir, "--run", run, *flags])]


def train(cell, seed, options):
    """Trains a cell, or resumes its run; returns the recorded result."""
    command = [sys.executable, "-m", language_model.__name__, *arguments(cell, seed, options)]
    subprocess.run(command, check=True)  # a new process, so that no run depends on the one before
    metrics = read_json(options.runs / f"{cell}_{seed}" / "metrics.json")
    return {
        "cell": cell,
        "seed": seed,
        "units": UNITS[cell],
        "epochs": len(metrics["history"]),
        "seconds": metrics["seconds"],
        "valid_loss": min(row["val_loss"] for row in metrics["history"]),
        "test_perplexity": metrics["test"]["perplexity"],
    }


def main(argv=None):
    parser = _timing.parser("benchmarks.cells")
    parser.add_argument("--data-dir", help="folder with the Penn Treebank")
    parser.add_argument("--cells", nargs="+", choices=UNITS, default=list(UNITS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--runs", type=pathlib.Path, default=pathlib.Path("runs/cells"))
    options = parser.parse_args(argv)
    if options.tables:
        _timing.publish("cells", tables, None, options)
        return
    if not options.data_dir:
        print("skipped: --data-dir is missing: give the folder with the Penn Treebank")
        return
    runs = [(cell, seed) for seed in options.seeds for cell in options.cells]
    if options.dry_run:
        language_model.main([*arguments(*runs[0], options), "--dry-run"])
        return
    for cell, seed in runs:  # each result is written when its run has finished
        row = train(cell, seed, options)
        rows = [r for r in recorded_rows() if (r["cell"], r["seed"]) != (cell, seed)]
        _timing.publish("cells", tables, {**conditions(), "rows": [*rows, row]}, options)


def conditions():
    """Returns what all rows of a table have in common."""
    return {"hardware": hardware(), "versions": versions(), "recipe": RECIPE, "units": UNITS}


def recorded_rows():
    """Returns the recorded rows if they were measured under the same conditions."""
    path = _timing.RESULTS / "cells.json"
    recorded = read_json(path) if path.exists() else {"rows": []}
    rows = recorded.pop("rows")
    return rows if recorded == conditions() else []


def tables(measured):
    """Returns {place in README.md: table}: for each cell, mean, minimum and maximum over the seeds."""
    rows = measured["rows"]
    body = []
    for cell in UNITS:
        runs = [row for row in rows if row["cell"] == cell]
        if not runs:
            continue
        test = sorted(row["test_perplexity"] for row in runs)
        minutes = statistics.mean(row["seconds"] for row in runs) / 60
        spread = f"{test[0]:.2f} to {test[-1]:.2f}" if len(test) > 1 else "-"
        body.append(
            (
                f"`{cell}`",
                runs[0]["units"],
                runs[0]["epochs"],
                f"{minutes:.0f}",
                len(test),
                f"{statistics.mean(test):.2f}",
                spread,
            )
        )
    names = "cell, units, epochs, minutes, seeds, test perplexity, minimum to maximum"
    return {"cells": results.table(names.split(", "), body)}


if __name__ == "__main__":
    main()
