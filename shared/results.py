"""Recorded results, and the README tables that are made of them.

    python -m shared.results            # writes the tables again: `make results`
    python -m shared.results --check    # writes nothing; exits with 1 where a README differs
    python -m shared.results --tried runs/language_model/wide    # keeps what another recipe gave

A README says where its table goes, between the comments `<!-- results -->` and `<!-- /results -->`; an
app's says where the recipes that were tried go, if any were: `<!-- tried -->` and `<!-- /tried -->`.
"""

import argparse
import ast
import datetime
import pathlib
import sys

from shared.errors import InputError, reported
from shared.files import read_json, write_json

ROOT = pathlib.Path(__file__).parents[1]


def headline(test):
    """The result and its baseline, in a line."""
    return f"{test['metric']}: {test['value']} (baseline, {test['baseline']}: {test['baseline_value']})"


def record(folder, card, test):
    """Writes `folder`/<preset>.json: what was measured, and all that is needed to do it again.

    `notes`, which are written there by hand, are kept: {"data": what the text is, "peers": [{"name":
    whose model, "value": its figure, "source": where it says so}]}.

    Args:
        folder: `apps/<app>/results`.
        card: the model card of the SavedModel that was scored.
        test: the figures, by the app's `evaluate`.

    Returns:
        the file's path.
    """
    path = pathlib.Path(folder, f"{card['preset']}.json")
    kept = read_json(path) if path.exists() else {}
    path.parent.mkdir(exist_ok=True)
    today = datetime.date.today().isoformat()
    notes = kept.get("notes", {"data": card["config"]["source"], "peers": []})
    write_json(path, {**card, "evaluated": today, "test": test, "notes": notes})
    return path


def check_data(trained_on, here):
    """Raises InputError where the data is not that of the model.

    Args:
        trained_on, here: {split: SHA-256}.
    """
    differ = [split for split in trained_on if trained_on[split] != here[split]]
    if differ:
        raise InputError(
            f"this is not the data of the model: {', '.join(differ)} has another SHA-256"
        )


def app_table(folder):
    """The table of an app's README: a row for each file in `folder`/results."""
    rows = [
        (
            f"`{r['preset']}`",
            r["notes"]["data"],
            r["test"]["metric"],
            f"**{r['test']['value']}**",
            f"{r['test']['baseline_value']} ({r['test']['baseline']})",
            _peers(r),
            f"{r['parameters'] / 1e6:.2f} M",
            f"{r['epochs']} epochs, {_minutes(r)}, {r['hardware']}",
            f"`{r['command']}`",
        )
        for r in _recorded(folder)
    ]
    names = "preset, data, metric, result, baseline, peers, parameters, training, command"
    return table(names.split(", "), rows)


def apps_table(apps):
    """The table of the project's README: a row for each recorded result of each app in `apps`."""
    rows = []
    for folder in sorted(path.parent for path in apps.glob("*/train.py")):
        task, shape = _about(folder)
        for r in _recorded(folder):
            test = r["test"]
            result = f"{test['metric']}: **{test['value']}**"
            baseline = f"{test['baseline_value']} ({test['baseline']})"
            link = f"[{folder.name}](apps/{folder.name}/README.md)"
            what = (link, task, shape, r["notes"]["data"], result, baseline, _peers(r))
            rows.append((*what, _minutes(r), f"`{r['command']}`"))
    names = "app, task, shape, data, result, baseline, peers, time, command"
    return table(names.split(", "), rows)


def add_tried(run):
    """Adds a run, finished or not, to results/tried/<preset>.json of its app; returns the path.

    Raises:
        InputError: there is no run, or no epoch of it came to its end.
    """
    from shared.training.provenance import PLACES  # imports TensorFlow, which the tables do without

    run = pathlib.Path(run)
    if not (run / "metrics.json").is_file():
        raise InputError(f"{run}: no run there of which an epoch is done (metrics.json)")
    about, metrics = read_json(run / "run.json"), read_json(run / "metrics.json")
    row = {
        "config": {k: v for k, v in about["config"].items() if k not in PLACES},
        "epochs": len(metrics["history"]),
        "seconds": metrics["seconds"],
        "val_loss": min(epoch["val_loss"] for epoch in metrics["history"]),
        **{name: about[name] for name in ("data", "hardware", "versions", "commit")},
    }
    path = ROOT / "apps" / about["app"] / "results" / "tried" / f"{about['preset']}.json"
    rows = read_json(path) if path.exists() else []
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, [*(old for old in rows if old["config"] != row["config"]), row])
    return path


def tried_table(folder):
    """The table of recipes: a row for each run in `folder`/results/tried, the best first."""
    rows = []
    for path in sorted((folder / "results" / "tried").glob("*.json")):
        runs = sorted(read_json(path), key=lambda run: run["val_loss"])
        names = [name for run in runs for name in run["config"] if name != "epochs"]
        differ = [
            name
            for name in dict.fromkeys(names)
            if len({str(run["config"].get(name)) for run in runs}) > 1
        ]
        for run in runs:
            settings = [f"{n} {run['config'][n]}" for n in differ if n in run["config"]]
            settings = settings or ["the preset's"]
            epochs = f"{run['epochs']} of {run['config']['epochs']}"
            loss = f"{run['val_loss']:.3f}"
            rows.append((f"`{path.stem}`", ", ".join(settings), epochs, _minutes(run), loss))
    return table(["preset", "settings", "epochs", "time", "validation loss"], rows)


def _recorded(folder):
    order = lambda r: (r["preset"] != "default", r["preset"])  # noqa: E731
    return sorted(map(read_json, (folder / "results").glob("*.json")), key=order)


def _about(folder):
    """Task and shape, from the docstring of the app's package."""
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
    first, *rest = text.splitlines()
    shape = [line.removeprefix("Shape: ") for line in rest if line.startswith("Shape: ")]
    return first.partition(": ")[2].rstrip("."), shape[0]


def _peers(r):
    peers = (f"{p['value']} ({p['name']}; {p['source']})" for p in r["notes"]["peers"])
    return "<br>".join(peers) or "none known"


def _minutes(r):
    seconds = r["seconds"]
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds >= 600 else f"{seconds / 60:.1f} min"


def table(names, rows):
    """A Markdown table: names of the columns, and rows of as many values."""
    lines = [names, ["---"] * len(names), *rows]
    cells = ([str(value).replace("|", "\\|") for value in line] for line in lines)
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


def put(text, place, new):
    """`text` with `new` between `<!-- place -->` and `<!-- /place -->`; None where it lacks them."""
    begin, end = f"<!-- {place} -->\n", f"<!-- /{place} -->"
    if begin not in text or end not in text:
        return None
    return text.partition(begin)[0] + begin + new + end + text.partition(end)[2]


@reported
def main(argv=None):
    """Writes the tables of the READMEs, or checks them."""
    parser = argparse.ArgumentParser(prog="python -m shared.results", description=main.__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 where one differs")
    parser.add_argument("--tried", nargs="+", default=[], metavar="RUN", help="runs to be kept")
    options = parser.parse_args(argv)
    for run in options.tried:
        print(add_tried(run))
    tables = [(ROOT / "README.md", "results", apps_table(ROOT / "apps"))]
    for app in sorted(path.parent for path in ROOT.glob("apps/*/train.py")):
        tables.append((app / "README.md", "results", app_table(app)))
        if (app / "results" / "tried").exists():
            tables.append((app / "README.md", "tried", tried_table(app)))
    stale = {}
    for readme, place, text in tables:
        old = readme.read_text(encoding="utf-8")
        new = put(old, place, text)
        if new is None:
            raise InputError(
                f"{readme} has no place for its table: <!-- {place} --> <!-- /{place} -->"
            )
        if new != old:
            stale[readme] = True
            if not options.check:
                readme.write_text(new, encoding="utf-8")
    for readme in stale:
        print(f"{readme.relative_to(ROOT)} {'differs' if options.check else 'written'}")
    if stale and options.check:
        sys.exit(1)


if __name__ == "__main__":
    main()
