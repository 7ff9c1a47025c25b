"""The command line of a `train`: presets, flags, help, and mistakes."""

import dataclasses
import pathlib
import re
import types
import typing
from typing import Literal

import numpy as np
import pytest
import tensorflow as tf

from apps.language_model.config import PRESETS as REAL
from shared import cli
from shared.errors import InputError, reported


@dataclasses.dataclass(frozen=True)
class Config:
    """A toy."""

    units: int = 4  # size of the state, in numbers
    rate: float = 0.5  # of learning, in steps
    cell: Literal["lstm", "gru"] = "lstm"  # the recurrent thing
    both: bool = False  # read it backwards too
    name: str = ""  # what it is called
    limit: int | None = None  # most words kept, None keeps all
    widths: tuple[int, ...] = (1, 2)  # of the filters, in frames


PRESETS = {
    "default": Config(),
    "large": Config(units=400, both=True, limit=9),
    "gru": Config(cell="gru"),
}


def parse(*argv, presets=PRESETS):
    return cli.parse("apps.toy", presets, list(argv))


def of_another_value(field, value):
    """Words for the command line, and what they mean: a value that the field does not have."""
    kind = field.type
    if typing.get_origin(kind) is Literal:
        other = next(a for a in typing.get_args(kind) if a != value)
    elif kind is bool:
        flag = field.name.replace("_", "-")
        return [f"--no-{flag}" if value else f"--{flag}"], not value
    elif typing.get_origin(kind) is tuple:
        return [f"--{field.name}", "7", "8", "9"], (7, 8, 9)
    elif kind is int or isinstance(kind, types.UnionType):
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


def test_default_is_meant_where_none_is_named():
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
        more, expected[field.name] = of_another_value(field, getattr(presets[preset], field.name))
        words += more
    assert all(getattr(presets[preset], k) != v for k, v in expected.items())
    # All at once, and one alone, which leaves the others as the preset has them.
    assert parse(*words, presets=presets)[1] == type(presets[preset])(**expected)
    config = parse(preset, *more, presets=presets)[1]
    last = {field.name: expected[field.name]}
    assert config == dataclasses.replace(presets[preset], **last)


def test_none_and_underscores():
    assert parse("large", "--limit", "None")[1].limit is None
    assert parse("default", "--dry_run")[2].dry_run


def test_options():
    words = (
        "large --run a/b --init-from c --dry-run --checkpoint-seconds 0.5 --deterministic --quiet"
    )
    assert parse(*words.split())[2] == cli.Options(
        run=pathlib.Path("a/b"), init_from=pathlib.Path("c"), dry_run=True,
        checkpoint_seconds=0.5, deterministic=True, quiet=True,
    )  # fmt: skip


def test_an_app_with_one_preset():
    one = {"default": Config(units=5, limit=3)}
    expected = "default", one["default"], cli.Options(run=pathlib.Path("runs/toy/default"))
    assert parse(presets=one) == expected
    assert parse("default", presets=one) == expected
    assert parse("default", "--units", "6", presets=one)[1] == Config(units=6, limit=3)
    assert parse("--name", "default", presets=one)[1] == Config(units=5, limit=3, name="default")
    with pytest.raises(InputError, match="no preset 'large'; there are: default"):
        parse("large", presets=one)


def test_the_order_of_presets_does_not_matter():
    turned = dict(reversed(PRESETS.items()))
    assert parse(presets=turned) == parse()
    assert parse("gru", presets=turned) == parse("gru")


def test_the_process_s_own_arguments(monkeypatch):
    monkeypatch.setattr("sys.argv", ["train.py", "large", "--units", "6"])
    assert cli.parse("apps.toy", PRESETS)[1] == dataclasses.replace(PRESETS["large"], units=6)


# --- Help and mistakes ---------------------------------------------------------------------------


def text(capsys):
    """What was printed, without the frame and the line breaks that the terminal's width makes."""
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
    comments |= {"run": "folder of the run", "dry_run": "build everything, take one step"}
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
    with pytest.raises(InputError, match=r"^no preset 'huge'; there are: default, large, gru$"):
        parse("huge", "--units", "3")

    @reported
    def main(argv=None):
        cli.parse("apps.toy", PRESETS, argv)

    with pytest.raises(SystemExit) as caught:
        main(["huge"])
    assert caught.value.code == 2
    assert capsys.readouterr().err == "error: no preset 'huge'; there are: default, large, gru\n"


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
def test_other_mistakes_exit_with_2(capsys, words):
    with pytest.raises(SystemExit) as caught:
        parse(*words)
    assert caught.value.code == 2
    assert "Traceback" not in text(capsys)


def test_seed_makes_numbers_come_again():
    draws = []
    for seed in 1, 1, 2:
        cli.Options().seed(seed)
        draws.append((np.random.rand(), float(tf.random.uniform([]))))
    assert draws[0] == draws[1] != draws[2]
