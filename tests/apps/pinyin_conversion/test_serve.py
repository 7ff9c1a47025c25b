"""The Server on random weights: what it says of texts, and its scores, step by step in NumPy."""

import dataclasses
import types

import numpy as np
import pytest
import tensorflow as tf

from apps.pinyin_conversion import serve
from apps.pinyin_conversion.config import TINY
from apps.pinyin_conversion.model import build
from apps.pinyin_conversion.readings import TONES
from apps.pinyin_conversion.serve import CANDIDATES, LONGEST, N_BEST, Server
from shared.serving.clients import SavedModelClient
from shared.serving.export import problems

TEXTS = ["ta shi yan jiu", "", "womenqu xi'an", "hao", "Hello, shi jie!", "tashi"]


def made(tables, **settings):
    config = dataclasses.replace(TINY, embedding_dim=6, units=5, beam_width=4, **settings)
    model = build(config, *tables)
    rng = np.random.default_rng(3)
    for v in model.trainable_variables:
        v.assign(rng.normal(size=v.shape) * 0.8)
    return types.SimpleNamespace(server=Server(model, config, *tables), model=model, config=config)


@pytest.fixture(scope="module")
def toy(tables):
    return made(tables)


@pytest.fixture(scope="module")
def typing(tables):
    return made(tables, bidirectional=False, num_layers=2)


@pytest.fixture(scope="module")
def toned(tables):
    return made(tables, tones=True)


def ask(toy, signature, texts, **more):
    texts = [t if isinstance(t, bytes) else t.encode() for t in texts]
    more = {name: tf.constant(value) for name, value in more.items()}
    answer = toy.server.endpoints[signature](tf.constant(texts, tf.string), **more)
    return {k: strings(v.numpy()) if v.dtype == tf.string else v.numpy() for k, v in answer.items()}


def strings(array):
    return array.decode() if isinstance(array, bytes) else [strings(x) for x in array]


def codes_of(tables, text):
    return [tables[0].codes[s] for s in text.split()]


def score_of(toy, tables, codes, characters):
    """What `search` says of these readings, one step after the other."""
    readings, _, dictionary, trigram = tables
    model, config = toy.model, toy.config
    guesses = dictionary.guesses(tf.constant([codes]), causal=not config.bidirectional)
    features = model.read(tf.constant([codes]), *guesses)[0]
    contexts, total = trigram.begin([1]), 0.0
    for t, (code, c) in enumerate(zip(codes, characters, strict=True)):
        possible = [i for i in readings.choices()[code] if i >= 0]
        place = possible.index(c)
        log_q = model.characters.scores(features[t : t + 1], tf.constant([possible]))[0, place]
        log_u = tf.nn.log_softmax(trigram.alone(tf.constant(possible)))[place]
        log_3, after = trigram([x[:, None] for x in contexts], tf.constant([[c]]))
        contexts = [x[:, 0] for x in after]
        total += log_3[0, 0] + config.network_weight * (log_q - log_u)
    return float(total)


def test_a_character_for_each_syllable(toy, tables):
    answer = ask(toy, "serving_default", TEXTS)
    readings = tables[0]
    for text, output in zip(TEXTS, answer["outputs"], strict=True):
        if text == "ta shi yan jiu":
            assert len(output) == 4
            for syllable, character in zip(text.split(), output, strict=True):
                s = readings.syllables.index(syllable)
                assert character in readings.characters[readings.starts[s] : readings.starts[s + 1]]
    assert answer["outputs"][1] == ""
    assert len(answer["outputs"][2]) == 5  # the apostrophe and the space are gone
    assert answer["outputs"][4].startswith("Hello,")
    assert answer["outputs"][4].endswith("!")
    assert len(answer["outputs"][4]) == len("Hello,世界!")
    assert answer["error"] == ["", "", "", "", "no syllables: Hello", ""]


def test_what_passes_through(toy):
    output = lambda text: ask(toy, "serving_default", [text])["outputs"][0]  # noqa: E731
    assert output("3 ge ren.") == f"3{output('ge ren')}."
    assert output("he said  that") == output("he") + "said  that"
    assert output("xyz  qqq, 12") == "xyz  qqq, 12"
    assert output("\u4ed6 hen hao") == "\u4ed6" + output("hen hao")
    assert output("ta\nshi") == output("ta shi")[0] + "\n" + output("ta shi")[1]
    assert output("'ta'") == f"'{output('ta')}'"


def test_the_score_is_that_of_its_parts(toy, typing, toned, tables):
    for model, text in ((toy, "ta shi yan jiu"), (typing, "wo men qu"), (toned, "hen3 hao3 de")):
        answer = ask(model, "serving_default", [text])
        codes = codes_of(tables, text)
        readings = tables[0]
        found = []
        for code, character in zip(codes, answer["outputs"][0], strict=True):
            found += [
                i
                for i in readings.choices()[code]
                if i >= 0 and readings.characters[i] == character
            ]
        np.testing.assert_allclose(
            answer["score"][0], score_of(model, tables, codes, found), rtol=1e-4
        )


def test_no_single_character_would_be_better(typing, tables):
    """A beam of 4 finds what no change of one character improves: here, the last."""
    text = "qu men"
    codes, readings = codes_of(tables, text), tables[0]
    answer = ask(typing, "n_best", [text])
    best = answer["score"][0, 0]
    found = [
        next(i for i in readings.choices()[code] if readings.characters[i] == character)
        for code, character in zip(codes, answer["outputs"][0][0], strict=True)
    ]
    for other in readings.choices()[codes[-1]]:
        if other >= 0:
            assert score_of(typing, tables, codes, [*found[:-1], other]) <= best + 1e-4


def test_n_best(toy):
    answer = ask(toy, "n_best", TEXTS)
    default = ask(toy, "serving_default", TEXTS)
    assert np.shape(answer["outputs"]) == (len(TEXTS), N_BEST)
    assert (
        answer["outputs"][0][0] == default["outputs"][0]
        or answer["score"][0, 0] > default["score"][0]
    )
    for outputs, score in zip(answer["outputs"], answer["score"], strict=True):
        there = np.isfinite(score)
        assert (np.diff(score[there]) <= 0).all()
        assert len(set(np.array(outputs)[there])) == there.sum()
        assert all(
            text == "" for text, is_there in zip(outputs, there, strict=True) if not is_there
        )
    assert np.isfinite(answer["score"][1]).sum() == 1  # of nothing there is one conversion


def test_segment(toy, toned):
    answer = ask(toy, "segment", ["ta1shi4yanjiu, Hello", "", "xi'an"])
    assert answer["outputs"] == ["ta shi yan jiu, Hello", "", "xi'an"]
    assert answer["syllables"] == [["ta", "shi", "yan", "jiu"], [""] * 4, ["xi", "an", "", ""]]
    assert answer["length"].tolist() == [4, 0, 2]
    assert ask(toned, "segment", ["ta1sh\u00ecyan"])["outputs"] == ["ta1 shi4 yan"]


def test_what_was_cut_is_converted_as_before(toy, toned):
    for model in (toy, toned):
        segments = ask(model, "segment", TEXTS)["outputs"]
        before, after = (ask(model, "serving_default", texts) for texts in (TEXTS, segments))
        assert before["outputs"] == after["outputs"]
        np.testing.assert_allclose(before["score"], after["score"], rtol=1e-5)


def test_of_two_cuts_the_better_counts(tables, monkeypatch):
    monkeypatch.setattr(serve, "DOUBT", 100.0)
    monkeypatch.setattr(serve, "MARGIN", 0.0)
    either = made(tables)
    cuts = {
        "fangan": ["fang an", "fan gan"],
        "womenquxian": ["wo men qu xi an", "wo men qu xian"],
        "xian tashiyanjiushengwude": ["xian ta shi yan jiu sheng wu de"],
    }
    better = []
    for signature in ("serving_default", "n_best"):
        answer = ask(either, signature, [*cuts, "ta"])
        segments = ask(either, "segment", [*cuts, "ta"])["outputs"]
        for text, output, segment in zip(cuts, answer["outputs"], segments, strict=False):
            each = ask(either, signature, cuts[text])
            scores = np.reshape(each["score"], [len(cuts[text]), -1])[:, 0]
            better.append(scores.argmax())
            assert output == each["outputs"][better[-1]]
            assert segment == cuts[text][better[-1]]
    assert set(better) == {0, 1}
    monkeypatch.setattr(serve, "MARGIN", 1e9)
    first = ask(made(tables), "segment", list(cuts))["outputs"]
    assert first == [each[0] for each in cuts.values()]


def test_tones_count_only_where_they_are_learned(toy, toned, tables):
    both = ask(toy, "serving_default", ["ma1 hao3", "ma hao"])
    assert both["outputs"][0] == both["outputs"][1]
    tones = [f"{syllable}{tone}" for syllable in ("shi", "ma", "yi") for tone in (1, 2, 3, 4)]
    answers = ask(toned, "serving_default", tones)["outputs"]
    assert len(set(answers)) > 3
    readings = tables[0]
    for spelled, character in zip(tones, answers, strict=True):
        allowed = readings.choices()[readings.codes[spelled]]
        assert character in {readings.characters[i] for i in allowed if i >= 0}


def test_every_syllable_in_every_tone_has_a_character(toned, tables):
    readings = tables[0]
    spelled = [f"{s}{tone or ''}" for s in readings.syllables for tone in range(TONES)]
    answer = ask(toned, "serving_default", spelled)
    assert set(map(len, answer["outputs"])) == {1}
    assert np.isfinite(answer["score"]).all()
    assert set(answer["error"]) == {""}


def test_rows_do_not_depend_on_each_other(toy):
    for signature in ("serving_default", "n_best", "segment"):
        together = ask(toy, signature, TEXTS)
        for i, text in enumerate(TEXTS):
            alone = ask(toy, signature, [text])
            assert alone["outputs"][0] == together["outputs"][i]
            if "score" in alone:
                np.testing.assert_allclose(alone["score"][0], together["score"][i], rtol=1e-4)


def test_typing_with_the_likeliest_characters(typing):
    """Syllable by syllable says what all at once says, and candidates are in order."""
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
    assert len(log_p) == CANDIDATES
    assert (np.diff(log_p[np.isfinite(log_p)]) <= 0).all()
    assert np.exp(log_p).sum() <= 1 + 1e-5


def test_typing_equals_greedy_search(tables):
    greedy = made(tables, bidirectional=False)
    greedy.server = Server(greedy.model, dataclasses.replace(greedy.config, beam_width=1), *tables)
    text = ["wo men qu xi an", "ta hen hao"]
    assert ask(greedy, "start", text)["outputs"] == ask(greedy, "serving_default", text)["outputs"]


def test_what_was_chosen_counts(typing):
    first = ask(typing, "start", ["ta"])
    other = first["candidates"][0][1]
    one = ask(typing, "step", ["shi"], state=first["state"], chosen=[b""])
    two = ask(typing, "step", ["shi"], state=first["state"], chosen=[other.encode()])
    same = ask(typing, "step", ["shi"], state=first["state"], chosen=[first["outputs"][0].encode()])
    none = ask(typing, "step", ["shi"], state=first["state"], chosen=[b"Q"])
    np.testing.assert_array_equal(one["state"], same["state"])
    np.testing.assert_array_equal(one["state"], none["state"])
    assert np.abs(one["log_probability"] - two["log_probability"])[0, :3].max() > 1e-4


def test_typing_nothing_and_states_from_elsewhere(typing):
    start = ask(typing, "start", ["", "ta"])
    assert start["candidates"][0] == [""] * CANDIDATES
    assert start["outputs"][0] == ""
    later = ask(typing, "step", ["ta", ""], state=start["state"], chosen=[b"", b""])
    assert later["outputs"][0] == start["outputs"][1]
    np.testing.assert_allclose(later["state"][1], start["state"][1], rtol=1e-6)
    wild = np.full_like(start["state"], 1e9)
    assert ask(typing, "step", ["ta", "x"], state=wild, chosen=[b"", b""])["outputs"][1] == "x"


def test_only_a_model_of_one_direction_types(toy, typing):
    assert set(toy.server.endpoints) == {"serving_default", "n_best", "segment"}
    assert set(typing.server.endpoints) == {"serving_default", "n_best", "segment", "start", "step"}


def test_a_model_of_one_direction_can_be_exported(typing, tmp_path):
    tf.saved_model.save(typing.server, str(tmp_path), signatures=typing.server.endpoints)
    assert problems(tmp_path) == []
    client = SavedModelClient(tmp_path)
    start = client.predict("start", ["ta", "xi"])
    assert start["candidates"].shape == (2, CANDIDATES)
    step = client.predict("step", ["shi", "an"], state=start["state"], chosen="")
    ours = ask(typing, "step", ["shi", "an"], state=start["state"], chosen=["", ""])
    assert strings(step["outputs"]) == ours["outputs"]


def test_bad_input(toy):
    answer = ask(toy, "serving_default", [b"ta \xff shi", "zzz ta qqq", "ta"])
    assert answer["error"][0] == "invalid UTF-8 was replaced by U+FFFD"
    assert "\ufffd" in answer["outputs"][0]
    assert answer["error"][1] == "no syllables: zzz, qqq"
    assert answer["error"][2] == ""
    assert answer["outputs"][2] == ask(toy, "serving_default", ["ta"])["outputs"][0]


def test_ten_thousand_syllables_and_more(toy):
    long = " ".join(["ta"] * LONGEST)
    answer = ask(toy, "serving_default", [long, long + " shi", "hao"])
    assert len(answer["outputs"][0]) == LONGEST
    assert answer["error"][0] == ""
    assert answer["outputs"][1] == long + " shi"
    assert answer["error"][1] == f"more than {LONGEST} syllables: not converted"
    assert answer["error"][2] == ""
