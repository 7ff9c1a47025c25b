"""Exports: model card, warm-up requests, frozen parts, and defects that show in the answers."""

import json
import re
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from shared.errors import InputError
from shared.files import write_json
from shared.serving import export
from shared.serving.clients import SavedModelClient

INPUTS = tf.TensorSpec([None], tf.string, name="inputs")
WEIGHT = tf.TensorSpec([None], tf.float32, name="weight")


class Toy(tf.Module):
    """Two signatures and a variable."""

    def __init__(self, answer=None):
        super().__init__()
        self.scale = tf.Variable([2.0, 3.0])
        self.endpoints = {
            "serving_default": tf.function(answer or self.answer, input_signature=[INPUTS]),
            "weigh": tf.function(self.weigh, input_signature=[INPUTS, WEIGHT]),
        }

    def answer(self, inputs):
        length = tf.strings.length(inputs)
        score = tf.cast(length, tf.float32)[:, tf.newaxis] * self.scale
        return {"outputs": tf.strings.upper(inputs), "length": length, "score": score}

    def weigh(self, inputs, weight):
        return {"outputs": inputs, "weighed": weight * self.scale[0]}

    def sample_requests(self):
        texts = export.sample_batch("one", "", b"\xff three")
        weights = np.array([0.5, 1, 2], np.float32)
        return {
            "serving_default": {"inputs": texts},
            "weigh": {"inputs": texts, "weight": weights},
        }


def write(folder, server=None):
    export.write(server or Toy(), folder, {"app": "toy"})


# ---- What is written -----------------------------------------------------------------------------


class Frozen(Toy):
    """Answers with a Keras model that has a frozen part and batch normalization.

    One part of the model is used in a loop only, one in a nested function only.
    """

    def __init__(self):
        super().__init__()
        encoder = keras.Sequential(
            [keras.layers.Dense(3), keras.layers.BatchNormalization()], name="encoder"
        )
        encoder.build((None, 2))
        rng = np.random.default_rng(0)
        for variable in encoder.weights:
            variable.assign(rng.uniform(0.5, 1, variable.shape))
        encoder.trainable = False
        x = keras.Input((2,))
        model = keras.Model(x, keras.layers.Dense(2, name="dense")(encoder(x)))
        step, offset = tf.Variable(0.5, trainable=False), tf.Variable([1.0, 2.0])
        nested = tf.function(lambda x: x + offset)
        self._parts = lambda: (model, step, nested)

    def answer(self, inputs):
        model, step, nested = self._parts()
        score = nested(model(super().answer(inputs)["score"]))
        _, score = tf.while_loop(lambda i, s: i < 2, lambda i, s: (i + 1, s * step), (0, score))
        return {"outputs": tf.strings.upper(inputs), "score": score}


@pytest.fixture(scope="module")
def frozen(tmp_path_factory):
    """A server with a frozen part, and the folder of its export."""
    server, folder = Frozen(), tmp_path_factory.mktemp("frozen") / "1"
    write(folder, server)
    return server, folder


def test_a_model_with_a_frozen_part_answers_as_in_memory(frozen):
    server, folder = frozen
    texts = ["", "a", "longer text"]
    expected = server.endpoints["serving_default"](tf.constant(texts))
    answer = SavedModelClient(folder).predict("serving_default", texts)
    assert answer["outputs"].tolist() == [b"", b"A", b"LONGER TEXT"]
    np.testing.assert_allclose(answer["score"], expected["score"], rtol=1e-5)
    names = [name for name, _ in tf.train.list_variables(str(folder / "variables" / "variables"))]
    # The offset and the step; kernel and bias twice; four of the batch normalization.
    assert len([name for name in names if "variables_of_endpoints" in name]) == 2 + 2 * 2 + 4
    assert len([name for name in names if name.startswith("scale/")]) == 1
    assert export.problems(folder) == []


def test_saving_changes_nothing_that_the_endpoints_need(frozen, tmp_path):
    server, _ = frozen
    functions = server.endpoints.values()
    traces = [fn.experimental_get_tracing_count() for fn in functions]
    export.save(server, tmp_path / "2")
    assert list(server.endpoints.values()) == list(functions)
    assert [fn.experimental_get_tracing_count() for fn in functions] == traces == [1, 1]


class Holding(Toy):
    """Has a Keras model as an attribute, of which the loader of servers does not find the variables."""

    def __init__(self):
        super().__init__()
        x = keras.Input((2,))
        self.model = keras.Model(x, keras.layers.Dense(1)(x))

    def answer(self, inputs):
        return {"outputs": inputs, "score": self.model(super().answer(inputs)["score"])}


def test_a_keras_model_may_be_an_attribute(tmp_path):
    write(tmp_path / "1", Holding())  # which answers in a fresh process as in memory


def test_sample_batch():
    batch = export.sample_batch("漢", b"\xff\x00", "")
    assert batch.dtype == object
    assert batch.tolist() == ["漢".encode(), b"\xff\x00", b""]
    assert tf.constant(batch).dtype == tf.string
    assert export.sample_batch("a").shape == (1,)
    assert export.sample_batch().shape == (0,)


def test_warmup_records_are_the_requests_row_by_row(frozen):
    """TF Serving refuses to load a model whose warm-up requests are larger than its `max_batch_size`."""
    from tensorflow_serving.apis import prediction_log_pb2

    server, folder = frozen
    path = folder / "assets.extra" / "tf_serving_warmup_requests"
    records = {}
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record)
        assert log.WhichOneof("log_type") == "predict_log"
        request = log.predict_log.request
        inputs = {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}
        assert {len(value) for value in inputs.values()} == {1}
        records.setdefault(request.model_spec.signature_name, []).append(inputs)
    requests = server.sample_requests()
    assert records.keys() == requests.keys()
    for signature, request in requests.items():
        rows = records[signature]
        for name, value in request.items():
            assert {row[name].dtype for row in rows} == {value.dtype}
            assert np.concatenate([row[name] for row in rows]).tolist() == value.tolist()
        assert all(row.keys() == request.keys() for row in rows)


def test_warmup_requests_are_read_back(frozen, tmp_path):
    server, folder = frozen
    read, requests = export.warmup_requests(folder), server.sample_requests()
    assert read.keys() == requests.keys()
    for signature, request in requests.items():
        assert read[signature].keys() == request.keys()
        for name, value in request.items():
            assert read[signature][name].tolist() == value.tolist()
    assert export.warmup_requests(tmp_path) == {}
    path = tmp_path / export.WARMUP
    path.parent.mkdir()
    content = (folder / export.WARMUP).read_bytes()
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(b"not a request")
    for damaged in (content[:-5], b"a text, not records", path.read_bytes()):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=f"^{path} is damaged: export the model again$"):
            export.warmup_requests(tmp_path)


def test_the_card(trained):
    app = trained("language_model")
    folder = app.saved_model / "1"
    card = export.card_of(app.saved_model)
    assert card == json.loads((folder / "assets.extra" / "model_card.json").read_text())
    files = [p for p in folder.rglob("*") if p.is_file() and p.name != "model_card.json"]
    assert card["megabytes"] == pytest.approx(sum(p.stat().st_size for p in files) / 1e6, abs=0.006)
    assert 0 < card["latency_ms"] < 60_000
    assert card["config"]["data_dir"] == []
    assert card["test"]["value"] > 0
    assert card["preset"] == "tiny"
    text = json.dumps(card)
    assert re.findall(r'"/\w[^"]*"', text) == []
    assert str(app.run) not in text


# ---- Defects -------------------------------------------------------------------------------------


def test_write_refuses_an_export_with_problems(tmp_path):
    answer = lambda inputs: {"outputs": inputs, "n": tf.size(inputs)}  # noqa: E731
    with pytest.raises(RuntimeError, match=r"cannot be served: serving_default\.n is not batch"):
        write(tmp_path / "1", Toy(answer))


class Changed(Toy):
    """Its variable changes after it is saved."""

    def sample_requests(self):
        self.scale.assign_add([0.0, 0.01])
        return super().sample_requests()


class Dropping(Toy):
    """Answers only rows that are not empty."""

    def answer(self, inputs):
        return {"outputs": tf.boolean_mask(inputs, inputs != "")}


class Brittle(Toy):
    """Fails on an empty batch."""

    def answer(self, inputs):
        with tf.control_dependencies([tf.debugging.assert_positive(tf.size(inputs), "no rows")]):
            return {"outputs": tf.identity(inputs)}


class Padding(Toy):
    """Answers an empty batch with one row."""

    def answer(self, inputs):
        missing = tf.maximum(1 - tf.size(inputs), 0)
        return {"outputs": tf.pad(inputs, [[0, missing]])}


class Dividing(Toy):
    """Has an answer that is infinite, NaN for the empty text."""

    def answer(self, inputs):
        length = tf.cast(tf.strings.length(inputs), tf.float32)
        return {"outputs": inputs, "rate": length / (length - length)}


class Logarithmic(Toy):
    """Has an infinite number among others."""

    def answer(self, inputs):
        length = tf.cast(tf.strings.length(inputs), tf.float32)
        return {"outputs": inputs, "score": tf.stack([length, tf.math.log(length)], axis=1)}


@pytest.mark.parametrize(
    ("server", "message"),
    [
        (Dividing, r"serving_default\.rate of a sample request is NaN or infinite"),
        (Logarithmic, r"serving_default\.score of a sample request is NaN or infinite"),
        (Changed, r"serving_default\.score differs between the model in memory and the export"),
        (Dropping, r"serving_default, 3 rows: outputs is \(2,\)"),
        (Brittle, r"does not run in a fresh process: .*serving_default, 0 rows: .*no rows"),
        (Padding, r"serving_default, 0 rows: outputs is \(1,\)"),
    ],
)
def test_a_defect_that_shows_in_the_answers_is_found(server, message, tmp_path):
    with pytest.raises(RuntimeError, match=message):
        write(tmp_path / "1", server())
    assert not (tmp_path / "1" / "assets.extra" / "model_card.json").exists()


def test_whole_numbers_are_compared_exactly():
    expected = np.array([100_000, 7])
    export._compare("x", expected, expected.copy())
    with pytest.raises(RuntimeError, match="x differs"):
        export._compare("x", expected, np.array([100_001, 7]))
    export._compare("x", np.float32([1, 2]), np.float32([1.00001, 2]))
    with pytest.raises(RuntimeError, match="x differs"):
        export._compare("x", np.float32([1, 2]), np.float32([1.01, 2]))


# ---- The script of an app ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "what", ["missing", "no run", "unfinished", "of another app", "of another version"]
)
def test_the_script_refuses_in_one_line_and_leaves_nothing(
    what, trained, tmp_path, monkeypatch, capsys
):
    app = trained("language_model")
    folder = tmp_path / "folder"
    if what == "no run":
        folder.mkdir()
    elif what != "missing":
        shutil.copytree(app.run, folder)
        name = "metrics.json" if what == "unfinished" else "run.json"
        content = json.loads((folder / name).read_text())
        if what == "unfinished":
            del content["test"]
        elif what == "of another app":
            content["app"] = "other"
        else:
            content["config"]["longest"] = 80
        write_json(folder / name, content)
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        app.export.main([str(folder)])
    out, err = capsys.readouterr()
    assert stop.value.code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert str(folder) in err
    messages = {
        "missing": "is not the folder of a run",
        "no run": "is not the folder of a run",
        "unfinished": "is not finished",
        "of another app": "is a run of other",
        "of another version": "settings that do not exist now (longest)",
    }
    assert messages[what] in err
    assert sorted(tmp_path.rglob("*")) == before


def test_the_script_prints_the_example_input(tmp_path, monkeypatch, capsys):
    run, models = tmp_path / "run", tmp_path / "models"
    run.mkdir()
    write_json(run / "run.json", {"app": "toy", "preset": "large"})
    write_json(run / "metrics.json", {"test": {"value": 3}})
    calls = []

    def write(finished, folder, **card):
        calls.append((finished.path, card))
        folder.mkdir()

    export.main("apps.toy", write, [str(run), "--to", str(models)], example="@photo.jpg")
    base = models / "toy_large"
    assert capsys.readouterr().out == (
        f"{base / '1'}\nnext: python -m shared.predict {base} @photo.jpg\n"
    )
    assert calls == [(run, {"test": {"value": 3}})]
    export.main("apps.toy", write, [str(run), "--to", str(models), "--name", "other"])
    assert capsys.readouterr().out.endswith(f'shared.predict {models / "other"} "some text"\n')
    assert sorted(p.name for p in models.iterdir()) == ["other", "toy_large"]
