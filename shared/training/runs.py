"""The folder of a training run: settings, assets, checkpoints and results.

    runs/<app>/<preset>/
        run.json          app, preset, every setting, SHA-256 of the data, versions
        assets/           what is fitted on the training split: vocabularies, tables, statistics
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
import itertools
import json
import os
import pathlib
import shutil
import sys
import tempfile
import weakref

import numpy as np
import tensorflow as tf

from shared import cli, plots, results
from shared.data.splits import digests
from shared.errors import InputError
from shared.files import read_json, write_json
from shared.serving.export import promote, versions
from shared.training import provenance
from shared.training.callbacks import RunCallback
from shared.training.run_folder import RunFolder, load, weights_of
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
        self.about = {
            "app": app,
            "preset": preset,
            "config": dataclasses.asdict(config),
            "data": digests(splits),
            "init_from": options.init_from and load(options.init_from).name,
            "command": provenance.command(app, preset, presets, config),
            "versions": provenance.versions(),
            "hardware": provenance.hardware(),
            "commit": provenance.commit(),
        }
        if options.dry_run:
            self.path = pathlib.Path(tempfile.mkdtemp())
            weakref.finalize(self, shutil.rmtree, self.path)
            return
        self.path = pathlib.Path(options.run)
        progress = ("checkpoints/checkpoint", "best.keras", "metrics.json")
        has_run = (self.path / "run.json").exists()
        has_progress = has_run and any((self.path / name).exists() for name in progress)
        if has_progress:
            _check_same(read_json(self.path / "run.json"), self.about, self.path, config)
        elif self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path} is a file: choose another --run")
        elif self.path.is_dir() and not has_run and set(os.listdir(self.path)) - BEFORE_A_RUN:
            raise InputError(f"{self.path} is not empty and holds no run: choose another --run")
        self.path.mkdir(parents=True, exist_ok=True)
        _lock(self)
        if not has_progress:  # nothing is lost if the settings change now
            shutil.rmtree(self.path / "assets", ignore_errors=True)
            write_json(self.path / "run.json", self.about)

    def assets(self, build, read):
        """Returns the app's Assets: those of the run, or of the run of `--init-from`, or new ones.

        The weights of a model belong to the vocabularies they were trained with, so `--init-from` takes
        both. The folder is written atomically.

        Args:
            build: `data.build_assets(config, train, folder)`, which writes the assets.
            read: `data.load_assets(config, folder)`.

        Raises:
            InputError: `--init-from` is a run without assets; or `build` or `read` raises it.
        """
        folder = self.path / "assets"
        if not folder.exists():
            partial = self.path / ".assets.partial"
            shutil.rmtree(partial, ignore_errors=True)
            if self.options.init_from:
                source = pathlib.Path(self.options.init_from, "assets")
                if not source.is_dir():
                    raise InputError(
                        f"--init-from {self.options.init_from}: the run has no assets, because it was made "
                        "by another version of this project. Train it again"
                    )
                shutil.copytree(source, partial)
            else:
                partial.mkdir()
                build(self.config, self.splits["train"], partial)
            os.rename(partial, folder)
        return read(self.config, folder)

    def restore(self, model):
        """Restores `model`, compiled and built, from the last checkpoint, or else from `--init-from`.

        Raises:
            InputError: `--init-from` is not a run, or the shapes of its model differ.
        """
        self.model = model
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        variables = [v.value for v in (*model.variables, *model.optimizer.variables)]
        self._saved_state = SavedState(self.state)
        if self.options.init_from:
            self._copy_weights(self.options.init_from)
        if self.options.dry_run:
            return
        folder = self.path / "checkpoints"
        # An interruption in the middle of a save leaves these files.
        for path in [*folder.glob("*_temp*"), *folder.glob("checkpoint.tmp*")]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        self._manager = tf.train.CheckpointManager(
            tf.train.Checkpoint(variables=variables, state=self._saved_state),
            str(folder),
            max_to_keep=2,
        )
        if self._manager.latest_checkpoint:
            self._manager.checkpoint.restore(self._manager.latest_checkpoint).assert_consumed()
            self.state = self._saved_state.state
            self.write_metrics()
            epoch, step = self.state.epoch + 1, self.state.step
            print(f"resuming {self.path} at epoch {epoch}, step {step}", file=sys.stderr)

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
        self._manager.save()

    def write_metrics(self, **more):
        """Writes metrics.json and the learning curve. With `test`, the test result, a run is finished."""
        history = self.state.history
        new = {"history": history, "seconds": round(self.state.seconds, 1), **more}
        write_json(self.path / "metrics.json", {**self.metrics, **new})
        plots.curve(history, self.path / "curve.png")

    def _copy_weights(self, run):
        """Copies all weights, trainable and frozen, from the best model of another run."""
        weights, source = weights_of(self.model), weights_of(load(run).best_model())
        # In their order: the paths of two weights can be equal, and those of a loaded model do not contain
        # the names of nested models.
        for variable, other in itertools.zip_longest(weights, source):
            names = [v.path.split("/")[-2:] if v is not None else None for v in (variable, other)]
            if names[0] != names[1]:
                paths = [v.path if v is not None else "no weight" for v in (variable, other)]
                raise InputError(
                    f"--init-from {run}: its model has {paths[1]} where this model has {paths[0]}"
                )
            if other.shape != variable.shape:
                raise InputError(
                    f"--init-from {run}: {variable.path} has shape {tuple(other.shape)}; this model "
                    f"needs shape {tuple(variable.shape)}"
                )
            variable.assign(other)


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
    run = Run(package, preset, presets, config, options, open_splits(config))
    if run.finished:
        print(f"{run.path} is finished; to start again, remove it or choose another --run")
    options.seed(config.seed)
    return run


def _check_same(old, new, path, config):
    """Raises InputError if the run in the folder has other settings or data than the new one."""
    cli.config_from(type(config), old["config"], path)  # raises if a setting is unknown
    defaults = {f.name: f.default for f in dataclasses.fields(config)}
    new, defaults = json.loads(json.dumps([new, defaults]))  # as in `old`, tuples become lists
    old_settings, new_settings = (
        {**{name: about[name] for name in ("app", "preset", "init_from")}, **about["config"]}
        for about in (old, new)
    )
    old_settings = {**defaults, **old_settings}  # settings that are newer than the run
    differences = [
        f"{name}: {old_settings.get(name)!r} in the run, {value!r} now"
        for name, value in new_settings.items()
        if name not in provenance.PLACES and old_settings.get(name) != value
    ]
    differences += [
        f"data of {split}"
        for split in sorted({*old["data"], *new["data"]})
        if old["data"].get(split) != new["data"].get(split)
    ]
    if differences:
        raise InputError(
            f"{path} holds a run that differs ({'; '.join(differences)}): choose another --run"
        )


def _lock(run):
    """Locks the run for this process until `run` is deleted."""
    try:
        import fcntl
    except ImportError:  # Windows has no such locks: two trainings of one run are not noticed
        return
    file = open(run.path / "lock", "w")  # noqa: SIM115 (closed with the run)
    weakref.finalize(run, file.close)
    for last_try in (False, True):
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if last_try:
                raise InputError(f"{run.path} is being trained by another process") from None
            gc.collect()  # a run of this process that ended in an error may still hold the lock
