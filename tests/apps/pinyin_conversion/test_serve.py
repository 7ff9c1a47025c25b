"""The Server with random weights: its answers, and its scores computed step by step."""

import dataclasses
import types

import numpy as np
import pytest
import tensorflow as tf

from apps.pinyin_conversion import serve
from apps.pinyin_conversion.config import TINY
from apps.pinyin_conversion.lexicon.readings import NUM_TONES
from apps.pinyin_conversion.model import build
from apps.pinyin_conversion.serve import MAX_CANDIDATES, MAX_SYLLABLES, N_BEST, Server
from shared.serving.clients import SavedModelClient
from shared.serving.export import problems

TEXTS = ["ta shi yan jiu", "", "womenqu xi'an", "hao", "Hello, shi jie!", "tashi"]


def serve_random(assets, **settings):
    config = dataclasses.replace(TINY, embedding_dim=6, units=5, beam_width=4, **settings)
    model = build(config, assets)
    rng = np.random.default_rng(3)
    for v in model.trainable_variables:
        v.assign(rng.normal(size=v.shape) * 0.8)
    return types.SimpleNamespace(server=Server(model, config, assets), model=model, config=config)


@pytest.fixture(scope="module")
def toneless(assets):
    return serve_random(assets)


@pytest.fixture(scope="module")
def typing(assets):
    return serve_random(assets, bidirectional=False, num_layers=2)


@pytest.fixture(scope="module")
def toned(assets):
    return serve_random(assets, tones=True)


def ask(model, signature, texts, **params):
    texts = [t if isinstance(t, bytes) else t.encode() for t in texts]
    params = {name: tf.constant(value) for name, value in params.items()}
    answer = model.server.endpoints[signature](tf.constant(texts, tf.string), **params)
    return {k: strings(v.numpy()) if v.dtype == tf.string else v.numpy() for k, v in answer.items()}


def strings(array):
    return array.decode() if isinstance(array, bytes) else [strings(x) for x in array]


def codes_of(assets, text):
    return [assets.readings.codes[s] for s in text.split()]


def possible_readings(assets, code):
    return [i for i in assets.readings.possible()[code] if i >= 0]


def readings_of(assets, codes, text):
    """Returns the reading of each character of `text`."""
    return [
        next(i for i in possible_readings(assets, code) if assets.readings.characters[i] == c)
        for code, c in zip(codes, text, strict=True)
    ]


def score_of(model, assets, codes, readings):
    """Computes the score of `search`, one time step after the other."""
    network, config = model.model, model.config
    candidates, features = assets.dictionary.candidates(
        tf.constant([codes]), causal=not config.bidirectional
    )
    z = network(
        {
            "codes": tf.constant([codes]),
            "candidates": candidates,
            "candidate_features": features,
        }
    )[0]
    context, total = assets.trigram.initial_context([1]), 0.0
    for t, (code, c) in enumerate(zip(codes, readings, strict=True)):
        possible = possible_readings(assets, code)
        place = possible.index(c)
        log_q = network.softmax.log_softmax(z[t : t + 1], tf.constant([possible]))[0, place]
        log_u = tf.nn.log_softmax(assets.trigram.unigram_log_prob(tf.constant(possible)))[place]
        log_p, following = assets.trigram([x[:, None] for x in context], tf.constant([[c]]))
        context = [x[:, 0] for x in following]
        total += log_p[0, 0] + config.network_weight * (log_q - log_u)
    return float(total)


def test_a_character_for_each_syllable(toneless, assets):
    answer = ask(toneless, "serving_default", TEXTS)
    readings = assets.readings
    for text, output in zip(TEXTS, answer["outputs"], strict=True):
        if text == "ta shi yan jiu":
            assert len(output) == 4
            for syllable, character in zip(text.split(), output, strict=True):
                s = readings.syllables.index(syllable)
                assert character in readings.characters[readings.starts[s] : readings.starts[s + 1]]
    assert answer["outputs"][1] == ""
    assert len(answer["outputs"][2]) == 5  # the apostrophe and the space are removed
    assert answer["outputs"][4].startswith("Hello,")
    assert answer["outputs"][4].endswith("!")
    assert len(answer["outputs"][4]) == len("Hello,世界!")
    assert answer["error"] == ["", "", "", "", "no syllables: Hello", ""]


def test_other_text_is_copied(toneless):
    output = lambda text: ask(toneless, "serving_default", [text])["outputs"][0]  # noqa: E731
    assert output("3 ge ren.") == f"3{output('ge ren')}."
    assert output("he said  that") == output("he") + "said  that"
    assert output("xyz  qqq, 12") == "xyz  qqq, 12"
    assert output("\u4ed6 hen hao") == "\u4ed6" + output("hen hao")
    assert output("ta\nshi") == output("ta shi")[0] + "\n" + output("ta shi")[1]
    assert output("'ta'") == f"'{output('ta')}'"


def test_the_score_is_the_sum_of_its_terms(toneless, typing, toned, assets):
    for model, text in (
        (toneless, "ta shi yan jiu"),
        (typing, "wo men qu"),
        (toned, "hen3 hao3 de"),
    ):
        answer = ask(model, "serving_default", [text])
        codes = codes_of(assets, text)
        readings = readings_of(assets, codes, answer["outputs"][0])
        expected = score_of(model, assets, codes, readings)
        np.testing.assert_allclose(answer["score"][0], expected, rtol=1e-4)


def test_no_single_character_would_be_better(typing, assets):
    """No change of the last character improves what a beam of 4 finds."""
    text = "qu men"
    codes = codes_of(assets, text)
    answer = ask(typing, "n_best", [text])
    best = answer["score"][0, 0]
    readings = readings_of(assets, codes, answer["outputs"][0][0])
    for other in possible_readings(assets, codes[-1]):
        assert score_of(typing, assets, codes, [*readings[:-1], other]) <= best + 1e-4


def test_n_best(toneless):
    answer = ask(toneless, "n_best", TEXTS)
    default = ask(toneless, "serving_default", TEXTS)
    assert np.shape(answer["outputs"]) == (len(TEXTS), N_BEST)
    assert (
        answer["outputs"][0][0] == default["outputs"][0]
        or answer["score"][0, 0] > default["score"][0]
    )
    for outputs, score in zip(answer["outputs"], answer["score"], strict=True):
        finite = np.isfinite(score)
        assert (np.diff(score[finite]) <= 0).all()
        assert len(set(np.array(outputs)[finite])) == finite.sum()
        assert set(np.array(outputs)[~finite]) <= {""}
    assert np.isfinite(answer["score"][1]).sum() == 1  # an empty text has one conversion


def test_segment(toneless, toned):
    answer = ask(toneless, "segment", ["ta1shi4yanjiu, Hello", "", "xi'an"])
    assert answer["outputs"] == ["ta shi yan jiu, Hello", "", "xi'an"]
    assert answer["syllables"] == [["ta", "shi", "yan", "jiu"], [""] * 4, ["xi", "an", "", ""]]
    assert answer["length"].tolist() == [4, 0, 2]
    assert ask(toned, "segment", ["ta1sh\u00ecyan"])["outputs"] == ["ta1 shi4 yan"]


def test_segmented_text_has_the_same_conversion(toneless, toned):
    for model in (toneless, toned):
        segments = ask(model, "segment", TEXTS)["outputs"]
        plain, segmented = (ask(model, "serving_default", texts) for texts in (TEXTS, segments))
        assert plain["outputs"] == segmented["outputs"]
        np.testing.assert_allclose(plain["score"], segmented["score"], rtol=1e-5)


def test_the_better_of_two_segmentations_is_returned(assets, monkeypatch):
    monkeypatch.setattr(serve, "MAX_GAP", 100.0)
    monkeypatch.setattr(serve, "GAP_WEIGHT", 0.0)
    model = serve_random(assets)
    segmentations = {
        "fangan": ["fang an", "fan gan"],
        "womenquxian": ["wo men qu xi an", "wo men qu xian"],
        "xian tashiyanjiushengwude": ["xian ta shi yan jiu sheng wu de"],
    }
    chosen = set()
    for signature in ("serving_default", "n_best"):
        answer = ask(model, signature, [*segmentations, "ta"])
        segments = ask(model, "segment", [*segmentations, "ta"])["outputs"]
        for (text, possible), output, segment in zip(
            segmentations.items(), answer["outputs"], segments, strict=False
        ):
            single = ask(model, signature, possible)
            best = np.reshape(single["score"], [len(possible), -1])[:, 0].argmax()
            assert output == single["outputs"][best], text
            assert segment == possible[best]
            chosen.add(best)
    assert chosen == {0, 1}
    monkeypatch.setattr(serve, "GAP_WEIGHT", 1e9)
    first = ask(serve_random(assets), "segment", list(segmentations))["outputs"]
    assert first == [possible[0] for possible in segmentations.values()]


def test_tones_matter_only_if_they_are_learned(toneless, toned, assets):
    both = ask(toneless, "serving_default", ["ma1 hao3", "ma hao"])
    assert both["outputs"][0] == both["outputs"][1]
    tones = [f"{syllable}{tone}" for syllable in ("shi", "ma", "yi") for tone in (1, 2, 3, 4)]
    answers = ask(toned, "serving_default", tones)["outputs"]
    assert len(set(answers)) > 3
    readings = assets.readings
    for spelling, character in zip(tones, answers, strict=True):
        possible = possible_readings(assets, readings.codes[spelling])
        assert character in {readings.characters[i] for i in possible}


def test_every_syllable_in_every_tone_has_a_character(toned, assets):
    readings = assets.readings
    texts = [f"{s}{tone or ''}" for s in readings.syllables for tone in range(NUM_TONES)]
    answer = ask(toned, "serving_default", texts)
    assert set(map(len, answer["outputs"])) == {1}
    assert np.isfinite(answer["score"]).all()
    assert set(answer["error"]) == {""}


def test_rows_do_not_depend_on_each_other(toneless):
    for signature in ("serving_default", "n_best", "segment"):
        together = ask(toneless, signature, TEXTS)
        for i, text in enumerate(TEXTS):
            single = ask(toneless, signature, [text])
            assert single["outputs"][0] == together["outputs"][i]
            if "score" in single:
                np.testing.assert_allclose(single["score"][0], together["score"][i], rtol=1e-4)


def test_typing_equals_one_request(typing):
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
    log_p = answer["log_probability"][0]
    assert len(log_p) == MAX_CANDIDATES
    assert (np.diff(log_p[np.isfinite(log_p)]) <= 0).all()
    assert np.exp(log_p).sum() <= 1 + 1e-5


def test_typing_equals_greedy_search(assets):
    greedy = serve_random(assets, bidirectional=False)
    greedy.server = Server(greedy.model, dataclasses.replace(greedy.config, beam_width=1), assets)
    text = ["wo men qu xi an", "ta hen hao"]
    assert ask(greedy, "start", text)["outputs"] == ask(greedy, "serving_default", text)["outputs"]


def test_the_chosen_character_is_used(typing):
    first = ask(typing, "start", ["ta"])
    other = first["candidates"][0][1]
    one = ask(typing, "step", ["shi"], state=first["state"], chosen=[b""])
    two = ask(typing, "step", ["shi"], state=first["state"], chosen=[other.encode()])
    same = ask(typing, "step", ["shi"], state=first["state"], chosen=[first["outputs"][0].encode()])
    none = ask(typing, "step", ["shi"], state=first["state"], chosen=[b"Q"])
    np.testing.assert_array_equal(one["state"], same["state"])
    np.testing.assert_array_equal(one["state"], none["state"])
    assert np.abs(one["log_probability"] - two["log_probability"])[0, :3].max() > 1e-4


def test_empty_input_and_invalid_states(typing):
    start = ask(typing, "start", ["", "ta"])
    assert start["candidates"][0] == [""] * MAX_CANDIDATES
    assert start["outputs"][0] == ""
    later = ask(typing, "step", ["ta", ""], state=start["state"], chosen=[b"", b""])
    assert later["outputs"][0] == start["outputs"][1]
    np.testing.assert_allclose(later["state"][1], start["state"][1], rtol=1e-6)
    invalid = np.full_like(start["state"], 1e9)
    assert ask(typing, "step", ["ta", "x"], state=invalid, chosen=[b"", b""])["outputs"][1] == "x"


def test_only_a_unidirectional_model_has_typing_signatures(toneless, typing):
    assert set(toneless.server.endpoints) == {"serving_default", "n_best", "segment"}
    assert set(typing.server.endpoints) == {"serving_default", "n_best", "segment", "start", "step"}


def test_a_unidirectional_model_can_be_exported(typing, tmp_path):
    server = typing.server
    for name, request in server.sample_requests().items():
        answer = server.endpoints[name](**{k: tf.constant(v) for k, v in request.items()})
        assert {len(column) for column in answer.values()} == {len(request["inputs"])}
    server.variables_of_endpoints = [v.value for v in typing.model.variables]
    tf.saved_model.save(server, str(tmp_path), signatures=server.endpoints)
    assert problems(tmp_path) == []
    client = SavedModelClient(tmp_path)
    start = client.predict("start", ["ta", "xi"])
    assert start["candidates"].shape == (2, MAX_CANDIDATES)
    step = client.predict("step", ["shi", "an"], state=start["state"], chosen="")
    expected = ask(typing, "step", ["shi", "an"], state=start["state"], chosen=["", ""])
    assert strings(step["outputs"]) == expected["outputs"]


def test_bad_input(toneless):
    answer = ask(toneless, "serving_default", [b"ta \xff shi", "zzz ta qqq", "ta"])
    assert answer["error"][0] == "invalid UTF-8 was replaced by U+FFFD"
    assert "\ufffd" in answer["outputs"][0]
    assert answer["error"][1] == "no syllables: zzz, qqq"
    assert answer["error"][2] == ""
    assert answer["outputs"][2] == ask(toneless, "serving_default", ["ta"])["outputs"][0]


def test_the_maximum_number_of_syllables(toneless):
    long = " ".join(["ta"] * MAX_SYLLABLES)
    answer = ask(toneless, "serving_default", [long, long + " shi", "hao"])
    assert len(answer["outputs"][0]) == MAX_SYLLABLES
    assert answer["error"][0] == ""
    assert answer["outputs"][1] == long + " shi"
    assert answer["error"][1] == f"more than {MAX_SYLLABLES} syllables: not converted"
    assert answer["error"][2] == ""
