"""A run's folder: what was asked, how far it came, and how to go on as if nothing had happened.

    runs/<app>/<preset>/
        run.json          app, preset, every setting, SHA-256 of the data, versions
        vocabulary.txt    written by the app's data.load
        checkpoints/      variables of model and optimizer, and the position in the data
        best.keras        the model of the best epoch so far
        metrics.json      the learning curve, and at the end the test result
        curve.png, logs/  the same, to look at: a picture, TensorBoard
        predictions.jsonl the test examples one by one, as the SavedModel answered them
        saved_model/      the SavedModel of best.keras, on which the test result was computed

A checkpoint holds every variable of the model (random seeds and metrics among them) and of the
optimizer, and a small JSON state. The order of batches is a function of (seed, epoch), so (epoch, step)
says all about the data. Two things that Keras offers do not do: `BackupAndRestore` repeats batches,
and `fit` over a checkpointed iterator raises.
"""

import dataclasses
import functools
import gc
import json
import math
import os
import pathlib
import shutil
import sys
import tempfile
import weakref

import keras
import numpy as np
import tensorflow as tf

from shared import plots
from shared.errors import InputError
from shared.files import read_json, write_json, write_text
from shared.training import provenance
from shared.training.callbacks import Recorder

NOTHING_YET = {"lock", ".run.json.half"}  # what a kill may leave before there is a run


class RunFolder:
    """A run read from its folder, for export and evaluation."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.about = read_json(self.path / "run.json")

    @property
    def name(self):
        """What its model is called: two presets never become versions of one another."""
        app, preset = self.about["app"], self.about["preset"]
        return app if preset == "default" else f"{app}_{preset}"

    @property
    def metrics(self):
        """The content of metrics.json; empty before the first epoch's end."""
        path = self.path / "metrics.json"
        return read_json(path) if path.exists() else {}

    @property
    def finished(self):
        """Whether the test result is recorded."""
        return "test" in self.metrics

    def best_model(self):
        """The model of the best epoch."""
        if not (self.path / "best.keras").exists():
            raise InputError(
                f"{self.path} has no best.keras, for no epoch had a finite validation loss: "
                "start over with a lower --learning-rate"
            )
        return keras.saving.load_model(self.path / "best.keras", compile=False)

    def card(self, model):
        """What a user of `model`, the best one, should know: of the model card, a dict for JSON."""
        return {
            **self.about,
            "config": {**self.about["config"], **dict.fromkeys(provenance.PLACES, "")},
            "parameters": sum(math.prod(v.shape) for v in model.trainable_variables),
            "epochs": len(self.metrics["history"]),
            "seconds": self.metrics["seconds"],
        }


class Run(RunFolder):
    """One training, new or resumed.

    Args:
        package: the app's, such as "apps.language_model".
        preset: name of the preset.
        presets: the app's PRESETS.
        config: the app's Config.
        options: `cli.Options`.
        data: {split: SHA-256} of the data.

    Raises:
        InputError: the folder holds a run with other settings or other data, or one that another
            process is training; nothing is touched.
    """

    def __init__(self, package, preset, presets, config, options, data):
        app = package.rpartition(".")[2]
        self.config, self.options = config, options
        self.state = {
            "epoch": 0, "step": 0, "metrics": [], "history": [], "seconds": 0.0,
            "best": None, "waited": 0, "stopped": False,
        }  # fmt: skip
        self.about = {
            "app": app,
            "preset": preset,
            "config": dataclasses.asdict(config),
            "data": data,
            "init_from": options.init_from and load(options.init_from).name,
            "command": provenance.command(app, preset, presets, config),
            "versions": provenance.versions(),
            "hardware": provenance.hardware(),
            "commit": provenance.commit(),
        }
        if options.dry_run:
            self.path = pathlib.Path(tempfile.mkdtemp())
            weakref.finalize(self, shutil.rmtree, self.path)
            self._take_vocabularies()
            return
        self.path = pathlib.Path(options.run)
        signs = ("checkpoints/checkpoint", "best.keras", "metrics.json")
        has_run = (self.path / "run.json").exists()
        begun = has_run and any((self.path / name).exists() for name in signs)
        if begun:
            defaults = {f.name: f.default for f in dataclasses.fields(config)}
            _same(read_json(self.path / "run.json"), self.about, self.path, defaults)
        elif self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path} is a file: choose another --run")
        elif self.path.is_dir() and not has_run and set(os.listdir(self.path)) - NOTHING_YET:
            raise InputError(f"{self.path} is not empty and holds no run: choose another --run")
        self.path.mkdir(parents=True, exist_ok=True)
        _lock(self)
        if not begun:  # nothing is learned yet, so nothing is lost: the settings may still change
            for file in self.path.glob("vocabulary*"):
                file.unlink()
            write_json(self.path / "run.json", self.about)
            self._take_vocabularies()

    def _take_vocabularies(self):
        """With --init-from: the weights mean the tokens of that run."""
        for file in self.options.init_from.glob("vocabulary*") if self.options.init_from else ():
            write_text(self.path / file.name, file.read_text(encoding="utf-8"))

    def restore(self, model):
        """Brings `model` (compiled and built) to where the run stopped, or to its start.

        Raises:
            InputError: `--init-from` is not a run, or its model has other shapes.
        """
        self.model = model
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        variables = [v.value for v in (*model.variables, *model.optimizer.variables)]
        self._python = _JsonState(self.state)
        if self.options.init_from:
            self._copy_weights(self.options.init_from)
        if self.options.dry_run:
            return
        folder = self.path / "checkpoints"
        # A kill in the middle of a save leaves these behind.
        for debris in [*folder.glob("*_temp*"), *folder.glob("checkpoint.tmp*")]:
            shutil.rmtree(debris) if debris.is_dir() else debris.unlink()
        self._manager = tf.train.CheckpointManager(
            tf.train.Checkpoint(variables=variables, state=self._python), str(folder), max_to_keep=2
        )
        if self._manager.latest_checkpoint:
            self._manager.checkpoint.restore(self._manager.latest_checkpoint).assert_consumed()
            self.state = self._python.state
            self.write_metrics()
            epoch, step = self.state["epoch"] + 1, self.state["step"]
            print(f"resuming {self.path} at epoch {epoch}, step {step}", file=sys.stderr)

    def epochs(self):
        """The epochs that are left to train."""
        while self.state["epoch"] < self.config.epochs and not self.state["stopped"]:
            before = self.state["epoch"]
            yield before
            if self.options.dry_run:
                return
            if self.state["epoch"] == before:
                raise RuntimeError("fit was called without `run.callbacks()`: no epoch was counted")

    def remaining(self, dataset):
        """What is left of this epoch's batches."""
        if self.options.dry_run:
            return dataset.take(1)
        if self.state["step"]:
            # Keras would make the metrics at the first batch: the Recorder sets them before it.
            self.model._symbolic_build(data_batch=next(iter(dataset)))
        return dataset.skip(self.state["step"])

    def callbacks(self, monitor="val_loss", patience=0):
        """The callbacks for `fit`, which is called once an epoch; see `Recorder`."""
        return [] if self.options.dry_run else [Recorder(self, monitor, patience)]

    def record(self, test):
        """Writes the test result, with which the run is finished."""
        self.write_metrics(test=test)

    @functools.cached_property
    def log(self):
        """The writer of TensorBoard's log."""
        return tf.summary.create_file_writer(str(self.path / "logs"))

    def save(self):
        """Writes a checkpoint, whole or not at all."""
        self.state["metrics"] = [np.asarray(v).tolist() for v in self.model.metrics_variables]
        self._python.state = self.state
        self._manager.save()

    def write_metrics(self, **more):
        """Writes metrics.json and the learning curve."""
        history = self.state["history"]
        new = {"history": history, "seconds": round(self.state["seconds"], 1), **more}
        write_json(self.path / "metrics.json", {**self.metrics, **new})
        plots.curve(history, self.path / "curve.png")

    def _copy_weights(self, run):
        source = load(run).best_model()
        theirs = {v.path: v for v in source.trainable_variables}
        for variable in self.model.trainable_variables:
            other = theirs.get(variable.path)
            if other is None or other.shape != variable.shape:
                found = "is missing" if other is None else f"has shape {tuple(other.shape)}"
                raise InputError(
                    f"--init-from {run}: {variable.path} {found}, here it is {tuple(variable.shape)}"
                )
            variable.assign(other)


class _JsonState(tf.train.experimental.PythonState):
    """Carries the run's state inside the checkpoint, so that both are from the same moment."""

    def __init__(self, state):
        self.state = state

    def serialize(self):
        return json.dumps(self.state)

    def deserialize(self, string_value):
        self.state = json.loads(string_value)


def load(path, package=None):
    """Opens the finished run at `path`, of the app in `package` if that is given.

    Raises:
        InputError: there is no run, it is another app's, or it is unfinished.
    """
    path = pathlib.Path(path)
    if not (path / "run.json").is_file():
        raise InputError(f"{path}: no run there (a run's folder holds run.json)")
    run = RunFolder(path)
    if package and run.about["app"] != package.rpartition(".")[2]:
        raise InputError(f"{path} is a run of {run.about['app']}, not of {package}")
    if not run.finished:
        raise InputError(f"{path} is unfinished: type its training command again to go on with it")
    return run


def _same(old, new, path, defaults):
    new, defaults = json.loads(json.dumps([new, defaults]))  # as `old` was: a tuple is a list
    there, now = (
        {**{name: about[name] for name in ("app", "preset", "init_from")}, **about["config"]}
        for about in (old, new)
    )
    there = {**defaults, **there}  # a setting that is newer than the run had its default's effect
    differ = [
        f"{name}: {there.get(name)!r} there, {value!r} now"
        for name, value in now.items()
        if name not in provenance.PLACES and there.get(name) != value
    ]
    differ += [
        f"data of {split}" for split in new["data"] if old["data"].get(split) != new["data"][split]
    ]
    if differ:
        raise InputError(
            f"{path} holds a run that differs ({'; '.join(differ)}): choose another --run"
        )


def _lock(run):
    """Keeps the run for this process, as long as `run` lives."""
    try:
        import fcntl
    except ImportError:  # no such locks on Windows: there, two trainings of one run are not noticed
        return
    file = open(run.path / "lock", "w")  # noqa: SIM115 (closed with the run)
    weakref.finalize(run, file.close)
    for last in (False, True):
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if last:
                raise InputError(f"{run.path} is being trained by another process") from None
            gc.collect()  # of this process, a run that ended in an error may not be gone yet
