"""The figures of `evaluate`, its baselines and its picture."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from apps.image_captioning import contact_sheet, data, evaluate, metrics
from shared import results
from shared.data.splits import TextSplit
from shared.serving.clients import SavedModelClient


@pytest.fixture(scope="module")
def short(trained):
    """The TINY model and 12 scenes of each split; one test scene has the model's caption as a reference."""
    app = trained("image_captioning")
    parts = {name: split[:12] for name, split in data.splits(app.config.TINY).items()}
    client = SavedModelClient(app.saved_model)
    file, _ = parts["test"][3]
    output = client.predict("serving_default", [file])["outputs"][0].decode()
    parts["test"][3] = (file, f"another\n{output}")
    return app, {name: TextSplit(name, part) for name, part in parts.items()}, output


def test_figures_and_predictions(short, tmp_path):
    app, splits, output = short
    path = tmp_path / "predictions.jsonl"
    config = app.config.TINY
    result = evaluate.evaluate(app.saved_model, config, splits, path)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [row["target"] for row in rows] == [t.split("\n") for _, t in splits["test"]]
    assert rows[3]["output"] == output
    client = SavedModelClient(app.saved_model)
    alone = [client.predict("serving_default", [file]) for file, _ in splits["test"]]
    assert [row["output"] for row in rows] == [a["outputs"][0].decode() for a in alone]
    figures, _ = metrics.scores([row["output"] for row in rows], [row["target"] for row in rows])
    assert {name: result[name] for name in figures} == figures
    correct = [row["output"] in row["target"] for row in rows]
    assert result["value"] == result["exact_match"] == round(100 * np.mean(correct), 2) > 0
    assert result["baseline"] in result["systems"]
    assert result["baseline_value"] == result["systems"][result["baseline"]]["exact_match"]
    files = [file for file, _ in splits["test"]]
    for name, signature in {"1": "greedy", "5": "n_best"}.items():
        outputs = client.predict(signature, files)["outputs"].reshape(len(files), -1)[:, 0]
        figures, _ = metrics.scores([o.decode() for o in outputs], [row["target"] for row in rows])
        found = result["systems"][f"the model, beam width {name}"]
        assert {metric: found[metric] for metric in figures} == figures
    assert 0 <= result["unseen_pairs"] <= 100
    assert str(result["value"]) in results.headline(result)
    with Image.open(tmp_path / "captions.png") as picture:
        assert picture.width > 500
        assert len(picture.convert("L").getcolors(256)) > 50


def test_the_headline_of_files_is_bleu(short):
    app, splits, _ = short
    config = dataclasses.replace(app.config.TINY, source="files")
    result = evaluate.evaluate(app.saved_model, config, splits)
    assert result["value"] == result["bleu_4"]
    assert result["metric"].startswith("BLEU-4 (")
    systems = dict(result["systems"])
    # One of two captions beside the other.
    references = [target.split("\n") for _, target in splits["test"]]
    human, _ = metrics.scores([r[0] for r in references], [r[1:] for r in references])
    assert systems.pop("a person, beside the other captions") == human
    systems = [b for name, b in systems.items() if not name.startswith("the model")]
    assert len(systems) == 2
    assert result["baseline_value"] == max(b["bleu_4"] for b in systems)
    assert "exact_match" not in result


def test_contact_sheet(tmp_path, image_file):
    rng = np.random.default_rng(0)
    rows = [
        contact_sheet.Row(f"row {i}", image_file(i), "a caption", ["one", "other"], ["a", "b"], w)
        for i, w in enumerate((rng.uniform(size=(2, 3, 3)), np.zeros((2, 3, 3))))
    ]
    rows.append(contact_sheet.Row("refused", b"no image", "", ["one"], [], np.zeros((0, 3, 3))))
    contact_sheet.write(rows, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as picture:
        assert picture.height > 300


def test_attention_is_visible(tmp_path, image_file):
    pictures = []
    for i, cell in enumerate((0, 8)):
        weights = np.eye(9)[cell].reshape(1, 3, 3)
        row = contact_sheet.Row("row", image_file(), "a", ["a"], ["a"], weights)
        contact_sheet.write([row], tmp_path / f"{i}.png")
        with Image.open(tmp_path / f"{i}.png") as picture:
            pictures.append(np.asarray(picture.convert("L"), float))
    difference = pictures[0] - pictures[1]
    # One picture is lighter at one corner, the other at the opposite one.
    (top, left), (bottom, right) = (np.argwhere(d > 40).mean(0) for d in (difference, -difference))
    assert top < bottom
    assert left < right


def test_inputs_are_read_when_they_are_asked_for():
    split = TextSplit("test", [(b"one", "a"), (b"two", "b")])
    inputs = evaluate.Inputs(split)
    assert (len(inputs), inputs[1], inputs[0:2], list(inputs)) == (
        2,
        b"two",
        [b"one", b"two"],
        [b"one", b"two"],
    )
