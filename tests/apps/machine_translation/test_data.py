"""The pairs of each source, their vocabularies and their batches."""

import dataclasses
import gzip
import re

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from apps.machine_translation import data, embedded
from apps.machine_translation.config import TINY
from shared.data.sources import SPLITS
from shared.errors import InputError
from shared.text.vocabulary import END, UNKNOWN

PAIRS = {
    "train": [
        ("The dog", "Der Hund"),
        ("A cat sleeps.", "Eine Katze schl\u00e4ft."),
        ("Go", "Los!"),
    ]
    * 3,
    "valid": [("the cat", "die Katze"), ("A dog", "Ein Hund")],
    "test": [("a bird", "ein Vogel")],
}


@pytest.fixture
def folder(tmp_path):
    """Parallel files with the names of Multi30k, some of them compressed."""
    names = {"train": "train", "valid": "val", "test": "test_2016_flickr"}
    for split, pairs in PAIRS.items():
        for i, language in enumerate(("en", "de")):
            text = "".join(f"{pair[i]}\n" for pair in pairs).encode()
            path = tmp_path / f"{names[split]}.{language}"
            if split == "train":
                path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(text))
            else:
                path.write_bytes(text)
    return tmp_path


def config(folder, **changes):
    changes = {"languages": ("en", "de"), "batch_size": 4, **changes}
    return dataclasses.replace(TINY, source="files", data_dir=(str(folder),), **changes)


def load(settings, folder):
    """Builds the assets in `folder`; returns train, valid and the assets."""
    splits = data.splits(settings)
    assets = data.build_assets(settings, splits["train"], folder)
    return *data.load(settings, splits, assets), assets


# --- Sources -------------------------------------------------------------------------------------


def test_parallel_files(folder):
    splits = data.splits(config(folder))
    assert {name: list(split) for name, split in splits.items()} == PAIRS
    assert splits["valid"].label(1) == f"{folder / 'val.en'}, line 2"
    reversed_pairs = data.splits(config(folder, languages=("de", "en")))["test"]
    assert list(reversed_pairs) == [("ein Vogel", "a bird")]


def test_several_folders_are_concatenated(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (other / "train.tsv").write_text("a tree\tein Baum\n", encoding="utf-8")
    settings = dataclasses.replace(config(folder), data_dir=(str(folder), str(other)))
    splits = data.splits(settings)
    assert sorted(splits["train"]) == sorted([*PAIRS["train"], ("a tree", "ein Baum")])
    assert list(splits["test"]) == PAIRS["test"]
    assert f"{other / 'train.tsv'}, line 1" in map(splits["train"].label, range(10))


def test_a_table_is_preferred_to_parallel_files(folder):
    for split in SPLITS:
        (folder / f"{split}.tsv").write_text("one\teins\n", encoding="utf-8")
    assert list(data.splits(config(folder))["train"]) == [("one", "eins")]


def test_a_file_without_its_translation_is_named(folder):
    (folder / "val.de").unlink()
    with pytest.raises(
        InputError, match=r"val\.en has no partner file: .* valid\.en and valid\.de"
    ):
        data.splits(config(folder))


def test_tables(tmp_path):
    for split, pairs in PAIRS.items():
        text = "".join(f"{a}\t{b}\t12\tsomeone\n" for a, b in pairs)
        (tmp_path / f"{split}.tsv").write_text(text, encoding="utf-8")
    splits = data.splits(config(tmp_path))
    assert list(splits["train"]) == PAIRS["train"]
    reversed_splits = data.splits(config(tmp_path, columns=(1, 0)))
    assert list(reversed_splits["test"]) == [("ein Vogel", "a bird")]
    for name, split in splits.items():
        assert re.fullmatch("[0-9a-f]{64}", split.digest)
        assert split.digest != reversed_splits[name].digest


def test_pairs_with_a_blank_side_are_left_out_and_counted(folder, capsys):
    """Of every split: nothing can be learned from them, and no score has a meaning for them."""
    for split in SPLITS:
        lines = [
            "one\teins",
            "\tzwei",
            "two\tzwei",
            "three\t \u00a0",
            "\u200b\t\u200b",
            "four\tvier",
            "5\t5",
        ]
        text = "".join(f"{line}\n" for line in lines)
        (folder / f"{split}.tsv").write_text(text, encoding="utf-8")
    splits = data.splits(config(folder))
    printed = capsys.readouterr().err.splitlines()
    for line, (name, split) in zip(printed, splits.items(), strict=True):
        assert list(split) == [("one", "eins"), ("two", "zwei"), ("four", "vier"), ("5", "5")]
        path = folder / f"{name}.tsv"
        assert split.label(1) == f"{path}, line 3"
        assert line == (
            f"{name}: 3 of 7 pairs have a blank side (the first is {path}, line 2) and are left out"
        )
    with open(folder / "test.tsv", "a", encoding="utf-8") as file:
        file.write("six\t\nseven\t\n")
    with pytest.raises(
        InputError, match=r"test: 5 of 9 pairs .*test\.tsv, line 2\), more than half"
    ):
        data.splits(config(folder))


def test_a_table_with_one_column_is_named_with_its_line(tmp_path):
    (tmp_path / "train.tsv").write_text("a\tb\nonly one\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"train\.tsv, line 2: 2 columns .* Received: 1"):
        data.splits(config(tmp_path))


def test_what_is_missing_is_named(folder, tmp_path_factory):
    with pytest.raises(InputError, match=r"has neither train\.tsv nor train\.es and train\.fr"):
        data.splits(config(folder, languages=("es", "fr")))
    with pytest.raises(InputError, match="is not a folder"):
        data.splits(config(folder / "none"))
    with pytest.raises(InputError, match="--source must be embedded, files or tfds"):
        data.splits(dataclasses.replace(TINY, source="web"))


def test_translations_of_tfds(tmp_path):
    given = {"languages": ("pt", "en"), "data_dir": (str(tmp_path),)}
    settings = dataclasses.replace(TINY, source="tfds:ted_hrlr_translate/pt_to_en", **given)
    with tfds.testing.mock_data(num_examples=3):
        pairs = list(data.splits(settings)["train"])
        assert len(pairs) == 3
        assert all(isinstance(text, str) and text for pair in pairs for text in pair)
        wrong = dataclasses.replace(settings, languages=("pt", "zh"))
        with pytest.raises(InputError, match=r"has no feature 'zh'\. Its features: pt, en"):
            data.splits(wrong)


def test_a_pair_of_languages_that_tfds_does_not_have(tmp_path):
    settings = dataclasses.replace(
        TINY, source="tfds:ted_hrlr_translate/xx_to_yy", data_dir=(str(tmp_path),)
    )
    with pytest.raises(InputError, match="tfds:ted_hrlr_translate/xx_to_yy is not available"):
        data.splits(settings)


# --- The embedded pairs --------------------------------------------------------------------------


def test_no_embedded_sentence_of_one_split_is_in_another():
    splits = {split: embedded.pairs(split) for split in SPLITS}
    assert [len(splits[s]) for s in ("valid", "test")] == [500, 1000]
    assert len(splits["train"]) > 10_000
    ids = re.compile("|".join(embedded.UNITS))  # Babel returns the id of a unit that it lacks
    for side in (0, 1):
        texts = {s: {pair[side] for pair in pairs} for s, pairs in splits.items()}
        assert not texts["train"] & texts["test"]
        assert not texts["train"] & texts["valid"]
        assert not [text for split in SPLITS for text in texts[split] if ids.search(text)]
    assert len({s for s, _ in splits["train"]}) == len(splits["train"])


def test_embedded_pairs_are_what_cldr_says():
    pairs = dict(embedded.pairs("train"))
    assert pairs["France"] == "\u6cd5\u56fd"
    assert pairs["Portuguese"] == "\u8461\u8404\u7259\u8bed"
    everything = [pair for split in SPLITS for pair in embedded.pairs(split)]
    days = [p for p in everything if re.fullmatch(r"[A-Z][a-z]+ \d+, \d{4}", p[0])]
    assert len(days) > 1000
    for english, chinese in days:
        year, month, day = map(int, re.findall(r"\d+", chinese))
        assert english.endswith(f" {day}, {year}")
        assert 1 <= month <= 12


# --- Vocabularies and batches --------------------------------------------------------------------


def test_vocabularies(folder, tmp_path_factory):
    two = tmp_path_factory.mktemp("two")
    _, _, assets = load(config(folder, source_tokenizer="word", lowercase=True), two)
    source, target = assets
    names = ["source_vocabulary.txt", "target_vocabulary.txt"]
    assert sorted(p.name for p in two.iterdir()) == names
    words = source.token(tf.range(2, source.size)).numpy().tolist()
    assert sorted(words) == sorted(b"the dog a cat sleeps. go".split())
    assert b"K" in target.token(tf.range(target.size)).numpy()
    one = tmp_path_factory.mktemp("one")
    settings = config(
        folder,
        shared_vocabulary=True,
        source_tokenizer="subword",
        target_tokenizer="subword",
        vocabulary_size=60,
    )
    _, _, assets = load(settings, one)
    assert assets.source_vocabulary is assets.target_vocabulary
    assert [p.name for p in one.iterdir()] == ["vocabulary.txt"]
    ids, _ = assets.source_vocabulary.encode(tf.constant(["The cat", "Die Katze"]))
    assert UNKNOWN not in ids.numpy()
    with pytest.raises(
        InputError, match=r"--shared-vocabulary needs .* to be the same\. Received: word, char"
    ):
        load(
            config(folder, shared_vocabulary=True, source_tokenizer="word"),
            tmp_path_factory.mktemp("x"),
        )


def test_batches_are_the_pairs(folder, tmp_path_factory):
    train, valid, (source, target) = load(config(folder), tmp_path_factory.mktemp("v"))
    for split, dataset in (("train", train(0)), ("valid", valid)):
        decoded_pairs = []
        for inputs, targets, weights in dataset.as_numpy_iterator():
            assert weights.shape == targets.shape == inputs["target"].shape
            lengths = weights.sum(1).astype(int)
            x = source.decode(inputs["source"], np.maximum(inputs["source_length"] - 1, 0)).numpy()
            y = target.decode(targets, np.maximum(lengths - 1, 0)).numpy()
            for i, n in enumerate(lengths):
                if n:  # not a row of padding
                    assert targets[i, n - 1] == END
                    assert inputs["source"][i, inputs["source_length"][i] - 1] == END
                    assert inputs["target"][i].tolist() == [END, *targets[i, :-1].tolist()]
                    decoded_pairs.append((x[i].decode(), y[i].decode()))
        assert sorted(decoded_pairs) == sorted(PAIRS[split])


def test_long_pairs_are_left_out_of_training_only(folder, tmp_path_factory, capsys):
    settings = config(folder, max_length=9)
    train, valid, _ = load(settings, tmp_path_factory.mktemp("v"))
    message = "train: 3 of 9 examples are longer than --max-length 9 tokens and are dropped"
    assert message in capsys.readouterr().err

    def count(dataset):
        return sum(int((w.sum(1) > 0).sum()) for _, _, w in dataset.as_numpy_iterator())

    assert count(train(0)) == 6
    assert count(valid) == 2
    train, valid, _ = load(config(folder, max_examples=5), tmp_path_factory.mktemp("l"))
    assert (count(train(0)), count(valid)) == (5, 2)
    with pytest.raises(InputError, match=r"^train: 9 of 9 examples are longer than --max-length 2"):
        load(config(folder, max_length=2), tmp_path_factory.mktemp("w"))
