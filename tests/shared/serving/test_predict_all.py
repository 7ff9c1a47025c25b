"""`predict_all`: sorts, asks in batches, restores the order, and converts the outputs."""

import subprocess
import sys

import numpy as np
import pytest

from shared.errors import PredictError

WORDS = ["five5", "b", "", "three", "čas 早", "a", "seven77"]  # lengths 5, 1, 0, 5, 5, 1, 7


@pytest.fixture
def batches(client, monkeypatch):
    """The columns of every request from here on."""
    calls, call = [], client._call
    monkeypatch.setattr(
        client, "_call", lambda s, columns: calls.append(columns) or call(s, columns)
    )
    return calls


def inputs_of(batches):
    return [[data.decode() for data in columns["inputs"]] for columns in batches]


def test_the_order_of_the_inputs_is_restored(client):
    results = client.predict_all("serving_default", WORDS, batch_size=3)
    assert results == {
        "outputs": [word.upper() for word in WORDS],
        "error": ["nothing to say" if word == "" else "" for word in WORDS],
        "length": [len(word) for word in WORDS],
        "score": [float(np.float32(len(word)) * np.float32(0.1)) for word in WORDS],
    }


def test_batches_are_sorted_by_length(client, batches):
    client.predict_all("serving_default", WORDS, batch_size=3)
    assert inputs_of(batches) == [["", "b", "a"], ["five5", "three", "čas 早"], ["seven77"]]


def test_length_is_that_of_bytes(client, batches):
    client.predict_all("serving_default", [b"abc", "早".encode() * 2, b"ab"], batch_size=1)
    assert inputs_of(batches) == [["ab"], ["abc"], ["早早"]]


def test_arrays_of_params_are_sorted_with_the_inputs(client, batches):
    results = client.predict_all(
        "generate", ["ccc", "a", "bb"], batch_size=2,
        temperature=0.5, seed=np.array([3, 1, 2]), loud=[True, False, True], tag=["x", "y", b"z\0"],
    )  # fmt: skip
    assert results["outputs"] == ["x CCC 0.50 3", "y a 0.50 1", "z\0 BB 0.50 2"]
    assert [columns["seed"].tolist() for columns in batches] == [[1, 2], [3]]
    assert [columns["temperature"].tolist() for columns in batches] == [[0.5, 0.5], [0.5]]


def test_a_matrix_as_param(client):
    state = np.float32([[1, 2], [3, 4], [5, 6]])
    results = client.predict_all("step", ["ccc", "a", "bb"], batch_size=2, state=state)
    np.testing.assert_array_equal(results["state"], state + np.float32(0.5))


def test_strings_are_str_and_binary_outputs_are_bytes(client):
    results = client.predict_all("sound", ["bb", "", "a"], batch_size=2)
    assert results["outputs"] == ["bb", "", "a"]
    assert results["wav_bytes"] == [b"RIFF\xff\x00bb", b"", b"RIFF\xff\x00a"]
    assert results["pair_bytes"][0].tolist() == [b"RIFF\xff\x00bb"] * 2


def test_outputs_with_more_dimensions_are_arrays(client):
    results = client.predict_all("n_best", ["bb", "a"])
    assert [row.tolist() for row in results["outputs"]] == [["bb", "bb!", "bb?"], ["a", "a!", "a?"]]
    np.testing.assert_allclose(results["scores"][1], [-1 / 3, -2 / 3, -2 / 3], rtol=1e-6)


def test_trailing_dimensions_may_differ_between_batches(client, monkeypatch):
    def ragged(signature, columns):
        rows, width = len(columns["inputs"]), max(map(len, columns["inputs"]))
        return {"outputs": columns["inputs"], "attention": np.ones([rows, width])}

    inputs, _ = client.signatures["serving_default"]
    signatures = {"serving_default": (inputs, {"outputs": None, "attention": None})}
    monkeypatch.setattr(client, "signatures", signatures)
    monkeypatch.setattr(client, "_call", ragged)
    results = client.predict_all("serving_default", ["dddd", "a", "bb"], batch_size=2)
    assert [row.shape for row in results["attention"]] == [(4,), (2,), (2,)]


def test_no_inputs(client, batches):
    results = client.predict_all("generate", [], temperature=1, seed=[], loud=False, tag="")
    assert results == {"outputs": []}
    assert batches == []


def test_invalid_utf8_in_an_output_is_replaced(client):
    results = client.predict_all("parts", [b"a\xff"])
    assert results["pair"][0].tolist() == ["a\ufffd"] * 2


@pytest.mark.parametrize(
    ("signature", "params", "message"),
    [
        ("poem", {}, "no signature 'poem'"),
        ("serving_default", {"seed": 1}, "has no input 'seed'"),
        ("step", {}, "needs state"),
        ("step", {"state": np.zeros([3, 2])}, r"state must be .* \(3, 2\) for 2 inputs"),
        ("step", {"state": 0.5}, "state must be float32"),
        ("number", {}, "number failed|HTTP 400"),
    ],
)
def test_errors(client, signature, params, message):
    with pytest.raises(PredictError, match=message) as caught:
        client.predict_all(signature, ["a", "b"], **params)
    assert "\n" not in str(caught.value)


def test_the_progress_bar_has_a_description(client, capsys):
    client.predict_all("serving_default", ["a"] * 5, batch_size=2, description="test, greedy")
    assert "test, greedy" in capsys.readouterr().err
    client.predict_all("serving_default", ["a"])
    assert "serving_default" in capsys.readouterr().err


def test_tqdm_is_imported_only_by_predict_all():
    code = "import sys; from shared.serving import clients; assert 'tqdm' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
