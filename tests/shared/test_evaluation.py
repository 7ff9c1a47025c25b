"""The command of an app's evaluate.py: options, the data of the model, printed and recorded results."""

import dataclasses
import json
import pathlib
import sys
import types

import pytest

from shared import evaluation
from shared.data.splits import TextSplit, digests
from shared.errors import InputError
from shared.files import read_json, write_json


@dataclasses.dataclass(frozen=True)
class Config:
    source: str = "files"
    data_dir: tuple[str, ...] = ()
    widths: tuple[int, ...] = (1, 2)
    units: int = 3


@dataclasses.dataclass(frozen=True)
class Options(evaluation.Options):
    """Evaluate with more beams."""

    beams: int = 4  # number of beams


TEXTS = {"train": "one", "test": "two", "gold": "three"}


def open_splits(config):
    """Returns the splits of TEXTS; the folder "other" has another test set."""
    texts = {**TEXTS, "test": "other"} if "other" in config.data_dir else TEXTS
    return {name: TextSplit(name, [text]) for name, text in texts.items()}


def export(base, **config):
    """Writes a folder that has only the model card of an export of the toy."""
    config = {**dataclasses.asdict(Config(widths=(7,))), **config}
    card = {
        "app": "toy", "preset": "large", "config": config, "data": digests(open_splits(Config())),
    }  # fmt: skip
    (base / "2" / "assets.extra").mkdir(parents=True)
    write_json(base / "2" / "assets.extra" / "model_card.json", card)
    return card


@pytest.fixture
def model(tmp_path):
    """The folder of an exported model of the toy."""
    export(tmp_path / "models" / "toy_large")
    return tmp_path / "models" / "toy_large"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The name of the package of the toy app, whose folder is tmp_path/toy."""
    (tmp_path / "toy").mkdir()
    module = types.ModuleType("apps.toy")
    module.__file__ = str(tmp_path / "toy" / "__init__.py")
    monkeypatch.setitem(sys.modules, "apps.toy", module)
    return "apps.toy"


def start(package, *argv, **kwargs):
    return evaluation.start(package, Config, open_splits, list(map(str, argv)), **kwargs)


def test_start_opens_the_data_of_the_model(package, model):
    options, config, splits = start(package, model)
    assert options == evaluation.Options(model)
    assert config == Config(widths=(7,))
    assert list(splits["gold"]) == ["three"]
    options, config, _ = start(package, model / "2", "--data-dir", "a", "b", "--record")
    assert options == evaluation.Options(model / "2", ("a", "b"), True)
    assert config == Config(widths=(7,), data_dir=("a", "b"))


def test_options_of_an_app(package, model):
    options, _, _ = start(package, model, "--beams", 9, options_class=Options)
    assert options == Options(model, beams=9)


def test_the_help(package, capsys):
    with pytest.raises(SystemExit) as stop:
        start(package, "--help", options_class=Options)
    assert stop.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "python -m apps.toy.evaluate" in text
    assert "Evaluate with more beams." in text
    for word in ("--data-dir", "--record", "--beams", "number of beams"):
        assert word in text


def test_other_data_are_named(package, model):
    with pytest.raises(InputError, match=r"the data differ .* another SHA-256 of test$"):
        start(package, model, "--data-dir", "other")


def test_what_is_no_model_of_the_app(package, model, tmp_path):
    with pytest.raises(InputError, match=r"it has no model_card\.json"):
        start(package, tmp_path)
    with pytest.raises(InputError, match=r"a model of toy, not of apps\.other"):
        start("apps.other", model)


def test_a_setting_that_does_not_exist_now(package, tmp_path):
    export(tmp_path / "old", longest=80)
    with pytest.raises(
        InputError, match=r"old was made by another version .*\(longest\)"
    ) as caught:
        start(package, tmp_path / "old")
    assert "\n" not in str(caught.value)


TEST = {
    "metric": "errors", "value": 1.5, "baseline": "copy", "baseline_value": 3,
    "gold": {"value": 2, "by_length": [{"length": 10, "value": 4}]},
}  # fmt: skip


def test_finish_prints_nested_results_by_dotted_names(package, model, capsys, tmp_path):
    evaluation.finish(package, evaluation.Options(model), TEST)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["metric", "errors"],
        ["value", "1.5"],
        ["baseline", "copy"],
        ["baseline_value", "3"],
        ["gold.value", "2"],
        ["gold.by_length.0.length", "10"],
        ["gold.by_length.0.value", "4"],
    ]
    assert not (tmp_path / "toy" / "results").exists()


def test_finish_records_the_result(package, model, capsys, tmp_path):
    options = evaluation.Options(model, record=True)
    path = tmp_path / "toy" / "results" / "large.json"
    evaluation.finish(package, options, TEST)
    assert capsys.readouterr().out.splitlines()[-1] == str(path)
    card = read_json(model / "2" / "assets.extra" / "model_card.json")
    recorded = read_json(path)
    assert {name: recorded[name] for name in card} == card
    assert recorded["test"] == TEST
    assert recorded["notes"] == {"data": "files", "peers": []}
    # Notes that were written by hand stay.
    path.write_text(json.dumps({**recorded, "notes": {"data": "toys", "peers": []}}))
    evaluation.finish(package, options, {**TEST, "value": 1.0})
    assert read_json(path)["notes"]["data"] == "toys"
    assert read_json(path)["test"]["value"] == 1.0


def test_the_newest_version_is_the_one_recorded(package, model, tmp_path):
    card = read_json(model / "2" / "assets.extra" / "model_card.json")
    (model / "10" / "assets.extra").mkdir(parents=True)
    write_json(model / "10" / "assets.extra" / "model_card.json", {**card, "preset": "newer"})
    evaluation.finish(package, evaluation.Options(model, record=True), TEST)
    assert [p.name for p in pathlib.Path(tmp_path, "toy", "results").iterdir()] == ["newer.json"]
