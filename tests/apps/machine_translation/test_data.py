"""Pairs from everywhere, their vocabularies, and batches in which nothing is lost."""

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
    """Parallel files, one of them compressed, under the names that Multi30k gives them."""
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
    return dataclasses.replace(TINY, source="files", data_dir=str(folder), **changes)


# --- Sources -------------------------------------------------------------------------------------


def test_parallel_files(folder):
    for split in SPLITS:
        assert data.examples(config(folder), split) == PAIRS[split]
    turned = data.examples(config(folder, languages=("de", "en")), "test")
    assert turned == [("ein Vogel", "a bird")]


def test_tables(tmp_path):
    for split, pairs in PAIRS.items():
        text = "".join(f"{a}\t{b}\t12\tsomeone\n" for a, b in pairs)
        (tmp_path / f"{split}.tsv").write_text(text, encoding="utf-8")
    assert data.examples(config(tmp_path), "train") == PAIRS["train"]
    turned = config(tmp_path, columns=(1, 0))
    assert data.examples(turned, "test") == [("ein Vogel", "a bird")]
    digests = data.digests(config(tmp_path))
    assert digests != data.digests(turned)
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests.values())


def test_a_table_with_one_column_is_named_with_its_line(tmp_path):
    (tmp_path / "train.tsv").write_text("a\tb\nonly one\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"train\.tsv, line 2: 1 columns"):
        data.examples(config(tmp_path), "train")


def test_what_is_missing_is_named(folder, tmp_path_factory):
    with pytest.raises(InputError, match=r"holds no train\.fr.*nor is there a train\.tsv"):
        data.examples(config(folder, languages=("en", "fr")), "train")
    with pytest.raises(InputError, match="is no folder"):
        data.examples(config(folder / "none"), "train")
    with pytest.raises(InputError, match="--source is embedded, files or tfds"):
        data.examples(dataclasses.replace(TINY, source="web"), "train")


def test_translations_of_tfds(tmp_path):
    given = {"languages": ("pt", "en"), "data_dir": str(tmp_path)}
    settings = dataclasses.replace(TINY, source="tfds:ted_hrlr_translate/pt_to_en", **given)
    with tfds.testing.mock_data(num_examples=3):
        pairs = data.examples(settings, "train")
        assert len(pairs) == 3
        assert all(isinstance(text, str) and text for pair in pairs for text in pair)
        wrong = dataclasses.replace(settings, languages=("pt", "zh"))
        with pytest.raises(InputError, match="has no feature 'zh', only pt, en"):
            data.examples(wrong, "train")


def test_a_pair_of_languages_that_tfds_does_not_have(tmp_path):
    settings = dataclasses.replace(
        TINY, source="tfds:ted_hrlr_translate/xx_to_yy", data_dir=str(tmp_path)
    )
    with pytest.raises(InputError, match="tfds:ted_hrlr_translate/xx_to_yy is not to be had"):
        data.examples(settings, "train")


# --- The embedded pairs --------------------------------------------------------------------------


def test_no_embedded_sentence_of_one_split_is_in_another():
    splits = {split: embedded.pairs(split) for split in SPLITS}
    assert [len(splits[s]) for s in ("valid", "test")] == [500, 1000]
    assert len(splits["train"]) > 10_000
    ids = re.compile("|".join(embedded.UNITS))  # what Babel says for a unit that it lacks
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
    place = tmp_path_factory.mktemp("two")
    _, _, source, target = data.load(config(folder, source_tokenizer="word", lowercase=True), place)
    assert sorted(p.name for p in place.iterdir()) == [
        "vocabulary_source.txt",
        "vocabulary_target.txt",
    ]
    words = source.token(tf.range(2, source.size)).numpy().tolist()
    assert sorted(words) == sorted(b"the dog a cat sleeps. go".split())
    assert b"K" in target.token(tf.range(target.size)).numpy()
    joint = tmp_path_factory.mktemp("one")
    settings = config(
        folder,
        shared_vocabulary=True,
        source_tokenizer="subword",
        target_tokenizer="subword",
        vocabulary_size=60,
    )
    _, _, one, two = data.load(settings, joint)
    assert one is two
    assert [p.name for p in joint.iterdir()] == ["vocabulary.txt"]
    ids, _ = one.encode(tf.constant(["The cat", "Die Katze"]))
    assert UNKNOWN not in ids.numpy()
    with pytest.raises(InputError, match="--shared-vocabulary needs one unit for both languages"):
        data.load(
            config(folder, shared_vocabulary=True, source_tokenizer="word"),
            tmp_path_factory.mktemp("x"),
        )


def test_batches_are_the_pairs(folder, tmp_path_factory):
    train, valid, source, target = data.load(config(folder), tmp_path_factory.mktemp("v"))
    for split, dataset in (("train", train(0)), ("valid", valid)):
        found = []
        for inputs, targets, weights in dataset.as_numpy_iterator():
            assert weights.shape == targets.shape == inputs["target"].shape
            lengths = weights.sum(1).astype(int)
            x = source.decode(inputs["source"], np.maximum(inputs["source_length"] - 1, 0)).numpy()
            y = target.decode(targets, np.maximum(lengths - 1, 0)).numpy()
            for i, n in enumerate(lengths):
                if n:  # else a row that fills the batch
                    assert targets[i, n - 1] == END
                    assert inputs["source"][i, inputs["source_length"][i] - 1] == END
                    assert inputs["target"][i].tolist() == [END, *targets[i, :-1].tolist()]
                    found.append((x[i].decode(), y[i].decode()))
        assert sorted(found) == sorted(PAIRS[split])


def test_long_pairs_are_left_out_of_training_alone(folder, tmp_path_factory):
    settings = config(folder, max_length=9)
    train, valid, *_ = data.load(settings, tmp_path_factory.mktemp("v"))

    def count(dataset):
        return sum(int((w.sum(1) > 0).sum()) for _, _, w in dataset.as_numpy_iterator())

    assert count(train(0)) == 6
    assert count(valid) == 2
    train, valid, *_ = data.load(config(folder, max_examples=5), tmp_path_factory.mktemp("l"))
    assert (count(train(0)), count(valid)) == (5, 2)
    with pytest.raises(InputError, match="no pair of train is within --max-length 2"):
        data.load(config(folder, max_length=2), tmp_path_factory.mktemp("w"))
