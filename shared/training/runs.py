"""The folder of a training run: settings, assets, checkpoints and results.

    runs/<app>/<preset>/
        run.json          app, preset, every setting, SHA-256 of the data, versions
        assets/           what is fitted on the training split: vocabularies, tables, statistics
        assets.json       SHA-256 of the assets
        checkpoints/      variables of model and optimizer, and the position in the data
        best.keras        the model with the best validation loss
        metrics.json      the history of the epochs and, at the end, the test result
        curve.png, logs/  the history as a picture and for TensorBoard
        predictions.jsonl the answers of the SavedModel to the test examples
        saved_model/      the SavedModel of best.keras, which computed the test result
        lock              locked while a process trains the run

A checkpoint holds every variable of the model (with those of random seeds) and of the optimizer, and a
small JSON state, which has the values of the metrics. The order of the batches is a function of
(seed, epoch), so that (epoch, step) is the position in the data. Keras has no replacement for this:
`BackupAndRestore` repeats batches, and `fit` over a checkpointed iterator raises an error.
"""

import dataclasses
import functools
import gc
import os
import pathlib
import sys
import tempfile
import weakref

import keras
import numpy as np
import tensorflow as tf

from shared import cli, plots, results
from shared.data.splits import digests
from shared.errors import InputError
from shared.files import lock, partial_path, read_json, remove, replace, write_json, written
from shared.serving.export import promote, versions
from shared.training import assets, checkpoints, provenance, weights
from shared.training.callbacks import RunCallback
from shared.training.differences import compare
from shared.training.run_folder import RunFolder, is_whole, load
from shared.training.state import SavedState, State

# What an interruption may leave in the folder before there is a run.
BEFORE_A_RUN = {"lock", ".run.json.partial"}


class Run(RunFolder):
    """A training run, new or resumed.

    Args:
        package: package of the app, such as "apps.language_model".
        preset: name of the preset.
        presets: PRESETS of the app.
        config: Config of the app.
        options: `cli.Options`.
        splits: {name: `Split`}.

    Attributes:
        config, splits: the arguments.
        path: folder of the run.
        finished: whether the test result is recorded.

    Raises:
        InputError: the folder holds a run with other settings or other data, or another process trains
            this run; nothing is changed.
    """

    def __init__(self, package, preset, presets, config, options, splits):
        app = package.rpartition(".")[2]
        self.package, self.config, self.options = package, config, options
        self.splits, self.state = splits, State()
        policy = keras.config.dtype_policy().name
        other = load(options.init_from) if options.init_from else None
        self.about = {
            "app": app,
            "preset": preset,
            "config": dataclasses.asdict(config),
            "data": digests(splits),
            "init_from": other and other.name,
            "dtype_policy": policy,
            "command": provenance.command(app, preset, presets, config, policy, other),
            "versions": provenance.versions(),
            "hardware": provenance.hardware(),
            "commit": provenance.commit(),
        }
        self.path = pathlib.Path(options.run)
        if not options.dry_run:
            self._open()

    @property
    def finished(self):
        """Whether the test result is recorded; never in a dry run, which does not open the folder."""
        return not self.options.dry_run and super().finished

    def _open(self):
        """Takes the folder: that of a run with these settings and data, or a new one."""
        has_run = (self.path / "run.json").exists()
        has_progress = has_run and (
            checkpoints.numbers(self.path / "checkpoints")
            or any((self.path / name).exists() for name in ("best.keras", "metrics.json"))
        )
        changed_tests = []
        if has_progress:
            changed_tests = compare(self.path, self.about, self.config)
        elif self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path} is a file: choose another --run")
        elif self.path.is_dir() and not has_run and set(os.listdir(self.path)) - BEFORE_A_RUN:
            raise InputError(f"{self.path} is not empty and holds no run: choose another --run")
        self.path.mkdir(parents=True, exist_ok=True)
        _lock(self)
        if not has_progress:  # nothing is lost if the settings change now
            remove(self.path / "assets")
            remove(self.path / "assets.json")
            write_json(self.path / "run.json", self.about)
        elif self.metrics_error():
            print(f"{self.metrics_error()}: it is written again", file=sys.stderr)
            remove(self.path / "metrics.json")
        if changed_tests:
            print(
                f"{self.path}: the data of {', '.join(changed_tests)} has changed. Training does not use "
                "it, and the result will be that of the new data",
                file=sys.stderr,
            )
            remove(self.path / "saved_model")  # its card names the old data
            about = read_json(self.path / "run.json")
            write_json(self.path / "run.json", {**about, "data": self.about["data"]})

    def assets(self, build, read):
        """Returns the app's Assets: those of the run, or of the run of `--init-from`, or new ones.

        The weights of a model belong to the vocabularies they were trained with, so `--init-from` takes
        both. The folder is written atomically; a dry run keeps none.

        Args:
            build: `data.build_assets(config, train, folder)`, which writes the assets.
            read: `data.load_assets(config, folder)`.

        Raises:
            InputError: `--init-from` is a run without assets, or an asset is damaged; or `build` or `read`
                raises it.
        """
        make = functools.partial(
            assets.make, build, self.config, self.splits["train"], self.options.init_from
        )
        if self.options.dry_run:
            with tempfile.TemporaryDirectory() as scratch:
                make(pathlib.Path(scratch, "assets"))
                return read(self.config, pathlib.Path(scratch, "assets"))
        folder = self.path / "assets"
        if not folder.exists():
            remove(partial_path(folder))  # of a process that was killed
            with written(folder) as partial:
                make(partial)
                # Before the folder appears, so that no folder is without its hashes.
                write_json(self.path / "assets.json", assets.hashes(partial))
        assets.check(self.path)
        return read(self.config, folder)

    def restore(self, model):
        """Restores `model`, compiled and built, from the last checkpoint, or else from `--init-from`.

        Raises:
            InputError: `--init-from` is not a run, or the shapes of its model differ; or no checkpoint can be
                restored.
        """
        self.model = model
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        variables = [v.value for v in (*model.variables, *model.optimizer.variables)]
        self._saved_state = SavedState(self.state)
        if self.options.init_from:
            weights.copy(self.options.init_from, model)
        if self.options.dry_run:
            return
        self._checkpoints = checkpoints.Checkpoints(
            self.path / "checkpoints", variables=variables, state=self._saved_state
        )
        if self._checkpoints.restore():
            self.state = self._saved_state.state
            self._check_best_model()
            self.write_metrics()
            epoch, step = self.state.epoch + 1, self.state.step
            print(f"resuming {self.path} at epoch {epoch}, step {step}", file=sys.stderr)

    def _check_best_model(self):
        """Writes best.keras again if it is damaged and the checkpoint has its weights.

        Raises:
            InputError: the checkpoint has weights of a later step.
        """
        state, path = self.state, self.path / "best.keras"
        if state.best is None or is_whole(path):
            return
        if state.step or state.epochs_without_improvement:
            raise InputError(
                f"{path} is damaged or missing, and the checkpoint is of a later step: choose another "
                f"--run, or remove {self.path} to start again"
            )
        print(
            f"{path} is damaged or missing: it is written again from the checkpoint",
            file=sys.stderr,
        )
        self.save_best_model()

    def epochs(self):
        """Yields the epochs that remain to be trained, counted from 0."""
        while self.state.epoch < self.config.epochs and not self.state.stopped:
            before = self.state.epoch
            yield before
            if self.options.dry_run:
                return
            if self.state.epoch == before:
                raise RuntimeError("fit was called without `run.callbacks()`: no epoch was counted")

    def remaining(self, dataset):
        """Returns the batches of this epoch that remain to be trained, a `tf.data.Dataset`."""
        if self.options.dry_run:
            return dataset.take(1)
        if self.state.step:
            # Keras would build the metrics at the first batch: RunCallback sets them before that.
            self.model._symbolic_build(data_batch=next(iter(dataset)))
        return dataset.skip(self.state.step)

    def callbacks(self, monitor="val_loss", patience=0):
        """Returns the callbacks for `fit`, which is called once for each epoch; see `RunCallback`."""
        return [] if self.options.dry_run else [RunCallback(self, monitor, patience)]

    def finish(self, write, evaluate):
        """Exports the best model, evaluates the SavedModel on the test split and prints the result.

        Args:
            write: `export.write(run, folder)` of the app.
            evaluate: `evaluate.evaluate(folder, config, splits, predictions)` of the app.
        """
        if self.options.dry_run:
            print("dry run: one step was trained, nothing was written")
            return
        folder = self.path / "saved_model"
        if not versions(folder):
            promote(lambda partial: write(self, partial), folder)
        predictions = self.path / "predictions.jsonl"
        test = evaluate(folder, self.config, self.splits, predictions)
        self.write_metrics(test=test)
        print(f"{results.headline(test)}\nrun: {self.path}")
        print(f"next: python -m {self.package}.export {self.path}")

    @functools.cached_property
    def log(self):
        """The writer of the TensorBoard log."""
        return tf.summary.create_file_writer(str(self.path / "logs"))

    def save(self):
        """Writes a checkpoint, whole or not at all."""
        self.state.metrics = [np.asarray(v).tolist() for v in self.model.metrics_variables]
        self._saved_state.state = self.state
        self._checkpoints.save()

    def save_best_model(self):
        """Writes best.keras, whole or not at all."""
        partial = self.path / "best.partial.keras"  # Keras needs the suffix
        try:
            self.model.save(partial, include_optimizer=False)
            replace(partial, self.path / "best.keras")
        finally:
            remove(partial)

    def write_metrics(self, **more):
        """Writes metrics.json and the learning curve. With `test`, the test result, a run is finished."""
        history = self.state.history
        new = {"history": history, "seconds": round(self.state.seconds, 1), **more}
        write_json(self.path / "metrics.json", {**self.metrics, **new})
        plots.curve(history, self.path / "curve.png")


def start(package, presets, open_splits, argv=None):
    """Opens the run that the command line asks for: `[preset] [--flags]`.

    All splits are read and checked first, so that bad data is reported before the first epoch.

    Args:
        package: package of the app, such as "apps.language_model".
        presets: PRESETS of the app.
        open_splits: `data.splits(config)` of the app.
        argv: list of arguments; None reads those of the process.

    Returns:
        a `Run`; if `run.finished`, a message was printed and there is nothing to train.

    Raises:
        InputError: bad arguments, settings or data.
    """
    preset, config, options = cli.parse(package, presets, argv)
    options.set_dtype_policy()
    run = Run(package, preset, presets, config, options, open_splits(config))
    if run.finished:
        print(f"{run.path} is finished; to start again, remove it or choose another --run")
    options.seed(config.seed)
    return run


def _lock(run):
    """Locks the run for this process until `run` is deleted."""
    file = open(run.path / "lock", "w")  # noqa: SIM115 (closed with the run)
    weakref.finalize(run, file.close)
    if not lock(file, run.path):
        gc.collect()  # a run of this process that ended in an error may still hold the lock
        if not lock(file, run.path):
            raise InputError(f"{run.path} is being trained by another process")
