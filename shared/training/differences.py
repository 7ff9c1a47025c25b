"""What differs between the run in a folder and the run that a command asks for."""

import dataclasses
import json

from shared.errors import InputError
from shared.training import provenance
from shared.training.run_folder import RunFolder

TRAINING = ("train", "valid")  # the splits that shape a model
IDENTITY = ("app", "preset", "init_from", "dtype_policy")  # besides the settings of the app


def compare(path, about, config):
    """Compares the run in a folder with the run of a command.

    Args:
        path: the folder.
        about: what run.json of the new run would contain.
        config: Config of the new run.

    Returns:
        names of the test sets whose data are new: no weight depends on them. [] if the run is finished.

    Raises:
        InputError: settings, training data or the data of a finished run differ; or run.json is damaged.
    """
    try:
        run = RunFolder(path)
    except InputError as error:
        raise InputError(
            f"{error}: the run cannot be resumed; choose another --run, or remove {path}"
        ) from None
    differences = _settings(run, about, config)
    splits = [
        split
        for split in sorted({*run.about["data"], *about["data"]})
        if run.about["data"].get(split) != about["data"].get(split)
    ]
    finished = not run.metrics_error() and run.finished
    differences += [f"data of {split}" for split in splits if finished or split in TRAINING]
    if differences:
        raise InputError(
            f"{path} holds a run that differs ({'; '.join(differences)}): choose another --run"
        )
    return splits


def _settings(run, about, config):
    """Returns descriptions of the settings that differ."""
    run.config_of(type(config))  # raises if a setting is unknown
    defaults = {f.name: f.default for f in dataclasses.fields(config)}
    # As in run.json, tuples become lists.
    new, defaults = json.loads(json.dumps([about, {"dtype_policy": "float32", **defaults}]))
    old_settings, new_settings = (
        {
            **defaults,  # settings that are newer than the run
            **{name: old_or_new[name] for name in IDENTITY if name in old_or_new},
            **old_or_new["config"],
        }
        for old_or_new in (run.about, new)
    )
    return [
        f"{name}: {old_settings.get(name)!r} in the run, {value!r} now"
        for name, value in new_settings.items()
        if name not in provenance.PLACES and old_settings.get(name) != value
    ]
