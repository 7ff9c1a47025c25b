"""Recorded results, and the README tables that are made of them.

    python -m shared.results            # writes the tables again: `make results`
    python -m shared.results --check    # writes nothing; exits with 1 where a README differs

A README says where its table goes, between the comments `<!-- results -->` and `<!-- /results -->`.
"""

import argparse
import ast
import datetime
import pathlib
import re
import sys

from shared.errors import InputError, one_line
from shared.files import read_json, write_json

ROOT = pathlib.Path(__file__).parents[1]
PLACE = re.compile(r"(<!-- results -->\n).*?(<!-- /results -->)", re.DOTALL)


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
    return f"{r['seconds'] / 60:.0f} min" if r["seconds"] >= 90 else f"{r['seconds']:.0f} s"


def table(names, rows):
    """A Markdown table: names of the columns, and rows of as many values."""
    lines = [names, ["---"] * len(names), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


@one_line
def main(argv=None):
    """Writes the tables of the READMEs, or checks them."""
    parser = argparse.ArgumentParser(prog="python -m shared.results", description=main.__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 where one differs")
    check = parser.parse_args(argv).check
    tables = {ROOT / "README.md": apps_table(ROOT / "apps")}
    for app in ROOT.glob("apps/*/train.py"):
        tables[app.parent / "README.md"] = app_table(app.parent)
    stale = []
    for readme, table in tables.items():
        old = readme.read_text(encoding="utf-8")
        if not PLACE.search(old):
            raise InputError(
                f"{readme} has no place for its table: <!-- results --> <!-- /results -->"
            )
        new = PLACE.sub(lambda found, table=table: found[1] + table + found[2], old)
        if new != old:
            stale.append(readme)
            if not check:
                readme.write_text(new, encoding="utf-8")
    for readme in stale:
        print(f"{readme.relative_to(ROOT)} {'differs' if check else 'written'}")
    if stale and check:
        sys.exit(1)


if __name__ == "__main__":
    main()
