"""A whole run of the level "sentence", in Chinese; the contract tests train the level "word" in English."""

import json
import shlex
from unittest import mock

import numpy as np
import pytest

from apps.extractive_summarization import config, embedded, train
from apps.extractive_summarization import export as app_export
from shared.serving import export
from shared.serving.clients import SavedModelClient

FLAGS = shlex.split(
    "--level sentence --language zh --cell gru --centrality textrank --decoder independent --batch-size 8 "
    "--pad-to-multiple-of 8 --quiet"
)


@pytest.fixture
def few_documents(monkeypatch):
    counts = {"train": 100, "valid": 24, "test": 24}
    monkeypatch.setattr(embedded, "COUNTS", {**embedded.COUNTS, "sentence": counts})
    embedded._records.cache_clear()
    yield
    embedded._records.cache_clear()


def test_documents(few_documents, tmp_path, capsys):
    run = tmp_path / "run"
    with mock.patch.dict(config.PRESETS, tiny=config.TINY):
        train.main(["tiny", *FLAGS, "--run", str(run)])
    printed = capsys.readouterr().out
    assert "F1 of kept sentences" in printed
    metrics = json.loads((run / "metrics.json").read_text())
    assert [row["epoch"] for row in metrics["history"]] == [1, 2]
    for row in metrics["history"]:
        assert row["val_error"] == pytest.approx(100 - row["val_f1"])
    systems = metrics["test"]["systems"]
    assert {"the model, its own number of sentences", "degree of word overlap"} <= set(systems)
    assert not metrics["test"]["baseline"].startswith("the model")
    assert (run / "highlights.html").exists()
    [version] = (run / "saved_model").iterdir()
    assert export.problems(version) == []
    client = SavedModelClient(version)
    rows = (run / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [json.loads(row)["input"] for row in rows]
    answer = client.predict("explain", texts)
    for text, units, n in zip(texts, answer["units"], answer["length"], strict=True):
        assert b"".join(units[:n]).decode() == text
    probability = answer["probability"][answer["probability"] > 0]
    assert np.unique(probability).size > len(probability) / 2
    app_export.main([str(run), "--to", str(tmp_path / "saved_models")])
