"""What all benchmarks share: options, timing, processes for other libraries, and result files."""

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
    """Returns a parser with the options of every benchmark."""
    options = argparse.ArgumentParser(prog=f"python -m {module}")
    options.add_argument("--tables", action="store_true", help="measure nothing, write the tables")
    options.add_argument("--dry-run", action="store_true", help="smallest sizes; write nothing")
    return options


def medians(calls, rounds):
    """Times calls in alternation, so that a slow minute of the machine affects all of them.

    Args:
        calls: {name: function without arguments that returns when its work is done}.
        rounds: number of timed calls of each, after three calls that are not timed.

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


def training_step(model, loss, clip_norm, epoch_of, count, rounds):
    """Measures a training step and the input pipeline, each by itself. The steps use cached batches.

    Args:
        model: an uncompiled model, with random weights.
        loss: its loss.
        clip_norm: maximum global norm of the gradient.
        epoch_of: function of the epoch that returns a `tf.data.Dataset` of (inputs, targets, weights).
        count: number of batches.
        rounds: number of timed passes over the batches.

    Returns:
        `step_ms` and `input_ms`, milliseconds per batch; and the weights of each batch, a list of arrays.
    """
    import keras
    import numpy as np
    import tensorflow as tf

    model.compile(keras.optimizers.AdamW(1e-4, global_clipnorm=clip_norm), loss)
    cached, uncached = epoch_of(0).take(count).cache(), epoch_of(1).take(count)
    weights = [weights.numpy() for *_, weights in cached]
    model.fit(cached, verbose=0, shuffle=False)

    def steps():
        batches = iter(cached)
        for _ in weights:
            logs = model.train_function(batches)
        tf.nest.map_structure(np.asarray, logs)

    times = medians({"step": steps, "input": lambda: list(uncached)}, rounds)
    return times["step"] / len(weights), times["input"] / len(weights), weights


def worker(python, module, *arguments):
    """Runs `python -m module arguments`; returns its last line, parsed as JSON.

    Returns None if a library that the module imports is not installed.
    """
    arguments = [a if isinstance(a, str) else json.dumps(a) for a in arguments]
    command = [python or sys.executable, "-m", module, *arguments]
    try:
        process = subprocess.run(command, capture_output=True, text=True, cwd=README.parents[1])
    except OSError as error:
        sys.exit(f"--torch-python {python}: {error.strerror}")
    if "ModuleNotFoundError" in process.stderr:
        return None
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{process.stderr}")
    return json.loads(process.stdout.splitlines()[-1])


def publish(name, tables, measured, options):
    """Prints the tables; writes them to the README, and the result to results/<name>.json.

    Nothing is written in a dry run, or if the recorded result has a library that is missing now.

    Args:
        name: name of the benchmark.
        tables: function of the result that returns {place: table}, for the comments
            `<!-- place -->` and `<!-- /place -->` of the README.
        measured: the result; with --tables, results/<name>.json is read instead.
        options: the options of `parser`.
    """
    path = RESULTS / f"{name}.json"
    if options.tables:
        measured = read_json(path)
    new_tables = tables(measured)
    for place, table in new_tables.items():
        print(f"\n{place}\n{table}", end="")
    if options.dry_run:
        return
    old, new = path.read_text() if path.exists() else "", json.dumps(measured)
    missing = [peer for peer in PEERS if peer in old and peer not in new]
    if missing:
        print(f"\nnot written: the recorded result also has {', '.join(missing)}")
        return
    path.parent.mkdir(exist_ok=True)
    write_json(path, measured)
    text = README.read_text(encoding="utf-8")
    for place, table in new_tables.items():
        text = put(text, place, table)
    README.write_text(text, encoding="utf-8")
