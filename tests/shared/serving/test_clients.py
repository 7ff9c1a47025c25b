"""Clients of a folder and of an address give the same results."""

import json
import os
import shutil

import numpy as np
import pytest

from shared.errors import PredictError
from shared.serving import client as base
from shared.serving import clients
from shared.serving.clients import RestClient, SavedModelClient, connect


def test_predict_returns_every_output_by_name(client):
    answer = client.predict("serving_default", ["abc", "čas 早".encode(), ""])
    assert answer["outputs"].tolist() == [b"ABC", "ČAS 早".encode(), b""]
    assert answer["error"].tolist() == [b"", b"", b"nothing to say"]
    assert answer["length"].tolist() == [3, 5, 0]
    assert answer["length"].dtype == np.int32
    np.testing.assert_array_equal(answer["score"], np.float32([3, 5, 0]) * np.float32(0.1))
    assert answer["score"].dtype == np.float32


def test_an_empty_batch(client):
    answer = client.predict("serving_default", [])
    assert {name: column.shape for name, column in answer.items()} == dict.fromkeys(
        ("outputs", "error", "length", "score"), (0,)
    )


def test_texts_without_tokens(client):
    """TF Serving's JSON does not have the dimensions after one that is 0."""
    answer = client.predict("grid", ["", ""])
    assert {name: column.shape for name, column in answer.items()} == {
        "bool": (2, 0),
        "float32": (2, 0, 2),
        "float64": (2, 0, 2),
        "int64": (2, 0),
        "string": (2, 0, 2),
        "uint8": (2, 0, 2),
    }


def test_invalid_utf8_reaches_the_model(client):
    answer = client.predict("serving_default", [b"a\xffb", os.fsdecode(b"a\xffb")])
    assert answer["outputs"].tolist() == ["A\ufffdB".encode()] * 2


def test_bytes_round_trip(client):
    rows = [b"\xff\0", b"\0", b"a\r\n", "\U0001f3b5".encode()]
    assert client.predict("number", [b"1"])["number"].tolist() == [1.0]
    assert client.predict("step", rows, state=np.zeros([4, 2]))["outputs"].tolist() == rows


def test_params_are_single_values_or_arrays(client):
    answer = client.predict(
        "generate", ["a", "b"], temperature=0.5, seed=np.array([3, 4]), loud=True, tag=["x", b"y"]
    )
    assert answer["outputs"].tolist() == [b"x A 0.50 3", b"y B 0.50 4"]


def test_states_pass_through(client):
    state = np.float32([[1, 2], [3, 4]])
    answer = client.predict("step", ["a", "b"], state=state)
    np.testing.assert_array_equal(answer["state"], state + np.float32(0.5))
    assert answer["state"].dtype == np.float32


def test_n_best(client):
    answer = client.predict("n_best", ["a", "b"])
    assert answer["outputs"].tolist() == [[b"a", b"a!", b"a?"], [b"b", b"b!", b"b?"]]
    np.testing.assert_allclose(answer["scores"], [[-1 / 3, -2 / 3, -2 / 3]] * 2, rtol=1e-6)


def test_binary_outputs(client):
    answer = client.predict("sound", ["a", ""])
    assert answer["wav_bytes"].tolist() == [b"RIFF\xff\x00a", b""]
    assert answer["pair_bytes"].shape == (2, 2)


def test_nan_and_infinity(client):
    score = client.predict("score", ["", "a", "ab", "abc"])["score"]
    np.testing.assert_allclose(score, [np.nan, -np.inf, 0, np.log(2)], rtol=1e-6)


def test_signatures(client, signatures):
    assert sorted(client.signatures) == sorted(signatures)
    inputs, outputs = client.signatures["step"]
    assert {k: str(v) for k, v in inputs.items()} == {
        "inputs": "string[batch]",
        "state": "float32[batch, 2]",
    }
    assert sorted(outputs) == ["outputs", "state"]


GENERATE = {"temperature": 1.0, "seed": 1, "loud": False, "tag": ""}


@pytest.mark.parametrize(
    ("signature", "params", "message"),
    [
        ("poem", {}, "no signature 'poem'; .*generate.*serving_default"),
        ("serving_default", {"seed": 1}, "has no input 'seed'.* inputs string\\[batch\\]"),
        ("step", {}, "needs state .* float32\\[batch, 2\\]"),
        ("step", {"state": 0.5}, "state must be float32\\[batch, 2\\]"),
        ("step", {"state": np.zeros([3, 2])}, "state .* \\(3, 2\\) for 2 inputs"),
        ("generate", {**GENERATE, "seed": 0.5}, "seed must be int64\\[batch\\]\\. Received: 0.5"),
        ("generate", {**GENERATE, "seed": 2**70}, "seed must be int64"),
        ("generate", {**GENERATE, "temperature": "warm"}, "temperature must be float32.* 'warm'"),
        ("generate", {**GENERATE, "loud": "2"}, "loud must be bool"),
        ("generate", {**GENERATE, "temperature": None}, "temperature must be float32.* None"),
        (
            "generate",
            {**GENERATE, "temperature": [1, None]},
            "temperature must be .* \\[1, None\\]",
        ),
        ("generate", {**GENERATE, "temperature": 1j}, "temperature must be float32.* 1j"),
        ("generate", {**GENERATE, "seed": [[1], [1, 2]]}, "seed must be int64"),
        ("generate", {**GENERATE, "tag": None}, "tag must be str or bytes\\. Received: None"),
        ("generate", {**GENERATE, "tag": ["a", 1]}, "tag\\[1\\] must be str or bytes"),
        ("number", {}, "StringToNumberOp could not correctly convert string: a"),
    ],
)
def test_errors_of_a_call(client, signature, params, message):
    with pytest.raises(PredictError, match=message) as caught:
        client.predict(signature, ["a", "b"], **params)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "inputs", ["text", b"text", None, 5, {"a": 1}, {"a"}, np.array("a"), iter("a")]
)
def test_inputs_that_are_no_list(client, inputs):
    for predict in client.predict, client.predict_all:
        with pytest.raises(PredictError, match="inputs must be a list of texts\\. Received: "):
            predict("serving_default", inputs)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, r"inputs\[1\] must be str or bytes\. Received: None"),
        (5, r"inputs\[1\] must be str or bytes\. Received: 5"),
        (0.5, r"inputs\[1\] must be str or bytes\. Received: 0.5"),
        (["b"], r"inputs\[1\] must be str or bytes\. Received: \['b'\]"),
        ({"b64": "YQ=="}, r"inputs\[1\] must be str or bytes\. Received: "),
        (np.zeros(2), r"inputs\[1\] must be str or bytes\. Received: "),
        ("ab\ud800", r"inputs\[1\] has the lone surrogate U\+D800 at position 2: not valid text"),
        ("\udfff", r"inputs\[1\] has the lone surrogate U\+DFFF at position 0"),
    ],
)
def test_a_value_that_is_no_text(client, value, message, requests):
    if hasattr(client, "address"):
        _ = client.signatures
    requests.clear()
    for predict in client.predict, client.predict_all:
        with pytest.raises(PredictError, match=message):
            predict("serving_default", [b"a", value, "c"])
    assert requests == []


@pytest.mark.parametrize("inputs", [[["a"], ["b"]], [["a", "b"]], np.array([["a"], ["b"]])])
def test_nested_lists(client, inputs):
    with pytest.raises(
        PredictError, match=r"inputs must be string\[batch\]; received the shape \("
    ):
        client.predict("serving_default", inputs)
    with pytest.raises(PredictError, match="inputs"):
        client.predict_all("serving_default", inputs)


def test_arrays_whose_shapes_do_not_go_together(client):
    with pytest.raises(PredictError, match="inputs must be a list of texts"):
        client.predict("serving_default", [np.zeros([2, 3]), np.zeros([2, 4])])


def test_texts_in_arrays_and_tuples(client):
    for inputs in (
        ("a", b"b"),
        np.array(["a", "b"]),
        np.array([b"a", b"b"]),
        np.array(["a", b"b"], object),
    ):
        answer = client.predict("serving_default", inputs)
        assert answer["outputs"].tolist() == [b"A", b"B"]
        assert client.predict_all("serving_default", inputs)["outputs"] == ["A", "B"]


def test_the_highest_version_by_number(folder):
    assert SavedModelClient(folder).path.name == "10"
    assert SavedModelClient(str(folder / "10")).path == folder / "10"


def test_a_model_without_versions(folder, tmp_path):
    shutil.copytree(folder / "10", tmp_path / "model")
    assert SavedModelClient(tmp_path / "model").predict("n_best", ["a"])["outputs"].shape == (1, 3)


@pytest.mark.parametrize("form", ["", "/", ":predict", "/metadata", "/versions/10"])
def test_forms_of_an_address(server, form):
    answer = RestClient(f"{server}/v1/models/toy{form}").predict("serving_default", ["a"])
    assert answer["outputs"].tolist() == [b"A"]


def test_the_body_of_a_request(server, requests):
    client = connect(f"{server}/v1/models/toy")
    client.predict("step", ["é", b"\xff"], state=np.zeros([2, 2]))
    assert [path for path, _ in requests] == [
        "/v1/models/toy/metadata",
        "/v1/models/toy:predict",
    ]
    assert json.loads(requests[1][1]) == {
        "signature_name": "step",
        "inputs": {"inputs": ["é", {"b64": "/w=="}], "state": [[0.0, 0.0], [0.0, 0.0]]},
    }


def test_server_errors_that_are_not_json(server):
    error = b"""{ "error": "\\'caf\\303\\251\\' is \\"bad\\"\\n\\t[[{{node x}}]]" }"""
    assert base.short_message(clients._server_error(error)) == "'café' is \"bad\""
    assert clients._server_error(b'{"error": "caf\\u00e9"}') == "café"
    assert clients._server_error(b"<html>gone</html>") == "<html>gone</html>"
