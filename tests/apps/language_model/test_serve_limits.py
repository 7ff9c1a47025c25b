"""Rows that the Server refuses, values out of range, blocks of long texts, and mixed precision."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from apps.language_model import serve
from apps.language_model.config import TINY
from apps.language_model.data import Assets
from apps.language_model.model import build
from apps.language_model.serve import BLOCK, MAX_TOKENS, Server
from shared.text.vocabulary import Vocabulary

LINES = ["the cat sat on the mat", "a dog and a cat", "Big dogs bark, cats do not."]
LIMIT = 300
LONG = ("the cat sat on a mat " * 30)[:LIMIT]
REFUSED = LONG + "s"
MESSAGE = f"{LIMIT + 1} bytes: refused, because max_request_bytes is {LIMIT}"
PLAIN = {"max_tokens": 6, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "seed": 3}
SIGNATURES = "serving_default", "generate", "score", "start", "step"


def server_of(folder, **changes):
    """Returns a Server with random weights."""
    vocabulary = Vocabulary.build(LINES, "char", folder / "vocabulary.txt")
    settings = {"units": 7, "batch_size": 1, "sampled_softmax": 0, "max_request_bytes": LIMIT}
    config = dataclasses.replace(TINY, **settings, **changes)
    model = build(config, Assets(vocabulary))
    rng = np.random.default_rng(0)
    for v in model.trainable_variables:
        v.assign(rng.normal(size=v.shape) * 0.7)
    return Server(model, config, Assets(vocabulary))


@pytest.fixture(scope="module", params=["peephole_lstm", "gru"])
def server(request, tmp_path_factory):
    return server_of(tmp_path_factory.mktemp("toy"), cell=request.param)


def ask(server, signature, texts, **more):
    """Returns the answer as lists of str, and arrays of numbers."""
    rows = len(texts)
    if signature == "generate":
        more = PLAIN | more
    if signature == "step" and "state" not in more:
        more["state"] = np.full([rows, server._state_size], 0.25)
    arguments = {
        spec.name: tf.constant(
            np.broadcast_to(more[spec.name], (rows, *spec.shape[1:])), spec.dtype
        )
        for spec in server.endpoints[signature].input_signature
        if spec.name != "inputs"
    }
    texts = [text.encode() for text in texts]
    answer = server.endpoints[signature](inputs=tf.constant(texts, tf.string), **arguments)
    return {k: strings(v.numpy()) if v.dtype == tf.string else v.numpy() for k, v in answer.items()}


def strings(array):
    return array.decode() if isinstance(array, bytes) else [strings(x) for x in array]


def assert_finite(answer):
    for name, value in answer.items():
        if isinstance(value, np.ndarray):
            assert np.isfinite(value).all(), name


# --- Refused rows --------------------------------------------------------------------------------


@pytest.mark.parametrize("signature", SIGNATURES)
def test_a_row_above_the_limit_is_refused(server, signature):
    """Its texts are empty, its numbers are 0, and the other rows are as without it."""
    good = ["the cat", "", LONG]
    answer = ask(server, signature, [good[0], REFUSED, *good[1:]])
    alone = ask(server, signature, good)
    assert answer["error"] == ["", MESSAGE, "", ""]
    for name in set(answer) - {"error"}:
        refused, others = answer[name][1], [*answer[name][:1], *answer[name][2:]]
        if not isinstance(answer[name], np.ndarray):
            assert set(np.ravel(refused)) == {""}
            assert others == alone[name]
            continue
        if name == "state":
            before = ask(server, "start", [""])["state"][0] if signature == "start" else 0.25
            np.testing.assert_allclose(refused, np.broadcast_to(before, refused.shape), atol=1e-6)
        else:
            assert not refused.any(), name
        np.testing.assert_allclose(others, alone[name], rtol=1e-4, atol=1e-5)


def test_a_refused_row_has_no_other_error(server):
    answer = ask(server, "generate", [REFUSED], temperature=-1.0)
    assert answer["error"] == [MESSAGE]
    answer = ask(server, "step", [REFUSED], state=np.nan)
    assert answer["error"] == [MESSAGE]
    assert_finite(answer)


def test_an_empty_prompt_is_valid(server):
    for signature in SIGNATURES:
        answer = ask(server, signature, [""])
        assert answer["error"] == [""]
    assert ask(server, "score", [""])["tokens"].tolist() == [1]  # the line end
    assert ask(server, "generate", [""], max_tokens=20)["continuation"] != [""]


def test_a_row_takes_part_in_the_blocks_that_it_has_tokens_for(tmp_path):
    """A long row beside short ones costs as much as alone."""
    server = server_of(tmp_path)
    _, stack = server._layers()
    shapes = []

    class Traced:
        def __getattr__(self, name):
            return getattr(stack, name)

        def __call__(self, x, **kwargs):
            tf.py_function(lambda x: shapes.append(tuple(x.shape[:2])), [x], [])
            return stack(x, **kwargs)

    embedding, _ = server._layers()
    server._layers = lambda: (embedding, Traced())
    ask(server, "start", ["the cat", "", LONG, "a dog", REFUSED, "a" * (BLOCK + 1)])
    last = LIMIT - 4 * BLOCK
    assert shapes == [(4, BLOCK), (2, BLOCK), (1, BLOCK), (1, BLOCK), (1, last)]


# --- Values out of range -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "used", "message"),
    [
        ("temperature", -1, 0, "temperature must be finite and at least 0: 0 was used"),
        ("temperature", np.nan, 0, "temperature must be finite and at least 0: 0 was used"),
        ("temperature", -np.inf, 0, "temperature must be finite and at least 0: 0 was used"),
        (
            "temperature",
            np.inf,
            np.finfo(np.float32).max,
            "temperature must be finite and at least 0: 3.40282e+38 was used",
        ),
        ("top_p", np.nan, 0, "top_p must be from 0 to 1: 0 was used"),
        ("top_p", -0.5, 0, "top_p must be from 0 to 1: 0 was used"),
        ("top_p", 1.5, 1, "top_p must be from 0 to 1: 1 was used"),
        ("top_p", np.inf, 1, "top_p must be from 0 to 1: 1 was used"),
        ("top_k", -5, 0, "top_k must be at least 0: 0 was used"),
        ("max_tokens", -5, 0, "max_tokens must be from 0 to 10000: 0 was used"),
    ],
)
def test_a_parameter_out_of_range(server, name, value, used, message):
    """The nearest valid value is used, and `error` says so; 0 is used for NaN."""
    texts = ["the cat", "a dog", "the mat"]
    plain = PLAIN[name]
    answer = ask(server, "generate", texts, **{name: [plain, value, plain]})
    expected = ask(server, "generate", texts, **{name: [plain, used, plain]})
    assert answer["error"] == ["", message, ""]
    assert expected["error"] == ["", "", ""]
    assert answer["continuation"] == expected["continuation"]
    np.testing.assert_array_equal(answer["score"], expected["score"])
    assert_finite(answer)


def test_several_parameters_out_of_range(server):
    error = ask(server, "generate", ["a"], temperature=-1.0, top_p=2.0)["error"]
    assert error == [
        "temperature must be finite and at least 0: 0 was used; top_p must be from 0 to 1: 1 was used"
    ]


def test_max_tokens_above_the_maximum(tmp_path, monkeypatch):
    monkeypatch.setattr(serve, "MAX_TOKENS", 3)
    server = server_of(tmp_path)
    answer = ask(server, "generate", ["a", "a"], max_tokens=[2**31 - 1, 3], temperature=0.0)
    assert answer["error"] == ["max_tokens must be from 0 to 3: 3 was used", ""]
    assert answer["continuation"][0] == answer["continuation"][1]
    assert MAX_TOKENS == 10_000


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38, -2e6])
def test_a_state_that_is_none_is_replaced_by_that_of_the_start_of_a_line(server, value):
    state = np.full([3, server._state_size], 0.25)
    good = ask(server, "step", ["the cat"] * 3, state=state)
    state[1, -1] = value
    answer = ask(server, "step", ["the cat"] * 3, state=state)
    start = ask(server, "start", ["the cat"])
    assert_finite(answer)
    message = "state must be finite and at most 1,000,000: that of the start of a line was used"
    assert answer["error"] == ["", message, ""]
    for name in "state", "log_probability", "next_log_probability":
        np.testing.assert_allclose(answer[name][1], start[name][0], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(answer[name][[0, 2]], good[name][[0, 2]], rtol=1e-6)
    # The state of the answer is accepted again.
    assert ask(server, "step", ["a"] * 3, state=answer["state"])["error"] == [""] * 3


def test_a_perplexity_is_finite(tmp_path):
    server = server_of(tmp_path)
    embedding, _ = server._layers()
    embedding.bias.assign(embedding.bias * 1e4)
    answer = ask(server, "score", ["not", "", "Big dogs"])
    assert (answer["log_probability"] / answer["tokens"] < -100).any()
    assert_finite(answer)
    assert answer["perplexity"].max() == np.exp(np.float32(88))


# --- Mixed precision -----------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["peephole_lstm", "gru"])
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(tmp_path, policy, cell):
    """The outputs are float32, finite, and close to those of the same weights in float32."""
    answers = []
    for name in "float32", policy:
        keras.config.set_dtype_policy(name)
        try:
            server = server_of(tmp_path, cell=cell)
            answers.append({s: ask(server, s, ["the cat", "", LONG]) for s in SIGNATURES})
        finally:
            keras.config.set_dtype_policy("float32")
    for answer in answers[1].values():
        assert_finite(answer)
        for value in answer.values():
            assert not isinstance(value, np.ndarray) or value.dtype in (np.float32, np.int32)
    full, mixed = (answer["score"]["log_probability"] for answer in answers)
    np.testing.assert_allclose(mixed, full, rtol=0.1)
