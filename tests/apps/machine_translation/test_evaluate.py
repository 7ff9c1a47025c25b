"""The figures of `evaluate`, its baselines and its picture."""

import dataclasses
import json

import numpy as np
import pytest
import sacrebleu
from PIL import Image

from apps.machine_translation import data, evaluate
from apps.machine_translation.config import TINY
from shared import results
from shared.data.splits import TextSplit
from shared.serving.clients import SavedModelClient

REFERENCES = [
    "ein kleines Kind klettert",
    "Zwei M\u00e4nner stehen",
    "Der Hund",
    "ein Haus und ein Hof",
]
OUTPUTS = ["ein Kind klettert", "zwei M\u00e4nner stehen", "Der Hund", "ein Haus mit Hof"]


def config_of(trained, **changes):
    return dataclasses.replace(trained("machine_translation").config.TINY, **changes)


def test_scores_are_those_of_sacrebleu(trained):
    result, metrics = evaluate.scores(
        OUTPUTS, REFERENCES, config_of(trained, languages=("en", "de"))
    )
    bleu = sacrebleu.corpus_bleu(OUTPUTS, [REFERENCES])
    lower = sacrebleu.corpus_bleu(OUTPUTS, [REFERENCES], lowercase=True)
    chrf = sacrebleu.corpus_chrf(OUTPUTS, [REFERENCES])
    assert result["bleu"] == pytest.approx(bleu.score, abs=0.01)
    assert result["bleu_lowercase"] == pytest.approx(lower.score, abs=0.01)
    assert result["chrf"] == pytest.approx(chrf.score, abs=0.01)
    assert result["exact_match"] == 25
    assert lower.score > bleu.score
    assert "case:lc" in metrics["bleu_lowercase"]
    assert "tok:13a" in metrics["bleu"]


@pytest.mark.parametrize(
    ("tokenizer", "languages"),
    {
        "zh": "zh zho chi cmn yue wuu lzh zh-TW zh_Hans zho_Hans cmn_Hans_CN ZH",
        "char": "ja jpn ja-JP ko kor tha th th_TH lo lao my mya bur km khm bo bod tib bod_Tibt",
        # Two letters are not enough: Javanese, Zhuang, Thado, Konkani and Lozi begin like others.
        "13a": "en deu jav jv zha thd kok loz de-AT",
    }.items(),
)
def test_the_tokenizer_of_bleu(tokenizer, languages):
    for language in languages.split():
        config = dataclasses.replace(TINY, languages=("en", language))
        _, metrics = evaluate.scores(OUTPUTS, REFERENCES, config)
        assert f"tok:{tokenizer}|" in metrics["bleu"], language
        assert f"tok:{tokenizer}|" in metrics["bleu_lowercase"], language


@pytest.mark.parametrize(
    ("language", "reference", "output"),
    [
        ("cmn", "他是研究生物的", "他是研究人的"),
        ("jpn", "猫が魚を食べる", "猫が魚を食べた"),
        ("th", "แมวกินปลา", "แมวกินปู"),
    ],
)
def test_bleu_of_languages_without_spaces(language, reference, output):
    config = dataclasses.replace(TINY, languages=("en", language))
    figures, _ = evaluate.scores([output], [reference], config)
    assert 40 < figures["bleu"] < 100


def test_the_nearest_sentence_of_languages_without_spaces():
    pairs = [
        ("หมาเห่า", "The dog barks"),
        ("แมวกิน", "The cat eats"),
    ]
    for language in "tha", "th-TH", "lao":
        config = dataclasses.replace(TINY, languages=(language, "en"))
        nearest = evaluate._nearest(config, pairs, ["แมวนอน"])
        assert nearest == ["The cat eats"], language
    words = dataclasses.replace(TINY, languages=("jav", "en"))
    assert evaluate._words("kucing mangan", words) == {"kucing", "mangan"}


def test_the_nearest_training_sentence(trained):
    pairs = [("a man rides a horse", "A"), ("two dogs", "B"), ("a man and two women", "C")]
    config = config_of(trained)
    result = evaluate._nearest(config, pairs, ["the horse!", "Dogs bark", "women", "nothing of it"])
    assert result == ["A", "B", "C", "A"]
    pairs = [("\u6211\u6709\u4e00\u5339\u9a6c", "A horse"), ("\u72d7\u5728\u53eb", "A dog")]
    result = evaluate._nearest(
        config_of(trained, languages=("zh", "en")), pairs, ["\u4e00\u53ea\u72d7"]
    )
    assert result == ["A dog"]  # Chinese has no spaces between words


@pytest.fixture(scope="module")
def short(trained):
    """The TINY model and 40 of the embedded pairs, one of them with the output of the model as target."""
    app = trained("machine_translation")
    pairs = {name: split[:40] for name, split in data.splits(app.config.TINY).items()}
    output = SavedModelClient(app.saved_model).predict("serving_default", [pairs["test"][3][0]])[
        "outputs"
    ]
    pairs["test"][3] = (pairs["test"][3][0], output[0].decode())
    return app, {name: TextSplit(name, part) for name, part in pairs.items()}


def test_figures_and_predictions(short, tmp_path):
    app, splits = short
    path = tmp_path / "predictions.jsonl"
    result = evaluate.evaluate(app.saved_model, app.config.TINY, splits, path)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [(r["input"], r["target"]) for r in rows] == list(splits["test"])
    client = SavedModelClient(app.saved_model)
    alone = [client.predict("serving_default", [source]) for source, _ in splits["test"]]
    assert [r["output"] for r in rows] == [a["outputs"][0].decode() for a in alone]
    np.testing.assert_allclose(
        [r["score"] for r in rows], [a["score"][0] for a in alone], rtol=1e-3
    )
    again, metrics = evaluate.scores(
        [r["output"] for r in rows], [r["target"] for r in rows], app.config.TINY
    )
    assert {name: result[name] for name in again} == again
    # The headline of the embedded pairs is the exact match.
    assert result["value"] == result["exact_match"] >= 2.5
    assert result["metric"] == metrics["exact_match"]
    assert result["baseline"] in result["baselines"]
    assert result["baseline_value"] == result["baselines"][result["baseline"]]["exact_match"]
    assert str(result["value"]) in results.headline(result)
    assert [row["beam_width"] for row in result["beams"]] == [
        1,
        app.config.TINY.beam_width,
        evaluate.N_BEST,
    ]
    with Image.open(tmp_path / "alignment.png") as picture:
        assert picture.width > picture.height > 100
        assert len(picture.convert("L").getcolors(256)) > 10  # the picture is not empty


def test_the_headline_of_files_is_bleu(short):
    app, splits = short
    config = dataclasses.replace(app.config.TINY, source="files")
    result = evaluate.evaluate(app.saved_model, config, splits)
    assert result["value"] == result["bleu_lowercase"]
    assert result["metric"].startswith("BLEU (")


def test_sentences_that_are_not_translated_are_counted(short, tmp_path, capsys):
    app, splits = short
    limit = app.config.TINY.max_request_bytes
    long = "a" * (limit + 1)
    pairs = [*splits["test"][:3], (long, "x"), ("\U0001f600", "y")]
    test = TextSplit("test", pairs, [f"test.tsv, line {i}" for i in range(1, 6)])
    result = evaluate.evaluate(
        app.saved_model, app.config.TINY, {**splits, "test": test}, tmp_path / "predictions.jsonl"
    )
    assert (
        f"test: 2 of 5 sentences are not translated; the first is test.tsv, line 4: {limit + 1} bytes: "
        f"refused, because max_request_bytes is {limit}\n"
    ) in capsys.readouterr().err
    rows = (tmp_path / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(row)["output"] for row in rows[3:]] == ["", ""]
    assert result["pairs"] == 5
    assert (tmp_path / "alignment.png").is_file()  # of the sentences that are translated


def test_other_pairs_are_refused(short, monkeypatch, capsys):
    app, splits = short
    monkeypatch.setattr(evaluate.data, "splits", lambda config: splits)
    with pytest.raises(SystemExit):
        evaluate.main([str(app.saved_model)])
    assert "the data differ from those of the model" in capsys.readouterr().err
