"""The command line of `train`: a preset as subcommand, and a flag for every setting."""

import dataclasses
import pathlib
import sys
from typing import Annotated, Any, Literal, get_args

import keras
import tensorflow as tf
import tyro

from shared.errors import InputError
from shared.settings import NonNegativeFloat, check_ranges

DTypePolicy = Literal["float32", "mixed_bfloat16", "mixed_float16"]


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of a run that are not settings of the model."""

    run: pathlib.Path | None = None  # folder of the run [default: runs/<app>/<preset>]
    init_from: pathlib.Path | None = None  # run whose weights and assets initialise the model
    dry_run: bool = False  # build everything, train one step, write nothing
    checkpoint_seconds: NonNegativeFloat = 60.0  # minimum time between two checkpoints
    dtype_policy: DTypePolicy | None = None  # precision [default: that of keras.json, float32]
    deterministic: bool = False  # bitwise reproducible on one machine; slightly slower
    quiet: bool = False  # no progress bar

    def __post_init__(self):
        check_ranges(self)

    def set_dtype_policy(self):
        """Sets the dtype policy of Keras, with which layers are built after it.

        Raises:
            InputError: keras.json, or code before this, sets another policy or another `floatx`; weights
                and the tensors of an exported model are float32.
        """
        policies = get_args(DTypePolicy)
        policy = self.dtype_policy or keras.config.dtype_policy().name
        for name, value, allowed in (
            ("floatx", keras.config.floatx(), ("float32",)),
            ("dtype policy", policy, policies),
        ):
            if value not in allowed:
                raise InputError(
                    f"the {name} of Keras must be {' or '.join(allowed)}; mend keras.json, or the code that "
                    f"sets it. Received: {value}"
                )
        keras.config.set_dtype_policy(policy)

    def seed(self, seed):
        """Seeds Python, NumPy and TensorFlow, and applies --deterministic; call it before building."""
        keras.utils.set_random_seed(seed)
        if self.deterministic:
            tf.config.experimental.enable_op_determinism()


def config_from(config_class, settings, path):
    """Makes a Config from the settings of a run or model card, in which tuples are lists.

    Args:
        config_class: Config of the app.
        settings: {name: value}, read from JSON.
        path: the run or model that they belong to, for the error message.

    Raises:
        InputError: a setting does not exist in this version.
    """
    unknown = sorted(set(settings) - {field.name for field in dataclasses.fields(config_class)})
    if unknown:
        raise InputError(
            f"{path} was made by another version of this project: it has settings that do not exist "
            f"now ({', '.join(unknown)}). Train again, or use the version that made it"
        )
    return config_class(**{name: _tuples(value) for name, value in settings.items()})


def _tuples(value):
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def parse(package, presets, argv=None):
    """Parses `[preset] [--flags]`.

    Args:
        package: package of the app, such as "apps.language_model".
        presets: {name: Config}; "default" is used if none is named.
        argv: list of arguments; None reads those of the process.

    Returns:
        (preset, config, options); `options.run` is never None.

    Raises:
        InputError: there is no such preset.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or (argv[0].startswith("-") and argv[0] not in ("-h", "--help")):
        argv.insert(0, "default")
    if not argv[0].startswith("-") and argv[0] not in presets:
        raise InputError(f"there is no preset {argv[0]!r}. Presets: {', '.join(presets)}")
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
    if len(presets) == 1:  # tyro makes no subcommand of a single preset
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
