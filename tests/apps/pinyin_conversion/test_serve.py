"""The Server with random weights: its answers, and its scores computed step by step."""

import numpy as np
import tensorflow as tf

from apps.pinyin_conversion import serve
from apps.pinyin_conversion.lexicon.readings import NUM_TONES
from apps.pinyin_conversion.serve import N_BEST

TEXTS = ["ta shi yan jiu", "", "womenqu xi'an", "hao", "Hello, shi jie!", "tashi"]


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


def test_a_character_for_each_syllable(toneless, assets, ask):
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
    assert answer["error"] == ["", "the input is blank", "", "", "no syllables: Hello", ""]


def test_other_text_is_copied(toneless, ask):
    output = lambda text: ask(toneless, "serving_default", [text])["outputs"][0]  # noqa: E731
    assert output("3 ge ren.") == f"3{output('ge ren')}."
    assert output("he said  that") == output("he") + "said  that"
    assert output("xyz  qqq, 12") == "xyz  qqq, 12"
    assert output("\u4ed6 hen hao") == "\u4ed6" + output("hen hao")
    assert output("ta\nshi") == output("ta shi")[0] + "\n" + output("ta shi")[1]
    assert output("'ta'") == f"'{output('ta')}'"
    assert output("ta 'shi' ma") == "'".join(output("ta shi ma"))


def test_the_score_is_the_sum_of_its_terms(toneless, typing, toned, assets, ask):
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


def test_no_single_character_would_be_better(typing, assets, ask):
    """No change of the last character improves what a beam of 4 finds."""
    text = "qu men"
    codes = codes_of(assets, text)
    answer = ask(typing, "n_best", [text])
    best = answer["score"][0, 0]
    readings = readings_of(assets, codes, answer["outputs"][0][0])
    for other in possible_readings(assets, codes[-1]):
        assert score_of(typing, assets, codes, [*readings[:-1], other]) <= best + 1e-4


def test_n_best(toneless, ask):
    answer = ask(toneless, "n_best", TEXTS)
    default = ask(toneless, "serving_default", TEXTS)
    assert np.shape(answer["outputs"]) == (len(TEXTS), N_BEST)
    for i, (outputs, score, count) in enumerate(
        zip(answer["outputs"], answer["score"], answer["count"], strict=True)
    ):
        assert (np.diff(score[:count]) <= 0).all()
        assert len(set(outputs[:count])) == count
        assert "" not in outputs[:count]
        assert outputs[count:] == [""] * (N_BEST - count)
        assert (score[count:] == 0).all()
        if count:
            assert outputs[0] == default["outputs"][i] or score[0] > default["score"][i]


def test_n_best_of_a_syllable_with_few_characters(toneless, assets, ask):
    """`zhei` has one character, `neng` a few: alone, and beside rows with many conversions."""
    readings = assets.readings
    few = {"zhei": 1, "ta shi yan": N_BEST, "123": 1, "hello": 1, "": 0, " ": 0, "x" * 2001: 0}
    for syllable in ("neng", "zen", "gei"):
        s = readings.syllables.index(syllable)
        few[syllable] = min(4, int(readings.starts[s + 1] - readings.starts[s]))  # the beam has 4
    few["ta shi yan"] = 4
    together = ask(toneless, "n_best", [*few])
    assert together["count"].tolist() == [*few.values()]
    assert together["outputs"][0][0] == "这"
    assert together["outputs"][2][0] == "123"
    assert together["score"][2].tolist() == [0.0] * N_BEST
    for i, text in enumerate(few):
        alone = ask(toneless, "n_best", [text])
        assert alone["outputs"][0] == together["outputs"][i]
        assert alone["count"][0] == together["count"][i]


def test_segment(toneless, toned, ask):
    answer = ask(toneless, "segment", ["ta1shi4yanjiu, Hello", "", "xi'an"])
    assert answer["outputs"] == ["ta shi yan jiu, Hello", "", "xi'an"]
    assert answer["syllables"] == [["ta", "shi", "yan", "jiu"], [""] * 4, ["xi", "an", "", ""]]
    assert answer["length"].tolist() == [4, 0, 2]
    assert ask(toned, "segment", ["ta1sh\u00ecyan"])["outputs"] == ["ta1 shi4 yan"]


def test_segmented_text_has_the_same_conversion(toneless, toned, ask):
    for model in (toneless, toned):
        segments = ask(model, "segment", TEXTS)["outputs"]
        plain, segmented = (ask(model, "serving_default", texts) for texts in (TEXTS, segments))
        assert plain["outputs"] == segmented["outputs"]
        np.testing.assert_allclose(plain["score"], segmented["score"], rtol=1e-5)


def test_the_better_of_two_segmentations_is_returned(assets, monkeypatch, ask, serve_random):
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


def test_tones_matter_only_if_they_are_learned(toneless, toned, assets, ask):
    both = ask(toneless, "serving_default", ["ma1 hao3", "ma hao"])
    assert both["outputs"][0] == both["outputs"][1]
    tones = [f"{syllable}{tone}" for syllable in ("shi", "ma", "yi") for tone in (1, 2, 3, 4)]
    answers = ask(toned, "serving_default", tones)["outputs"]
    assert len(set(answers)) > 3
    readings = assets.readings
    for spelling, character in zip(tones, answers, strict=True):
        possible = possible_readings(assets, readings.codes[spelling])
        assert character in {readings.characters[i] for i in possible}


def test_every_syllable_in_every_tone_has_a_character(toned, assets, ask):
    readings = assets.readings
    texts = [f"{s}{tone or ''}" for s in readings.syllables for tone in range(NUM_TONES)]
    answer = ask(toned, "serving_default", texts)
    assert set(map(len, answer["outputs"])) == {1}
    assert np.isfinite(answer["score"]).all()
    assert set(answer["error"]) == {""}


def test_rows_do_not_depend_on_each_other(toneless, ask):
    for signature in ("serving_default", "n_best", "segment"):
        together = ask(toneless, signature, TEXTS)
        for i, text in enumerate(TEXTS):
            single = ask(toneless, signature, [text])
            assert single["outputs"][0] == together["outputs"][i]
            if "score" in single:
                np.testing.assert_allclose(single["score"][0], together["score"][i], rtol=1e-4)


def test_bad_input(toneless, ask):
    answer = ask(toneless, "serving_default", [b"ta \xff shi", "zzz ta qqq", "ta"])
    assert answer["error"][0] == "invalid UTF-8 was replaced by U+FFFD"
    assert "\ufffd" in answer["outputs"][0]
    assert answer["error"][1] == "no syllables: zzz, qqq"
    assert answer["error"][2] == ""
    assert answer["outputs"][2] == ask(toneless, "serving_default", ["ta"])["outputs"][0]


ROWS = ["ta", "", " ", "neng", "123", "hello", "ta shi yan jiu", "AI he ni", "\ufe0f", "zen me", b"\xff",
        "huar", "r5", "a" * 2000, "a" * 2001]  # fmt: skip


def test_no_number_is_infinite(toneless, toned, typing, ask):
    """Rows of no syllable, of one, of many, and refused ones, in every signature; and no row."""
    for model in (toneless, toned, typing):
        for signature in model.server.endpoints:
            size = model.server._search().state_size
            inputs = {
                "state": np.zeros([len(ROWS), size], np.float32),
                "chosen": [b"x"] * len(ROWS),
            }
            inputs = inputs if signature == "step" else {}
            answer = ask(model, signature, ROWS, **inputs)
            empty = ask(model, signature, [], **{n: v[:0] for n, v in inputs.items() if n == "state"},
                        **({"chosen": tf.zeros([0], tf.string)} if inputs else {}))  # fmt: skip
            assert set(empty) == set(answer)
            for name, column in answer.items():
                assert len(column) == len(ROWS)
                assert len(empty[name]) == 0
                if isinstance(column, np.ndarray):
                    assert np.isfinite(column).all(), (signature, name)


BLANK = ["", " ", "\n", "\u00a0\u200b", "\ufeff", "\ufe0f"]


def test_blank_rows(toneless, ask):
    for signature in ("serving_default", "n_best", "segment"):
        answer = ask(toneless, signature, [*BLANK, "ta"])
        assert answer["error"] == ["the input is blank"] * len(BLANK) + [""]
        texts = np.reshape(answer["outputs"], [len(BLANK) + 1, -1])
        assert set(texts[:-1].ravel()) == {""}
        assert texts[-1, 0]


def test_a_row_above_the_limit_is_refused(assets, serve_random, ask):
    model = serve_random(assets, max_request_bytes=30)
    texts = ["ta " * 10, "ta " * 10 + "x", "\u4ed6" * 11, "shi", b"\xff" * 31]
    message = "{} bytes: refused, because max_request_bytes is 30"
    for signature in ("serving_default", "n_best", "segment"):
        answer = ask(model, signature, texts)
        sizes = [None, 31, 33, None, 31]
        assert answer["error"] == [message.format(size) if size else "" for size in sizes]
        outputs = np.reshape(answer["outputs"], [5, -1])
        assert set(outputs[[1, 2, 4]].ravel()) == {""}
        assert outputs[0, 0]
        for name in ("score", "count", "length"):
            if name in answer:
                assert not answer[name][[1, 2, 4]].any()
    assert ask(model, "segment", texts)["length"].tolist() == [10, 0, 0, 1, 0]


def test_a_refused_row_does_not_pad_the_others(toneless, ask):
    texts = ["ta shi", "xian zai hen hao", "fang an"]
    refused = ["tashiyanjiu" * 10_000, "ta " * 50_000]
    answer = ask(toneless, "segment", [*texts, *refused])
    assert answer["outputs"] == [*texts, "", ""]
    assert answer["length"].tolist() == [2, 4, 2, 0, 0]
    assert np.shape(answer["syllables"]) == (5, 4)


def test_the_longest_row_is_served_whole(toneless, ask):
    texts = ["a" * 2000, ("ta " * 667)[:2000], "hao"]
    answer = ask(toneless, "serving_default", texts)
    assert [*map(len, answer["outputs"])] == [2000, 667, 1]
    assert answer["error"] == [""] * 3
    for i, text in enumerate(texts):
        assert ask(toneless, "serving_default", [text])["outputs"][0] == answer["outputs"][i]


def test_erhua_writes_its_character(toneless, toned, typing, ask):
    for model in (toneless, toned, typing):
        answer = ask(model, "serving_default", ["huar", "hua1 r5", "na3r ta", "yidianr!"])
        outputs = answer["outputs"]
        assert [text.find("儿") for text in outputs] == [1, 1, 1, 2]
        assert [*map(len, outputs)] == [2, 2, 3, 4]
        assert answer["error"] == [""] * 4
        for text in ask(model, "n_best", ["huar"])["outputs"][0]:
            assert text == "" or text[1] == "儿"
