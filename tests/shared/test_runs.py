"""A run's folder: killed anywhere it goes on bit for bit, and nothing is changed by mistake.

This file is also the program that is killed:

    python tests/shared/test_runs.py FOLDER PLANS

trains `FOLDER/killed` once for each of PLANS (JSON), each time in a process of its own that kills
itself at the moment the plan names; then to its end, and `FOLDER/whole` in one go.
"""

import dataclasses
import gc
import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import types
import warnings
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf

from apps.language_model import config, model
from shared import batching, runs
from shared.cli import Options
from shared.errors import InputError, one_line

# ---- Killed and resumed --------------------------------------------------------------------------

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
        layers=2,
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
            run.rest(order(epoch)),
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


# ---- Nothing is changed by mistake ---------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Config:
    data_dir: str = ""
    units: int = 2
    epochs: int = 1
    learning_rate: float = 0.1


def digest(folder):
    """Every file's content, and that of no other."""
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def start(folder, config=None, data="d", preset="default", **options):
    config = config or Config()
    options = Options(run=folder, quiet=True, checkpoint_seconds=0, **options)
    presets = {preset: Config()}
    return runs.Run("apps.toy", preset, presets, config, options, {"train": data, "test": "t"})


def fit(run, targets=1.0, epochs=None):
    """Trains one layer for the epochs that are left."""
    x = keras.Input((3,))
    net = keras.Model(x, keras.layers.Dense(run.config.units, name="dense")(x))
    net.compile(keras.optimizers.Adam(run.config.learning_rate), "mse")
    run.restore(net)
    data = tf.data.Dataset.from_tensors((tf.ones([4, 3]), tf.fill([4, run.config.units], targets)))
    for epoch in run.epochs():
        if epoch == epochs:
            break
        net.fit(
            run.rest(data.repeat(3)),
            validation_data=data,
            initial_epoch=epoch,
            epochs=epoch + 1,
            callbacks=run.callbacks(),
            verbose=0,
            shuffle=False,
        )
    return net


def refusal(call, capsys):
    """The one line that a script prints to stderr when it refuses, with status 2."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        one_line(lambda argv: call())()
    out, err = capsys.readouterr()
    assert stop.value.code == 2
    assert out == ""
    [line] = [line for line in err.splitlines() if not line.startswith("resuming ")]
    return line


@pytest.fixture
def finished(tmp_path):
    run = start(tmp_path / "run")
    fit(run)
    run.record({"value": 1.0})
    return tmp_path / "run"


def test_a_finished_run_is_left_as_it_is(finished):
    before = digest(finished)
    assert start(finished).finished
    assert digest(finished) == before


def test_the_command_of_a_finished_run_says_so(trained, capsys):
    app = trained("language_model")
    before = digest(app.run)
    capsys.readouterr()
    with mock.patch.dict(app.config.PRESETS, tiny=app.config.TINY):
        app.train.main(["tiny", "--run", str(app.run), "--quiet"])
    out, _ = capsys.readouterr()
    assert str(app.run) in out
    assert "finished" in out
    assert "--run" in out
    assert digest(app.run) == before


def test_other_settings_are_named_with_both_values(finished, capsys):
    before = digest(finished)
    err = refusal(lambda: start(finished, Config(units=5, epochs=7)), capsys)
    assert "units: 2 there, 5 now" in err
    assert "epochs: 1 there, 7 now" in err
    assert "learning_rate" not in err
    assert "--run" in err
    err = refusal(lambda: start(finished, preset="large"), capsys)
    assert "preset: 'default' there, 'large' now" in err
    assert digest(finished) == before


def test_the_same_data_may_lie_elsewhere_and_other_data_are_named(finished, capsys):
    before = digest(finished)
    assert start(finished, Config(data_dir="/elsewhere")).finished
    err = refusal(lambda: start(finished, data="other"), capsys)
    assert "(data of train)" in err
    assert digest(finished) == before


def test_a_folder_that_is_no_run_is_left_alone(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("years of work")
    before = digest(tmp_path)
    assert "holds no run" in refusal(lambda: start(tmp_path), capsys)
    assert "thesis.txt" in refusal(lambda: start(tmp_path / "thesis.txt"), capsys)
    assert digest(tmp_path) == before


def test_two_processes_do_not_train_one_run(finished, capsys):
    hold = (
        f"import fcntl; f = open({str(finished / 'lock')!r}); fcntl.flock(f, 2); print(); input()"
    )
    before = digest(finished)
    with subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        other.stdout.readline()
        assert "another process" in refusal(lambda: start(finished), capsys)
        assert digest(finished) == before
        other.communicate("")
    assert start(finished).finished


def test_a_run_that_is_over_lets_go_of_its_folder(tmp_path, capsys):
    """In one process, as in a notebook: also after an error."""

    @one_line
    def main(argv=None):
        run = start(tmp_path / "run")
        fit(run, targets=np.nan)

    for _ in range(2):
        with pytest.raises(SystemExit):
            main()
        err = capsys.readouterr().err
        assert "loss is nan" in err
        assert "another process" not in err


def test_a_loss_of_nan_stops_with_one_line(tmp_path, capsys):
    config = Config(epochs=2)
    err = refusal(lambda: fit(start(tmp_path / "run", config), targets=np.nan), capsys)
    assert "loss is nan" in err
    assert "--learning-rate" in err
    # Nor is it overlooked when the command is typed again, though the epochs were run through.
    for _ in range(2):
        assert "loss is nan" in refusal(
            lambda: fit(start(tmp_path / "run", config), np.nan), capsys
        )


def test_a_run_without_a_best_epoch_says_so(tmp_path, capsys):
    run = start(tmp_path / "run")
    run.record({})
    assert "best.keras" in refusal(runs.load(tmp_path / "run").best_model, capsys)


def test_init_from_begins_with_the_weights_of_the_other_run(finished, tmp_path, capsys):
    source = runs.load(finished).best_model()
    other = start(tmp_path / "new", Config(epochs=0), init_from=finished)
    net = fit(other)
    assert len(net.trainable_variables) == 2
    for a, b in zip(net.trainable_variables, source.trainable_variables, strict=True):
        np.testing.assert_array_equal(a, b)
    assert other.about["init_from"] == "toy"
    fit(start(tmp_path / "trained", init_from=finished))
    err = refusal(lambda: start(tmp_path / "trained"), capsys)
    assert "init_from: 'toy' there, None now" in err


def test_init_from_takes_the_vocabulary_that_the_weights_are_of(finished, tmp_path):
    (finished / "vocabulary.txt").write_text("</s>\n<unk>\n\u6f22\n", encoding="utf-8")
    for options in ({}, {"dry_run": True}):
        new = start(tmp_path / "new", init_from=finished, **options)
        content = (new.path / "vocabulary.txt").read_text(encoding="utf-8")
        assert content == "</s>\n<unk>\n\u6f22\n"


def test_a_run_that_has_learned_nothing_takes_other_settings(tmp_path):
    first = start(tmp_path / "run", Config(units=5), data="wrong")
    (first.path / "vocabulary.txt").write_text("of the wrong data")
    del first
    second = start(tmp_path / "run")
    assert not (second.path / "vocabulary.txt").exists()
    assert runs.read_json(second.path / "run.json")["config"]["units"] == Config().units


def test_init_from_is_refused_where_it_cannot_be(finished, tmp_path, capsys):
    new = tmp_path / "new"
    wide = lambda: fit(start(new, Config(units=3), init_from=finished))  # noqa: E731
    err = refusal(wide, capsys)
    assert "dense/kernel has shape (3, 2), here it is (3, 3)" in err
    assert "no run there" in refusal(
        lambda: start(tmp_path / "b", init_from=tmp_path / "c"), capsys
    )
    fit(start(tmp_path / "half", Config(epochs=2)), epochs=1)
    err = refusal(lambda: start(tmp_path / "b", init_from=tmp_path / "half"), capsys)
    assert "half is unfinished" in err
    assert not (tmp_path / "b").exists()


def test_a_dry_run_writes_nothing(trained, tmp_path, monkeypatch, capsys):
    app = trained("language_model")
    monkeypatch.chdir(tmp_path)
    steps = []
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    fit_ = keras.Model.fit
    monkeypatch.setattr(
        keras.Model, "fit", lambda self, *a, **k: steps.append(fit_(self, *a, **k).params["steps"])
    )
    with mock.patch.dict(app.config.PRESETS, tiny=app.config.TINY):
        app.train.main(["tiny", "--dry-run", "--quiet"])
        gc.collect()
        app.train.main(["tiny", "--dry-run", "--quiet", "--run", str(tmp_path / "named")])
        gc.collect()
    assert steps == [1, 1]
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")] == ["scratch"]


def test_the_card_says_nothing_of_where_the_data_lay(finished, tmp_path):
    run = start(tmp_path / "placed", Config(data_dir=str(tmp_path / "private")))
    fit(run)
    run.record({})
    assert "private" in (tmp_path / "placed" / "run.json").read_text()  # for who trains on
    loaded = runs.load(tmp_path / "placed")
    card = loaded.card(loaded.best_model())
    assert card["config"]["data_dir"] == ""
    assert "private" not in json.dumps(card)
    assert "--data-dir DIR" in card["command"]
    assert card["parameters"] == 2 * 3 + 2


def test_load_wants_a_run_of_the_app(finished, tmp_path):
    assert runs.load(finished, "apps.toy").name == "toy"
    with pytest.raises(InputError, match=r"a run of toy, not of apps\.other"):
        runs.load(finished, "apps.other")
    shutil.copytree(finished, tmp_path / "broken")
    (tmp_path / "broken" / "run.json").write_text("{")
    with pytest.raises(InputError, match=r"run\.json is not valid JSON"):
        runs.load(tmp_path / "broken")


if __name__ == "__main__":
    import matplotlib.pyplot  # noqa: F401 (once, and not in every child)

    here = pathlib.Path(sys.argv[1])
    for planned in [*json.loads(sys.argv[2]), []]:
        print(json.dumps(in_a_fork(here / "killed", *planned)), flush=True)
    print(json.dumps(in_a_fork(here / "whole")), flush=True)
