"""The command line of `train`: presets, flags, help and errors; settings that are read from JSON."""

import dataclasses
import json
import pathlib
import re
import types
import typing
from typing import Annotated, Literal, Union

import keras
import numpy as np
import pytest
import tensorflow as tf

from apps.language_model.config import PRESETS as REAL
from shared import cli
from shared.errors import InputError, reported


@dataclasses.dataclass(frozen=True)
class Config:
    """A toy."""

    units: int = 4  # size of the hidden state
    rate: float = 0.5  # learning rate, per step
    cell: Literal["lstm", "gru"] = "lstm"  # recurrent cell
    both: bool = False  # read in both directions
    name: str = ""  # name of the toy
    limit: int | None = None  # maximum number of words; None: all
    widths: tuple[int, ...] = (1, 2)  # widths of the filters, in frames
    data_dir: tuple[str, ...] = ()  # folders with the data


PRESETS = {
    "default": Config(),
    "large": Config(units=400, both=True, limit=9),
    "gru": Config(cell="gru"),
}


def parse(*argv, presets=PRESETS):
    return cli.parse("apps.toy", presets, list(argv))


def another_value(field, value):
    """Returns arguments for the command line and their meaning: a value that differs from `value`."""
    kind = field.type
    if typing.get_origin(kind) is Annotated:  # a type with a range
        kind = typing.get_args(kind)[0]
    if typing.get_origin(kind) is Literal:
        other = next(a for a in typing.get_args(kind) if a != value)
    elif kind is bool:
        flag = field.name.replace("_", "-")
        return [f"--no-{flag}" if value else f"--{flag}"], not value
    elif typing.get_origin(kind) is tuple:
        kind, *others = typing.get_args(kind)
        count = 3 if others == [...] else len(value)
        other = tuple(kind(7 + i) for i in range(count))
        return [f"--{field.name.replace('_', '-')}", *map(str, other)], other
    elif kind is int or typing.get_origin(kind) in (types.UnionType, Union):
        other = (value or 0) + 3
    else:
        other = value / 2 + 0.11 if kind is float else value + "x y"
    return [f"--{field.name.replace('_', '-')}", str(other)], other


# --- Presets and flags ---------------------------------------------------------------------------


def test_a_preset_is_a_subcommand():
    for name, config in PRESETS.items():
        preset, parsed, options = parse(name)
        assert (preset, parsed) == (name, config)
        assert options == cli.Options(run=pathlib.Path("runs/toy", name))


def test_default_is_used_if_no_preset_is_named():
    assert parse() == parse("default")
    preset, config, options = parse("--units", "7", "--dry-run")
    assert (preset, config) == ("default", Config(units=7))
    assert options == cli.Options(run=pathlib.Path("runs/toy/default"), dry_run=True)


@pytest.mark.parametrize(
    ("presets", "preset"),
    [(PRESETS, "default"), (PRESETS, "large"), (REAL, "default"), (REAL, "ptb")],
)
def test_every_field_is_a_flag(presets, preset):
    words, expected = [preset], {}
    for field in dataclasses.fields(presets[preset]):
        more, expected[field.name] = another_value(field, getattr(presets[preset], field.name))
        words += more
    assert all(getattr(presets[preset], k) != v for k, v in expected.items())
    # All at once, and one by itself: the others keep the values of the preset.
    assert parse(*words, presets=presets)[1] == type(presets[preset])(**expected)
    config = parse(preset, *more, presets=presets)[1]
    last = {field.name: expected[field.name]}
    assert config == dataclasses.replace(presets[preset], **last)


def test_none_and_underscores():
    assert parse("large", "--limit", "None")[1].limit is None
    assert parse("default", "--dry_run")[2].dry_run


def test_options():
    words = (
        "large --run a/b --init-from c --dry-run --checkpoint-seconds 0.5 --deterministic --quiet "
        "--dtype-policy mixed_bfloat16"
    )
    assert parse(*words.split())[2] == cli.Options(
        run=pathlib.Path("a/b"), init_from=pathlib.Path("c"), dry_run=True,
        checkpoint_seconds=0.5, deterministic=True, quiet=True, dtype_policy="mixed_bfloat16",
    )  # fmt: skip


def test_an_app_with_one_preset():
    one = {"default": Config(units=5, limit=3)}
    expected = "default", one["default"], cli.Options(run=pathlib.Path("runs/toy/default"))
    assert parse(presets=one) == expected
    assert parse("default", presets=one) == expected
    assert parse("default", "--units", "6", presets=one)[1] == Config(units=6, limit=3)
    assert parse("--name", "default", presets=one)[1] == Config(units=5, limit=3, name="default")
    with pytest.raises(InputError, match=r"there is no preset 'large'\. Presets: default"):
        parse("large", presets=one)


def test_the_order_of_presets_does_not_matter():
    reverse = dict(reversed(PRESETS.items()))
    assert parse(presets=reverse) == parse()
    assert parse("gru", presets=reverse) == parse("gru")


def test_the_arguments_of_the_process(monkeypatch):
    monkeypatch.setattr("sys.argv", ["train.py", "large", "--units", "6"])
    assert cli.parse("apps.toy", PRESETS)[1] == dataclasses.replace(PRESETS["large"], units=6)


# --- Help and errors ---------------------------------------------------------------------------


def text(capsys):
    """Returns what was printed, without frames and line breaks, which depend on the terminal."""
    out, err = capsys.readouterr()
    return re.sub(r"[\s│╭╮╰╯─]+", " ", re.sub(r"\x1b\[[0-9;]*m", "", out + err))


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize("presets", [PRESETS, {"default": Config()}], ids=["many", "one"])
def test_help_names_the_presets_or_the_flags(capsys, flag, presets):
    with pytest.raises(SystemExit) as caught:
        parse(flag, presets=presets)
    assert caught.value.code == 0
    printed = text(capsys)
    assert "python -m apps.toy.train" in printed
    for name in PRESETS if len(presets) > 1 else ("--units", "--dry-run"):
        assert name in printed


@pytest.mark.parametrize("presets", [PRESETS, {"default": Config()}], ids=["many", "one"])
def test_help_of_a_preset_shows_the_comments(capsys, presets):
    with pytest.raises(SystemExit) as caught:
        parse("default", "--help", presets=presets)
    assert caught.value.code == 0
    printed = text(capsys)
    comments = re.findall(r" (\w+): .*  # (.*)", pathlib.Path(__file__).read_text(encoding="utf-8"))
    comments = {name: comment for name, comment in comments if name in Config.__dataclass_fields__}
    comments |= {"run": "folder of the run", "dry_run": "build everything, train one step"}
    assert len(comments) == len(dataclasses.fields(Config)) + 2
    for name, comment in comments.items():
        assert f"--{name.replace('_', '-')}" in printed
        assert comment in printed, name


def test_help_of_the_real_config_explains_every_field(capsys):
    with pytest.raises(SystemExit):
        cli.parse("apps.language_model", REAL, ["ptb", "--help"])
    printed = text(capsys)
    for field in dataclasses.fields(REAL["ptb"]):
        flag = f"--{field.name.replace('_', '-')} "
        after = printed[printed.index(flag) + len(flag) :]
        # Type, then the comment, then the default in brackets.
        comment = after[: after.index("(default:")].partition(" ")[2]
        assert len(comment.split()) >= 2, field.name


def test_an_unknown_preset(capsys):
    with pytest.raises(
        InputError, match=r"^there is no preset 'huge'\. Presets: default, large, gru$"
    ):
        parse("huge", "--units", "3")

    @reported
    def main(argv=None):
        cli.parse("apps.toy", PRESETS, argv)

    with pytest.raises(SystemExit) as caught:
        main(["huge"])
    assert caught.value.code == 2
    assert (
        capsys.readouterr().err
        == "error: there is no preset 'huge'. Presets: default, large, gru\n"
    )


@pytest.mark.parametrize(
    "words",
    [
        ["--no-such-flag", "1"],
        ["default", "--units", "many"],
        ["default", "--units"],
        ["default", "--cell", "rnn"],
        ["default", "more"],
        ["--units", "3", "large"],
    ],
)
def test_other_errors_exit_with_2(capsys, words):
    with pytest.raises(SystemExit) as caught:
        parse(*words)
    assert caught.value.code == 2
    assert "Traceback" not in text(capsys)


def test_seed_makes_random_numbers_reproducible():
    draws = []
    for seed in 1, 1, 2:
        cli.Options().seed(seed)
        draws.append((np.random.rand(), float(tf.random.uniform([]))))
    assert draws[0] == draws[1] != draws[2]


# --- config_from ---------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Nested:
    folders: tuple[str, ...] = ()
    columns: tuple[int, int] = (0, 1)
    filters: tuple[tuple[int, int], ...] = ((3, 8), (5, 16))
    deep: tuple[tuple[tuple[str, ...], ...], ...] = ((("a",), ()), ())
    limit: int | None = None
    rate: float = 0.1 + 0.2
    name: str = "漢"
    on: bool = True


@pytest.mark.parametrize(
    "config",
    [
        Nested(),
        Nested(("a", "b"), (2, 0), (), ((),), 7, 1e-30, "", False),
        *PRESETS.values(),
        *REAL.values(),
    ],
)
def test_a_config_survives_json(config):
    settings = json.loads(json.dumps(dataclasses.asdict(config)))
    restored = cli.config_from(type(config), settings, "x")
    assert restored == config
    assert hash(restored) == hash(config)  # no list is left
    assert cli.config_from(type(config), dataclasses.asdict(config), "x") == config


def test_a_missing_setting_has_its_default():
    assert cli.config_from(Nested, {"limit": 3}, "x") == Nested(limit=3)


def test_settings_that_do_not_exist_are_named():
    settings = {"layers": 2, "units": 3, "longest": 80}
    with pytest.raises(
        InputError, match=r"^runs/a was made by .* \(layers, longest\)\. Train again"
    ) as e:
        cli.config_from(Config, settings, "runs/a")
    assert "\n" not in str(e.value)


# --- Options -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", ["nan", "inf", "-1", "-0.001"])
def test_the_time_between_checkpoints_has_a_range(seconds):
    with pytest.raises(InputError, match=r"^--checkpoint-seconds must be at least 0\. Rec"):
        parse("--checkpoint-seconds", seconds)
    assert parse("--checkpoint-seconds", "0")[2].checkpoint_seconds == 0


@pytest.fixture
def precision():
    """Restores the policy and the `floatx` of Keras."""
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_a_dtype_policy_that_is_accepted(precision, policy):
    cli.Options(dtype_policy=policy).set_dtype_policy()
    assert keras.layers.Dense(1).dtype_policy.name == policy
    cli.Options().set_dtype_policy()  # None: the global one
    assert keras.config.dtype_policy().name == policy
    cli.Options(dtype_policy="float32").set_dtype_policy()
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.parametrize("policy", ["float64", "float16", "bfloat16"])
def test_a_global_dtype_policy_that_is_refused(precision, policy):
    keras.config.set_dtype_policy(policy)
    message = f"^the dtype policy of Keras must be float32 or .*; mend keras.json.*: {policy}$"
    with pytest.raises(InputError, match=message):
        cli.Options().set_dtype_policy()
    cli.Options(dtype_policy="float32").set_dtype_policy()


@pytest.mark.parametrize("floatx", ["float64", "float16"])
def test_a_floatx_that_is_refused(precision, floatx):
    keras.config.set_floatx(floatx)
    for policy in (None, "float32"):
        message = f"^the floatx of Keras must be float32; mend keras.json.* Received: {floatx}$"
        with pytest.raises(InputError, match=message):
            cli.Options(dtype_policy=policy).set_dtype_policy()
