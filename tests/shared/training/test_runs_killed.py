"""A run that is killed at any moment continues exactly, bit for bit.

This file is also the program that is killed:

    python tests/shared/training/test_runs_killed.py FOLDER PLANS

trains `FOLDER/killed` once for each of PLANS (JSON), each time in a new process that kills itself at the
moment of the plan, and then to its end; and `FOLDER/whole` without interruption.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import types
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from apps.language_model import config, model
from shared import plots
from shared.cli import Options
from shared.data import batching
from shared.data.splits import TextSplit
from shared.training import runs
from shared.training.checkpoints import Checkpoints
from shared.training.schedules import warmup_cosine

SEED = 20
PATIENCE = 3


def plans(seed=SEED):
    """Returns the moments at which the processes are killed: (what happens, how often it has happened)."""
    rng = np.random.default_rng(seed)
    count = lambda low, high: int(rng.integers(low, high + 1))  # noqa: E731
    return [
        ("run.json", 1),
        ("train batch", count(1, 2)),
        ("temporary folder of a checkpoint", count(1, 2)),
        ("validation batch", count(1, 4)),
        ("best.keras is partial", 1),
        ("best.keras is written, the checkpoint is not", 1),
        ("the checkpoint has no index", count(2, 5)),
        ("the checkpoint is written, metrics.json is not", 1),
        ("milliseconds into a save", count(0, 9)),
        ("train batch", count(6, 8)),
        ("an old checkpoint is partly deleted", count(1, 2)),
        ("validation batch", count(6, 8)),
    ]


def kill():
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)  # the threads of a killed process continue for a moment


def die_at(owner, name, nth=1, matching="", after=False):
    """Kills this process at the nth call of `owner.name` with `matching` in its first argument."""
    real, seen = getattr(owner, name), []

    def wrapped(*args, **kwargs):
        hit = matching in str(args[0])
        seen.extend([1] * hit)
        if hit and len(seen) == nth and not after:
            kill()
        result = real(*args, **kwargs)
        if hit and len(seen) == nth:
            kill()
        return result

    setattr(owner, name, wrapped)


def arm(what, nth, folder):
    """Prepares that this process kills itself; returns callbacks for `fit`."""
    save, saves = Checkpoints.save, []

    def watched_save(*args, **kwargs):
        saves.append(1)
        if what == "temporary folder of a checkpoint" and len(saves) == nth:
            threading.Thread(
                target=_kill_when_seen, args=[folder / "checkpoints", "*/*_temp"]
            ).start()
        if what == "milliseconds into a save" and len(saves) == 5:
            threading.Timer(nth / 1000, kill).start()
        return save(*args, **kwargs)

    Checkpoints.save = watched_save
    if what == "run.json":
        die_at(os, "replace", matching=".run.json.partial")
    elif what == "best.keras is partial":
        die_at(os, "replace", matching="best.partial.keras")
    elif what == "best.keras is written, the checkpoint is not":
        die_at(os, "replace", matching="best.partial.keras", after=True)
    elif what == "the checkpoint has no index":
        die_at(os, "replace", nth, matching=".index")
    elif what == "the checkpoint is written, metrics.json is not":
        die_at(
            os, "replace", 2, matching=".metrics.json.partial"
        )  # the first is written by restore
    elif what == "an old checkpoint is partly deleted":
        die_at(pathlib.Path, "unlink", nth, matching=".index", after=True)
    elif what in ("train batch", "validation batch"):
        callback, batches = keras.callbacks.Callback(), []

        def on_batch_end(batch, logs=None):
            batches.append(batch)
            if len(batches) == nth:
                kill()

        name = "on_train_batch_end" if what == "train batch" else "on_test_batch_end"
        setattr(callback, name, on_batch_end)
        return [callback]
    return []


def _kill_when_seen(folder, pattern):
    while not any(folder.glob(pattern)):
        pass
    kill()


def train(folder, what=None, nth=0):
    """Trains as the language model does, on random tokens.

    The state of this training has many parts: dropout seeds, states carried from batch to batch, a
    learning rate schedule and early stopping.
    """
    plots.curve = lambda history, path: path.touch()  # drawing it takes most of the time
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    callbacks = arm(what, nth, folder)
    settings = config.Config(
        cell="simple_rnn",
        units=6,
        dropout=0.3,
        epochs=30,
        batch_size=4,
        window=6,
        seed=3,
        patience=PATIENCE,
    )
    options = Options(run=folder, checkpoint_seconds=0, deterministic=True, quiet=True)
    presets = {"default": settings}
    splits = {"train": TextSplit("train", ["random tokens"])}
    run = runs.Run("apps.toy", "default", presets, settings, options, splits)
    options.seed(settings.seed)
    ids = np.random.default_rng(0).integers(0, 12, 200)
    order = batching.windows(ids[:100], 4, settings.window, settings.seed)
    valid = batching.windows(ids[100:], 4, settings.window)(0)
    vocabulary = types.SimpleNamespace(size=12)
    net = model.build(settings, types.SimpleNamespace(vocabulary=vocabulary, size=12))
    rate = warmup_cosine(0.3, warmup_steps=5, total_steps=150)
    net.compile(
        keras.optimizers.SGD(rate, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, reduction="mean_with_sample_weight"
        ),
        weighted_metrics=["sparse_categorical_accuracy"],
    )
    run.restore(net)
    for epoch in run.epochs():
        net.fit(
            run.remaining(order(epoch)),
            validation_data=valid,
            initial_epoch=epoch,
            epochs=epoch + 1,
            callbacks=[*run.callbacks(patience=settings.patience), *callbacks],
            verbose=0,
            shuffle=False,
        )
    variables = [np.asarray(v.value) for v in (*net.variables, *net.optimizer.variables)]
    np.savez(folder / "variables.npz", *variables)
    paths = [v.path for v in (*net.variables, *net.optimizer.variables)]
    (folder / "paths.json").write_text(json.dumps(paths))


def in_a_fork(folder, *plan):
    """Trains in a fork of this process, which has imported TensorFlow but has not used it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork with threads: none is running
        pid = os.fork()
    if not pid:
        try:
            train(folder, *plan)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    left = sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))
    metrics = folder / "metrics.json"
    history = json.loads(metrics.read_text())["history"] if metrics.exists() else []
    return {"plan": plan, "status": status, "left": left, "history": history}


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """The folder of the two trainings, a description of what each process left, and stderr."""
    folder = tmp_path_factory.mktemp("killed")
    root = pathlib.Path(__file__).parents[3]
    process = subprocess.run(
        [sys.executable, __file__, str(folder), json.dumps(plans())],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert process.returncode == 0, process.stderr
    return folder, [json.loads(line) for line in process.stdout.splitlines()], process.stderr


def test_every_process_was_killed_at_its_moment(killed):
    _, processes, stderr = killed
    *dead, last, whole = processes
    assert [p["status"] for p in dead] == [-signal.SIGKILL] * len(plans()), stderr
    assert last["status"] == whole["status"] == 0, stderr
    left = {p["plan"][0]: p["left"] for p in dead}
    has = lambda what, part: any(part in name for name in left[what])  # noqa: E731
    assert set(left["run.json"]) == {"lock", ".run.json.partial"}
    assert has("temporary folder of a checkpoint", "_temp/part")
    assert has("best.keras is partial", "best.partial.keras")
    assert not has("best.keras is partial", "best.keras")
    assert has("best.keras is written, the checkpoint is not", "best.keras")
    assert has("the checkpoint has no index", "checkpoints/.partial/ckpt-")
    assert has("the checkpoint is written, metrics.json is not", ".metrics.json.partial")
    names = [n for n in left["an old checkpoint is partly deleted"] if "/ckpt-" in n]
    assert len(names) == 5  # data without its index
    # At the last kill, early stopping had counted some epochs without improvement.
    losses = [e["val_loss"] for e in dead[-1]["history"]]
    assert 0 < len(losses) - 1 - int(np.argmin(losses)) < PATIENCE


def test_a_killed_run_ends_with_the_same_variables(killed):
    folder, *_ = killed
    paths = json.loads((folder / "whole" / "paths.json").read_text())
    kinds = ["seed_generator_state", "carried_0", "iteration", "momentum"]
    assert [k for k in kinds if not any(k in path for path in paths)] == []
    one, two = (np.load(folder / name / "variables.npz") for name in ("whole", "killed"))
    assert one.files == two.files
    assert len(one.files) == len(paths)
    differ = [
        p for p, n in zip(paths, one.files, strict=True) if not np.array_equal(one[n], two[n])
    ]
    assert differ == []
    seeds = [one[n] for p, n in zip(paths, one.files, strict=True) if "seed_generator_state" in p]
    assert sum(s[1] > 0 for s in seeds) >= 2  # both dropout layers have drawn numbers


def test_a_killed_run_has_the_same_curve_and_stops_at_the_same_epoch(killed):
    folder, _, _ = killed
    one, two = (json.loads((folder / n / "metrics.json").read_text()) for n in ("whole", "killed"))
    assert one["history"] == two["history"]
    losses = [e["val_loss"] for e in one["history"]]
    assert len(losses) == int(np.argmin(losses)) + 1 + PATIENCE < 30
    rates = [e["learning_rate"] for e in one["history"]]
    assert len(set(rates)) == len(rates)  # the schedule changed it in each epoch
    accuracy = [e["sparse_categorical_accuracy"] for e in one["history"]]
    assert len(set(accuracy)) > 1
    best = [keras.saving.load_model(folder / n / "best.keras") for n in ("whole", "killed")]
    for a, b in zip(*(m.get_weights() for m in best), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_killed_run_leaves_no_partial_files(killed):
    folder, *_ = killed
    # TensorBoard writes a file for each process.
    one, two = (
        {
            str(p.relative_to(folder / name))
            for p in (folder / name).rglob("*")
            if p.parent.name not in ("logs", "checkpoints")
        }
        for name in ("whole", "killed")
    )
    assert one == two
    kept = sorted(p.name.partition(".")[2] for p in (folder / "killed/checkpoints").iterdir())
    assert kept == sorted(["data-00000-of-00001", "index"] * 2)


if __name__ == "__main__":
    root_folder = pathlib.Path(sys.argv[1])
    for plan in [*json.loads(sys.argv[2]), []]:
        print(json.dumps(in_a_fork(root_folder / "killed", *plan)), flush=True)
    print(json.dumps(in_a_fork(root_folder / "whole")), flush=True)
