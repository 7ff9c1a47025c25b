"""Which characters count as right."""

import json

import numpy as np
import pytest

from apps.pinyin_conversion import evaluate


def distance(a, b):
    """Computes the Levenshtein distance."""
    table = np.zeros((len(a) + 1, len(b) + 1), int)
    table[:, 0], table[0] = range(len(a) + 1), range(len(b) + 1)
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            substitution = table[i - 1, j - 1] + (a[i - 1] != b[j - 1])
            table[i, j] = min(substitution, table[i - 1, j] + 1, table[i, j - 1] + 1)
    return int(table[-1, -1])


def test_by_position_if_the_lengths_agree():
    assert evaluate._right("他是人", "她是人") == 2
    assert evaluate._right("", "") == 0
    assert evaluate._right("是人他", "他是人") == 0  # the edit distance is 2


@pytest.mark.parametrize("seed", range(20))
def test_by_edit_distance_otherwise(seed):
    rng = np.random.default_rng(seed)
    a = "".join(rng.choice(list("abc"), rng.integers(0, 8)))
    b = "".join(rng.choice(list("abc"), rng.integers(0, 8)))
    if len(a) != len(b):
        assert evaluate._right(a, b) == max(0, len(b) - distance(a, b))


def test_accuracy_counts_characters_and_sentences():
    assert evaluate._accuracy(["他是", "人"], ["她是", "人"]) == [66.67, 50.0]
    by_group = evaluate._by_group(["x", "y"], ["他是", "人"], ["她是", "人"])
    assert by_group == {"x": [50.0, 0.0], "y": [100.0, 100.0]}


def test_predictions_are_written(trained):
    app = trained("pinyin_conversion")
    lines = (app.run / "predictions.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert len(rows) == 500
    assert tuple(rows[0]) == evaluate.COLUMNS
    right = sum(evaluate._right(row["output"], row["target"]) for row in rows)
    test = json.loads((app.run / "metrics.json").read_text())["test"]
    assert test["value"] == round(100 * right / sum(len(row["target"]) for row in rows), 2)
    assert test["groups"]["model"]["test"] == [test["value"], test["sentence_accuracy"]]
    assert set(test["groups"]) == {
        "model", "unseparated", "most frequent character", "modified Kneser-Ney trigram",
    }  # fmt: skip
    assert test["overall"] == {name: groups["test"] for name, groups in test["groups"].items()}
    assert 99 < test["ceiling"]["test"] <= 100
    assert test["baseline_value"] > 30
