"""The text of each source, and from it windows."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from apps.language_model import data, train
from apps.language_model.config import TINY
from shared.data import sources
from shared.data.sources import SPLITS
from shared.errors import InputError
from shared.text.vocabulary import END, UNKNOWN, Vocabulary

TEXT = {
    "train": ["the cat sat on the mat", "", "the dog\u2028barks", "a cat 漢字"],
    "valid": ["the dog sat", "on a cat"],
    "test": ["the mat", "a zebra"],
}


@pytest.fixture
def files(tmp_path):
    """A config for TEXT in files."""
    folder = tmp_path / "data"
    folder.mkdir()
    for split, lines in TEXT.items():
        (folder / f"toy.{split}.txt").write_bytes("".join(f"{x}\n" for x in lines).encode())
    return dataclasses.replace(
        TINY, source="files", data_dir=str(folder), batch_size=3, window=5, tokenizer="word"
    )


# --- examples ------------------------------------------------------------------------------------


def test_embedded_text():
    lines = {split: data.examples(TINY, split) for split in SPLITS}
    for split, found in lines.items():
        assert len(found) > 100, split
        assert all(isinstance(line, str) and line.strip() == line != "" for line in found)
        assert not any("\n" in line or "\r" in line for line in found)
        assert data.examples(TINY, split) == found
    # No paragraph of one split stands in another, and none twice.
    everything = [line for found in lines.values() for line in found]
    assert len(set(everything)) == len(everything)
    sizes = {split: sum(map(len, found)) for split, found in lines.items()}
    assert sizes["train"] > 5 * sizes["valid"] > 0
    assert sizes["train"] > 5 * sizes["test"] > 0


def test_files(files):
    assert {split: data.examples(files, split) for split in SPLITS} == TEXT


def test_tfds_goes_to_its_reader(monkeypatch):
    monkeypatch.setattr(sources, "tfds_lines", lambda *arguments: arguments)
    config = dataclasses.replace(TINY, source="tfds:wiki40b/en", data_dir="d")
    assert data.examples(config, "valid") == ("wiki40b/en", "valid", "d")


@pytest.mark.parametrize("source", ["", "file", "tfds", "Embedded"])
def test_an_unknown_source(source):
    with pytest.raises(InputError, match=f"embedded, files or tfds:<name>. Received: '{source}'"):
        data.examples(dataclasses.replace(TINY, source=source), "train")


def test_digests_tell_texts_apart(files):
    digests = data.digests(files)
    assert set(digests) == set(SPLITS)
    assert len(set(digests.values())) == 3
    assert digests == {split: sources.sha256(lines) for split, lines in TEXT.items()}


# --- load ----------------------------------------------------------------------------------------


def read_back(vocabulary, dataset):
    """The text that the windows of a dataset predict."""
    found = list(dataset.as_numpy_iterator())
    targets = np.concatenate([y for _, y, _ in found], axis=1)
    weights = np.concatenate([w for _, _, w in found], axis=1)
    ids = targets.ravel()[weights.ravel() > 0]
    return vocabulary.decode(tf.constant([ids]), tf.constant([len(ids)])).numpy()[0].decode()


@pytest.mark.parametrize("tokenizer", ["word", "char"])
def test_load_gives_windows_of_the_text(files, tmp_path, tokenizer):
    config = dataclasses.replace(files, tokenizer=tokenizer)
    train, valid, vocabulary = data.load(config, tmp_path)
    expected = {split: "".join(f"{line}\n" for line in TEXT[split]) for split in SPLITS}
    if tokenizer == "word":  # of which "dog" is none: U+2028 is not white space here
        expected["valid"] = expected["valid"].replace("dog", "<unk>")
    for epoch in 0, 1, 5:
        assert read_back(vocabulary, train(epoch)) == expected["train"]
    assert read_back(vocabulary, valid) == expected["valid"]
    inputs, targets, weights = valid.element_spec
    assert inputs["tokens"].shape == targets.shape == weights.shape == [config.batch_size, None]
    # The borders of the training windows move with epoch and seed, those of the validation do not.
    borders = lambda dataset: [y.shape[1] for _, y, _ in dataset.as_numpy_iterator()]  # noqa: E731
    if tokenizer == "char":
        assert len({tuple(borders(train(epoch))) for epoch in range(6)}) > 1
        reseeded, other_valid, _ = data.load(dataclasses.replace(config, seed=2), tmp_path)
        assert [borders(reseeded(e)) for e in range(6)] != [borders(train(e)) for e in range(6)]
        assert borders(other_valid) == borders(valid)


def test_the_vocabulary_is_of_the_training_text_alone(files, tmp_path):
    _, _, vocabulary = data.load(files, tmp_path)
    expected = Vocabulary.build(TEXT["train"], "word", tmp_path / "other.txt")
    assert (tmp_path / "vocabulary.txt").read_bytes() == (tmp_path / "other.txt").read_bytes()
    assert vocabulary.size == expected.size
    ids = data.encode(vocabulary, TEXT["test"])
    assert ids.tolist()[-2:] == [UNKNOWN, END]


def test_a_vocabulary_that_is_there_is_used(files, tmp_path):
    (tmp_path / "vocabulary.txt").write_bytes(b"</s>\n<unk>\nthe\n")
    _, valid, vocabulary = data.load(files, tmp_path)
    assert vocabulary.size == 3
    assert read_back(vocabulary, valid) == "the <unk> <unk>\n<unk> <unk> <unk>\n"
    assert (tmp_path / "vocabulary.txt").read_bytes() == b"</s>\n<unk>\nthe\n"


def test_vocabulary_size(files, tmp_path):
    _, _, vocabulary = data.load(dataclasses.replace(files, vocabulary_size=4), tmp_path)
    assert vocabulary.size == 4


def test_encode_is_the_lines_one_after_the_other(files, tmp_path):
    vocabulary = Vocabulary.build(TEXT["train"], "char", tmp_path / "v.txt")
    lines = (TEXT["train"] + TEXT["test"]) * 2600  # more than are encoded at once
    ids = data.encode(vocabulary, lines)
    assert ids.dtype == np.int32
    once = data.encode(vocabulary, lines[:6])
    np.testing.assert_array_equal(ids, np.tile(once, 5200 // 2))
    each = [data.encode(vocabulary, [line]) for line in lines[:6]]
    np.testing.assert_array_equal(np.concatenate(each), once)
    assert all(
        row[-1] == END and len(row) == len(x) + 1 for row, x in zip(each, lines, strict=False)
    )


@pytest.mark.parametrize(("split", "tokens"), [("train", 15), ("valid", 8)])
def test_too_few_tokens(files, tmp_path, split, tokens):
    data.load(dataclasses.replace(files, batch_size=8), tmp_path)
    config = dataclasses.replace(files, batch_size=tokens + 1)
    with pytest.raises(InputError, match=f"{split} has {tokens} tokens, fewer than --batch-size"):
        data.load(config, tmp_path)


def test_mistakes_in_files_are_told_in_one_line(files, tmp_path):
    with pytest.raises(InputError, match="is no folder"):
        data.load(dataclasses.replace(files, data_dir=""), tmp_path)
    (tmp_path / "data" / "toy.valid.txt").unlink()
    with pytest.raises(InputError, match=r"holds no valid\.txt"):
        data.load(files, tmp_path)


def test_a_setting_out_of_range_is_named(capsys):
    with pytest.raises(SystemExit) as caught:
        train.main(["default", "--batch-size", "0", "--dry-run"])
    assert caught.value.code == 2
    assert capsys.readouterr().err == "error: --batch-size is at least 1. Received: 0\n"
