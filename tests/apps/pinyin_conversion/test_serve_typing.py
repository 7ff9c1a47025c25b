"""Typing: the signatures `start` and `step` of a model that reads left to right."""

import dataclasses

import numpy as np
import tensorflow as tf

from apps.pinyin_conversion.serve import MAX_CANDIDATES, Server
from shared.serving import export
from shared.serving.clients import SavedModelClient


def test_typing_equals_one_request(typing, ask):
    """Single syllables give the same as all syllables at once, and candidates are sorted."""
    whole = ask(typing, "start", ["wo men qu xi an"])
    answer, text = ask(typing, "start", ["wo"]), ""
    for syllable in ("men", "qu", "xi", "an"):
        text += answer["outputs"][0]
        assert answer["candidates"][0][0] == answer["outputs"][0]
        answer = ask(typing, "step", [syllable], state=answer["state"], chosen=[b""])
    assert text + answer["outputs"][0] == whole["outputs"][0]
    np.testing.assert_allclose(answer["state"], whole["state"], rtol=1e-4, atol=1e-5)
    assert answer["candidates"] == whole["candidates"]
    log_p, count = answer["log_probability"][0], answer["count"][0]
    assert len(log_p) == MAX_CANDIDATES
    assert 0 < count <= MAX_CANDIDATES
    assert (np.diff(log_p[:count]) <= 0).all()
    assert np.exp(log_p[:count]).sum() <= 1 + 1e-5


def test_typing_equals_greedy_search(assets, ask, serve_random):
    greedy = serve_random(assets, bidirectional=False)
    greedy.server = Server(greedy.model, dataclasses.replace(greedy.config, beam_width=1), assets)
    text = ["wo men qu xi an", "ta hen hao"]
    assert ask(greedy, "start", text)["outputs"] == ask(greedy, "serving_default", text)["outputs"]


def test_the_chosen_character_is_used(typing, ask):
    first = ask(typing, "start", ["ta"])
    other = first["candidates"][0][1]
    one = ask(typing, "step", ["shi"], state=first["state"], chosen=[b""])
    two = ask(typing, "step", ["shi"], state=first["state"], chosen=[other.encode()])
    same = ask(typing, "step", ["shi"], state=first["state"], chosen=[first["outputs"][0].encode()])
    none = ask(typing, "step", ["shi"], state=first["state"], chosen=[b"Q"])
    np.testing.assert_array_equal(one["state"], same["state"])
    np.testing.assert_array_equal(one["state"], none["state"])
    assert np.abs(one["log_probability"] - two["log_probability"])[0, :3].max() > 1e-4


def test_empty_input_and_invalid_states(typing, ask):
    start = ask(typing, "start", ["", "ta"])
    assert start["candidates"][0] == [""] * MAX_CANDIDATES
    assert start["count"][0] == 0
    assert start["outputs"][0] == ""
    later = ask(typing, "step", ["ta", ""], state=start["state"], chosen=[b"", b""])
    assert later["outputs"][0] == start["outputs"][1]
    np.testing.assert_allclose(later["state"][1], start["state"][1], rtol=1e-6)
    for value in (1e9, -1e38, np.nan, np.inf, -np.inf):
        invalid = np.full_like(start["state"], value)
        answer = ask(typing, "step", ["ta", "x"], state=invalid, chosen=[b"", b""])
        assert answer["outputs"][1] == "x"
        assert np.isfinite(answer["state"]).all()
        assert np.isfinite(answer["log_probability"]).all()


def test_without_a_syllable_the_state_stays(typing, ask):
    """Nothing typed, blank text, copied text and a refused row: no candidates, and only the last an error."""
    texts = ["", " ", "\u200b", "123", "x" * 2001]
    state = ask(typing, "start", ["wo men"] * len(texts))["state"]
    for signature, inputs in (
        ("start", {}),
        ("step", {"state": state, "chosen": [b""] * len(texts)}),
    ):
        answer = ask(typing, signature, texts, **inputs)
        assert answer["outputs"] == ["", "", "", "123", ""]
        assert answer["count"].tolist() == [0] * len(texts)
        assert np.array(answer["candidates"]).tolist() == [[""] * MAX_CANDIDATES] * len(texts)
        assert not answer["log_probability"].any()
        assert answer["error"][:4] == [""] * 4
        assert "2001 bytes: refused" in answer["error"][4]
        if inputs:
            np.testing.assert_array_equal(answer["state"], state)


def test_candidates_of_a_syllable_with_few_characters(typing, assets, ask):
    answer = ask(typing, "start", ["zhei", "shi"])
    assert answer["count"].tolist() == [1, MAX_CANDIDATES]
    assert answer["candidates"][0] == ["这"] + [""] * (MAX_CANDIDATES - 1)
    np.testing.assert_allclose(answer["log_probability"][0], 0.0, atol=1e-6)


def test_erhua_may_be_typed_alone(typing, ask):
    first = ask(typing, "start", ["hua", "hua1 r"])
    answer = ask(typing, "step", ["r5", "r"], state=first["state"], chosen=[b"", b""])
    assert answer["outputs"] == ["儿", "儿"]
    assert first["outputs"][1][1] == "儿"
    assert ask(typing, "start", ["r5"])["outputs"] == ["r5"]


def test_only_a_unidirectional_model_has_typing_signatures(toneless, typing):
    assert set(toneless.server.endpoints) == {"serving_default", "n_best", "segment"}
    assert set(typing.server.endpoints) == {"serving_default", "n_best", "segment", "start", "step"}


def test_a_unidirectional_model_can_be_exported(typing, tmp_path, ask):
    server = typing.server
    for name, request in server.sample_requests().items():
        answer = server.endpoints[name](**{k: tf.constant(v) for k, v in request.items()})
        assert {len(column) for column in answer.values()} == {len(request["inputs"])}
    export.save(server, tmp_path / "1")
    assert export.problems(tmp_path / "1") == []
    client = SavedModelClient(tmp_path)
    start = client.predict("start", ["ta", "xi"])
    assert start["candidates"].shape == (2, MAX_CANDIDATES)
    step = client.predict("step", ["shi", "an"], state=start["state"], chosen="")
    expected = ask(typing, "step", ["shi", "an"], state=start["state"], chosen=["", ""])
    assert [text.decode() for text in step["outputs"]] == expected["outputs"]
