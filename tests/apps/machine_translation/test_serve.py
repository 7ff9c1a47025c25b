"""The Server with random weights, against calls of the Keras model and a beam search in Python."""

import dataclasses
import math
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from apps.machine_translation.config import TINY
from apps.machine_translation.data import Assets
from apps.machine_translation.model import build
from apps.machine_translation.serve import N_BEST, Server
from shared.serving import groups
from shared.text.vocabulary import END, UNKNOWN, Vocabulary

LINES = ["the cat sat on the mat", "a dog and a cat", "Big dogs bark, cats do not.", "\u6f22\u5b57"]
TEXTS = [
    "the cat",
    "a dog and a mat",
    "cats bark",
    "The CAT",
    "\u6f22",
    "xa",
    "  spaces  within ",
]
BLANK = ["", " ", "\n", "\r\n ", "\u00a0", "\u200b", "\ufeff", "\ufe0f", "\u3000\u200d"]
UNKNOWN_TEXTS = ["\U0001f600", "\u2764\ufe0f \U0001f600", "\ufffd", "x"]
REFUSED = "the cat " * 1000


@pytest.fixture(
    scope="module",
    params=[
        {},
        {"shared_vocabulary": True, "input_feeding": True, "cell": "gru"},
        {"lowercase": True, "layer_norm": True, "decoder_layers": 3, "attention": "general"},
    ],
    ids=str,
)
def toy(request, tmp_path_factory):
    """A Server with random weights, and `log_p`, a call of the model."""
    config = dataclasses.replace(TINY, embedding_dim=6, units=5, beam_width=3, **request.param)
    folder = tmp_path_factory.mktemp("toy")
    target = Vocabulary.build(LINES, "char", folder / "target.txt")
    lines = [line.lower() for line in LINES] if config.lowercase else LINES
    shared = config.shared_vocabulary
    source = target if shared else Vocabulary.build(lines, "char", folder / "source.txt")
    assets = Assets(source, target)
    model = build(config, assets)
    rng = np.random.default_rng(2)
    for v in model.trainable_variables:
        v.assign(rng.normal(size=v.shape) * 0.8)
    bias = model.get_layer("embedding").bias
    bias.assign(bias + 0.5 * tf.one_hot(END, target.size))  # otherwise few hypotheses end

    @tf.function(
        input_signature=[tf.TensorSpec([1, None], tf.int32), tf.TensorSpec([1, None], tf.int32)],
        autograph=False,
    )
    def logits(x, y):
        length = tf.fill([1], tf.shape(x)[1])
        return model({"source": x, "source_length": length, "target": y}, training=False)

    def next_log_p(x, y):
        """Returns log p of each next token after the tokens y, (vocabulary,)."""
        row = np.asarray(logits(tf.constant([x]), tf.constant([[END, *y]])), float)[0, -1]
        return row - np.log(np.exp(row - row.max()).sum()) - row.max()

    return types.SimpleNamespace(
        server=Server(model, config, assets), model=model, config=config, source=source,
        target=target, log_p=next_log_p,
    )  # fmt: skip


def ask(toy, signature, texts):
    texts = [t if isinstance(t, bytes) else t.encode() for t in texts]
    answer = toy.server.endpoints[signature](tf.constant(texts, tf.string))
    return {k: strings(v.numpy()) if v.dtype == tf.string else v.numpy() for k, v in answer.items()}


def strings(array):
    return array.decode() if isinstance(array, bytes) else [strings(x) for x in array]


def ids_of(toy, text):
    text = text.lower() if toy.config.lowercase else text
    ids, [n] = toy.source.encode(tf.constant([text]))
    return [*ids.numpy()[0, :n].tolist(), END]


def search(toy, text, beam):
    """Beam search in Python; returns a list of (text, score), the best first."""
    x = ids_of(toy, text)
    penalty = lambda n: ((5 + n) / 6) ** toy.config.length_penalty  # noqa: E731
    beams = [([], 0.0, False)]
    while not all(done for *_, done in beams):
        new = []
        for y, total, done in beams:
            if done:
                new.append((y, total, True))
                continue
            log_p = toy.log_p(x, y)
            log_p[UNKNOWN] = -np.inf
            for token in np.argsort(-log_p)[:beam].tolist():
                longer = [*y, token]
                done = token == END or len(longer) == 2 * len(x) + 10
                new.append((longer, total + log_p[token], done))
        beams = sorted(new, key=lambda b: -b[1] / penalty(len(b[0])))[:beam]
    results = []
    for y, total, _ in beams:
        real = y[:-1] if y[-1] == END else y
        row = toy.target.decode(tf.constant([real or [END]]), tf.constant([len(real)]))
        results.append((row.numpy()[0].decode(), total / penalty(len(y))))
    return results


# --- The translations ----------------------------------------------------------------------------


@pytest.mark.parametrize(("signature", "beam"), [("greedy", 1), ("serving_default", 3)])
def test_translations_equal_a_beam_search_in_python(toy, signature, beam):
    answer = ask(toy, signature, TEXTS)
    for i, text in enumerate(TEXTS):
        output, score = search(toy, text, beam)[0]
        assert answer["outputs"][i] == output
        np.testing.assert_allclose(answer["score"][i], score, rtol=1e-3, atol=1e-4)
    assert len(set(answer["outputs"])) > 3


def test_n_best(toy):
    answer = ask(toy, "n_best", TEXTS[:3])
    assert answer["score"].shape == answer["tokens"].shape == (3, N_BEST)
    assert answer["count"].tolist() == [N_BEST] * 3
    for i, text in enumerate(TEXTS[:3]):
        expected = search(toy, text, N_BEST)
        assert answer["outputs"][i] == [output for output, _ in expected]
        np.testing.assert_allclose(
            answer["score"][i], [s for _, s in expected], rtol=1e-3, atol=1e-4
        )
        assert (np.diff(answer["score"][i]) <= 1e-6).all()
        assert answer["tokens"][i].tolist() == [len(o) for o in answer["outputs"][i]]


def test_a_batch_is_its_rows(toy):
    rng = np.random.default_rng(0)
    letters = list("the cat sat on a mat, Big dogs")
    texts = ["".join(rng.choice(letters, rng.integers(0, 25))) for _ in range(60)]
    together = ask(toy, "serving_default", texts)
    for i in range(0, 60, 4):
        alone = ask(toy, "serving_default", texts[i : i + 1])
        assert alone["outputs"] == together["outputs"][i : i + 1]
        assert math.isclose(alone["score"][0], together["score"][i], rel_tol=1e-4, abs_tol=1e-4)
    assert all(len(v) == 0 for v in ask(toy, "serving_default", []).values())
    assert ask(toy, "n_best", [])["score"].shape == (0, N_BEST)


def test_align_is_the_attention_of_the_default_answer(toy):
    answer, default = ask(toy, "align", TEXTS), ask(toy, "serving_default", TEXTS)
    assert answer["outputs"] == default["outputs"]
    for i, text in enumerate(TEXTS):
        source, target = answer["source_length"][i], answer["target_length"][i]
        x = ids_of(toy, text)
        assert source == len(x)
        assert target == len(default["outputs"][i]) + 1
        a = answer["attention"][i]
        np.testing.assert_allclose(a[:target, :source].sum(1), 1, rtol=1e-4)
        assert np.abs(a[target:]).max(initial=0) == np.abs(a[:, source:]).max(initial=0) == 0
        assert answer["source_tokens"][i][:source] == strings(
            toy.source.token(tf.constant(x)).numpy()
        )
        assert set(answer["source_tokens"][i][source:]) <= {""}
        assert "".join(answer["target_tokens"][i][: target - 1]) == default["outputs"][i]
        assert answer["target_tokens"][i][target - 1] == "\n"
        assert set(answer["target_tokens"][i][target:]) <= {""}


# --- Unusual rows ---------------------------------------------------------------------------


BAD_ROWS = [
    *[(text, "the input is blank") for text in BLANK],
    *[(text, "no token of the input is in the vocabulary") for text in UNKNOWN_TEXTS],
    (REFUSED, "8000 bytes: refused, because max_request_bytes is 2000"),
    (
        b"\xff",
        "invalid UTF-8 was replaced by U+FFFD; no token of the input is in the vocabulary",
    ),
]


@pytest.mark.parametrize("signature", ["serving_default", "greedy", "n_best", "align"])
def test_a_row_that_is_not_translated_has_an_error_and_does_not_change_the_others(toy, signature):
    good = ["the cat", "a dog"]
    rows, errors = zip(*BAD_ROWS, strict=True)
    answer, alone = ask(toy, signature, [good[0], *rows, good[1]]), ask(toy, signature, good)
    assert answer["error"] == ["", *errors, ""]
    for name in set(answer) - {"error"}:
        bad, others = answer[name][1:-1], [answer[name][0], answer[name][-1]]
        # The sizes of padded outputs are those without these rows.
        if isinstance(answer[name], np.ndarray):
            assert not bad.any()
            np.testing.assert_allclose(others, alone[name], rtol=1e-4, atol=1e-5)
        else:
            assert set(np.ravel(bad)) == {""}
            assert others == alone[name]


@pytest.mark.parametrize("signature", ["serving_default", "greedy", "n_best", "align"])
def test_no_row_is_translated(toy, signature):
    """Every size of an output is at least 1: TF Serving's JSON cannot carry a shape of (2, 0)."""
    for rows in ["", REFUSED], []:
        answer = ask(toy, signature, rows)
        for name, tensor in answer.items():
            assert len(tensor) == len(rows)
            assert not np.any(tensor) or name == "error"
            assert 0 not in np.shape(tensor)[1:]


def test_a_row_below_the_limit_is_translated_whole(toy):
    config = dataclasses.replace(toy.config, max_request_bytes=600)
    server = Server(toy.model, config, Assets(toy.source, toy.target))
    text = ("the cat sat on a mat " * 30)[:600]
    answer = server.endpoints["align"](tf.constant([text, "the cat", text + "s"]))
    assert answer["error"].numpy().tolist() == [
        b"",
        b"",
        b"601 bytes: refused, because max_request_bytes is 600",
    ]
    assert answer["source_length"].numpy().tolist() == [601, 8, 0]
    assert b"".join(answer["source_tokens"][0].numpy()) == f"{text}\n".encode()


def test_rows_are_translated_in_groups_of_similar_length(toy, monkeypatch):
    """A group has up to 8, 16, 32, 64 ... tokens, and no more than 8 * 8 with padding."""
    monkeypatch.setattr(groups, "GROUP_LENGTH", 8)
    server = Server(toy.model, toy.config, Assets(toy.source, toy.target))
    shapes = []
    encode = server._encode

    def traced(ids, length):
        tf.py_function(lambda ids: shapes.append(ids.shape), [ids], [])
        return encode(ids, length)

    server._encode = traced
    texts = ["a dog"] * 9 + ["a dog and a cat", "", "the cat sat on the mat", "the cat", "a" * 63]
    texts = [*texts, "the cat sat on a mat"]
    for signature in "serving_default", "n_best", "align":
        shapes.clear()
        answer = server.endpoints[signature](tf.constant(texts))
        assert sorted(map(tuple, shapes)) == [(1, 16), (1, 64), (2, 8), (2, 23), (8, 6)]
        alone = ask(toy, signature, texts)
        for name, value in answer.items():
            if value.dtype == tf.string:
                assert strings(value.numpy()) == alone[name]
            else:
                np.testing.assert_allclose(value, alone[name], rtol=1e-4, atol=1e-5)


def test_lines_are_read_as_one_sentence(toy):
    one, two = ask(toy, "serving_default", ["the\ncat", "the cat"])["outputs"]
    assert one == two


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(tmp_path, policy):
    """The outputs are float32, and close to those of the same weights in float32."""
    vocabulary = Vocabulary.build(LINES, "char", tmp_path / "vocabulary.txt")
    config = dataclasses.replace(TINY, embedding_dim=6, units=5, input_feeding=True)
    assets = Assets(vocabulary, vocabulary)
    answers = []
    for name in "float32", policy:
        keras.config.set_dtype_policy(name)
        try:
            model = build(config, assets)
            rng = np.random.default_rng(2)
            for v in model.trainable_variables:
                v.assign(rng.normal(size=v.shape) * 0.8)
            server = Server(model, config, assets)
            texts = tf.constant(["the cat", "", "a dog and a mat"])
            answers.append({s: f(texts) for s, f in server.endpoints.items()})
        finally:
            keras.config.set_dtype_policy("float32")
    for signature, outputs in answers[1].items():
        for name, value in outputs.items():
            assert value.dtype in (tf.float32, tf.int32, tf.string)
            if value.dtype == tf.float32:
                assert np.isfinite(value).all(), (signature, name)
    full, mixed = (answer["greedy"]["score"].numpy() for answer in answers)
    np.testing.assert_allclose(mixed, full, rtol=0.1)


def test_equal_translations_of_subwords_are_merged(tmp_path):
    """The same text has several sequences of pieces; the best score stays."""
    vocabulary = Vocabulary.build(["ab ab ba abab"], "subword", tmp_path / "vocabulary.txt", 8)
    config = dataclasses.replace(TINY, embedding_dim=6, units=5, shared_vocabulary=True)
    assets = Assets(vocabulary, vocabulary)
    model = build(config, assets)
    bias = model.get_layer("embedding").bias
    bias.assign(bias + 2.0 * tf.one_hot(END, vocabulary.size))
    server = Server(model, config, assets)
    inputs = tf.constant(["ab", "", "ba ab"])
    answer = {k: v.numpy() for k, v in server.endpoints["n_best"](inputs).items()}
    ids, lengths, scores, *_ = server._search(inputs, N_BEST)
    repeated = 0
    for i in 0, 2:
        best = {}
        for text, score in zip(
            server._text(ids, lengths)[i].numpy(), scores[i].numpy(), strict=True
        ):
            best.setdefault(text, score)
        count = answer["count"][i]
        assert answer["outputs"][i][:count].tolist() == list(best)
        np.testing.assert_allclose(answer["score"][i][:count], list(best.values()), rtol=1e-5)
        assert count == len(best)
        assert set(answer["outputs"][i][count:]) <= {b""}
        assert not answer["score"][i][count:].any()
        assert not answer["tokens"][i][count:].any()
        repeated += N_BEST - count
    assert repeated > 0
    assert answer["count"][1] == 0


def test_case(toy):
    one, two = ask(toy, "n_best", ["the cat", "THE Cat"])["outputs"]
    assert (one == two) == toy.config.lowercase


def test_unseen_words_are_read_and_written_as_subwords(tmp_path):
    words = Vocabulary.build(
        ["Mats Come to 3 cats, or 12 dogs: Zoe."], "subword", tmp_path / "v", 40
    )
    config = dataclasses.replace(TINY, embedding_dim=6, units=5, shared_vocabulary=True)
    assets = Assets(words, words)
    server = Server(build(config, assets), config, assets)
    name = "Cato Zmoe 3213 cats."
    answer = server.endpoints["align"](tf.constant([name]))
    pieces = strings(answer["source_tokens"].numpy())[0]
    assert "<unk>" not in pieces
    assert "".join(pieces) == f" {name}\n"
    ids, lengths = words.encode(tf.constant([name]))
    assert strings(server._text(ids[:, tf.newaxis], lengths[:, tf.newaxis]).numpy()) == [[name]]
