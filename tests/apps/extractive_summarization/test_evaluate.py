"""The figures of `evaluate`, its files, and a chain with translation."""

import json

import numpy as np
import pytest

from apps.extractive_summarization import data, evaluate, metrics
from apps.extractive_summarization.labelled import LabelledSplit
from shared import results
from shared.serving import chain
from shared.serving.clients import SavedModelClient


@pytest.fixture(scope="module")
def short(trained):
    """The TINY model and 30 texts of each split."""
    app = trained("extractive_summarization")
    parts = {}
    for name, split in data.splits(app.config.TINY).items():
        references = [split.references(i) for i in range(30)]
        parts[name] = LabelledSplit(name, split[:30], references)
    return app, parts


def test_figures_and_predictions(short, tmp_path):
    app, splits = short
    path = tmp_path / "predictions.jsonl"
    result = evaluate.evaluate(app.saved_model, app.config.TINY, splits, path)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    texts = [text for text, _ in splits["test"]]
    assert [row["input"] for row in rows] == texts
    assert ["".join(map(str, row["labels"])) for row in rows] == [t for _, t in splits["test"]]
    client = SavedModelClient(app.saved_model)
    answer = client.predict("serving_default", texts)
    assert [row["output"].encode() for row in rows] == answer["outputs"].tolist()
    test = evaluate.Texts(app.config.TINY, splits["test"])
    keep = [row["keep"] for row in rows]
    figures, _ = metrics.word_scores(test.units, test.labels, keep)
    assert {name: result[name] for name in figures} == figures
    assert result["value"] == result["f1"]
    assert result["baseline"] in result["systems"]
    assert result["baseline_value"] == max(f["f1"] for f in result["systems"].values())
    assert str(result["value"]) in results.headline(result)
    assert (tmp_path / "highlights.html").stat().st_size > 1000
    assert (tmp_path / "highlights.png").stat().st_size > 1000


def test_texts_that_are_refused_count_as_dropped(short, capsys):
    app, splits = short
    long = "word " * app.config.TINY.max_request_bytes
    examples = [*splits["test"][:3], (long.strip(), "1" * app.config.TINY.max_request_bytes)]
    parts = {**splits, "test": LabelledSplit("test", examples, ["a b"] * 4)}
    result = evaluate.evaluate(app.saved_model, app.config.TINY, parts)
    assert (
        "test: 1 of 4 texts are not summarized; the first is test, example 4: "
        in capsys.readouterr().err
    )
    assert result["texts"] == 4
    three = {**splits, "test": LabelledSplit("test", examples[:3], ["a b"] * 3)}
    expected = evaluate.evaluate(app.saved_model, app.config.TINY, three)
    assert result["f1"] == pytest.approx(expected["f1"] * 3 / 4, abs=0.01)


def test_summaries_can_be_translated(short, trained, tmp_path):
    """In one SavedModel, by `shared.serving.chain`, and translations can be summarized."""
    names = ["extractive_summarization", "machine_translation"]
    folders = {name: trained(name).saved_model for name in names}
    texts = [
        "The old bridge, which was closed, opened on Monday.",
        "",
        "Wednesday, November 25, 2026",
    ]
    for order in (names, names[::-1]):
        parts = [str(folders[name]) for name in order]
        chain.main([*parts, "--name", "chained", "--to", str(tmp_path / order[0])])
        both = SavedModelClient(tmp_path / order[0] / "chained").predict("serving_default", texts)
        first, second = (SavedModelClient(part) for part in parts)
        answer = first.predict("serving_default", texts)
        assert both["outputs_1"].tolist() == answer["outputs"].tolist()
        sent = np.flatnonzero(answer["outputs"] != b"")
        assert sent.tolist() == [0, 2]
        expected = second.predict("serving_default", answer["outputs"][sent].tolist())
        assert both["outputs"][sent].tolist() == expected["outputs"].tolist()
        assert both["outputs"][1] == b""
