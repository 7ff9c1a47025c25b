"""What every app is: the same files, the same names, a SavedModel of strings. A copy of one, renamed,
is held to it too, for that is what the folders are made for; that the others can be copied likewise,
test_imports sees in their code."""

import dataclasses
import inspect
import itertools
import json
import re
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from shared import cli
from shared.serving import export
from shared.serving.clients import SavedModelClient

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
]


# The last one first: meanwhile other files, in another process, ask for the first.
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


def test_files_and_names(app):
    folder = Path(app.config.__file__).parent
    assert [name for name in FILES if not (folder / name).is_file()] == []
    for module, names in {
        "config": ["Config", "PRESETS", "TINY"],
        "data": ["examples", "digests", "load"],
        "model": ["build"],
        "serve": ["Server"],
        "train": ["main"],
        "evaluate": ["main", "evaluate"],
        "export": ["main", "write"],
    }.items():
        for name in names:
            value = getattr(getattr(app, module), name)
            # Its own, not imported from the app it was copied from.
            assert getattr(value, "__module__", app.package).startswith(app.package), name


def test_config(app):
    config = app.config
    assert dataclasses.is_dataclass(config.Config)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.TINY.seed = 2
    assert "default" in config.PRESETS
    assert all(isinstance(c, config.Config) for c in (config.TINY, *config.PRESETS.values()))
    # The command line's help is the comments: every field needs one.
    source = inspect.getsource(config.Config)
    for field in dataclasses.fields(config.Config):
        assert re.search(rf"^    {field.name}: .*  # \w", source, re.MULTILINE), field.name
        assert field.name not in {f.name for f in dataclasses.fields(cli.Options)}
    for name in ("epochs", "seed", "source", "data_dir"):
        assert hasattr(config.TINY, name)


def test_every_preset_with_a_result_says_so(app):
    folder = Path(app.config.__file__).parent
    source = inspect.getsource(app.config)
    for path in (folder / "results").glob("*.json"):
        result = json.loads(path.read_text())
        assert path.stem in app.config.PRESETS
        assert str(result["test"]["value"]) in source, (
            f"config.py does not open {path.stem} with it"
        )


def test_examples_are_raw_and_whole(app):
    digests = app.data.digests(app.config.TINY)
    assert sorted(digests) == ["test", "train", "valid"]
    for split, digest in digests.items():
        assert re.fullmatch("[0-9a-f]{64}", digest)
        assert len(app.data.examples(app.config.TINY, split)) > 0
    assert len(set(digests.values())) == 3


def test_batches_are_a_function_of_seed_and_epoch(app, tmp_path):
    config = app.config.TINY
    train, valid, *_ = app.data.load(config, tmp_path)
    again, *_ = app.data.load(config, tmp_path)
    first = list(train(1).as_numpy_iterator())
    assert train(1).cardinality().numpy() == len(first)
    tf.nest.map_structure(np.testing.assert_array_equal, first, list(again(1).as_numpy_iterator()))
    rest = list(train(1).skip(3).as_numpy_iterator())
    tf.nest.map_structure(np.testing.assert_array_equal, first[3:], rest)
    for inputs, targets, weights in (first[0], next(valid.as_numpy_iterator())):
        sizes = {len(part) for part in (*tf.nest.flatten(inputs), targets, weights)}
        assert sizes == {config.batch_size}
        assert weights.min() >= 0


def test_model_is_uncompiled_and_learns(app, tmp_path):
    _, _, *vocabularies = app.data.load(app.config.TINY, tmp_path)
    model = app.model.build(app.config.TINY, *vocabularies)
    assert isinstance(model, keras.Model)
    assert not model.compiled
    history = json.loads((app.run / "metrics.json").read_text())["history"]
    assert [row["epoch"] for row in history] == [1, 2]
    assert history[1]["val_loss"] < history[0]["val_loss"]


def test_run_folder(app):
    for name in ("run.json", "best.keras", "metrics.json", "curve.png", "logs", "checkpoints"):
        assert (app.run / name).exists(), name
    test = json.loads((app.run / "metrics.json").read_text())["test"]
    assert {"metric", "value", "baseline", "baseline_value"} <= set(test)
    assert np.isfinite([test["value"], test["baseline_value"]]).all()


def test_export_can_be_served(app):
    version = app.saved_model / "1"
    assert export.problems(version) == []
    card = export.card_of(app.saved_model)
    for key in ("app", "preset", "config", "data", "command", "versions", "hardware", "parameters"):
        assert card[key], key
    assert card["config"]["data_dir"] == ""
    assert (
        card["test"]["value"] == json.loads((app.run / "metrics.json").read_text())["test"]["value"]
    )
    assert (version / "assets.extra" / "tf_serving_warmup_requests").stat().st_size
    mentions = [
        p for p in version.rglob("*") if p.is_file() and str(app.run).encode() in p.read_bytes()
    ]
    assert mentions == []


def test_strings_in_strings_out(client):
    inputs, outputs = client.signatures["serving_default"]
    assert {name: t.dtype for name, t in inputs.items()} == {"inputs": "string"}
    assert outputs["outputs"].dtype == "string"
    assert outputs["error"].dtype == "string"


def test_an_answer_depends_on_its_row_alone(app, client):
    """Batch equals single, no answer for no question, the same answer twice: every signature."""
    server = app.serve.Server(*parts(app))
    for signature, request in server.sample_requests().items():
        request = dict(request)
        texts = request.pop("inputs")
        whole = client.predict(signature, list(texts), **request)
        again = client.predict(signature, list(texts), **request)
        none = client.predict(signature, [], **{name: v[:0] for name, v in request.items()})
        for name, column in whole.items():
            assert len(column) == len(texts)
            assert len(none[name]) == 0
            np.testing.assert_array_equal(column, again[name])
        for i, text in enumerate(texts):
            single = client.predict(
                signature, [text], **{n: v[i : i + 1] for n, v in request.items()}
            )
            for name, column in whole.items():
                alone, row = padded(single[name], column.shape[1:]), column[i : i + 1]
                if column.dtype == object:
                    assert alone.tolist() == row.tolist(), (signature, name)
                else:
                    np.testing.assert_allclose(alone, row, rtol=1e-4, atol=1e-4)


def padded(array, shape):
    """One row, made as long as its batch was: what is padding in a batch is 0 or empty."""
    more = [(0, n - m) for n, m in zip(shape, array.shape[1:], strict=True)]
    return np.pad(array, [(0, 0), *more], constant_values=b"" if array.dtype == object else 0)


def test_outputs_are_utf8_unless_named_bytes(app, client):
    server = app.serve.Server(*parts(app))
    for signature, request in server.sample_requests().items():
        request = dict(request)
        answer = client.predict(signature, list(request.pop("inputs")), **request)
        for name, column in answer.items():
            if column.dtype == object and not name.endswith("_bytes"):
                for value in column.ravel():
                    value.decode("utf-8")


def test_exports_can_be_chained(trained):
    """What one app says, every app takes: `outputs` are `inputs`, in as many rows."""
    clients = [SavedModelClient(trained(name).saved_model) for name in APPS]
    texts = ["ta shi yan jiu sheng wu de", "", "Wednesday, November 25, 2026", "他很好"]
    for first, second in itertools.product(clients, clients):
        outputs = first.predict("serving_default", texts)["outputs"]
        answer = second.predict("serving_default", outputs.tolist())
        assert len(answer["outputs"]) == len(texts)
        for output, expected in zip(outputs, answer["outputs"], strict=True):
            alone = second.predict("serving_default", [output])["outputs"]
            assert alone.tolist() == [expected]


def test_evaluate_makes_the_figure_again(app, capsys):
    app.evaluate.main([str(app.saved_model)])
    printed = dict(re.findall(r"^(\w+) +(.*)$", capsys.readouterr().out, re.MULTILINE))
    test = json.loads((app.run / "metrics.json").read_text())["test"]
    assert {name: str(value) for name, value in test.items()} == printed


def test_dry_run_writes_nothing(app, tmp_path, monkeypatch, train_tiny):
    monkeypatch.chdir(tmp_path)
    train_tiny(app, tmp_path / "run", "--dry-run")
    assert list(tmp_path.iterdir()) == []


def parts(app):
    """Model, config and vocabularies of the finished run."""
    from shared.training import runs

    _, _, *vocabularies = app.data.load(app.config.TINY, app.run)
    return runs.load(app.run).best_model(), app.config.TINY, *vocabularies
