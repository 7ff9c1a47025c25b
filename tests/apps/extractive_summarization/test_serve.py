"""The Server with random weights, beside calls of the Keras model and Python."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from apps.extractive_summarization import data, units
from apps.extractive_summarization.config import TINY
from apps.extractive_summarization.model import build, parts
from apps.extractive_summarization.serve import Server
from shared.data.splits import TextSplit

TEXTS = {
    "en": [
        'Mr. Lee, who (they say) likes tea, sold his firm\'s shares. "Why?" she asked. It cost $3.5m.',
        "One sentence without a full stop",
        "word",
        "First line\r\nsecond line\r\n\r\nthird",
        "<p>The <b>old</b> dog &amp; cat.</p> Text!",
        "A. B? C! D. E.",
        "\ufeffThe text after a byte order mark \u2013 caf\u00e9 \U0001f600 ends. Yes.",
        "... !",
    ],
    "zh": ["市长周一宣布，新桥已经完工。它长1.5公里！iPhone 15很贵。", "没有句号\n第二行", "好"],
}
TRAIN = {
    "en": "the old dog sold a cat . it was who first line say text",
    "zh": "市长宣布新桥完工。它很长！",
}
LONGEST = 600


class Toy:
    """A Server with random weights and its parts."""

    def __init__(self, folder, level, language, **settings):
        settings = {"max_request_bytes": LONGEST, "min_count": 1, "units": 4, **settings}
        self.config = dataclasses.replace(TINY, level=level, language=language, **settings)
        text = TRAIN[language]
        found = units.read(tf.constant([text]), level, language)
        split = TextSplit("train", [(text, "1" * len(found.start[0]))])
        self.assets = data.build_assets(self.config, split, folder)
        self.model = build(self.config, self.assets)
        rng = np.random.default_rng(0)
        for weight in self.model.trainable_weights:
            weight.assign(rng.normal(0, 0.8, weight.shape))
        self.keep_bias = self.model.get_layer("decoder").keep_bias
        self.server = Server(self.model, self.config, self.assets)

    def __call__(self, signature, texts, **params):
        params = {
            k: tf.constant(v, {"ratio": tf.float32}.get(k, tf.int32)) for k, v in params.items()
        }
        answer = self.server.endpoints[signature](tf.constant(texts, tf.string), **params)
        return {name: value.numpy() for name, value in answer.items()}


CASES = [
    ("word", "en", {}),
    ("word", "zh", {"decoder": "independent", "char_filters": 0}),
    ("sentence", "en", {"centrality": "textrank", "decision": "marginals"}),
    (
        "sentence",
        "zh",
        {"decoder": "independent", "sentence_encoder": "recurrent", "novelty": False},
    ),
]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def toy(request, tmp_path_factory):
    level, language, settings = request.param
    return Toy(tmp_path_factory.mktemp("assets"), level, language, **settings)


@pytest.fixture(scope="module")
def english(tmp_path_factory):
    return Toy(tmp_path_factory.mktemp("assets"), "word", "en")


def expected_labels(toy, text):
    """Returns the probability and the decision for each unit of a text, by calls of the model."""
    found = units.read(tf.constant([text]), toy.config.level, toy.config.language)
    logits, decoder, _ = parts(toy.model)
    probability, keep = [], []
    ids = found.words.with_values(data.word_ids(found.words.flat_values, toy.assets.words))
    if toy.config.level == "word":
        calls = []
        for words, names in zip(ids.to_list(), found.words.to_list(), strict=True):
            inputs = {"words": np.array([words]), "length": np.array([len(words)])}
            if toy.config.char_filters:
                letters = units.characters(tf.constant(names), toy.assets.characters)
                inputs["characters"] = letters[tf.newaxis]
            calls.append(inputs)
    else:
        words = ids.to_tensor()[tf.newaxis]
        inputs = {"words": words, "length": np.array([words.shape[1]])}
        if toy.config.centrality != "none":
            values = data.centrality.features(
                found.words, found.row, toy.config.centrality, toy.config.language
            )
            inputs["centrality"] = values[tf.newaxis]
        inputs["vectors"] = toy.model.get_layer("sentence_encoder")(words)
        calls = [inputs]
    for inputs in calls:
        scores = logits(inputs)
        length = tf.constant(inputs["length"], tf.int32)
        probability += decoder.probability(scores, length)[0].numpy().tolist()
        keep += decoder.keeps(scores, length, toy.config.decision)[0].numpy().tolist()
    return probability, keep


def test_answers_are_those_of_the_model(toy):
    texts = [t.removeprefix("\ufeff") for t in TEXTS[toy.config.language]]
    toy.keep_bias.assign(0.3)
    answer = toy("explain", texts)
    for row, text in enumerate(texts):
        n = answer["length"][row]
        probability, keep = expected_labels(toy, text)
        np.testing.assert_allclose(answer["probability"][row, :n], probability, atol=1e-4)
        if any(keep):
            assert answer["keep"][row, :n].tolist() == [*map(int, keep)]
        else:
            assert answer["keep"][row, :n].sum() == 1
        for name in ("keep", "start", "limit", "probability"):
            assert not answer[name][row, n:].any()
        assert set(answer["units"][row, n:]) <= {b""}
    default = toy("serving_default", texts)
    assert default["outputs"].tolist() == answer["outputs"].tolist()
    assert default["error"].tolist() == [b""] * len(texts)
    toy.keep_bias.assign(0.0)


def test_places_are_those_of_the_input(toy):
    texts = TEXTS[toy.config.language]
    answer = toy("explain", texts)
    for row, text in enumerate(texts):
        n, end = answer["length"][row], 0
        for unit, a, b in zip(
            answer["units"][row, :n], answer["start"][row], answer["limit"][row], strict=False
        ):
            assert text[a:b] == unit.decode()
            assert not text[end:a].strip("\ufeff").strip()  # white space only
            end = b
        assert not text[end:].strip()


def test_the_output_consists_of_what_is_kept(toy):
    texts = TEXTS[toy.config.language]
    for bias in (-30.0, -1.0, 0.0, 30.0):
        toy.keep_bias.assign(bias)
        answer = toy("explain", texts)
        for row, text in enumerate(texts):
            kept = [u for u, k in zip(answer["units"][row], answer["keep"][row], strict=True) if k]
            output = answer["outputs"][row].decode()
            assert output
            without_space = lambda t: "".join(t.split())  # noqa: E731
            assert without_space(output) == without_space("".join(u.decode() for u in kept))
            if bias == -30:
                assert len(kept) == 1
                assert any(map(str.isalnum, output)) == any(map(str.isalnum, text))
            if bias == 30 and toy.config.level == "word":
                assert output == text.removeprefix("\ufeff")
    toy.keep_bias.assign(0.0)


def test_the_score_is_that_of_the_labels(toy):
    texts = [*TEXTS[toy.config.language], ""]
    explained = toy("explain", texts)
    cut = {"ratio": [0.4] * len(texts), "max_sentences": [2] * len(texts)}
    for answer in (explained, toy("summarize", texts, **cut)):
        for i, n in enumerate(explained["length"]):
            p = explained["probability"][i, :n].astype(np.float64)
            p = np.where(answer["keep"][i, :n], p, 1 - p)
            np.testing.assert_allclose(answer["score"][i], np.log(p).sum(), rtol=1e-3, atol=1e-4)
    assert explained["score"][-1] == 0
    np.testing.assert_array_equal(toy("serving_default", texts)["score"], explained["score"])


def test_a_summary_has_the_size_that_is_asked_for(toy):
    text = TEXTS[toy.config.language][0]
    n = int(toy("explain", [text])["length"][0])
    probability = toy("explain", [text])["probability"][0]
    percents = [*range(0, 101, 5)]
    answer = toy(
        "summarize", [text] * len(percents), ratio=[p / 100 for p in percents],
        max_sentences=[2**31 - 1] * len(percents),
    )  # fmt: skip
    words = [any(map(str.isalnum, u.decode())) for u in toy("explain", [text])["units"][0]]
    best = int(np.argmax(np.where(words, probability, -1)))
    order = [best, *(i for i in np.argsort(-probability, kind="stable") if i != best)]
    for row, percent in enumerate(percents):
        count = max(1, (2 * percent * n + 100) // 200)
        kept = np.flatnonzero(answer["keep"][row])
        assert kept.tolist() == sorted(order[:count])
    assert answer["error"].tolist() == [b""] * len(percents)
    if toy.config.level == "word":
        assert answer["outputs"][-1].decode() == text


def test_a_maximum_number_of_sentences(toy):
    text = TEXTS[toy.config.language][0]
    found = units.read(tf.constant([text]), toy.config.level, toy.config.language)
    sentences = int(found.words.nrows())
    assert sentences == 3
    answer = toy("summarize", [text] * 4, ratio=[1.0] * 4, max_sentences=[1, 2, 3, 100])
    explained = toy("explain", [text])
    n = int(explained["length"][0])
    for row, limit in enumerate((1, 2, 3, 3)):
        kept = answer["keep"][row, :n]
        if toy.config.level == "sentence":
            assert kept.sum() == limit
            continue
        p, sentence = explained["probability"][0, :n], found.token_sentence.numpy()
        means = [p[sentence == i].mean() for i in range(sentences)]
        chosen = np.argsort(means)[::-1][:limit]
        assert kept.tolist() == np.isin(sentence, chosen).astype(int).tolist()
    few = toy("summarize", [text], ratio=[0.1], max_sentences=[2])
    assert few["keep"].sum() == max(1, (2 * 10 * n + 100) // 200)


def test_wrong_parameters_are_errors_of_their_rows(english):
    texts = [TEXTS["en"][0]] * 9
    ratio = [0.5, np.nan, -0.01, 1.01, np.inf, -np.inf, 0.5, 0.5, 0.5]
    limits = [3, 3, 3, 3, 3, 3, 0, -(2**31), 3]
    answer = english("summarize", texts, ratio=ratio, max_sentences=limits)
    good = english("summarize", texts[:1], ratio=[0.5], max_sentences=[3])
    for row, error in enumerate(answer["error"]):
        if row in (0, 8):
            assert error == b""
            assert answer["outputs"][row] == good["outputs"][0]
            assert answer["keep"][row].tolist() == good["keep"][0].tolist()
            continue
        name = (
            b"ratio must be from 0 to 1. Received: "
            if row < 6
            else b"max_sentences must be at least 1."
        )
        assert error.startswith(name)
        assert answer["outputs"][row] == b""
        assert not answer["keep"][row].any()
        assert answer["length"][row] == 0


def test_bad_rows_among_good_ones(english):
    good = TEXTS["en"]
    bad = {
        "word " * 100_000: b"500000 bytes: refused, because max_request_bytes is 600",
        "a" * (LONGEST + 1): b"601 bytes: refused, because max_request_bytes is 600",
        "": b"the input is blank",
        " \r\n\u3000": b"the input is blank",
    }
    texts = [t for pair in zip(good, [*bad] * 2, strict=True) for t in pair]
    for signature in ("serving_default", "explain"):
        answer, alone = english(signature, texts), english(signature, good)
        assert answer["error"][1::2].tolist() == [*bad.values()] * 2
        for name, value in alone.items():
            if value.dtype.kind == "f":
                np.testing.assert_allclose(answer[name][::2], value, atol=1e-5)
            else:
                assert answer[name][::2].tolist() == value.tolist()
            if name != "error":
                assert not answer[name][1::2].any()


def test_invalid_utf8_is_reported(english):
    answer = english("explain", [b"The dog \xff sold it .", "The dog sold it ."])
    assert answer["error"].tolist() == [b"invalid UTF-8 was replaced by U+FFFD", b""]
    assert answer["units"][0, 2].decode() == "\ufffd"
    assert answer["start"][0, 3] == 10


def test_longest_row_is_served_whole(english):
    text = ("the cat sold it " * 100)[:LONGEST]
    answer = english("explain", [text, "word"])
    assert answer["length"].tolist() == [len(text.split()), 1]
    assert answer["error"].tolist() == [b"", b""]


@pytest.mark.parametrize("signature", ["serving_default", "summarize", "explain"])
def test_an_empty_batch(toy, signature):
    params = {"ratio": [], "max_sentences": []} if signature == "summarize" else {}
    for name, value in toy(signature, [], **params).items():
        assert len(value) == 0, name


def test_sample_requests(toy):
    for signature, request in toy.server.sample_requests().items():
        answer = toy(
            signature, **{("texts" if k == "inputs" else k): v for k, v in request.items()}
        )
        assert len(answer["outputs"]) == len(request["inputs"])
        assert b"the input is blank" in answer["error"].tolist()[1]
