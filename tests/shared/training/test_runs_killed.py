"""A run that is killed anywhere goes on bit for bit.

This file is also the program that is killed:

    python tests/shared/test_runs_killed.py FOLDER PLANS

trains `FOLDER/killed` once for each of PLANS (JSON), each time in a process of its own that kills
itself at the moment the plan names; then to its end, and `FOLDER/whole` in one go.
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
from shared.cli import Options
from shared.data import batching
from shared.training import runs

SEED = 20
PATIENCE = 4


def plans(seed=SEED):
    """Where the processes are killed, one after the other: (what, which occurrence in its process)."""
    rng = np.random.default_rng(seed)
    count = lambda low, high: int(rng.integers(low, high + 1))  # noqa: E731
    return [
        ("run.json", 1),
        ("train batch", count(1, 4)),
        ("checkpoint's temporary folder", count(1, 3)),
        ("validation batch", count(1, 4)),
        ("half of best.keras", 1),
        ("best.keras, and not yet the checkpoint", 1),
        ("half of the checkpoint's name", count(2, 5)),
        ("checkpoint, and not yet metrics.json", 1),
        ("milliseconds into a save", count(0, 9)),
        ("train batch", count(10, 20)),
        ("old checkpoint half deleted", count(4, 10)),
        ("validation batch", count(6, 8)),
    ]


def kill():
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)  # a thread of the killed process runs on for a moment


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
    """Prepares the death of this process; returns callbacks for `fit`."""
    from tensorflow.python.lib.io import file_io

    save, saves = tf.train.CheckpointManager.save, []

    def watched_save(*args, **kwargs):
        saves.append(1)
        if what == "checkpoint's temporary folder" and len(saves) == nth:
            threading.Thread(target=_kill_when_seen, args=[folder / "checkpoints", "_temp"]).start()
        if what == "milliseconds into a save" and len(saves) == 5:
            threading.Timer(nth / 1000, kill).start()
        return save(*args, **kwargs)

    tf.train.CheckpointManager.save = watched_save
    if what == "run.json":
        die_at(os, "replace", matching=".run.json.half")
    elif what == "half of best.keras":
        die_at(os, "replace", matching="best.half.keras")
    elif what == "best.keras, and not yet the checkpoint":
        die_at(os, "replace", matching="best.half.keras", after=True)
    elif what == "half of the checkpoint's name":
        die_at(file_io, "rename", nth, matching="checkpoint.tmp")
    elif what == "checkpoint, and not yet metrics.json":
        die_at(os, "replace", 2, matching=".metrics.json.half")  # the first is of the restore
    elif what == "old checkpoint half deleted":
        die_at(file_io, "delete_file", nth, matching="ckpt-", after=True)
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


def _kill_when_seen(folder, part):
    while not any(part in name for name in os.listdir(folder)):
        pass
    kill()


def train(folder, what=None, nth=0):
    """The loop of an app's `train`, over random tokens, of a model that remembers: dropout, states
    carried from batch to batch, a schedule, and early stopping."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    callbacks = arm(what, nth, folder)
    settings = config.Config(
        cell="simple_rnn",
        units=6,
        num_layers=2,
        dropout=0.3,
        epochs=30,
        batch_size=4,
        window=6,
        seed=3,
        patience=PATIENCE,
    )
    options = Options(run=folder, checkpoint_seconds=0, deterministic=True, quiet=True)
    presets = {"default": settings}
    run = runs.Run("apps.toy", "default", presets, settings, options, {"train": "?"})
    options.seed(settings.seed)
    ids = np.random.default_rng(0).integers(0, 12, 400)
    order = batching.windows(ids[:200], 4, settings.window, settings.seed)
    valid = batching.windows(ids[200:], 4, settings.window)(0)
    net = model.build(settings, types.SimpleNamespace(size=12))
    rate = keras.optimizers.schedules.CosineDecay(0.0, 300, warmup_target=0.03, warmup_steps=30)
    net.compile(
        keras.optimizers.AdamW(rate, weight_decay=0.01),
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
    """Trains in a child of this process, which has imported TensorFlow and not used it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork and threads: none of ours runs
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
    """The folder of the two trainings, and what each process of the first left."""
    folder = tmp_path_factory.mktemp("killed")
    done = subprocess.run(
        [sys.executable, __file__, str(folder), json.dumps(plans())],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def test_every_kill_struck_where_it_should(killed):
    _, processes, stderr = killed
    *dead, last, whole = processes
    assert [p["status"] for p in dead] == [-signal.SIGKILL] * len(plans()), stderr
    assert last["status"] == whole["status"] == 0, stderr
    left = {p["plan"][0]: p["left"] for p in dead}
    has = lambda what, part: any(part in name for name in left[what])  # noqa: E731
    assert set(left["run.json"]) == {"lock", ".run.json.half"}
    assert has("checkpoint's temporary folder", "_temp/part")
    assert has("half of best.keras", "best.half.keras")
    assert not has("half of best.keras", "best.keras")
    assert has("best.keras, and not yet the checkpoint", "best.keras")
    assert has("half of the checkpoint's name", "checkpoint.tmp")
    assert has("checkpoint, and not yet metrics.json", ".metrics.json.half")
    halves = [n.rpartition(".")[0] for n in left["old checkpoint half deleted"] if "/ckpt-" in n]
    assert len(halves) % 2 == 1  # an index without its data
    # The last kill came while early stopping was counting, which it then went on with.
    losses = [e["val_loss"] for e in dead[-1]["history"]]
    assert 0 < len(losses) - 1 - int(np.argmin(losses)) < PATIENCE


def test_a_killed_run_ends_as_one_that_was_not(killed):
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
    assert sum(s[1] > 0 for s in seeds) >= 2  # both dropouts drew


def test_a_killed_run_has_the_same_curve_and_stops_at_the_same_epoch(killed):
    folder, _, _ = killed
    one, two = (json.loads((folder / n / "metrics.json").read_text()) for n in ("whole", "killed"))
    assert one["history"] == two["history"]
    losses = [e["val_loss"] for e in one["history"]]
    assert len(losses) == int(np.argmin(losses)) + 1 + PATIENCE < 30
    rates = [e["learning_rate"] for e in one["history"]]
    assert len(set(rates)) == len(rates)  # the schedule moved all the time
    accuracy = [e["sparse_categorical_accuracy"] for e in one["history"]]
    assert len(set(accuracy)) > 1
    best = [keras.saving.load_model(folder / n / "best.keras") for n in ("whole", "killed")]
    for a, b in zip(*(m.get_weights() for m in best), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_killed_run_leaves_no_debris(killed):
    folder, *_ = killed
    # TensorBoard writes a file for each process: the curves in them are one.
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
    assert kept == sorted(["", *["data-00000-of-00001", "index"] * 2])


if __name__ == "__main__":
    import matplotlib.pyplot  # noqa: F401 (once, and not in every child)

    here = pathlib.Path(sys.argv[1])
    for planned in [*json.loads(sys.argv[2]), []]:
        print(json.dumps(in_a_fork(here / "killed", *planned)), flush=True)
    print(json.dumps(in_a_fork(here / "whole")), flush=True)
