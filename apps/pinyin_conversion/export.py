"""From a finished run to a SavedModel that a server may load.

python -m apps.pinyin_conversion.export runs/pinyin_conversion/sentences
"""

import pathlib
from typing import Annotated

import tyro

from shared.errors import reported
from shared.serving import export
from shared.training import runs

from . import data, model  # noqa: F401 (best.keras is made of the model's layers)
from .config import Config
from .serve import Server


def write(run, folder, **card):
    """Writes the SavedModel of the best epoch of `run` to `folder`, checked; `card` adds to its card."""
    config = Config(**run.about["config"])
    tables = data.open_tables(run.path)
    best = run.best_model()
    export.write(Server(best, config, *tables), folder, {**run.card(best), **card})


@reported
def main(argv=None):
    """Verifies a finished run's model, then promotes it to the next version."""

    def command(
        run: Annotated[pathlib.Path, tyro.conf.Positional],
        name: str = "",
        to: pathlib.Path = pathlib.Path("saved_models"),
    ):
        """Export a finished run.

        Args:
            run: folder of the run
            name: name of the model [default: <app>, or <app>_<preset>]
            to: folder of all models
        """
        done = runs.load(run, __package__)
        base = to / (name or done.name)
        folder = export.promote(lambda half: write(done, half, test=done.metrics["test"]), base)
        print(f'{folder}\nnext: python -m shared.predict {base} "some text"')

    tyro.cli(command, prog=f"python -m {__package__}.export", args=argv)


if __name__ == "__main__":
    main()
