"""The text of each source, and the windows that are made from it."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from apps.language_model import data, train
from apps.language_model.config import TINY
from shared.data import sources
from shared.data.sources import SPLITS
from shared.data.splits import TextSplit
from shared.errors import InputError
from shared.text.vocabulary import END, UNKNOWN, Vocabulary

TEXT = {
    "train": ["the cat sat on the mat", "", "the dog\u2028barks", "a cat 漢字"],
    "valid": ["the dog sat", "on a cat"],
    "test": ["the mat", "a zebra"],
}


@pytest.fixture
def files(tmp_path):
    """A config that reads TEXT from files."""
    folder = tmp_path / "data"
    folder.mkdir()
    for split, lines in TEXT.items():
        (folder / f"toy.{split}.txt").write_bytes("".join(f"{x}\n" for x in lines).encode())
    return dataclasses.replace(
        TINY, source="files", data_dir=(str(folder),), batch_size=3, window=5, tokenizer="word"
    )


def load(config, folder):
    """Builds the assets in `folder`; returns train, valid and the vocabulary."""
    splits = data.splits(config)
    assets = data.build_assets(config, splits["train"], folder)
    return *data.load(config, splits, assets), assets.vocabulary


# --- splits --------------------------------------------------------------------------------------


def test_embedded_text():
    texts = {name: list(split) for name, split in data.splits(TINY).items()}
    for name, lines in texts.items():
        assert len(lines) > 100, name
        assert all(isinstance(line, str) and line.strip() == line != "" for line in lines)
        assert not any("\n" in line or "\r" in line for line in lines)
    # Every paragraph is in one split, once.
    paragraphs = [line for lines in texts.values() for line in lines]
    assert len(set(paragraphs)) == len(paragraphs)
    sizes = {name: sum(map(len, lines)) for name, lines in texts.items()}
    assert sizes["train"] > 5 * sizes["valid"] > 0
    assert sizes["train"] > 5 * sizes["test"] > 0


def test_files(files):
    splits = data.splits(files)
    assert {name: list(split) for name, split in splits.items()} == TEXT
    assert splits["test"].label(1).endswith("toy.test.txt, line 2")


def test_several_folders_are_concatenated(files, tmp_path):
    more = tmp_path / "more"
    more.mkdir()
    (more / "train.txt").write_text("one more line\n")
    splits = data.splits(dataclasses.replace(files, data_dir=(*files.data_dir, str(more))))
    assert list(splits["train"]) == [*TEXT["train"], "one more line"]
    assert splits["train"].label(4) == f"{more / 'train.txt'}, line 1"
    assert list(splits["test"]) == TEXT["test"]


def test_tfds_is_read(monkeypatch):
    monkeypatch.setattr(sources, "tfds_lines", lambda *arguments: [arguments])
    config = dataclasses.replace(TINY, source="tfds:wiki40b/en", data_dir=("d",))
    assert data.splits(config)["valid"][0] == ("wiki40b/en", "valid", ("d",))


@pytest.mark.parametrize("source", ["", "file", "tfds", "Embedded"])
def test_an_unknown_source(source):
    with pytest.raises(InputError, match=f"embedded, files or tfds:<name>. Received: '{source}'"):
        data.splits(dataclasses.replace(TINY, source=source))


def test_digests_differ_between_texts(files):
    digests = {name: split.digest for name, split in data.splits(files).items()}
    assert set(digests) == set(SPLITS)
    assert len(set(digests.values())) == 3
    assert digests == {name: TextSplit(name, lines).digest for name, lines in TEXT.items()}


# --- load ----------------------------------------------------------------------------------------


def decode_targets(vocabulary, dataset):
    """Returns the text that the windows of a dataset predict."""
    batches = list(dataset.as_numpy_iterator())
    targets = np.concatenate([y for _, y, _ in batches], axis=1)
    weights = np.concatenate([w for _, _, w in batches], axis=1)
    ids = targets.ravel()[weights.ravel() > 0]
    return vocabulary.decode(tf.constant([ids]), tf.constant([len(ids)])).numpy()[0].decode()


@pytest.mark.parametrize("tokenizer", ["word", "char"])
def test_load_gives_windows_of_the_text(files, tmp_path, tokenizer):
    config = dataclasses.replace(files, tokenizer=tokenizer)
    train, valid, vocabulary = load(config, tmp_path)
    expected = {split: "".join(f"{line}\n" for line in TEXT[split]) for split in SPLITS}
    if tokenizer == "word":  # "dog" is no word of train: U+2028 is not white space here
        expected["valid"] = expected["valid"].replace("dog", "<unk>")
    for epoch in 0, 1, 5:
        assert decode_targets(vocabulary, train(epoch)) == expected["train"]
    assert decode_targets(vocabulary, valid) == expected["valid"]
    inputs, targets, weights = valid.element_spec
    assert inputs["tokens"].shape == targets.shape == weights.shape == [config.batch_size, None]
    # The borders of the training windows depend on epoch and seed, those of validation do not.
    borders = lambda dataset: [y.shape[1] for _, y, _ in dataset.as_numpy_iterator()]  # noqa: E731
    if tokenizer == "char":
        assert len({tuple(borders(train(epoch))) for epoch in range(6)}) > 1
        reseeded, other_valid, _ = load(dataclasses.replace(config, seed=2), tmp_path)
        assert [borders(reseeded(e)) for e in range(6)] != [borders(train(e)) for e in range(6)]
        assert borders(other_valid) == borders(valid)


def test_the_vocabulary_is_built_from_the_training_text_only(files, tmp_path):
    _, _, vocabulary = load(files, tmp_path)
    expected = Vocabulary.build(TEXT["train"], "word", tmp_path / "other.txt")
    assert (tmp_path / "vocabulary.txt").read_bytes() == (tmp_path / "other.txt").read_bytes()
    assert vocabulary.size == expected.size
    ids = data.encode(vocabulary, TEXT["test"])
    assert ids.tolist()[-2:] == [UNKNOWN, END]


def test_an_existing_vocabulary_is_read(files, tmp_path):
    (tmp_path / "vocabulary.txt").write_bytes(b"</s>\n<unk>\nthe\n")
    splits, assets = data.splits(files), data.load_assets(files, tmp_path)
    vocabulary = assets.vocabulary
    _, valid = data.load(files, splits, assets)
    assert vocabulary.size == 3
    assert decode_targets(vocabulary, valid) == "the <unk> <unk>\n<unk> <unk> <unk>\n"


def test_vocabulary_size(files, tmp_path):
    _, _, vocabulary = load(dataclasses.replace(files, vocabulary_size=4), tmp_path)
    assert vocabulary.size == 4


def test_encode_concatenates_the_lines(files, tmp_path):
    vocabulary = Vocabulary.build(TEXT["train"], "char", tmp_path / "v.txt")
    lines = (TEXT["train"] + TEXT["test"]) * 2600  # more than one chunk
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
    load(dataclasses.replace(files, batch_size=8), tmp_path)
    config = dataclasses.replace(files, batch_size=tokens + 1)
    with pytest.raises(InputError, match=f"{split} has {tokens} tokens, fewer than --batch-size"):
        load(config, tmp_path)


def test_missing_files_are_reported(files, tmp_path):
    with pytest.raises(InputError, match="--data-dir is missing"):
        load(dataclasses.replace(files, data_dir=()), tmp_path)
    (tmp_path / "data" / "toy.valid.txt").unlink()
    with pytest.raises(InputError, match=r"has no valid\.txt"):
        load(files, tmp_path)


def test_a_setting_out_of_range_is_named(capsys):
    with pytest.raises(SystemExit) as caught:
        train.main(["default", "--batch-size", "0", "--dry-run"])
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("error: --batch-size must be at least 1")
