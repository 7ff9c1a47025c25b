"""The figures of `evaluate`, computed in another way, and its error messages."""

import dataclasses
import json
import re
import shutil

import numpy as np
import pytest

from apps.language_model import data, evaluate
from apps.language_model.config import TINY
from apps.language_model.model import build
from apps.language_model.serve import Server
from shared import results
from shared.data.splits import digests
from shared.serving import export
from shared.serving.clients import SavedModelClient
from shared.text.ngram import KneserNey
from shared.text.vocabulary import UNKNOWN, Vocabulary


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A config that reads a small text from files: some lines of the embedded text, and unusual ones."""
    folder = tmp_path_factory.mktemp("small")
    counts = {"train": 150, "valid": 25, "test": 25}
    lines = {name: split[: counts[name]] for name, split in data.splits(TINY).items()}
    lines["test"][3:3] = ["", "漢字 \u2028 of another script"]
    for split, text in lines.items():
        (folder / f"{split}.txt").write_bytes("".join(f"{x}\n" for x in text).encode())
    return dataclasses.replace(TINY, source="files", data_dir=(str(folder),))


@pytest.fixture(scope="module")
def word_model(small, tmp_path_factory):
    """A SavedModel of a word model with random weights."""
    config = dataclasses.replace(
        small, tokenizer="word", cell="gru", num_layers=1, vocabulary_size=300
    )
    folder = tmp_path_factory.mktemp("words")
    path = folder / "vocabulary.txt"
    vocabulary = Vocabulary.build(data.splits(config)["train"], "word", path, 300)
    model = build(config, data.Assets(vocabulary))
    rng = np.random.default_rng(0)
    for v in model.trainable_variables:
        v.assign(rng.normal(size=v.shape) * 0.5)
    export.save(Server(model, config, data.Assets(vocabulary)), folder / "1")
    return folder / "1", config


def ids_of(lines, path, tokenizer):
    """Encodes lines, each with its end, with nothing but the vocabulary file."""
    id_of = {t: i for i, t in enumerate(path.read_bytes().decode().split("\n")[:-1])}
    tokens = []
    for line in lines:
        words = [word.decode() for word in line.encode().split()]  # str.split would cut at U+2028
        tokens += [*(words if tokenizer == "word" else line), "</s>"]
    return np.array([id_of.get(t, UNKNOWN) for t in tokens], np.int32), len(id_of)


@pytest.mark.parametrize("tokenizer", ["char", "word"])
def test_figures(tokenizer, small, trained, request):
    if tokenizer == "char":
        folder, config = trained("language_model").saved_model, small
    else:
        folder, config = request.getfixturevalue("word_model")
    splits = data.splits(config)
    result = evaluate.evaluate(folder, config, splits)
    client, lines = SavedModelClient(folder), splits["test"]
    path = client.path / "assets" / "vocabulary.txt"
    ids, size = ids_of(lines, path, tokenizer)
    characters = len("\n".join([*lines, ""]))
    assert result["tokens"] == len(ids)
    assert result["characters"] == characters

    # State carried: the whole text in one request. Line by line: a request for each line.
    whole = client.predict("score", ["\n".join([*lines, ""])])
    assert whole["tokens"].tolist() == [len(ids)]
    log_p = float(whole["log_probability"][0])
    np.testing.assert_allclose(
        result["bits_per_character"], -log_p / np.log(2) / characters, rtol=1e-3
    )
    np.testing.assert_allclose(result["perplexity"], np.exp(-log_p / len(ids)), rtol=1e-3)
    alone = sum(float(client.predict("score", [line])["log_probability"][0]) for line in lines)
    np.testing.assert_allclose(
        result["perplexity_line_by_line"], np.exp(-alone / len(ids)), rtol=1e-3
    )
    assert result["perplexity"] != result["perplexity_line_by_line"]

    # The baseline: its name contains the order, which is the best of all on the validation text.
    order = int(re.fullmatch(r"modified Kneser-Ney (\d+)-gram", result["baseline"])[1])
    texts = {s: ids_of(splits[s], path, tokenizer)[0] for s in splits}
    end = 0 if tokenizer == "word" else None
    orders = evaluate.ORDERS[tokenizer]
    models = {n: KneserNey.fit(texts["train"], n, size, end) for n in orders}
    valid = {n: model.log_prob(texts["valid"]).sum() for n, model in models.items()}
    assert order == max(orders, key=valid.get)
    test = models[order].log_prob(texts["test"])
    assert len(test) == len(ids)
    np.testing.assert_allclose(result["baseline_perplexity"], np.exp(-test.mean()), rtol=1e-3)
    np.testing.assert_allclose(
        result["baseline_bits_per_character"], -test.sum() / np.log(2) / characters, rtol=1e-3
    )

    # The headline.
    headline = {"word": "perplexity", "char": "bits_per_character"}[tokenizer]
    assert result["value"] == result[headline]
    assert result["baseline_value"] == result[f"baseline_{headline}"]
    assert result["metric"] == evaluate.METRIC[tokenizer]
    assert headline.replace("_", " ").split()[0] in result["metric"]
    line = results.headline(result)
    for part in (
        result["metric"],
        result["baseline"],
        str(result["value"]),
        str(result["baseline_value"]),
    ):
        assert part in line
    assert "\n" not in line


def test_the_order_is_the_best_of_all(small, tmp_path, monkeypatch):
    """A worse order may be followed by a better one."""
    valid = {2: -30.0, 3: -20.0, 4: -25.0, 5: -15.0, 6: -16.0}

    class Model:
        def __init__(self, order):
            self.order = order

        def log_prob(self, ids):
            is_valid = len(ids) == len(texts["valid"])
            return np.array([valid[self.order] if is_valid else -float(self.order)])

    splits = data.splits(small)
    assets = data.build_assets(
        dataclasses.replace(small, tokenizer="word"), splits["train"], tmp_path
    )
    texts = {name: data.encode(assets.vocabulary, split) for name, split in splits.items()}
    assert len(texts["valid"]) != len(texts["test"])
    fit = lambda ids, order, size, end_id: Model(order)  # noqa: E731
    monkeypatch.setattr(evaluate.KneserNey, "fit", fit)
    config = dataclasses.replace(small, tokenizer="word")
    name, log_p = evaluate._ngram(assets.vocabulary, config, splits)
    assert (name, log_p) == ("modified Kneser-Ney 5-gram", -5.0)


def test_the_perplexity_of_subwords_is_per_word(small, tmp_path):
    """The perplexity is per word, whatever the number of subwords."""
    config = dataclasses.replace(
        small, tokenizer="subword", cell="gru", num_layers=1, vocabulary_size=200
    )
    splits = data.splits(config)
    assets = data.build_assets(config, splits["train"], tmp_path)
    export.save(Server(build(config, assets), config, assets), tmp_path / "1")
    result = evaluate.evaluate(tmp_path / "1", config, splits)
    lines = splits["test"]
    words = sum(len(line.encode().split()) + 1 for line in lines)
    assert result["tokens"] > words
    log_p = -result["bits_per_character"] * np.log(2) * result["characters"]
    np.testing.assert_allclose(np.log(result["perplexity"]), -log_p / words, rtol=1e-2)
    assert result["value"] == result["perplexity"]
    assert result["metric"] == evaluate.METRIC["word"]


def test_the_run_recorded_the_figures_of_the_embedded_text(trained):
    app = trained("language_model")
    recorded = json.loads((app.run / "metrics.json").read_text(encoding="utf-8"))["test"]
    lines = data.splits(app.config.TINY)["test"]
    client = SavedModelClient(app.saved_model)
    state, log_p = client.predict("start", [""])["state"], 0.0
    for line in lines:  # the whole text is above the limit of a request
        answer = client.predict("step", [f"{line}\n"], state=state)
        assert answer["error"].tolist() == [b""]
        state, log_p = answer["state"], log_p + float(answer["log_probability"][0])
    characters = sum(map(len, lines)) + len(lines)
    assert recorded["characters"] == characters
    np.testing.assert_allclose(recorded["value"], -log_p / np.log(2) / characters, rtol=1e-3)
    # TINY learns little, but it is better than Zipf's law, at which its bias starts.
    [path] = app.saved_model.glob("*/assets/vocabulary.txt")
    ids, size = ids_of(lines, path, "char")
    zipf = 1 / (np.arange(size) + 2.7)
    assert recorded["value"] < -np.log2(zipf / zipf.sum())[ids].mean() - 0.1
    assert recorded["baseline_value"] < recorded["value"]


# --- main ----------------------------------------------------------------------------------------


def fails(capsys, *argv):
    """Returns the error line of `main`, which must exit with 2."""
    with pytest.raises(SystemExit) as caught:
        evaluate.main(list(map(str, argv)))
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def with_card(trained, tmp_path, **changes):
    """Copies the SavedModel and changes its model card."""
    copy = shutil.copytree(trained("language_model").saved_model, tmp_path / "copy")
    [path] = copy.glob("*/assets.extra/model_card.json")
    card = json.loads(path.read_text(encoding="utf-8"))
    card["config"] |= changes.pop("config", {})
    path.write_text(json.dumps(card | changes), encoding="utf-8")
    return copy


def test_main_prints_the_figures(trained, small, tmp_path, capsys):
    folder = with_card(
        trained, tmp_path, config={"source": "files"}, data=digests(data.splits(small))
    )
    evaluate.main([str(folder), "--data-dir", *small.data_dir])
    printed = capsys.readouterr().out.splitlines()
    result = evaluate.evaluate(folder, small, data.splits(small))
    assert printed == list(results.lines(result))


def test_the_size_of_the_cache_has_a_range(tmp_path, capsys):
    line = fails(capsys, tmp_path, "--cache", "-1")
    assert line.startswith("error: --cache must be at least 0")


def test_no_such_folder(tmp_path, capsys):
    assert str(tmp_path / "none") in fails(capsys, tmp_path / "none")


def test_a_folder_without_a_card(trained, tmp_path, capsys):
    copy = shutil.copytree(trained("language_model").saved_model, tmp_path / "copy")
    [card] = copy.glob("*/assets.extra/model_card.json")
    card.unlink()
    assert "model_card.json" in fails(capsys, copy)
    assert "model_card.json" in fails(capsys, copy / "1")


def test_data_that_differ_from_those_of_the_model(trained, tmp_path, capsys, small):
    other = digests(data.splits(small)) | {"valid": "0" * 64}
    folder = with_card(trained, tmp_path, config={"source": "files"}, data=other)
    message = fails(capsys, folder, "--data-dir", *small.data_dir)
    assert "the data differ from those of the model" in message
    assert "valid" in message
    assert "train" not in message


def test_missing_data(trained, tmp_path, capsys):
    folder = with_card(trained, tmp_path, config={"source": "files"})
    assert "--data-dir is missing" in fails(capsys, folder)
    assert "is not a folder" in fails(capsys, folder, "--data-dir", tmp_path / "none")
    assert "has no train.txt" in fails(capsys, folder, "--data-dir", tmp_path)
