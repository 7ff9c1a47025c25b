"""The contract of an app: the same files, the same names, a SavedModel of strings.

A renamed copy of one app must pass too, because the folders are made to be copied. test_imports checks
that the other apps can be copied as well.
"""

import dataclasses
import gc
import inspect
import itertools
import json
import re
import shutil
import tempfile
import typing
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from shared import cli, results, settings
from shared.errors import InputError
from shared.serving import export
from shared.serving.clients import SavedModelClient
from shared.training import runs

ROOT = Path(__file__).parents[1]
APPS = sorted(path.parent.name for path in ROOT.glob("apps/*/train.py"))
FILES = [
    "README.md",
    "config.py",
    "data.py",
    "model.py",
    "serve.py",
    "train.py",
    "evaluate.py",
    "export.py",
    "demo",
]
NAMES = {
    "config": ["Config", "PRESETS", "TINY"],
    "data": ["Assets", "splits", "build_assets", "load_assets", "load"],
    "model": ["build"],
    "serve": ["Server"],
    "train": ["main"],
    "evaluate": ["main", "evaluate"],
    "export": ["main", "write"],
}


# The last app first: meanwhile, test files in another process ask for the first one.
@pytest.fixture(scope="session", params=[*reversed(APPS), f"copy_of_{APPS[0]}"])
def app(request, trained, tmp_path_factory):
    name = request.param
    if name.startswith("copy_of_"):
        import apps

        folder = tmp_path_factory.mktemp("apps")
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "apps" / name.removeprefix("copy_of_"), folder / name, ignore=ignore)
        apps.__path__.append(str(folder))
    return trained(name)


@pytest.fixture(scope="session")
def client(app):
    return SavedModelClient(app.saved_model)


@pytest.fixture(scope="session")
def splits(app):
    """The splits of TINY."""
    return app.data.splits(app.config.TINY)


@pytest.fixture(scope="session")
def assets(app):
    """The Assets of the finished run."""
    return app.data.load_assets(app.config.TINY, app.run / "assets")


@pytest.fixture(scope="session")
def server(app, assets):
    """The Server of the finished run, in memory."""
    return app.serve.Server(runs.load(app.run).best_model(), app.config.TINY, assets)


def test_files_and_names(app):
    folder = Path(app.config.__file__).parent
    assert [name for name in FILES if not (folder / name).exists()] == []
    for module, names in NAMES.items():
        for name in names:
            value = getattr(getattr(app, module), name)
            # Its own, not imported from the app that it was copied from.
            assert getattr(value, "__module__", app.package).startswith(app.package), name


def test_config(app):
    config = app.config
    assert dataclasses.is_dataclass(config.Config)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.TINY.seed = 2
    assert "default" in config.PRESETS
    assert all(isinstance(c, config.Config) for c in (config.TINY, *config.PRESETS.values()))
    # The help text of a flag is the comment of its field: every field needs one.
    source = inspect.getsource(config.Config)
    for field in dataclasses.fields(config.Config):
        assert re.search(rf"^    {field.name}: .*  # \w", source, re.MULTILINE), field.name
        assert field.name not in {f.name for f in dataclasses.fields(cli.Options)}
    for name in ("epochs", "seed", "source", "data_dir"):
        assert hasattr(config.TINY, name)


def test_a_config_survives_json(app):
    for config in (app.config.TINY, *app.config.PRESETS.values()):
        saved = json.loads(json.dumps(dataclasses.asdict(config)))
        assert cli.config_from(app.config.Config, saved, "a run") == config


def test_every_numeric_setting_has_a_range(app):
    fields = dataclasses.fields(app.config.Config)
    found = settings.ranges(app.config.Config)
    hints = typing.get_type_hints(app.config.Config)
    for field in fields:
        types = {hints[field.name], *typing.get_args(hints[field.name])}
        assert (field.name in found) == bool(types & {int, float}), field.name
    for name, range_ in found.items():
        default = getattr(app.config.TINY, name)
        value = range_.low if range_.open_low else range_.low - 1
        value = (*default[:-1], value) if isinstance(default, tuple) else value
        with pytest.raises(InputError, match=f"^--{name.replace('_', '-')} must be "):
            dataclasses.replace(app.config.TINY, **{name: value})
    assert app.config.TINY.max_request_bytes < 100_000


def test_every_preset_opens_with_its_recorded_result(app):
    folder = Path(app.config.__file__).parent
    source = inspect.getsource(app.config)
    for path in (folder / "results").glob("*.json"):
        result = json.loads(path.read_text())
        assert path.stem in app.config.PRESETS
        assert cli.config_from(app.config.Config, result["config"], path)  # no setting is unknown
        assert str(result["test"]["value"]) in source, f"config.py lacks the result of {path.stem}"


def test_splits_are_raw_and_hashed(app, splits):
    again = app.data.splits(app.config.TINY)
    assert {"train", "valid", "test"} <= set(splits)
    for name, split in splits.items():
        assert re.fullmatch("[0-9a-f]{64}", split.digest)
        assert split.digest == again[name].digest
        assert len(split) > 0
        assert split[0:2] == [split[0], split[1]]
        fields = split[0] if isinstance(split[0], tuple) else (split[0],)
        assert all(isinstance(field, str | bytes) for field in fields)
        assert isinstance(split.label(0), str)
        assert split.label(0) != split.label(1)
    assert len({split.digest for split in splits.values()}) == len(splits)


def test_assets_are_read_back(app, splits, tmp_path):
    built = app.data.build_assets(app.config.TINY, splits["train"], tmp_path)
    assert isinstance(built, app.data.Assets)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert files == {path.name: path.read_bytes() for path in (app.run / "assets").iterdir()}


def test_batches_are_a_function_of_seed_and_epoch(app, splits, assets):
    config = app.config.TINY
    train, valid = app.data.load(config, splits, assets)
    again, _ = app.data.load(config, splits, assets)
    first = list(train(1).as_numpy_iterator())
    assert train(1).cardinality().numpy() == len(first)
    tf.nest.map_structure(np.testing.assert_array_equal, first, list(again(1).as_numpy_iterator()))
    remaining = list(train(1).skip(3).as_numpy_iterator())
    tf.nest.map_structure(np.testing.assert_array_equal, first[3:], remaining)
    for inputs, targets, weights in (first[0], next(valid.as_numpy_iterator())):
        sizes = {len(part) for part in (*tf.nest.flatten(inputs), targets, weights)}
        assert sizes == {config.batch_size}
        assert weights.min() >= 0


def test_model_is_uncompiled_and_learns(app, assets):
    model = app.model.build(app.config.TINY, assets)
    assert isinstance(model, keras.Model)
    assert not model.compiled
    history = json.loads((app.run / "metrics.json").read_text())["history"]
    assert [row["epoch"] for row in history] == [1, 2]
    assert history[1]["val_loss"] < history[0]["val_loss"]


def test_run_folder(app):
    names = ("run.json", "assets", "best.keras", "metrics.json", "curve.png", "logs", "checkpoints")
    for name in names:
        assert (app.run / name).exists(), name
    test = json.loads((app.run / "metrics.json").read_text())["test"]
    assert {"metric", "value", "baseline", "baseline_value"} <= set(test)
    assert np.isfinite([test["value"], test["baseline_value"]]).all()


def test_export_can_be_served(app):
    version = app.saved_model / "1"
    assert export.problems(version) == []
    card = export.card_of(app.saved_model)
    for key in ("app", "preset", "config", "data", "command", "versions", "hardware"):
        assert card[key], key
    assert card["parameters"] >= card["trainable_parameters"] > 0
    assert card["config"]["data_dir"] == []
    metrics = json.loads((app.run / "metrics.json").read_text())
    assert card["test"]["value"] == metrics["test"]["value"]
    assert (version / "assets.extra" / "tf_serving_warmup_requests").stat().st_size
    files = [path for path in version.rglob("*") if path.is_file()]
    assert [path for path in files if str(app.run).encode() in path.read_bytes()] == []


def test_strings_in_strings_out(client):
    inputs, outputs = client.signatures["serving_default"]
    assert {name: t.dtype for name, t in inputs.items()} == {"inputs": "string"}
    assert outputs["outputs"].dtype == "string"
    assert outputs["error"].dtype == "string"


def test_an_answer_depends_on_its_row_alone(server, client):
    """A batch equals its rows, an empty batch works, and the same request has the same answer."""
    for signature, request in server.sample_requests().items():
        request = dict(request)
        texts = request.pop("inputs")
        batch = client.predict(signature, list(texts), **request)
        again = client.predict(signature, list(texts), **request)
        empty = client.predict(signature, [], **{name: v[:0] for name, v in request.items()})
        for name, column in batch.items():
            assert len(column) == len(texts)
            assert len(empty[name]) == 0
            np.testing.assert_array_equal(column, again[name])
        for i, text in enumerate(texts):
            single = client.predict(
                signature, [text], **{n: v[i : i + 1] for n, v in request.items()}
            )
            for name, column in batch.items():
                alone, row = padded(single[name], column.shape[1:]), column[i : i + 1]
                if column.dtype == object:
                    assert alone.tolist() == row.tolist(), (signature, name)
                else:
                    np.testing.assert_allclose(alone, row, rtol=1e-4, atol=1e-4)


def padded(array, shape):
    """Pads a single row to the shape that it has in a batch, with 0 or an empty string."""
    widths = [(0, n - m) for n, m in zip(shape, array.shape[1:], strict=True)]
    padding = b"" if array.dtype == object else 0
    return np.pad(array, [(0, 0), *widths], constant_values=padding)


def test_outputs_are_utf8_unless_named_bytes(server, client):
    for signature, request in server.sample_requests().items():
        request = dict(request)
        answer = client.predict(signature, list(request.pop("inputs")), **request)
        for name, column in answer.items():
            if column.dtype == object and not name.endswith("_bytes"):
                for value in column.ravel():
                    value.decode("utf-8")


def test_exports_can_be_chained(trained):
    """Every app accepts the `outputs` of every app as `inputs`."""
    clients = [SavedModelClient(trained(name).saved_model) for name in APPS]
    texts = ["ta shi yan jiu sheng wu de", "", "Wednesday, November 25, 2026", "他很好"]
    for first, second in itertools.product(clients, clients):
        outputs = first.predict("serving_default", texts)["outputs"]
        answer = second.predict("serving_default", outputs.tolist())
        assert len(answer["outputs"]) == len(texts)
        for output, expected in zip(outputs, answer["outputs"], strict=True):
            alone = second.predict("serving_default", [output])["outputs"]
            assert alone.tolist() == [expected]


def test_evaluate_reproduces_the_test_result(app, capsys):
    app.evaluate.main([str(app.saved_model)])
    printed = capsys.readouterr().out.splitlines()
    test = json.loads((app.run / "metrics.json").read_text())["test"]
    assert printed == list(results.lines(test))


def test_a_dry_run_writes_nothing(app, tmp_path, monkeypatch, train_tiny):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    train_tiny(app, tmp_path / "run", "--dry-run")
    gc.collect()  # the folder of a dry run is removed with the run
    assert [path.name for path in tmp_path.rglob("*")] == ["temporary"]
