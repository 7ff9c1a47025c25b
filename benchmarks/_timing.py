"""What every benchmark here does: take turns, and trust the median."""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import time

from shared.files import read_json, write_json
from shared.results import put

RESULTS = pathlib.Path(__file__).parent / "results"
README = pathlib.Path(__file__).parent / "README.md"
PEERS = "torch.nn.LSTM", "onnxruntime", "word_language_model"


def parser(module):
    """The options that every benchmark has."""
    made = argparse.ArgumentParser(prog=f"python -m {module}")
    made.add_argument("--tables", action="store_true", help="measure nothing, write the tables")
    made.add_argument("--dry-run", action="store_true", help="the smallest sizes; write nothing")
    return made


def medians(calls, rounds):
    """Times calls that take turns, so that a slow minute of the machine falls on all of them.

    Args:
        calls: {name: function without arguments, which returns when its work is done}.
        rounds: how often each is timed, after three calls that are not.

    Returns:
        {name: median in milliseconds}.
    """
    for call in calls.values():
        for _ in range(3):
            call()
    times = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(t) * 1e3 for name, t in times.items()}


def worker(python, module, *arguments):
    """What `python -m module arguments` prints last, as JSON; None where the peer is not installed."""
    words = [a if isinstance(a, str) else json.dumps(a) for a in arguments]
    command = [python or sys.executable, "-m", module, *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=README.parents[1])
    except OSError as error:
        sys.exit(f"--torch-python {python}: {error.strerror}")
    if "ModuleNotFoundError" in done.stderr:
        return None
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def publish(name, tables, measured, options):
    """Prints the tables, and unless it is a dry run, puts them into the README and keeps what was measured.

    Nothing is kept where a peer is missing that was measured before, for it was not installed.

    Args:
        name: of the benchmark: results/<name>.json.
        tables: function of what was measured: {place: table}, for the README's comments
            `<!-- place -->` and `<!-- /place -->`.
        measured: what was measured; with --tables, what results/<name>.json has is taken instead.
        options: of `parser`.
    """
    path = RESULTS / f"{name}.json"
    if options.tables:
        measured = read_json(path)
    made = tables(measured)
    for place, table in made.items():
        print(f"\n{place}\n{table}", end="")
    if options.dry_run:
        return
    before, now = path.read_text() if path.exists() else "", json.dumps(measured)
    missing = [peer for peer in PEERS if peer in before and peer not in now]
    if missing:
        print(f"\nnot kept, for it lacks what was measured before: {', '.join(missing)}")
        return
    path.parent.mkdir(exist_ok=True)
    write_json(path, measured)
    text = README.read_text(encoding="utf-8")
    for place, table in made.items():
        text = put(text, place, table)
    README.write_text(text, encoding="utf-8")
