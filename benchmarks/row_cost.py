"""Measures what one large row costs the other rows of its request.

    python -m benchmarks.row_cost                    # the exported preset `default` of each app
    python -m benchmarks.row_cost --model FOLDER ...

A request has 31 short rows, from apps/<app>/demo, without and with a row of 100,000 characters, which is
above `max_request_bytes` and refused. A row of exactly this size is measured once, for information: it is
served whole. The table is in README.md.
"""

import itertools
import pathlib
import time

from shared import results
from shared.serving.clients import SavedModelClient
from shared.serving.export import card_of
from shared.training.provenance import hardware, versions

from . import _timing

ROUNDS, SHORT_ROWS, LARGE = 15, 31, 100_000
APPS = pathlib.Path(__file__).parents[1] / "apps"


def rows(app, limit):
    """Returns the short rows of an app, a large row, and a text of `limit` bytes without white space.

    The last is None for an app whose inputs are not text.
    """
    files = sorted(
        path for path in (APPS / app / "demo").iterdir() if not path.name.startswith(".")
    )
    texts = [
        line
        for path in files
        if path.suffix == ".txt"
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    inputs = texts or [path.read_bytes() for path in files]
    short = list(itertools.islice(itertools.cycle(inputs), SHORT_ROWS))
    text = "".join("".join(texts).split()) or "a"
    large = (text * (1 + LARGE // len(text)))[:LARGE]
    return short, large, large.encode()[:limit].decode(errors="ignore") if texts else None


def milliseconds(client, signature, inputs):
    """Returns the time of one request."""
    start = time.perf_counter()
    client.predict(signature, inputs)
    return 1e3 * (time.perf_counter() - start)


def measure(folders, options):
    """Returns the result of each model."""
    return {
        "hardware": hardware(),
        "versions": versions(),
        "models": [measure_one(folder, options.dry_run) for folder in folders],
    }


def measure_one(folder, dry_run):
    """Returns the times of each signature of a model that has no input but `inputs`."""
    card = card_of(folder)
    limit = card["config"]["max_request_bytes"]
    short, large, allowed = rows(card["app"], limit)
    client = SavedModelClient(folder)
    signatures = {}
    for name, (inputs, _) in sorted(client.signatures.items()):
        if set(inputs) != {"inputs"}:
            continue
        requests = {"short": short, "with_large_row": [*short, large]}
        calls = {
            key: lambda name=name, request=request: client.predict(name, request)
            for key, request in requests.items()
        }
        times = _timing.medians(calls, 1 if dry_run else ROUNDS)
        if allowed is not None and not dry_run:
            times["with_allowed_row"] = milliseconds(client, name, [*short, allowed])
        signatures[name] = times
    return {
        "app": card["app"],
        "preset": card["preset"],
        "max_request_bytes": limit,
        "milliseconds": signatures,
    }


def main(argv=None):
    parser = _timing.parser("benchmarks.row_cost")
    names = sorted(path.parent.name for path in APPS.glob("*/train.py"))
    models = [pathlib.Path("saved_models", name) for name in names]
    parser.add_argument("--model", type=pathlib.Path, nargs="+", default=models)
    options = parser.parse_args(argv)
    if options.tables:
        _timing.publish("row_cost", tables, None, options)
        return
    folders = [folder for folder in options.model if folder.is_dir()]
    for folder in set(options.model) - set(folders):
        print(f"skipped: no {folder}; train and export it first, or name another --model")
    for folder in [*folders]:
        if "max_request_bytes" not in card_of(folder)["config"]:
            print(f"skipped: {folder} has no max_request_bytes; train and export it again")
            folders.remove(folder)
    if folders:
        _timing.publish("row_cost", tables, measure(folders, options), options)


def tables(measured):
    """Returns {place in README.md: table}."""
    columns = [
        "model", "signature", f"{SHORT_ROWS} short rows, ms", f"and {LARGE:,} characters, ms",
        "`max_request_bytes`", "and a row of this size, ms",
    ]  # fmt: skip
    lines = []
    for model in measured["models"]:
        for signature, times in model["milliseconds"].items():
            short, large = times["short"], times["with_large_row"]
            allowed = times.get("with_allowed_row")
            lines.append(
                (
                    f"{model['app']}, `{model['preset']}`",
                    f"`{signature}`",
                    f"{short:.1f}",
                    f"{large:.1f} ({large / short:.2f})",
                    f"{model['max_request_bytes']:,}",
                    "-" if allowed is None else f"{allowed:,.0f}",
                )
            )
    return {"row_cost": results.table(columns, lines)}


if __name__ == "__main__":
    main()
