"""Where sentences come from, and how they become batches."""

import dataclasses
import itertools

import numpy as np
import pytest

from apps.pinyin_conversion import data, embedded
from apps.pinyin_conversion.config import TINY
from apps.pinyin_conversion.readings import TONES
from shared.data import sources
from shared.errors import InputError

FILES = dataclasses.replace(
    TINY, source="files", lexicon_size=0, max_examples=None, columns=(1, 2), group_column=0
)
ROWS = [
    ("a", "ta1 hen3 hao3", "他很好"),
    ("b", "wo3 men5 qu4", "我们去"),
    ("a", "xian4 zai4", "现在"),
]


@pytest.fixture
def folder(tmp_path):
    for split in data.SPLITS:
        lines = ["\t".join(row) + "\n" for row in ROWS]
        (tmp_path / f"{split}.tsv").write_text("".join(lines), "utf-8")
    return tmp_path


def test_embedded_splits_share_no_sentence():
    splits = {split: embedded.pairs(split) for split in data.SPLITS}
    assert {split: len(pairs) for split, pairs in splits.items()} == {
        "train": embedded.SENTENCES - 1000, "valid": 500, "test": 500,
    }  # fmt: skip
    texts = {split: {text for _, text in pairs} for split, pairs in splits.items()}
    assert not texts["train"] & texts["test"]
    assert not texts["train"] & texts["valid"]
    assert not texts["valid"] & texts["test"]
    for pinyin, text in splits["test"]:
        assert len(pinyin.split()) == len(text)


def test_tables_with_groups(folder):
    config = dataclasses.replace(FILES, data_dir=str(folder))
    assert data.examples(config, "test") == [row[1:] for row in ROWS]
    assert data.groups(config, "test") == ["a", "b", "a"]
    assert data.groups(dataclasses.replace(config, group_column=None), "test") == ["test"] * 3


def test_text_gets_its_readings(tmp_path):
    for split in data.SPLITS:
        (tmp_path / f"{split}.txt").write_text("他说：你好！我们去旅行。\nabc 123\n银行\n", "utf-8")
    config = dataclasses.replace(FILES, data_dir=str(tmp_path))
    assert data.examples(config, "train") == [
        ("ta1 shuo1 ni3 hao3", "他说你好"),
        ("wo3 men5 qu4 lv3 xing2", "我们去旅行"),
        ("yin2 hang2", "银行"),
    ]
    assert data.groups(config, "test") == ["test"] * 3


def test_text_beside_a_table_is_learned_too(folder):
    config = dataclasses.replace(FILES, data_dir=str(folder), extra_tests=("other",))
    (folder / "other.tsv").write_text("a\tma1 ma5\t妈妈\n", "utf-8")
    (folder / "train.txt").write_text("银行。他很好！妈妈。银行。\n", "utf-8")
    found = data.examples(config, "train")
    assert found == [row[1:] for row in ROWS] + [("yin2 hang2", "银行")] * 2
    assert data.groups(config, "train") == ["a", "b", "a", "train", "train"]
    assert data.examples(config, "test") == [row[1:] for row in ROWS]


def test_which_text_is_meant_must_be_clear(folder):
    for name in ("train.txt", "other.train.txt"):
        (folder / name).write_text("银行。\n", "utf-8")
    with pytest.raises(InputError, match="several files for train"):
        data.examples(dataclasses.replace(FILES, data_dir=str(folder)), "train")


def test_text_of_tfds_gets_its_readings(monkeypatch):
    asked = []
    lines = lambda *of: asked.append(of) or ["今天很好。", "no Chinese", "我们去西安，好吗？"]  # noqa: E731
    monkeypatch.setattr(sources, "tfds_lines", lines)
    config = dataclasses.replace(FILES, source="tfds:wiki40b/zh-cn", data_dir="d", lexicon_size=0)
    assert data.examples(config, "valid") == [
        ("jin1 tian1 hen3 hao3", "今天很好"),
        ("wo3 men5 qu4 xi1 an1 hao3 ma5", "我们去西安好吗"),
    ]
    assert asked == [("wiki40b/zh-cn", "valid", "d")]
    assert data.groups(config, "valid") == ["valid"] * 2


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("a\tta1 hen3", "line 4: 2 columns"),
        ("a\tta1 hen3\t他很好", "line 4: 2 syllables for 3 characters"),
    ],
)
def test_a_broken_line_is_named(folder, line, says):
    with open(folder / "train.tsv", "a", encoding="utf-8") as file:
        file.write(line + "\n")
    config = dataclasses.replace(FILES, data_dir=str(folder))
    with pytest.raises(InputError, match=rf"train\.tsv, {says}"):
        data.examples(config, "train")


def test_sources_that_are_none(tmp_path):
    with pytest.raises(InputError, match="--source is embedded, files or tfds"):
        data.examples(dataclasses.replace(TINY, source="web"), "train")
    with pytest.raises(InputError, match=r"no train\.tsv.*nor is there a train\.txt"):
        data.examples(dataclasses.replace(FILES, data_dir=str(tmp_path)), "train")


def test_batches(folder, tmp_path):
    config = dataclasses.replace(
        FILES, data_dir=str(folder), batch_size=2, tones=True, tone_dropout=0.0
    )
    train, valid, readings, *_ = data.load(config, tmp_path)
    (inputs, targets, weights), *_ = valid.as_numpy_iterator()
    np.testing.assert_array_equal(inputs["characters"], targets)
    np.testing.assert_array_equal(weights, inputs["codes"] > 0)
    assert (targets[weights == 0] == -1).all()
    assert "".join(readings.characters[c] for c in targets[0] if c >= 0) in {"现在", "他很好"}
    assert train(0).cardinality().numpy() == 2
    told = (inputs["codes"][weights > 0] - 1) % TONES
    assert told.min() > 0
    toneless, *_ = data.load(dataclasses.replace(config, tones=False), tmp_path)
    for inputs, _, weights in toneless(0).as_numpy_iterator():
        assert not ((inputs["codes"][weights > 0] - 1) % TONES).any()


def test_tones_are_dropped_in_train_alone(folder, tmp_path):
    config = dataclasses.replace(
        FILES, data_dir=str(folder), batch_size=3, tones=True, tone_dropout=0.5
    )
    train, valid, *_ = data.load(config, tmp_path)

    def told(batches):
        return [(b[0]["codes"][b[2] > 0] - 1) % TONES > 0 for b in batches.as_numpy_iterator()]

    assert np.concatenate(told(valid)).all()
    epochs = [np.concatenate(told(train(epoch))) for epoch in range(5)]
    assert 0.2 < np.mean(epochs) < 0.8
    np.testing.assert_array_equal(epochs[3], np.concatenate(told(train(3))))
    assert any((a != b).any() for a, b in itertools.pairwise(epochs))


def test_sentences_that_are_too_long(folder, tmp_path):
    config = dataclasses.replace(FILES, data_dir=str(folder), max_length=2)
    train, *_ = data.load(config, tmp_path)
    assert sum(int((b[2].sum(1) > 0).sum()) for b in train(0).as_numpy_iterator()) == 1
    with pytest.raises(InputError, match="no sentence of train is within --max-length 1"):
        data.load(dataclasses.replace(config, max_length=1), tmp_path)
