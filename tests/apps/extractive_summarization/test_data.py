"""From texts with labels to batches."""

import dataclasses
import json

import numpy as np
import pytest

from apps.extractive_summarization import data
from apps.extractive_summarization.config import TINY
from apps.extractive_summarization.units import MAX_CHARACTERS
from shared.data.splits import TextSplit
from shared.errors import InputError
from shared.text.vocabulary import UNKNOWN

WORDS = [
    ("the <unk> cat sat .", "10111"),
    ("a dog sat . the cat ran !", "01111011"),
    ("the cat", "11"),
    ("the Zebra", "01"),
]
DOCUMENTS = [
    ("The cat sat. A dog ran. The cat ran.", "101"),
    ("A dog. ", "1"),
    ("One cat. Two cats. Three. Four dogs.", "0101"),
]
CONFIG = dataclasses.replace(
    TINY, batch_size=4, pad_to_multiple_of=4, word_dropout=0.0, min_count=1
)


def load(examples, folder, **settings):
    config = dataclasses.replace(CONFIG, **settings)
    splits = {name: TextSplit(name, examples) for name in ("train", "valid")}
    assets = data.build_assets(config, splits["train"], folder)
    return assets, *data.load(config, splits, assets)


def rows_of(batches):
    """Returns the rows that are not padding, by their words: {words: (inputs, labels, weights)}."""
    rows = {}
    for inputs, labels, weights in batches.as_numpy_iterator():
        for i, n in enumerate(inputs["length"]):
            assert weights[i].tolist() == [1.0] * n + [0.0] * (len(weights[i]) - n)
            if n:
                row = {name: value[i] for name, value in inputs.items()}
                rows[json.dumps(row["words"].tolist())] = (row, labels[i].tolist())
    return rows


def test_sentences_of_words(tmp_path):
    assets, train, valid = load(WORDS, tmp_path)
    [batch] = [*train(0).as_numpy_iterator()][:1]
    assert batch[0]["words"].shape[0] == 4
    assert batch[0]["words"].shape[1] % 4 == 0
    assert batch[0]["characters"].shape == (*batch[0]["words"].shape, MAX_CHARACTERS)
    for batches in (train(0), valid):
        rows = rows_of(batches)
        assert len(rows) == 5  # the second text has two sentences
        texts = {}
        for row, labels in rows.values():
            n = row["length"]
            tokens = assets.words.token(row["words"][:n]).numpy().astype(str).tolist()
            texts[" ".join(tokens)] = "".join(map(str, labels[:n]))
            assert not row["words"][n:].any()
            assert not row["characters"][n:].any()
            letters = [
                "".join(assets.characters.token(c[c > 0]).numpy().astype(str))
                for c in row["characters"]
            ]
            # <unk> of the data has no letters.
            assert letters[:n] == [token.replace("<unk>", "") for token in tokens]
        assert texts == {
            "the <unk> cat sat .": "10111", "a dog sat .": "0111", "the cat ran !": "1011",
            "the cat": "11", "the zebra": "01",
        }  # fmt: skip


def test_rare_words_are_unknown_but_keep_their_characters(tmp_path):
    assets, train, _ = load(WORDS, tmp_path, min_count=2)
    rows = [row for row, _ in rows_of(train(0)).values() if row["length"] == 2]
    [zebra] = [row for row in rows if row["words"][1] == UNKNOWN]
    letters = zebra["characters"][1]
    assert "".join(assets.characters.token(letters[letters > 0]).numpy().astype(str)) == "zebra"


def test_word_dropout_keeps_the_characters_and_is_a_function_of_the_epoch(tmp_path):
    examples = [("the cat " * 20, "1" * 40), *WORDS[2:]]
    _, train, valid = load(examples, tmp_path, word_dropout=20.0)
    (first, *_), (again, *_), (other, *_) = (next(train(e).as_numpy_iterator()) for e in (1, 1, 2))
    np.testing.assert_array_equal(first["words"], again["words"])
    words, length = first["words"], first["length"]
    place = int(np.argmax(length))
    dropped = words[place, : length[place]] == UNKNOWN
    assert 0.2 < dropped.mean() < 0.8  # a / (a + n) is about a half
    assert not np.array_equal(words, other["words"])
    assert first["characters"][place, : length[place]].any(1).all()
    [(inputs, *_)] = valid.as_numpy_iterator()
    assert not (inputs["words"] == UNKNOWN).any()


def test_documents_of_sentences(tmp_path):
    assets, train, _ = load(DOCUMENTS, tmp_path, level="sentence", centrality="degree")
    [(inputs, labels, weights)] = train(0).as_numpy_iterator()
    assert inputs["words"].shape[:2] == labels.shape == (4, 4)
    assert inputs["words"].shape[2] == 4
    assert inputs["centrality"].shape == (4, 4, 2)
    order = np.argsort(inputs["length"])
    assert inputs["length"][order].tolist() == [0, 1, 3, 4]
    assert [labels[i].tolist() for i in order] == [
        [0] * 4,
        [1, 0, 0, 0],
        [1, 0, 1, 0],
        [0, 1, 0, 1],
    ]
    assert weights.sum(1)[order].tolist() == [0, 1, 3, 4]
    token = lambda ids: " ".join(assets.words.token(ids[ids > 0]).numpy().astype(str))  # noqa: E731
    assert [token(s) for s in inputs["words"][order[2]]] == [
        "the cat sat .",
        "a dog ran .",
        "the cat ran .",
        "",
    ]
    parsed = data.parse(
        dataclasses.replace(CONFIG, level="sentence", centrality="degree"),
        TextSplit("train", DOCUMENTS),
    )
    values = inputs["centrality"]
    np.testing.assert_allclose(values[order[2]][:3], parsed.features[0].numpy(), atol=1e-6)
    np.testing.assert_allclose(values[order[3]], parsed.features[2].numpy(), atol=1e-6)
    assert not values[order[0]].any()


def test_long_examples_are_dropped_from_training_only(tmp_path, capsys):
    _, train, valid = load(WORDS, tmp_path, max_length=4)
    assert len(rows_of(train(0))) == 4
    assert len(rows_of(valid)) == 5
    assert "train: 1 of 5 examples are longer than --max-length 4 words" in capsys.readouterr().err
    with pytest.raises(InputError, match="more than half"):
        load(DOCUMENTS, tmp_path, level="sentence", max_length=1)


def test_another_number_of_labels_is_an_error(tmp_path):
    split = TextSplit(
        "train", [("a b", "11"), ("c d", "1")], ["x.jsonl, line 1", "x.jsonl, line 2"]
    )
    with pytest.raises(InputError, match=r"^x.jsonl, line 2: 1 labels for 2 words$"):
        data.build_assets(CONFIG, split, tmp_path)


def test_a_split_is_parsed_once(monkeypatch):
    split, calls = TextSplit("train", WORDS), []
    parse = data._parse
    monkeypatch.setattr(data, "_parse", lambda *a: calls.append(a) or parse(*a))
    one = data.parse(CONFIG, split)
    assert data.parse(CONFIG, split) is one
    assert data.parse(CONFIG, split, 2).labels.nrows() == 2
    assert len(calls) == 2


def test_splits_of_files(tmp_path):
    for name in ("train", "valid", "test"):
        rows = [{"tokens": text, "labels": labels} for text, labels in WORDS[:2]]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / f"{name}.jsonl").write_text(text)
    config = dataclasses.replace(CONFIG, source="files", data_dir=(str(tmp_path),))
    splits = data.splits(config)
    assert splits["test"][:] == WORDS[:2]
    assert splits["test"].references(0) == "the cat sat ."
    with pytest.raises(InputError, match="--source must be"):
        data.splits(dataclasses.replace(CONFIG, source="x"))
