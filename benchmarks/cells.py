"""The recurrent cells against each other: Penn Treebank, equal parameters, equal epochs.

    python -m benchmarks.cells --data-dir DIR                        # a run for each of 4 cells
    python -m benchmarks.cells --data-dir DIR --cells gru --seeds 2 3

Each is a run of the app's own `train`, in runs/cells, and one that was interrupted goes on. What was
measured before, by the same recipe, stays in the table, which is in README.md.
"""

import pathlib
import statistics
import subprocess
import sys

from shared import results
from shared.files import read_json
from shared.training.provenance import hardware, versions

from . import _timing

UNITS = {"simple_rnn": 348, "gru": 313, "lstm": 300, "peephole_lstm": 300}  # 3.73 M parameters each
# Not ptb's own SGD, whose rate was chosen for one of the four cells.
RECIPE = (
    "--epochs 7 --num-layers 1 --dropout 0.3 --recurrent-dropout 0 --sampled-softmax 1000 --batch-size 20 "
    "--optimizer adamw --learning-rate 0.003 --warmup-steps 300 --weight-decay 0 --clip-norm 1"
)


def command(cell, seed, options, *more):
    """The app's own command that trains a cell."""
    words = ["ptb", "--data-dir", options.data_dir, "--run", options.runs / f"{cell}_{seed}"]
    words += ["--cell", cell, "--seed", seed, "--units", UNITS[cell], *RECIPE.split(), *more]
    return [sys.executable, "-m", "apps.language_model.train", *map(str, words)]


def train(cell, seed, options):
    """Trains a cell, or goes on; what its run recorded."""
    subprocess.run(command(cell, seed, options), check=True)
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
        print("skipped: --data-dir names the folder with the Penn Treebank")
        return
    chosen = [(cell, seed) for seed in options.seeds for cell in options.cells]
    if options.dry_run:
        subprocess.run(command(*chosen[0], options, "--dry-run"), check=True)
        return
    for cell, seed in chosen:  # every one is kept as soon as it is there
        row = train(cell, seed, options)
        rows = [r for r in before() if (r["cell"], r["seed"]) != (cell, seed)]
        _timing.publish("cells", tables, {**circumstances(), "rows": [*rows, row]}, options)


def circumstances():
    """What all rows of a table have in common."""
    return {"hardware": hardware(), "versions": versions(), "recipe": RECIPE, "units": UNITS}


def before():
    """The rows that were measured before in the same circumstances."""
    path = _timing.RESULTS / "cells.json"
    measured = read_json(path) if path.exists() else {"rows": []}
    rows = measured.pop("rows")
    return rows if measured == circumstances() else []


def tables(measured):
    """A row for each cell: the mean over the seeds, the least and the most: {place: table}."""
    rows = measured["rows"]
    body = []
    for cell in UNITS:
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
