"""The command of an app's evaluate.py: what all apps do before and after the evaluation."""

import dataclasses
import pathlib
import sys
from typing import Annotated

import tyro

from shared import cli, results
from shared.data.splits import digests
from shared.serving import export
from shared.settings import check_ranges


@dataclasses.dataclass(frozen=True)
class Options:
    """Evaluate an exported model on the test split."""

    folder: Annotated[pathlib.Path, tyro.conf.Positional]  # saved_models/<name>, or a version in it
    data_dir: tuple[str, ...] = ()  # folders with the data, if the model was trained from files
    record: bool = False  # write the result to results/<preset>.json of this app

    def __post_init__(self):
        check_ranges(self)


def start(package, config_class, open_splits, argv=None, options_class=Options):
    """Parses the command line, and opens the data that the model was trained on.

    Args:
        package: package of the app, such as "apps.language_model".
        config_class: Config of the app.
        open_splits: `data.splits(config)` of the app.
        argv: list of arguments; None reads those of the process.
        options_class: `Options`, or a subclass with further options.

    Returns:
        the options, the Config of the model with `data_dir` of the options, and {name: `Split`}.

    Raises:
        InputError: there is no model of this app in the folder, or the data are not those of the model.
    """
    options = tyro.cli(options_class, prog=f"python -m {package}.evaluate", args=argv)
    card = export.card_of(options.folder, package)
    config = cli.config_from(config_class, card["config"], options.folder)
    config = dataclasses.replace(config, data_dir=options.data_dir)
    splits = open_splits(config)
    results.check_data(card["data"], digests(splits))
    return options, config, splits


def finish(package, options, test):
    """Prints the test result and, with --record, writes it to results/<preset>.json of the app.

    Args:
        package: package of the app.
        options: what `start` returned.
        test: the result of the app's `evaluate`, a dict for JSON.
    """
    for line in results.lines(test):
        print(line)
    if options.record:
        folder = pathlib.Path(sys.modules[package].__file__).parent / "results"
        print(results.record(folder, export.card_of(options.folder, package), test))
