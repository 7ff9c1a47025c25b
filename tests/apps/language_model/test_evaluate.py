"""The figures of `evaluate`, computed again on another way; and what it says of mistakes."""

import dataclasses
import json
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf

from apps.language_model import data, evaluate
from apps.language_model.config import TINY
from apps.language_model.model import build
from apps.language_model.serve import Server
from shared import results
from shared.serving.clients import SavedModelClient
from shared.text.ngram import KneserNey
from shared.text.vocabulary import UNKNOWN, Vocabulary


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A config for a small text in files: some lines of the embedded text, and odd ones."""
    folder = tmp_path_factory.mktemp("small")
    lines = {split: data.examples(TINY, split) for split in data.SPLITS}
    lines = {
        "train": lines["train"][:150],
        "valid": lines["valid"][:25],
        "test": lines["test"][:25],
    }
    lines["test"][3:3] = ["", "漢字 \u2028 of another script"]
    for split, text in lines.items():
        (folder / f"{split}.txt").write_bytes("".join(f"{x}\n" for x in text).encode())
    return dataclasses.replace(TINY, source="files", data_dir=str(folder))


@pytest.fixture(scope="module")
def word_model(small, tmp_path_factory):
    """A SavedModel of words, on random weights."""
    config = dataclasses.replace(
        small, tokenizer="word", cell="gru", num_layers=1, vocabulary_size=300
    )
    folder = tmp_path_factory.mktemp("words")
    path = folder / "vocabulary.txt"
    vocabulary = Vocabulary.build(data.examples(config, "train"), "word", path, 300)
    model = build(config, vocabulary)
    rng = np.random.default_rng(0)
    for v in model.trainable_variables:
        v.assign(rng.normal(size=v.shape) * 0.5)
    server = Server(model, config, vocabulary)
    tf.saved_model.save(server, str(folder / "1"), signatures=server.endpoints)
    return folder / "1", config


def ids_of(lines, path, tokenizer):
    """Ids of lines, each with its end, by the vocabulary's file alone."""
    known = {t: i for i, t in enumerate(path.read_bytes().decode().split("\n")[:-1])}
    tokens = []
    for line in lines:
        words = [word.decode() for word in line.encode().split()]  # str.split would cut at U+2028
        tokens += [*(words if tokenizer == "word" else line), "</s>"]
    return np.array([known.get(t, UNKNOWN) for t in tokens], np.int32), len(known)


@pytest.mark.parametrize("tokenizer", ["char", "word"])
def test_figures(tokenizer, small, trained, request):
    if tokenizer == "char":
        folder, config = trained("language_model").saved_model, small
    else:
        folder, config = request.getfixturevalue("word_model")
    found = evaluate.evaluate(folder, config)
    client, lines = SavedModelClient(folder), data.examples(config, "test")
    path = client.path / "assets" / "vocabulary.txt"
    ids, size = ids_of(lines, path, tokenizer)
    characters = len("\n".join([*lines, ""]))
    assert found["tokens"] == len(ids)
    assert found["characters"] == characters

    # The state carried: the whole text in one request. And each line in one of its own.
    whole = client.predict("score", ["\n".join([*lines, ""])])
    assert whole["tokens"].tolist() == [len(ids)]
    log_p = float(whole["log_probability"][0])
    np.testing.assert_allclose(
        found["bits_per_character"], -log_p / np.log(2) / characters, rtol=1e-3
    )
    np.testing.assert_allclose(found["perplexity"], np.exp(-log_p / len(ids)), rtol=1e-3)
    alone = sum(float(client.predict("score", [line])["log_probability"][0]) for line in lines)
    np.testing.assert_allclose(
        found["perplexity_each_line_alone"], np.exp(-alone / len(ids)), rtol=1e-3
    )
    assert found["perplexity"] != found["perplexity_each_line_alone"]

    # The baseline: of the order that is best on the valid text, which it names.
    order = int(re.fullmatch(r"modified Kneser-Ney (\d+)-gram", found["baseline"])[1])
    texts = {s: ids_of(data.examples(config, s), path, tokenizer)[0] for s in data.SPLITS}
    end = 0 if tokenizer == "word" else None
    models = {n: KneserNey.fit(texts["train"], n, size, end) for n in (order - 1, order, order + 1)}
    valid = {n: model.log_prob(texts["valid"]).sum() for n, model in models.items()}
    assert order == 2 or valid[order] > valid[order - 1]
    assert valid[order] >= valid[order + 1]
    test = models[order].log_prob(texts["test"])
    assert len(test) == len(ids)
    np.testing.assert_allclose(found["baseline_perplexity"], np.exp(-test.mean()), rtol=1e-3)
    np.testing.assert_allclose(
        found["baseline_bits_per_character"], -test.sum() / np.log(2) / characters, rtol=1e-3
    )

    # The headline.
    headline = {"word": "perplexity", "char": "bits_per_character"}[tokenizer]
    assert found["value"] == found[headline]
    assert found["baseline_value"] == found[f"baseline_{headline}"]
    assert found["metric"] == evaluate.METRIC[tokenizer]
    assert headline.replace("_", " ").split()[0] in found["metric"]
    line = results.headline(found)
    for part in (
        found["metric"],
        found["baseline"],
        str(found["value"]),
        str(found["baseline_value"]),
    ):
        assert part in line
    assert "\n" not in line


def test_a_perplexity_of_subwords_is_one_of_words(small, tmp_path):
    """Of the same log-probability, however many pieces the words have."""
    config = dataclasses.replace(
        small, tokenizer="subword", cell="gru", num_layers=1, vocabulary_size=200
    )
    vocabulary = Vocabulary.build(
        data.examples(config, "train"), "subword", tmp_path / "vocabulary.txt", 200
    )
    server = Server(build(config, vocabulary), config, vocabulary)
    tf.saved_model.save(server, str(tmp_path / "1"), signatures=server.endpoints)
    found = evaluate.evaluate(tmp_path / "1", config)
    lines = data.examples(config, "test")
    words = sum(len(line.encode().split()) + 1 for line in lines)
    assert found["tokens"] > words
    log_p = -found["bits_per_character"] * np.log(2) * found["characters"]
    np.testing.assert_allclose(np.log(found["perplexity"]), -log_p / words, rtol=1e-2)
    assert found["value"] == found["perplexity"]
    assert found["metric"] == evaluate.METRIC["word"]


def test_the_run_recorded_the_figures_of_the_embedded_text(trained):
    app = trained("language_model")
    recorded = json.loads((app.run / "metrics.json").read_text(encoding="utf-8"))["test"]
    lines = data.examples(app.config.TINY, "test")
    log_p = SavedModelClient(app.saved_model).predict("score", ["\n".join([*lines, ""])])[
        "log_probability"
    ]
    characters = sum(map(len, lines)) + len(lines)
    assert recorded["characters"] == characters
    np.testing.assert_allclose(recorded["value"], -log_p[0] / np.log(2) / characters, rtol=1e-3)
    # TINY learns little, but it does learn: it began at Zipf's law.
    [path] = app.saved_model.glob("*/assets/vocabulary.txt")
    ids, size = ids_of(lines, path, "char")
    zipf = 1 / (np.arange(size) + 2.7)
    assert recorded["value"] < -np.log2(zipf / zipf.sum())[ids].mean() - 0.1
    assert recorded["baseline_value"] < recorded["value"]


# --- main ----------------------------------------------------------------------------------------


def fails(capsys, *argv):
    """What `main` says in its one line before it exits with 2."""
    with pytest.raises(SystemExit) as caught:
        evaluate.main(list(map(str, argv)))
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def with_card(trained, tmp_path, **changes):
    """A copy of the SavedModel with another card."""
    copy = shutil.copytree(trained("language_model").saved_model, tmp_path / "copy")
    [path] = copy.glob("*/assets.extra/model_card.json")
    card = json.loads(path.read_text(encoding="utf-8"))
    card["config"] |= changes.pop("config", {})
    path.write_text(json.dumps(card | changes), encoding="utf-8")
    return copy


def test_main_prints_the_figures(trained, small, tmp_path, capsys):
    folder = with_card(trained, tmp_path, config={"source": "files"}, data=data.digests(small))
    evaluate.main([str(folder), "--data-dir", small.data_dir])
    printed = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())
    found = evaluate.evaluate(folder, small)
    assert printed == {name: str(value) for name, value in found.items()}


def test_no_such_folder(tmp_path, capsys):
    assert str(tmp_path / "none") in fails(capsys, tmp_path / "none")


def test_a_folder_without_a_card(trained, tmp_path, capsys):
    copy = shutil.copytree(trained("language_model").saved_model, tmp_path / "copy")
    [card] = copy.glob("*/assets.extra/model_card.json")
    card.unlink()
    assert "model_card.json" in fails(capsys, copy)
    assert "model_card.json" in fails(capsys, copy / "1")


def test_other_data_than_the_models(trained, tmp_path, capsys, small):
    digests = data.digests(small)
    folder = with_card(
        trained, tmp_path, config={"source": "files"}, data=digests | {"valid": "0" * 64}
    )
    message = fails(capsys, folder, "--data-dir", small.data_dir)
    assert "not the data of the model" in message
    assert "valid" in message
    assert "train" not in message


def test_data_that_is_not_there(trained, tmp_path, capsys):
    folder = with_card(trained, tmp_path, config={"source": "files"})
    assert "--data-dir '' is no folder" in fails(capsys, folder)
    assert "is no folder" in fails(capsys, folder, "--data-dir", tmp_path / "none")
    assert "holds no train.txt" in fails(capsys, folder, "--data-dir", tmp_path)
