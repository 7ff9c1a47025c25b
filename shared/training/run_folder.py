"""The folder of a training run, read for export; `shared.training.runs` describes its files."""

import math
import pathlib
import zipfile

import keras

from shared import cli
from shared.errors import InputError
from shared.files import read_json
from shared.training import assets, provenance


class RunFolder:
    """The folder of a run: its settings, metrics and best model.

    Args:
        path: the folder.

    Attributes:
        path: the folder.
        about: content of run.json, a dict.
    """

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.about = read_json(self.path / "run.json")

    @property
    def name(self):
        """Name of the exported model: `<app>`, or `<app>_<preset>` for other presets than `default`."""
        app, preset = self.about["app"], self.about["preset"]
        return app if preset == "default" else f"{app}_{preset}"

    @property
    def metrics(self):
        """Content of metrics.json; empty before the end of the first epoch."""
        path = self.path / "metrics.json"
        return read_json(path) if path.exists() else {}

    def metrics_error(self):
        """Returns the error if metrics.json is damaged, otherwise None."""
        try:
            _ = self.metrics
        except InputError as error:
            return error
        return None

    @property
    def finished(self):
        """Whether the test result is recorded."""
        return "test" in self.metrics

    def config_of(self, config_class):
        """Returns the settings of the run as an instance of `config_class`, the Config of the app."""
        return cli.config_from(config_class, self.about["config"], self.path)

    def best_model(self):
        """Returns the model of the epoch with the best validation loss."""
        if not (self.path / "best.keras").exists():
            raise InputError(
                f"{self.path} has no best.keras, because no epoch had a finite validation loss: "
                "train again with a lower --learning-rate"
            )
        if not is_whole(self.path / "best.keras"):
            raise InputError(f"{self.path / 'best.keras'} is damaged: train again")
        return keras.saving.load_model(self.path / "best.keras", compile=False)

    def card(self, model):
        """Returns the part of the model card that describes the training of `model`, a dict for JSON."""
        count = lambda variables: sum(math.prod(v.shape) for v in variables)  # noqa: E731
        return {
            **self.about,
            "config": {**self.about["config"], **{name: [] for name in provenance.PLACES}},
            "trainable_parameters": count(model.trainable_variables),
            "parameters": count(weights_of(model)),
            "epochs": len(self.metrics["history"]),
            "seconds": self.metrics["seconds"],
        }


def is_whole(path):
    """Returns whether a .keras file is not damaged; False if there is none."""
    try:
        with zipfile.ZipFile(path) as file:
            return file.testzip() is None
    except Exception:  # a damaged file raises many types of exception
        return False


def weights_of(model):
    """Returns the weights of a model, frozen ones too, without states such as those of a stateful RNN."""
    states = {id(variable) for variable in getattr(model, "state_variables", ())}
    return [variable for variable in model.weights if id(variable) not in states]


def load(path, package=None):
    """Opens the finished run at `path`.

    Args:
        path: folder of the run.
        package: package of the app that the run must belong to; None accepts all.

    Raises:
        InputError: there is no run, it belongs to another app, or it is not finished.
    """
    path = pathlib.Path(path)
    if not (path / "run.json").is_file():
        raise InputError(f"{path} is not the folder of a run: it has no run.json")
    run = RunFolder(path)
    if package and run.about["app"] != package.rpartition(".")[2]:
        raise InputError(f"{path} is a run of {run.about['app']}, not of {package}")
    if not run.finished:
        raise InputError(f"{path} is not finished: run its training command again to resume it")
    assets.check(path)
    return run
