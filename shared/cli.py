"""The command line of every app's `train`: a preset as subcommand, every field of Config a flag."""

import dataclasses
import pathlib
import sys
from typing import Annotated, Any

import keras
import tensorflow as tf
import tyro

from shared.errors import InputError


@dataclasses.dataclass(frozen=True)
class Options:
    """What concerns the run and not the model."""

    run: pathlib.Path | None = None  # folder of the run [default: runs/<app>/<preset>]
    init_from: pathlib.Path | None = None  # begin with the weights of this run
    dry_run: bool = False  # build everything, take one step, write nothing
    checkpoint_seconds: float = 60.0  # a checkpoint at most so often
    deterministic: bool = False  # the same bits in every run on this machine; some percent slower
    quiet: bool = False  # no progress bar

    def seed(self, seed):
        """Seeds Python, NumPy and TensorFlow, and keeps to --deterministic; before anything is built."""
        keras.utils.set_random_seed(seed)
        if self.deterministic:
            tf.config.experimental.enable_op_determinism()


def parse(package, presets, argv=None):
    """Reads `[preset] [--flags]`.

    Args:
        package: the app's, such as "apps.language_model".
        presets: {name: Config}; "default" is meant where none is named.
        argv: list of arguments; None reads the process's own.

    Returns:
        (preset, config, options); `options.run` is filled in.

    Raises:
        InputError: there is no such preset.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or (argv[0].startswith("-") and argv[0] not in ("-h", "--help")):
        argv.insert(0, "default")
    if not argv[0].startswith("-") and argv[0] not in presets:
        raise InputError(f"no preset {argv[0]!r}; there are: {', '.join(presets)}")
    kind = type(next(iter(presets.values())))
    command = dataclasses.make_dataclass(
        "Command",
        [
            ("config", tyro.conf.OmitArgPrefixes[kind]),
            ("options", tyro.conf.OmitArgPrefixes[Options]),
        ],
        frozen=True,
    )
    defaults = {name: command(config, Options()) for name, config in presets.items()}
    prog = f"python -m {package}.train"
    if len(presets) == 1:  # which tyro makes no subcommand of
        args = [a for i, a in enumerate(argv) if i or a not in presets]
        parsed = tyro.cli(command, prog=prog, args=args, default=defaults["default"])
    else:
        union: Any = None
        for name in sorted(presets, key=lambda name: name != "default"):
            settings = tyro.conf.subcommand(name, default=defaults[name], description=name)
            choice = Annotated[command, settings]
            union = choice if union is None else union | choice
        parsed = tyro.cli(union, prog=prog, args=argv)
    options = parsed.options
    if options.run is None:
        options = dataclasses.replace(
            options, run=pathlib.Path("runs", package.rpartition(".")[2], argv[0])
        )
    return argv[0], parsed.config, options
