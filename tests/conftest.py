"""Settings of every test, made before TensorFlow is imported, and one trained TINY model for each app.

Environment variables that are already set are kept.
"""

import os
import tempfile

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")  # the same device on every machine: the CPU
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# No test reads or writes the cache of the user.
os.environ.setdefault("PEEPHOLE_CACHE", os.path.join(tempfile.gettempdir(), "peephole_tests"))

import fcntl
import functools
import importlib
import subprocess
import sys
import types
from pathlib import Path
from unittest import mock

import pytest

from shared.quiet_import import import_tensorflow

import_tensorflow()

import tensorflow as tf  # noqa: E402

from shared.layers import peephole_bptt  # noqa: E402

ROOT = Path(__file__).parents[1]


def app_modules(package):
    """Returns the modules of an app as attributes: config, data, model, serve, train, evaluate, export."""
    names = ("config", "data", "model", "serve", "train", "evaluate", "export")
    return types.SimpleNamespace(
        package=package, **{name: importlib.import_module(f"{package}.{name}") for name in names}
    )


@pytest.fixture(scope="session")
def train_tiny():
    """A function that trains TINY of an app through its `main`, as the preset "tiny", in `run`."""
    return _train_tiny


def _train_tiny(app, run, *flags):
    # XLA compiles the layers of one app only, because it takes most of the time of a TINY training.
    plain = {} if app.package.endswith("apps.language_model") else _functions_without_xla()
    with (
        mock.patch.dict(app.config.PRESETS, tiny=app.config.TINY),
        mock.patch.dict(vars(peephole_bptt), plain),
    ):
        app.train.main(["tiny", "--run", str(run), "--quiet", *flags])


@pytest.fixture
def without_xla():
    """The test trains `PeepholeLSTM` without XLA: the same equations, without the time to compile them."""
    with mock.patch.dict(vars(peephole_bptt), _functions_without_xla()):
        yield


@functools.cache
def _functions_without_xla():
    """The functions of `peephole_bptt` that XLA compiles, as functions that it does not compile."""
    names = ("_forward", "_backward_loop")
    functions = {name: getattr(peephole_bptt, name).python_function for name in names}
    return {name: tf.function(fn, autograph=False) for name, fn in functions.items()}


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A function: name of an app -> its modules, with `run`, a finished TINY run, and `saved_models`.

    An app is trained and exported once for all processes of pytest-xdist: the others wait.
    """
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent

    @functools.cache
    def modules_of(name):
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

    return modules_of


def _export(app):
    """Exports the run as a user does, in a process that has not imported the app before."""
    arguments = [str(app.run), "--to", str(app.saved_models)]
    if ROOT not in Path(app.export.__file__).parents:
        app.export.main(arguments)  # another process cannot import a temporary copy of an app
        return
    command = [sys.executable, "-m", f"{app.package}.export", *arguments]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr


def pytest_collection_modifyitems(items):
    """Puts the contract tests first, because they take longest, except those that need every app.

    So two processes finish at about the same time.
    """

    def rank(item):
        path = item.path.relative_to(ROOT / "tests")
        if path.name == "test_contract.py":
            return 0 if "[" in item.name else 3
        return 1 if path.parts[0] in ("apps", "test_readme.py") else 2

    items.sort(key=rank)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Gives each process of pytest-xdist a whole file, or the contract tests of one app."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file, _, test = nodeid.partition("::")
            return file + test.partition("[")[2] if "test_contract" in file else file

    return Scheduling(config, log)
