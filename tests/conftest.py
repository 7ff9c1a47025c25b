"""Set for every test, before TensorFlow is imported; what is set outside wins. And one trained TINY
model for each app, which all tests share."""

import os

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")  # the same device for everyone: the CPU
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import fcntl
import functools
import importlib
import subprocess
import sys
import types
from pathlib import Path
from unittest import mock

import pytest

ROOT = Path(__file__).parents[1]


def app_modules(package):
    """The modules of an app, as attributes: config, data, model, serve, train, evaluate, export."""
    names = ("config", "data", "model", "serve", "train", "evaluate", "export")
    return types.SimpleNamespace(
        package=package, **{name: importlib.import_module(f"{package}.{name}") for name in names}
    )


@pytest.fixture(scope="session")
def train_tiny():
    """A function: trains an app's TINY through the real `main`, as the preset "tiny", into `run`."""
    return _train_tiny


def _train_tiny(app, run, *flags):
    with mock.patch.dict(app.config.PRESETS, tiny=app.config.TINY):
        app.train.main(["tiny", "--run", str(run), "--quiet", *flags])


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A function: name of an app -> its modules, with `run`, a finished TINY run, and `saved_models`.

    It is trained and exported once, for all processes of pytest-xdist: who comes second waits.
    """
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent

    @functools.cache
    def of(name):
        app = app_modules(f"apps.{name}")
        folder = root / "trained" / name
        folder.mkdir(parents=True, exist_ok=True)
        app.run, app.saved_models = folder / "run", folder / "saved_models"
        app.saved_model = app.saved_models / f"{name}_tiny"
        with open(folder / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not app.saved_model.exists():
                _train_tiny(app, app.run)
                _export(app)
        return app

    return of


def _export(app):
    """Exports the run as its owner would, in a process that has imported nothing of the app before."""
    arguments = [str(app.run), "--to", str(app.saved_models)]
    if ROOT not in Path(app.export.__file__).parents:
        app.export.main(arguments)  # a copy, of which no other process knows
        return
    command = [sys.executable, "-m", f"{app.package}.export", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
