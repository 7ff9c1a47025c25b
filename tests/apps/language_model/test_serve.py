"""The Server, in memory and exported, against calls of the Keras model and against itself."""

import dataclasses
import itertools
import types

import numpy as np
import pytest
import tensorflow as tf

from apps.language_model.config import TINY
from apps.language_model.data import Assets
from apps.language_model.model import build
from apps.language_model.serve import BLOCK, SUGGESTIONS, Server
from shared.serving import export
from shared.serving.clients import SavedModelClient
from shared.text.vocabulary import END, UNKNOWN, Vocabulary

TEXT = "the cat sat on the mat . a dog barks at the cat , which sleeps 漢字 e\u0301 \U0001f600"
WORDS = TEXT.split()
UNKNOWN_TEXT = "\u0416\u0416 \u0416"
PARAMETERS = ("max_tokens", "temperature", "top_k", "top_p", "seed")
TYPES = ("int32", "float32", "int32", "float32", "int32")


def sentence(words, seed):
    return " ".join(np.random.default_rng(seed).choice(WORDS, words))


LONG = "\n".join(
    sentence(20, seed) for seed in range(8)
)  # many blocks of characters, three of words
TEXTS = [
    "the cat", "", "a dog\nbarks", "a\n\n\nb\n", UNKNOWN_TEXT, LONG, sentence(70, 1), "the", "\n",
]  # fmt: skip


@pytest.fixture(scope="module", params=[("char", "peephole_lstm", 2), ("word", "gru", 1)], ids=str)
def toy(request, tmp_path_factory):
    return toy_of(*request.param, tmp_path_factory)


def toy_of(tokenizer, cell, num_layers, tmp_path_factory):
    """Returns a Server with random weights, its vocabulary, and `logits`, a call of the model."""
    config = dataclasses.replace(
        TINY,
        tokenizer=tokenizer,
        cell=cell,
        num_layers=num_layers,
        units=7,
        batch_size=1,
        temperature=0.7,
        sampled_softmax=0,
    )
    path = tmp_path_factory.mktemp("toy") / "vocabulary.txt"
    size = 60 if tokenizer == "subword" else None
    vocabulary = Vocabulary.build(LONG.split("\n"), tokenizer, path, size)
    assets = Assets(vocabulary)
    model = build(config, assets)
    rng = np.random.default_rng(0)
    for v in model.trainable_variables:
        v.assign(rng.normal(size=v.shape) * 0.7)
    zero = tf.zeros([1])

    @tf.function(input_signature=[tf.TensorSpec([1, None], tf.int32)], autograph=False)
    def logits(tokens):
        return model({"tokens": tokens, "carry": zero}, training=False)

    return types.SimpleNamespace(
        server=Server(model, config, assets), model=model, config=config, vocabulary=vocabulary,
        tokenizer=tokenizer, logits=lambda ids: np.asarray(logits(tf.constant([ids], tf.int32)), float)[0],
    )  # fmt: skip


def ask(toy, signature, texts, **more):
    """Returns the answer of the Server in memory as NumPy arrays; strings as str."""
    texts = [t if isinstance(t, bytes) else t.encode() for t in texts]
    more = {name: tf.constant(value) for name, value in more.items()}
    answer = toy.server.endpoints[signature](inputs=tf.constant(texts, tf.string), **more)
    return {k: strings(v.numpy()) if v.dtype == tf.string else v.numpy() for k, v in answer.items()}


def strings(array):
    return array.decode() if isinstance(array, bytes) else [strings(x) for x in array]


def parameters(n, **given):
    plain = dict(zip(PARAMETERS, (12, 1.0, 0, 1.0, 5), strict=True)) | given
    return {
        name: np.broadcast_to(np.asarray(plain[name], dtype), n).copy()
        for name, dtype in zip(PARAMETERS, TYPES, strict=True)
    }


def random_parameters(n, seed=3):
    r = np.random.default_rng(seed)
    return parameters(
        n, max_tokens=r.integers(0, 20, n), temperature=r.choice([0, 0.5, 1, 2], n),
        top_k=r.choice([0, 2, 5], n), top_p=r.choice([0.5, 0.9, 1], n), seed=r.integers(0, 99, n),
    )  # fmt: skip


def encode(toy, text):
    """Encodes a text with nothing but the vocabulary file."""
    id_of = {t: i for i, t in enumerate(open_lines(toy.vocabulary.path))}
    tokens = []
    for line in text.split("\n"):
        tokens += line.split() if toy.tokenizer == "word" else line
        tokens.append("</s>")
    return [id_of.get(t, UNKNOWN) for t in tokens[:-1]]


def open_lines(path):
    with open(path, encoding="utf-8", newline="") as file:
        return file.read().split("\n")[:-1]


def log_softmax(x):
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def log_p(toy, ids, first=0):
    """Returns the log-probability of ids[first:], given all ids before and a line end at the start."""
    table = log_softmax(toy.logits([END, *ids]))
    return sum(table[i, ids[i]] for i in range(first, len(ids)))


def close(actual, expected, **tolerance):
    np.testing.assert_allclose(actual, expected, **({"rtol": 2e-4, "atol": 1e-4} | tolerance))


# --- score ---------------------------------------------------------------------------------------


def test_score_is_that_of_the_model(toy):
    answer = ask(toy, "score", TEXTS)
    for i, text in enumerate(TEXTS):
        ids = encode(toy, text if text.endswith("\n") else text + "\n")
        assert answer["tokens"][i] == len(ids)
        close(answer["log_probability"][i], log_p(toy, ids))
        close(answer["perplexity"][i], np.exp(-log_p(toy, ids) / len(ids)))
    assert max(answer["tokens"]) > 2 * BLOCK
    assert answer["error"] == [""] * len(TEXTS)


def test_score_returns_the_text_as_the_model_reads_it(toy):
    shown = ask(
        toy, "score", ["the cat", "the\n", "the\r\ncat\r", "", "\n\n", f"the {UNKNOWN_TEXT}"]
    )
    unknown = "the \ufffd\ufffd \ufffd" if toy.tokenizer == "char" else "the <unk> <unk>"
    assert shown["outputs"] == ["the cat", "the", "the\ncat", "", "\n", unknown]


def test_the_line_end_of_the_last_line_is_optional(toy):
    one, two = ask(toy, "score", ["the cat"]), ask(toy, "score", ["the cat\n"])
    assert one["tokens"] == two["tokens"]
    close(one["log_probability"], two["log_probability"], rtol=1e-6)


@pytest.mark.parametrize("signature", ["score", "start"])
def test_a_batch_is_its_rows(toy, signature):
    together = ask(toy, signature, TEXTS)
    for i, text in enumerate(TEXTS):
        for name, [alone] in ask(toy, signature, [text]).items():
            if isinstance(alone, np.generic | np.ndarray):
                close(together[name][i], alone, err_msg=name)
            else:
                assert together[name][i] == alone


# --- start and step ------------------------------------------------------------------------------


def cut(toy, text, pieces, seed):
    """Cuts a text at random places; for words, before a space or a line end."""
    places = range(1, len(text))
    if toy.tokenizer == "word":
        places = [i for i in places if text[i] in " \n"]
    rng = np.random.default_rng(seed)
    at = sorted(rng.choice(places, pieces - 1, replace=False).tolist())
    return [text[a:b] for a, b in itertools.pairwise([0, *at, len(text)])]


@pytest.mark.parametrize(("pieces", "seed"), [(1, 0), (2, 1), (5, 2), (5, 3), (30, 4)])
def test_the_scores_of_pieces_sum_to_the_score_of_the_text(toy, pieces, seed):
    text = LONG + "\n"
    whole = ask(toy, "score", [text])
    first, *rest = cut(toy, text, pieces, seed)
    answer = ask(toy, "start", [first])
    total, tokens = answer["log_probability"][0], answer["tokens"][0]
    for piece in [*rest, ""]:
        answer = ask(toy, "step", [piece], state=answer["state"])
        total += answer["log_probability"][0]
        tokens += answer["tokens"][0]
    assert tokens == whole["tokens"][0]
    close(total, whole["log_probability"][0])
    # The state equals that of the text in one piece.
    close(answer["state"], ask(toy, "start", [text])["state"])


def test_the_next_tokens_are_the_likeliest(toy):
    answer = ask(toy, "start", TEXTS)
    assert answer["next_log_probability"].shape == (len(TEXTS), SUGGESTIONS)
    names = [
        "\n",
        "<unk>" if toy.tokenizer == "word" else "\ufffd",
        *open_lines(toy.vocabulary.path)[2:],
    ]
    for i, text in enumerate(TEXTS):
        table = log_softmax(toy.logits([END, *encode(toy, text)])[-1])
        known = np.where(np.arange(len(table)) == UNKNOWN, -np.inf, table)
        best = np.argsort(-known)[:SUGGESTIONS]
        assert answer["next_tokens"][i] == [names[b] for b in best]
        close(answer["next_log_probability"][i], table[best], atol=1e-3)
        assert answer["outputs"][i] == answer["next_tokens"][i][0]
    # A line end is "\n" here too, and `step` accepts it.
    first_tokens = [names[i] for i in range(3)]
    step = ask(toy, "step", first_tokens, state=np.repeat(answer["state"][:1], 3, axis=0))
    table = log_softmax(toy.logits([END, *encode(toy, TEXTS[0])])[-1])
    assert step["tokens"].tolist() == [1, 1, 1]
    close(step["log_probability"], table[:3], atol=1e-3)


def test_an_empty_piece_leaves_the_state_as_it_is(toy):
    before = ask(toy, "start", ["the cat", ""])
    after = ask(toy, "step", ["", ""], state=before["state"])
    np.testing.assert_array_equal(after["state"], before["state"])
    assert after["log_probability"].tolist() == [0, 0]
    assert after["tokens"].tolist() == [0, 0]
    assert after["next_tokens"] == before["next_tokens"]


def test_the_state_after_padding_is_that_of_the_text_alone(toy):
    padded = ask(toy, "start", ["the cat", LONG])["state"][:1]
    close(padded, ask(toy, "start", ["the cat"])["state"], atol=1e-6)
    assert np.abs(padded - ask(toy, "start", ["the dog"])["state"]).max() > 1e-3


# --- generate ------------------------------------------------------------------------------------


def test_greedy_is_the_argmax_of_the_model(toy):
    answer = ask(toy, "generate", TEXTS, **parameters(len(TEXTS), temperature=0, max_tokens=6))
    lengths = []
    for i, text in enumerate(TEXTS):
        ids = encode(toy, text)
        prompt = len(ids)
        while len(ids) < prompt + 6:
            logits = toy.logits([END, *ids])[-1]
            logits[UNKNOWN] = -np.inf  # never generated
            ids.append(int(logits.argmax()))
            if ids[-1] == END:
                break
        close(answer["score"][i], log_p(toy, ids, prompt))
        lengths.append(len(ids) - prompt)
        ended = ids[-1] == END and len(ids) > prompt
        row = tf.constant([ids[prompt:]]), tf.constant([len(ids) - prompt - ended])
        assert answer["continuation"][i] == toy.vocabulary.decode(*row).numpy()[0].decode()
    assert max(lengths) == 6


def test_a_continuation_follows_its_text(toy):
    n = len(TEXTS)
    answer = ask(toy, "generate", TEXTS, **random_parameters(n))
    for text, output, more in zip(TEXTS, answer["outputs"], answer["continuation"], strict=True):
        apart = toy.tokenizer == "word" and more and text and not text[-1].isspace()
        assert output == text + " " * bool(apart) + more
    none = ask(toy, "generate", TEXTS, **parameters(n, max_tokens=0))
    assert none["outputs"] == TEXTS
    assert none["continuation"] == [""] * n
    assert none["score"].tolist() == [0] * n


def test_the_score_of_generate_equals_that_of_start_and_step(toy):
    n = 12
    limits = parameters(n, seed=np.arange(n), max_tokens=[0, 1, 2, 3, 5, 9, 14, 20, 30, 40, 50, 60])
    answer = ask(toy, "generate", ["the cat"] * n, **limits)
    state = ask(toy, "start", ["the cat"] * n)["state"]
    step = ask(toy, "step", answer["continuation"], state=state)
    assert (step["tokens"] <= limits["max_tokens"]).all()
    ended = step["tokens"] < limits["max_tokens"]
    assert ended.any()
    assert (~ended).sum() > 1  # the row of no tokens and another
    ends = ask(toy, "step", ["\n" if end else "" for end in ended], state=step["state"])
    close(answer["score"], step["log_probability"] + ends["log_probability"], rtol=1e-3)


def test_a_batch_of_mixed_prompts_is_its_rows_exactly(toy):
    n = len(TEXTS)
    given = random_parameters(n) | {"temperature": np.full(n, 1.5, np.float32)}
    answer = ask(toy, "generate", TEXTS, **given)
    assert len(set(answer["continuation"])) > n // 2
    for i, text in enumerate(TEXTS):
        alone = ask(toy, "generate", [text], **{k: v[i : i + 1] for k, v in given.items()})
        assert alone["outputs"] == answer["outputs"][i : i + 1]
        assert alone["continuation"] == answer["continuation"][i : i + 1]
        close(alone["score"], answer["score"][i : i + 1])
    turned = ask(toy, "generate", TEXTS[::-1], **{k: v[::-1] for k, v in given.items()})
    assert turned["outputs"] == answer["outputs"][::-1]


def test_the_default_answer_uses_the_settings_of_the_config(toy):
    answer = ask(toy, "serving_default", TEXTS)
    assert ask(toy, "serving_default", TEXTS) == answer | {"score": pytest.approx(answer["score"])}
    c = toy.config
    same = parameters(len(TEXTS), max_tokens=c.max_tokens, temperature=c.temperature, seed=c.seed)
    assert ask(toy, "generate", TEXTS, **same)["outputs"] == answer["outputs"]
    assert any(answer["continuation"])


# --- Unusual rows ---------------------------------------------------------------------------


@pytest.mark.parametrize("signature", ["serving_default", "score", "start"])
def test_invalid_utf8_in_one_row_leaves_the_others_alone(toy, signature):
    good = ["the cat", "", LONG]
    both = ask(toy, signature, [b"the \xff cat", *good, b"\xe6\xbc"])
    alone = ask(toy, signature, good)
    for name, expected in alone.items():
        if name == "error":
            assert both[name][1:4] == [""] * 3
            assert all("invalid UTF-8" in message for message in (both[name][0], both[name][4]))
        elif isinstance(expected, np.ndarray):
            close(both[name][1:4], expected)
        else:
            assert both[name][1:4] == expected
    assert "\ufffd" in both["outputs"][0] or signature == "start" or toy.tokenizer == "word"
    # It is read as U+FFFD.
    replaced = ask(toy, signature, ["the \ufffd cat"])
    assert replaced["error"] == [""]
    assert replaced["outputs"] == both["outputs"][:1]


@pytest.mark.parametrize("signature", ["serving_default", "score", "start"])
def test_an_empty_batch(toy, signature):
    for value in ask(toy, signature, []).values():
        assert len(value) == 0


def test_an_empty_batch_with_parameters(toy):
    given = {k: v[:0] for k, v in parameters(1).items()}
    assert ask(toy, "generate", [], **given)["outputs"] == []
    state = ask(toy, "start", ["a"])["state"]
    assert ask(toy, "step", [], state=state[:0])["outputs"] == []


def test_requests_cover_the_signatures(toy):
    requests = toy.server.sample_requests()
    assert set(requests) == set(toy.server.endpoints)
    for name, request in requests.items():
        expected = {t.name: t for t in toy.server.endpoints[name].input_signature}
        assert set(request) == set(expected)
        for key, value in request.items():
            assert expected[key].shape.is_compatible_with(value.shape)
        assert len({len(value) for value in request.values()}) == 1


# --- As exported ---------------------------------------------------------------------------------


def test_every_kind_of_model_can_be_exported(toy, tmp_path):
    """Words use other ops than characters, and a GRU others than an LSTM."""
    export.write(toy.server, tmp_path / "1", {})
    answer = SavedModelClient(tmp_path / "1").predict("score", TEXTS)
    close(answer["log_probability"], ask(toy, "score", TEXTS)["log_probability"])


@pytest.fixture(scope="module")
def exported(trained):
    return SavedModelClient(trained("language_model").saved_model)


def call(client, signature, texts, **more):
    answer = client.predict(signature, texts, **more)
    return {k: strings(v) if v.dtype == object else v for k, v in answer.items()}


def test_the_export_answers_as_the_model_in_memory(exported, trained):
    app = trained("language_model")
    from shared.training import runs

    run = runs.load(app.run, app.package)
    model = run.best_model()
    vocabulary = Vocabulary(app.run / "assets" / "vocabulary.txt", app.config.TINY.tokenizer)
    embedding, stack = model.get_layer("embedding"), model.get_layer("stack")
    texts = ["The value of the", "a", LONG]
    score = call(exported, "score", texts)
    for i, text in enumerate(texts):
        ids, _ = vocabulary.encode(tf.constant([text + "\n"]))
        y, _ = stack(embedding(tf.concat([[[END]], ids[:, :-1]], axis=1)))
        table = log_softmax(np.asarray(embedding(y, reverse=True), float)[0])
        expected = sum(table[j, k] for j, k in enumerate(ids.numpy()[0]))
        close(score["log_probability"][i], expected)


def test_the_export_in_pieces_and_in_batches(exported):
    text = "The value of the\nexpression is a string.\n"
    whole = call(exported, "score", [text])
    answer = call(exported, "start", [text[:7]])
    total = answer["log_probability"][0]
    for piece in text[7:20], text[20:21], text[21:]:
        answer = call(exported, "step", [piece], state=answer["state"])
        total += answer["log_probability"][0]
    close(total, whole["log_probability"][0])

    n = len(TEXTS)
    given = random_parameters(n)
    together = call(exported, "generate", TEXTS, **given)
    for i, text in enumerate(TEXTS):
        alone = call(exported, "generate", [text], **{k: v[i : i + 1] for k, v in given.items()})
        assert alone["outputs"] == together["outputs"][i : i + 1]
    again = [call(exported, "serving_default", TEXTS)["outputs"] for _ in range(2)]
    assert again[0] == again[1]
    assert all(output.startswith(text) for output, text in zip(again[0], TEXTS, strict=True))


def test_the_limit_of_a_prompt(exported, trained):
    limit = trained("language_model").config.TINY.max_request_bytes
    text = ("the cat sat on the mat " * limit)[:limit]
    answer = call(exported, "serving_default", [text, "the", f"{text}a"])
    assert answer["outputs"][0].startswith(text)
    assert answer["error"][:2] == ["", ""]
    assert answer["outputs"][1:2] == call(exported, "serving_default", ["the"])["outputs"]
    assert answer["outputs"][2] == ""
    assert f"because max_request_bytes is {limit}" in answer["error"][2]


# --- Subwords ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def subwords(tmp_path_factory):
    return toy_of("subword", "lstm", 1, tmp_path_factory)


def test_subwords_are_scored_and_shown_as_text(subwords):
    texts = ["the cat", "a\n\ndog", "", UNKNOWN_TEXT, "catcat"]
    answer = ask(subwords, "score", texts)
    assert answer["outputs"] == [*texts[:3], "\ufffd\ufffd \ufffd", "catcat"]
    for i, text in enumerate(texts):
        ids, [n] = subwords.vocabulary.encode(tf.constant([f"{text}\n"]))
        assert answer["tokens"][i] == n
        close(answer["log_probability"][i], log_p(subwords, ids[0, :n].numpy().tolist()))


def test_subwords_may_continue_a_word(subwords):
    """A continuation starts with a space, or continues the last word."""
    texts = ["the cat"] * 40
    answer = ask(subwords, "generate", texts, **parameters(40, seed=np.arange(40), max_tokens=5))
    within = [more for more in answer["continuation"] if more[:1].isalpha()]
    apart = [more for more in answer["continuation"] if more[:1] == " "]
    assert within
    assert apart
    for text, output, more in zip(texts, answer["outputs"], answer["continuation"], strict=True):
        assert output == text + more
    fresh = ask(subwords, "generate", ["the "] * 40, **parameters(40, seed=np.arange(40)))
    for output, more in zip(fresh["outputs"], fresh["continuation"], strict=True):
        assert output == "the " + more.removeprefix(" ")
