"""Recorded results, and the README tables that are made from them.

    python -m shared.results            # writes the tables: `make results`
    python -m shared.results --check    # writes nothing; exits with 1 if a README differs
    python -m shared.results --tried runs/language_model/wide    # records a run of another recipe

A table goes between the comments `<!-- results -->` and `<!-- /results -->` of a README. In the README
of an app, the table of the recipes that were tried goes between `<!-- tried -->` and `<!-- /tried -->`, and
the table of all metrics of the model and of other systems between `<!-- systems -->` and `<!-- /systems -->`.
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
    """Returns the test result and its baseline in one line."""
    return f"{test['metric']}: {test['value']} (baseline, {test['baseline']}: {test['baseline_value']})"


def lines(test, prefix=""):
    """Yields a line for each figure of a test result; names inside nested results are joined by dots.

    Example:

    >>> list(lines({"value": 97.5, "beam": {"width": 4}}))
    ['value                            97.5', 'beam.width                       4']
    """
    for name, value in test.items():
        if isinstance(value, dict):
            yield from lines(value, f"{prefix}{name}.")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for i, item in enumerate(value):
                yield from lines(item, f"{prefix}{name}.{i}.")
        else:
            text = " ".join(map(str, value)) if isinstance(value, list) else value
            yield f"{prefix + name:32} {text}"


def record(folder, card, test):
    """Writes `folder`/<preset>.json: the test result and everything that is needed to reproduce it.

    `notes` are written into the file by hand, and are kept: {"data": a description of the data,
    "peers": [{"name": a model, "value": its figure, "source": the publication}]}.

    Args:
        folder: `apps/<app>/results`.
        card: the model card of the SavedModel that was evaluated.
        test: the result of the app's `evaluate`.

    Returns:
        the path of the file.
    """
    path = pathlib.Path(folder, f"{card['preset']}.json")
    old = read_json(path) if path.exists() else {}
    path.parent.mkdir(exist_ok=True)
    today = datetime.date.today().isoformat()
    notes = old.get("notes", {"data": card["config"]["source"], "peers": []})
    write_json(path, {**card, "evaluated": today, "test": test, "notes": notes})
    return path


def check_data(trained_on, here):
    """Raises InputError if the data differ from those of the model.

    Args:
        trained_on: {split: SHA-256} of the model card.
        here: {split: SHA-256} of the data that were opened.
    """
    differ = [split for split in trained_on if trained_on[split] != here.get(split)]
    if differ:
        raise InputError(
            f"the data differ from those of the model: another SHA-256 of {', '.join(differ)}"
        )


def app_table(folder):
    """Returns the table of an app's README, with a row for each file in `folder`/results."""
    rows = [
        (
            f"`{r['preset']}`",
            r["notes"]["data"],
            r["test"]["metric"],
            f"**{r['test']['value']}**",
            _baseline(r),
            _peers(r),
            f"{r['trainable_parameters'] / 1e6:.2f} M",
            f"{r['epochs']} epochs, {_minutes(r)}, {r['hardware']}",
            f"`{r['command']}`",
        )
        for r in _recorded(folder)
    ]
    names = [
        "preset", "test data", "metric", "result", "baseline", "other systems",
        "trainable parameters", "training", "command",
    ]  # fmt: skip
    return table(names, rows)


def systems_table(folder):
    """Returns the table of all metrics: for each preset, those of the model and of the other systems.

    A test result has them if it has `systems`, {name of a system: {metric: figure}}; the model's figures
    have the same names.
    """
    recorded = [r for r in _recorded(folder) if "systems" in r["test"]]
    compared = [figures for r in recorded for figures in r["test"]["systems"].values()]
    metrics = list(dict.fromkeys(name for figures in compared for name in figures))
    rows = []
    for r in recorded:
        for name, figures in {"the model": r["test"], **r["test"]["systems"]}.items():
            rows.append((f"`{r['preset']}`", name, *(figures.get(m, "") for m in metrics)))
    return table(["preset", "system", *(f"`{name}`" for name in metrics)], rows)


def apps_table(apps):
    """Returns the table of the project's README: the headline preset of each app in `apps`."""
    rows = []
    for folder in sorted(path.parent for path in apps.glob("*/train.py")):
        task, shape, headline_preset = _about(folder)
        link = f"[{folder.name}](apps/{folder.name}/README.md)"
        for r in _recorded(folder):
            if r["preset"] == headline_preset:
                test = r["test"]
                result = f"**{test['value']}** {test['metric']}"
                rows.append(
                    (link, task, shape, r["notes"]["data"], result, _baseline(r), _minutes(r))
                )
    return table(["app", "task", "shape", "test data", "result", "baseline", "training time"], rows)


def add_tried(run):
    """Adds a run, finished or not, to results/tried/<preset>.json of its app; returns the path.

    Raises:
        InputError: there is no run, or it has no finished epoch.
    """
    from shared.training.provenance import (
        PLACES,
    )  # imports TensorFlow, which the tables do not need

    run = pathlib.Path(run)
    if not (run / "metrics.json").is_file():
        raise InputError(f"{run} is not the folder of a run with a finished epoch (metrics.json)")
    about, metrics = read_json(run / "run.json"), read_json(run / "metrics.json")
    row = {
        "config": {k: v for k, v in about["config"].items() if k not in PLACES},
        "epochs": len(metrics["history"]),
        "seconds": metrics["seconds"],
        "val_loss": min(epoch["val_loss"] for epoch in metrics["history"]),
        **{name: about[name] for name in ("data", "hardware", "versions", "commit")},
    }
    if "test" in metrics:
        row["test"] = {name: metrics["test"][name] for name in ("metric", "value")}
    path = ROOT / "apps" / about["app"] / "results" / "tried" / f"{about['preset']}.json"
    rows = read_json(path) if path.exists() else []
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, [*(old for old in rows if old["config"] != row["config"]), row])
    return path


def tried_table(folder):
    """Returns the table of recipes, with a row for each run in `folder`/results/tried, best first.

    The settings are those in which the runs differ from each other or from the recorded run of the preset.
    It has a column of test results if each run has one, of the same metric.
    """
    rows, results = [], []
    for path in sorted((folder / "results" / "tried").glob("*.json")):
        runs = sorted(read_json(path), key=lambda run: run["val_loss"])
        names = [name for run in runs for name in run["config"] if name != "epochs"]
        configs = [run["config"] for run in runs]
        recorded = folder / "results" / path.name
        if recorded.exists():  # a setting that it lacks is newer or older, and does not differ
            configs.append({**runs[0]["config"], **read_json(recorded)["config"]})
        differ = [
            name
            for name in dict.fromkeys(names)
            if len({str(config.get(name)) for config in configs}) > 1
        ]
        for run in runs:
            settings = [f"{n} {run['config'][n]}" for n in differ if n in run["config"]]
            settings = settings or ["those of the preset"]
            epochs = f"{run['epochs']} of {run['config']['epochs']}"
            loss = f"{run['val_loss']:.3f}"
            rows.append((f"`{path.stem}`", ", ".join(settings), epochs, _minutes(run), loss))
            results.append(run.get("test", {"metric": None, "value": ""}))
    names = ["preset", "settings", "epochs", "time", "validation loss"]
    metrics = {result["metric"] for result in results}
    if len(metrics) == 1 and None not in metrics:
        names.append(metrics.pop())
        rows = [(*row, result["value"]) for row, result in zip(rows, results, strict=True)]
    return table(names, rows)


def _recorded(folder):
    order = lambda r: (r["preset"] != "default", r["preset"])  # noqa: E731
    return sorted(map(read_json, (folder / "results").glob("*.json")), key=order)


def _about(folder):
    """Returns task, shape and headline preset of an app, from the docstring of its package."""
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
    first, *others = text.splitlines()
    fields = dict(line.split(": ", 1) for line in others if ": " in line)
    return first.partition(": ")[2].rstrip("."), fields["Shape"], fields["Headline preset"]


def _baseline(r):
    return f"{r['test']['baseline_value']} ({r['test']['baseline']})"


def _peers(r):
    peers = (f"{p['value']} ({p['name']}; {p['source']})" for p in r["notes"]["peers"])
    return "<br>".join(peers) or "none known"


def _minutes(r):
    seconds = r["seconds"]
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds >= 600 else f"{seconds / 60:.1f} min"


def table(names, rows):
    """Returns a Markdown table of the names of the columns and of rows with as many values."""
    rows = [names, ["---"] * len(names), *rows]
    cells = ([str(value).replace("|", "\\|") for value in row] for row in rows)
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


def put(text, place, new):
    """Returns `text` with `new` between `<!-- place -->` and `<!-- /place -->`; None without these."""
    begin, end = f"<!-- {place} -->\n", f"<!-- /{place} -->"
    if begin not in text or end not in text:
        return None
    return text.partition(begin)[0] + begin + new + end + text.partition(end)[2]


@reported
def main(argv=None):
    """Writes or checks the tables of the READMEs."""
    parser = argparse.ArgumentParser(prog="python -m shared.results", description=main.__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit with 1 if one differs"
    )
    parser.add_argument("--tried", nargs="+", default=[], metavar="RUN", help="runs to record")
    options = parser.parse_args(argv)
    for run in options.tried:
        print(add_tried(run))
    tables = [(ROOT / "README.md", "results", apps_table(ROOT / "apps"))]
    for app in sorted(path.parent for path in ROOT.glob("apps/*/train.py")):
        tables.append((app / "README.md", "results", app_table(app)))
        if any("systems" in r["test"] for r in _recorded(app)):
            tables.append((app / "README.md", "systems", systems_table(app)))
        if (app / "results" / "tried").exists():
            tables.append((app / "README.md", "tried", tried_table(app)))
    stale = {}
    for readme, place, text in tables:
        old = readme.read_text(encoding="utf-8")
        new = put(old, place, text)
        if new is None:
            raise InputError(f"{readme} lacks the comments <!-- {place} --> and <!-- /{place} -->")
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
