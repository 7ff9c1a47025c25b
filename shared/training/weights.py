"""The weights of a model, and those of a run that `--init-from` names."""

import itertools

from shared.errors import InputError
from shared.training import run_folder


def copy(run, model):
    """Copies all weights, trainable and frozen, from the best model of a run.

    Args:
        run: folder of a finished run.
        model: the model that gets the weights.

    Raises:
        InputError: there is no such run, or its model has other weights.
    """
    source = run_folder.weights_of(run_folder.load(run).best_model())
    # In their order: the paths of two weights can be equal, and those of a loaded model do not contain
    # the names of nested models.
    for variable, other in itertools.zip_longest(run_folder.weights_of(model), source):
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
