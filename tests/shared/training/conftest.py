"""A toy app that trains in a moment: one layer on constant data."""

import dataclasses
import hashlib
import shutil
import types
from unittest import mock

import keras
import pytest
import tensorflow as tf

from shared import plots
from shared.cli import Options
from shared.data.splits import TextSplit
from shared.errors import reported
from shared.training import runs


@dataclasses.dataclass(frozen=True)
class Config:
    data_dir: tuple[str, ...] = ()
    units: int = 2
    epochs: int = 1
    learning_rate: float = 0.1
    widths: tuple[int, ...] = (3, 5)
    seed: int = 1


def splits_of(**texts):
    """Returns splits with one example each."""
    return {name: TextSplit(name, [text]) for name, text in texts.items()}


def start(
    folder, config=None, train="d", test="t", preset="default", valid=None, extra=None, **options
):
    """Returns the `Run` of a training command."""
    config = config or Config()
    options = Options(run=folder, quiet=True, checkpoint_seconds=0, **options)
    more = {name: text for name, text in {"valid": valid, "extra": extra}.items() if text}
    splits = splits_of(train=train, test=test, **more)
    return runs.Run("apps.toy", preset, {preset: Config()}, config, options, splits)


def dense(units):
    """Returns a model with one layer."""
    x = keras.Input((3,))
    return keras.Model(x, keras.layers.Dense(units, name="dense")(x))


def fit(run, target=1.0, epochs=None, model=None):
    """Trains `model`, or one layer, for the epochs that remain; stops before epoch `epochs`."""
    # Drawing the curve would take most of the time.
    with mock.patch.object(plots, "curve", lambda history, path: path.touch()):
        model = dense(run.config.units) if model is None else model
        model.compile(keras.optimizers.Adam(run.config.learning_rate), "mse")
        run.restore(model)
        targets = tf.fill([4, run.config.units], target)
        data = tf.data.Dataset.from_tensors((tf.ones([4, 3]), targets))
        for epoch in run.epochs():
            if epoch == epochs:
                break
            model.fit(
                run.remaining(data.repeat(3)),
                validation_data=data,
                initial_epoch=epoch,
                epochs=epoch + 1,
                callbacks=run.callbacks(),
                verbose=0,
                shuffle=False,
            )
    return model


def build_assets(config, train, folder):
    """Writes the assets: a file with the training text and a setting."""
    (folder / "vocabulary.txt").write_text(f"{config.units} {' '.join(train)}", encoding="utf-8")


def load_assets(config, folder):
    """Reads what `build_assets` wrote."""
    return (folder / "vocabulary.txt").read_text(encoding="utf-8")


def train(folder, config=None, model=None, **kwargs):
    """Trains a run to its end, without export and evaluation; returns its folder."""
    run = start(folder, config, **kwargs)
    run.assets(build_assets, load_assets)
    fit(run, model=model)
    run.write_metrics(test={"value": 1.0})
    return folder


def digest(folder):
    """Returns {path: SHA-256} of all files in a folder."""
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


@pytest.fixture(scope="session")
def toy():
    """The functions of this file."""
    return types.SimpleNamespace(**globals())


@pytest.fixture
def refusal(capsys):
    """A function: calls its argument, which must raise InputError; returns the line that a script prints."""

    def line_of(call):
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            reported(lambda argv: call())()
        out, err = capsys.readouterr()
        assert stop.value.code == 2
        assert out == ""
        [line] = [line for line in err.splitlines() if not line.startswith("resuming ")]
        return line

    return line_of


@pytest.fixture(scope="session")
def trained_toy(tmp_path_factory):
    return train(tmp_path_factory.mktemp("toy") / "run")


@pytest.fixture
def finished(trained_toy, tmp_path):
    """The folder of a finished run of the toy."""
    return shutil.copytree(trained_toy, tmp_path / "run")
