"""Exports the model of a finished run as a SavedModel.

python -m apps.extractive_summarization.export runs/extractive_summarization/google_compression
"""

from shared.errors import reported
from shared.serving import export

from . import data, model  # noqa: F401 (importing `model` registers what best.keras contains)
from .config import Config
from .serve import Server


def write(run, folder, **card):
    """Writes the SavedModel of the best epoch and checks it.

    Args:
        run: `RunFolder` of a finished training, or `Run` at its end.
        folder: a folder that does not exist.
        card: further entries of the model card.
    """
    config, best = run.config_of(Config), run.best_model()
    assets = data.load_assets(config, run.path / "assets")
    export.write(Server(best, config, assets), folder, {**run.card(best), **card})


@reported
def main(argv=None):
    """Exports the best model of a finished run as the next version."""
    example = '"The mayor, who was elected in May, opened the new bridge."'
    export.main(__package__, write, argv, example=example)


if __name__ == "__main__":
    main()
