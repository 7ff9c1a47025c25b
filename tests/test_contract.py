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
from shared.serving.tensors import no_rows, to_bytes
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


# ---- Any row -------------------------------------------------------------------------------------

BLANK = ["", " ", "\n", "\t\r\n", "\u00a0", "\u3000", "\u200b", "\ufeff", "\ufe0f\u200d"]
OTHER = [
    "\U0001f600",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "a\U0001f600",
    "\u0301",
    "1",
    b"\xff",
]


@pytest.fixture(scope="session")
def requests(server, splits):
    """A request for each signature, {input: array}: rows of no token, of one, and of mixed lengths.

    The other inputs are those of the sample requests, repeated.
    """
    rows = [*BLANK, *OTHER]
    for example in splits["test"][:3]:
        text = to_bytes(example if isinstance(example, str | bytes) else example[0])
        words = text.split()
        rows += [text[:1], *words[:3], b" ".join(words[:2]), text]
    requests = {}
    for signature, sample in server.sample_requests().items():
        inputs = np.array([*map(to_bytes, rows), *sample["inputs"]], object)
        places = np.arange(len(inputs)) % len(sample["inputs"])
        requests[signature] = {name: value[places] for name, value in sample.items()}
        requests[signature]["inputs"] = inputs
    return requests


def ask(client, signature, request, rows=slice(None)):
    """Sends some rows of a request."""
    request = {name: value[rows] for name, value in request.items()}
    return client.predict(signature, list(request.pop("inputs")), **request)


@pytest.fixture(scope="session")
def answers(client, requests):
    """The answer to each of the `requests`, all rows together."""
    return {name: ask(client, name, request) for name, request in requests.items()}


def test_an_answer_depends_on_its_row_alone(client, requests, answers):
    """A batch equals its rows, and the same request has the same answer."""
    for signature, request in requests.items():
        again = ask(client, signature, request)
        for name, column in answers[signature].items():
            assert len(column) == len(request["inputs"])
            np.testing.assert_array_equal(column, again[name])
        for row in range(len(request["inputs"])):
            alone = ask(client, signature, request, slice(row, row + 1))
            assert_same_rows(signature, answers[signature], alone, [row], request["inputs"][row])


def assert_same_rows(signature, batch, part, rows, message=""):
    """Asserts that `part` has the given rows of `batch`, apart from padding."""
    for name, column in batch.items():
        expected, column = column[rows], padded(part[name], column.shape[1:])
        if column.dtype == object:
            assert column.tolist() == expected.tolist(), (signature, name, message)
        else:
            np.testing.assert_allclose(
                column, expected, rtol=1e-4, atol=1e-4, err_msg=f"{signature} {name} {message}"
            )


def padded(array, shape):
    """Pads the rows to the shape that they have in a batch, with 0 or an empty string."""
    widths = [(0, n - m) for n, m in zip(shape, array.shape[1:], strict=True)]
    padding = b"" if array.dtype == object else 0
    return np.pad(array, [(0, 0), *widths], constant_values=padding)


def test_an_empty_batch(client, requests, answers):
    """It works, and the client of a server, which answers it itself, has the same types and known sizes."""
    for signature, request in requests.items():
        empty = ask(client, signature, request, slice(0))
        for name, tensor in client.signatures[signature][1].items():
            expected = no_rows(tensor)
            assert empty[name].dtype == expected.dtype == answers[signature][name].dtype
            assert empty[name].ndim == expected.ndim
            for size, known in zip(empty[name].shape, (0, *tensor.shape[1:]), strict=True):
                assert known in (None, size), (signature, name)


def test_no_number_is_nan_or_infinite(client, requests, answers):
    for signature, request in requests.items():
        assert_finite(signature, answers[signature])
        for name, value in request.items():
            if value.dtype.kind == "f" and value.ndim == 1:  # a parameter of the caller
                extremes = np.array([np.nan, np.inf, -np.inf, -1.0, 0.0, 3e38], value.dtype)
                changed = {key: column[-len(extremes) :] for key, column in request.items()}
                answer = ask(client, signature, {**changed, name: extremes})
                assert_finite((signature, name), answer)


def assert_finite(signature, answer):
    for name, column in answer.items():
        if column.dtype.kind == "f":
            bad = np.unique(np.argwhere(~np.isfinite(column))[:, 0]).tolist()
            assert bad == [], (signature, name)


def test_outputs_are_utf8_unless_named_bytes(answers):
    for answer in answers.values():
        for name, column in answer.items():
            if column.dtype == object and not name.endswith("_bytes"):
                for value in column.ravel():
                    value.decode("utf-8")


def test_several_texts_of_a_row_are_distinct_and_counted(answers):
    for signature, answer in answers.items():
        if answer["outputs"].ndim == 1:
            continue
        assert answer["count"].shape == answer["outputs"].shape[:1], signature
        for row, (texts, count) in enumerate(zip(answer["outputs"], answer["count"], strict=True)):
            texts = texts.tolist()
            assert len(set(texts[:count])) == count, (signature, texts)
            assert set(texts[count:]) <= {b""}, (signature, texts)
            for name, column in answer.items():
                if column.dtype.kind == "f" and column.shape == answer["outputs"].shape:
                    assert not column[row, count:].any(), (signature, name)


def test_blank_input_is_an_error(app, requests, answers):
    """Except where the Server has `accepts_blank`, and where a state is continued."""
    for signature, answer in answers.items():
        if getattr(app.serve.Server, "accepts_blank", False) or "state" in answer:
            continue
        for row, text in enumerate(requests[signature]["inputs"]):
            if text.decode("utf-8", "replace") in BLANK:
                assert not answer["outputs"][row : row + 1].any(), (signature, text)
                assert answer["error"][row], (signature, text)


def test_a_row_that_is_too_large_is_refused_and_changes_no_other(app, client, requests, answers):
    """It has no share in the sizes to which the others are padded, and so in their time and memory."""
    limit = app.config.TINY.max_request_bytes
    for signature, request in requests.items():
        middle = len(request["inputs"]) // 2
        longer = {name: np.insert(v, middle, v[0], axis=0) for name, v in request.items()}
        longer["inputs"][middle] = b"a" * (limit + 1)
        answer = ask(client, signature, longer)
        others = np.delete(np.arange(len(longer["inputs"])), middle)
        for name, column in answer.items():
            assert column.shape[1:] == answers[signature][name].shape[1:], (signature, name)
            refused = column[middle : middle + 1]
            if name == "error":
                expected = f"{limit + 1} bytes: refused, because max_request_bytes is {limit}"
                assert refused.tolist() == [expected.encode()]
            elif name != "state":
                assert not refused.any(), (signature, name, refused)
        kept = {name: column[others] for name, column in answer.items()}
        assert_same_rows(signature, answers[signature], kept, np.arange(len(others)))


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
