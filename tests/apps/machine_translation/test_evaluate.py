"""The figures of `evaluate`, computed again; its baselines; and its picture."""

import dataclasses
import json

import numpy as np
import pytest
import sacrebleu
from PIL import Image

from apps.machine_translation import data, evaluate
from shared import results
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
    found, metrics = evaluate.scores(
        OUTPUTS, REFERENCES, config_of(trained, languages=("en", "de"))
    )
    bleu = sacrebleu.corpus_bleu(OUTPUTS, [REFERENCES])
    lower = sacrebleu.corpus_bleu(OUTPUTS, [REFERENCES], lowercase=True)
    chrf = sacrebleu.corpus_chrf(OUTPUTS, [REFERENCES])
    assert found["bleu"] == pytest.approx(bleu.score, abs=0.01)
    assert found["bleu_lowercase"] == pytest.approx(lower.score, abs=0.01)
    assert found["chrf"] == pytest.approx(chrf.score, abs=0.01)
    assert found["exact_match"] == 25
    assert lower.score > bleu.score
    assert "case:lc" in metrics["bleu_lowercase"]
    assert "tok:13a" in metrics["bleu"]
    _, chinese = evaluate.scores(OUTPUTS, REFERENCES, config_of(trained, languages=("en", "zh")))
    assert "tok:zh" in chinese["bleu"]


def test_the_nearest_sentence(monkeypatch, trained):
    pairs = [("a man rides a horse", "A"), ("two dogs", "B"), ("a man and two women", "C")]
    monkeypatch.setattr(evaluate.data, "examples", lambda config, split: pairs)
    config = config_of(trained)
    found = evaluate._nearest(config, ["the horse!", "Dogs bark", "women", "nothing of it"])
    assert found == ["A", "B", "C", "A"]
    pairs = [("\u6211\u6709\u4e00\u5339\u9a6c", "A horse"), ("\u72d7\u5728\u53eb", "A dog")]
    found = evaluate._nearest(config_of(trained, languages=("zh", "en")), ["\u4e00\u53ea\u72d7"])
    assert found == ["A dog"]  # Chinese has no spaces


@pytest.fixture(scope="module")
def short(trained):
    """TINY's model and 40 of the embedded test pairs, right to the letter for one of them."""
    app = trained("machine_translation")
    pairs = {split: data.examples(app.config.TINY, split)[:40] for split in ("train", "test")}
    output = SavedModelClient(app.saved_model).predict("serving_default", [pairs["test"][3][0]])[
        "outputs"
    ]
    pairs["test"][3] = (pairs["test"][3][0], output[0].decode())
    return app, pairs


def test_figures_and_predictions(short, monkeypatch, tmp_path):
    app, pairs = short
    monkeypatch.setattr(evaluate.data, "examples", lambda config, split: pairs[split])
    path = tmp_path / "predictions.jsonl"
    found = evaluate.evaluate(app.saved_model, app.config.TINY, path)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [(r["input"], r["target"]) for r in rows] == pairs["test"]
    client = SavedModelClient(app.saved_model)
    alone = [client.predict("serving_default", [source]) for source, _ in pairs["test"]]
    assert [r["output"] for r in rows] == [a["outputs"][0].decode() for a in alone]
    np.testing.assert_allclose(
        [r["score"] for r in rows], [a["score"][0] for a in alone], rtol=1e-3
    )
    again, metrics = evaluate.scores(
        [r["output"] for r in rows], [r["target"] for r in rows], app.config.TINY
    )
    assert {name: found[name] for name in again} == again
    # The headline of embedded pairs is what is right to the letter.
    assert found["value"] == found["exact_match"] >= 2.5
    assert found["metric"] == metrics["exact_match"]
    assert found["baseline"] in found["baselines"]
    assert found["baseline_value"] == found["baselines"][found["baseline"]]["exact_match"]
    assert str(found["value"]) in results.headline(found)
    assert [row["beam_width"] for row in found["beams"]] == [
        1,
        app.config.TINY.beam,
        evaluate.N_BEST,
    ]
    with Image.open(tmp_path / "alignment.png") as picture:
        assert picture.width > picture.height > 100
        assert len(picture.convert("L").getcolors(256)) > 10  # something is drawn


def test_of_files_the_headline_is_bleu(short, monkeypatch):
    app, pairs = short
    monkeypatch.setattr(evaluate.data, "examples", lambda config, split: pairs[split])
    found = evaluate.evaluate(app.saved_model, dataclasses.replace(app.config.TINY, source="files"))
    assert found["value"] == found["bleu_lowercase"]
    assert found["metric"].startswith("BLEU (")


def test_another_set_of_pairs_is_refused(short, monkeypatch, capsys):
    app, pairs = short
    monkeypatch.setattr(evaluate.data, "examples", lambda config, split: pairs["test"])
    with pytest.raises(SystemExit):
        evaluate.main([str(app.saved_model)])
    assert "not the data of the model" in capsys.readouterr().err
