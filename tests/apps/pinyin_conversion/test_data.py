"""Where sentences come from, and how they become batches."""

import dataclasses
import hashlib
import itertools

import numpy as np
import pytest

from apps.pinyin_conversion import data, embedded
from apps.pinyin_conversion.config import TINY
from apps.pinyin_conversion.lexicon.readings import NUM_TONES
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
PAIRS = [row[1:] for row in ROWS]


def write_rows(folder, split, rows):
    (folder / f"{split}.tsv").write_text("".join("\t".join(row) + "\n" for row in rows), "utf-8")


def write_text(folder, text, splits=sources.SPLITS):
    for split in splits:
        (folder / f"{split}.txt").write_text(text, "utf-8")


def files(*folders, **settings):
    return dataclasses.replace(FILES, data_dir=tuple(map(str, folders)), **settings)


@pytest.fixture
def folder(tmp_path):
    for split in sources.SPLITS:
        write_rows(tmp_path, split, ROWS)
    return tmp_path


@pytest.fixture
def load(folder, tmp_path_factory):
    """A function of settings that returns the batches of train and valid, and the assets."""

    def load(**settings):
        config = files(folder, **settings)
        splits = data.splits(config)
        assets = data.build_assets(config, splits["train"], tmp_path_factory.mktemp("assets"))
        return *data.load(config, splits, assets), assets

    return load


def test_embedded_splits_share_no_sentence():
    splits = data.splits(TINY)
    assert {name: len(split) for name, split in splits.items()} == {
        "train": embedded.SENTENCES - 1000, "valid": 500, "test": 500,
    }  # fmt: skip
    texts = {name: {text for _, text in split} for name, split in splits.items()}
    for first, second in itertools.combinations(texts.values(), 2):
        assert not first & second
    for pinyin, text in splits["test"]:
        assert len(pinyin.split()) == len(text)


def test_tables_with_groups(folder):
    test = data.splits(files(folder))["test"]
    assert list(test) == PAIRS
    assert test.groups == ["a", "b", "a"]
    assert test.label(1).endswith("test.tsv, line 2")
    assert data.splits(files(folder, group_column=None))["test"].groups == ["test"] * 3


def test_text_gets_its_readings(tmp_path):
    write_text(tmp_path, "他说：你好！我们去旅行。\n，\n银行\n")
    splits = data.splits(files(tmp_path))
    assert list(splits["train"]) == [
        ("ta1 shuo1 ni3 hao3", "他说你好"),
        ("wo3 men5 qu4 lv3 xing2", "我们去旅行"),
        ("yin2 hang2", "银行"),
    ]
    assert [splits["train"].label(i)[-6:] for i in range(3)] == ["line 1", "line 1", "line 3"]
    assert splits["test"].groups == ["test"] * 3


def test_text_beside_a_table_is_used_too(folder):
    write_rows(folder, "other", [("a", "ma1 ma5", "妈妈")])
    write_text(folder, "银行。他很好！妈妈。银行。\n", ["train"])
    splits = data.splits(files(folder, extra_tests=("other",)))
    train = splits["train"]
    assert list(train) == PAIRS + [("yin2 hang2", "银行")] * 2
    assert train.groups == ["a", "b", "a", "train", "train"]
    assert train.label(4).endswith("train.txt, line 1")
    assert list(splits["test"]) == PAIRS
    lines = "".join(f"{pinyin}\t{text}\n" for pinyin, text in train)
    assert train.digest == hashlib.sha256(lines.encode()).hexdigest()


def test_folders_are_concatenated(folder, tmp_path_factory):
    second, third = tmp_path_factory.mktemp("second"), tmp_path_factory.mktemp("third")
    write_rows(second, "train", [("c", "ma1 ma5", "妈妈")])
    write_text(second, "今天。\n", ["test"])
    write_text(third, "银行。他很好。今天。\n", ["train"])
    splits = data.splits(files(folder, second, third))
    assert list(splits["train"]) == [*PAIRS, ("ma1 ma5", "妈妈"), ("yin2 hang2", "银行")]
    assert splits["train"].groups == ["a", "b", "a", "c", "train"]
    assert splits["train"].label(3) == f"{second / 'train.tsv'}, line 1"
    assert list(splits["test"]) == [*PAIRS, ("jin1 tian1", "今天")]
    assert list(splits["valid"]) == PAIRS


def test_several_files_for_a_split(folder):
    for name in ("train.txt", "other.train.txt"):
        (folder / name).write_text("银行。\n", "utf-8")
    with pytest.raises(InputError, match="several files for train"):
        data.splits(files(folder))


def test_text_of_tfds_gets_its_readings(monkeypatch):
    calls = []
    lines = ["今天很好。", "no Chinese", "我们去西安，好吗？"]
    monkeypatch.setattr(sources, "tfds_lines", lambda *call: calls.append(call) or lines)
    config = files("d", source="tfds:wiki40b/zh-cn")
    valid = data.splits(config)["valid"]
    assert list(valid) == [
        ("jin1 tian1 hen3 hao3", "今天很好"),
        ("wo3 men5 qu4 xi1 an1 hao3 ma5", "我们去西安好吗"),
    ]
    assert calls == [("wiki40b/zh-cn", split, ("d",)) for split in sources.SPLITS]
    assert valid.groups == ["valid"] * 2


@pytest.mark.parametrize("split", [*sources.SPLITS, "other"])
@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a\tta1 hen3", "line 4: 3 columns"),
        ("a\tta1 hen3\t他很好", "line 4: 2 syllables for 3 characters"),
        ("a\thoa3 de5\t好的", "line 4: 'hoa3' is not a pinyin syllable"),
        ("a\thao6 de5\t好的", "line 4: 'hao6' is not a pinyin syllable"),
        ("a\thaode5\t好", "line 4: 'haode5' is not a pinyin syllable"),
        ("a\thǎo3 dè5\t好的", "line 4: 'dè5' is not a pinyin syllable"),
    ],
)
def test_a_broken_line_of_any_split_is_named(folder, split, row, message):
    write_rows(folder, "other", ROWS)
    with open(folder / f"{split}.tsv", "a", encoding="utf-8") as file:
        file.write(row + "\n")
    with pytest.raises(InputError, match=rf"{split}\.tsv, {message}"):
        data.splits(files(folder, extra_tests=("other",)))


def test_a_syllable_that_the_model_cannot_know_is_named(folder):
    """`rua` has no character in GB 2312: only the training data can bring one."""
    with open(folder / "test.tsv", "a", encoding="utf-8") as file:
        file.write("a\trua2 ma5\t挼吗\n")
    with pytest.raises(InputError, match=r"test\.tsv, line 4: no character .* is read 'rua2'"):
        data.splits(files(folder))
    with open(folder / "train.tsv", "a", encoding="utf-8") as file:
        file.write("a\trua2\t挼\n")
    assert data.splits(files(folder))["test"][3] == ("rua2 ma5", "挼吗")


def test_any_spelling_gives_the_same_pairs(folder, tmp_path_factory):
    """Tone marks, NFD, capitals, full width, erhua and ü: the splits, their digests and the assets agree."""
    expected = [
        ("ni3 hao3 lv4 nve4", "你好绿虐"), ("hua1 er", "花儿"), ("hua1 er5", "花儿"), ("ju4 ma", "句吗"),
    ]  # fmt: skip
    written = [
        ("nǐ ha\u030co l\u01dc nüè", "你好绿虐"),
        ("huar1", "花儿"),
        ("Hua1 r5", "花儿"),
        ("JV4 ｍａ", "句吗"),
    ]
    pairs = []
    for rows in (expected, written):
        folder = tmp_path_factory.mktemp("folder")
        for split in sources.SPLITS:
            write_rows(folder, split, [("a", *row) for row in rows])
        config = files(folder)
        splits = data.splits(config)
        assets = data.build_assets(config, splits["train"], tmp_path_factory.mktemp("assets"))
        pairs.append((list(splits["train"]), splits["test"].digest, assets.readings.characters))
    assert pairs[0] == pairs[1]
    assert pairs[0][0] == expected


def test_empty_lines_are_counted(folder, capsys):
    with open(folder / "train.tsv", "a", encoding="utf-8") as file:
        file.write("a\t\t\nb\t \t\n")
    train = data.splits(files(folder))["train"]
    assert list(train) == PAIRS
    assert train.groups == ["a", "b", "a"]
    assert "train: 2 of 5 lines are empty and left out\n" in capsys.readouterr().err
    with open(folder / "train.tsv", "a", encoding="utf-8") as file:
        file.write("a\t\t\n" * 2)
    with pytest.raises(InputError, match="train: 4 of 7 lines are empty and left out"):
        data.splits(files(folder))


def test_sentences_that_are_left_out_of_text_are_counted(tmp_path, capsys):
    """A character outside the table is never dropped, which would join its neighbours."""
    text = "我们二〇一五年去。他是\U00020bb7野家的人！很好？mp3\n今天。我们去\uf9dd。\n"
    write_text(tmp_path, text + "他好。" * 5)
    splits = data.splits(files(tmp_path))
    assert {text for _, text in splits["valid"]} == {"很好", "今天", "他好"}
    errors = capsys.readouterr().err
    for name in sources.SPLITS:
        assert (
            f"{name}: 4 of 11 sentences are left out: 3 have a Chinese character without a reading, 1 have "
            "no Chinese character\n"
        ) in errors
    write_text(tmp_path, "他好。二〇一五年。\nno Chinese", ["test"])
    with pytest.raises(InputError, match="test: 2 of 3 sentences are left out"):
        data.splits(files(tmp_path))


def test_known_sentences_are_counted(folder, capsys):
    write_text(folder, "银行。他很好。\n", ["train"])
    assert len(data.splits(files(folder))["train"]) == 4
    expected = "train: 1 of 2 sentences of text are left out, because train.tsv or another split has them\n"
    assert expected in capsys.readouterr().err


def test_characters_without_a_reading_are_counted(load, folder, capsys):
    """他 is not read `ma`: in valid and test, the model cannot be right there."""
    with open(folder / "test.tsv", "a", encoding="utf-8") as file:
        file.write("a\tma1 hao3\t他好\n")
    load()
    errors = capsys.readouterr().err
    assert "test: 1 of 10 characters are not in the table of readings" in errors
    assert "valid" not in errors
    with open(folder / "valid.tsv", "a", encoding="utf-8") as file:
        file.write("a\t" + "ma1 " * 10 + "\t" + "他" * 10 + "\n")
    with pytest.raises(InputError, match="valid: 10 of 18 characters are not in the table"):
        load()


def test_invalid_sources(tmp_path):
    with pytest.raises(InputError, match="--source must be embedded, files or tfds"):
        data.splits(dataclasses.replace(TINY, source="web"))
    with pytest.raises(InputError, match=r"neither train\.tsv nor train\.txt"):
        data.splits(files(tmp_path))
    with pytest.raises(InputError, match="--data-dir is missing"):
        data.splits(files())
    with pytest.raises(InputError, match="--extra-tests needs --source files"):
        data.splits(dataclasses.replace(TINY, extra_tests=("other",)))


def test_batches(load):
    train, valid, assets = load(batch_size=2, tones=True, tone_dropout=0.0)
    (inputs, targets, weights), *_ = valid.as_numpy_iterator()
    assert set(inputs) == {"codes", "candidates", "candidate_features"}
    np.testing.assert_array_equal(weights, inputs["codes"] > 0)
    np.testing.assert_array_equal(weights, targets >= 0)
    assert (targets[weights == 0] == -1).all()
    text = "".join(assets.readings.characters[c] for c in targets[0] if c >= 0)
    assert text in {"现在", "他很好"}
    assert train(0).cardinality().numpy() == 2
    tones = (inputs["codes"][weights > 0] - 1) % NUM_TONES
    assert tones.min() > 0
    toneless, *_ = load(batch_size=2, tones=False)
    for inputs, _, weights in toneless(0).as_numpy_iterator():
        assert not ((inputs["codes"][weights > 0] - 1) % NUM_TONES).any()


def test_tones_are_dropped_in_train_only(load):
    train, valid, _ = load(batch_size=3, tones=True, tone_dropout=0.5)

    def has_tone(batches):
        return np.concatenate(
            [(b[0]["codes"][b[2] > 0] - 1) % NUM_TONES > 0 for b in batches.as_numpy_iterator()]
        )

    assert has_tone(valid).all()
    epochs = [has_tone(train(epoch)) for epoch in range(5)]
    assert 0.2 < np.mean(epochs) < 0.8
    np.testing.assert_array_equal(epochs[3], has_tone(train(3)))
    assert any((a != b).any() for a, b in itertools.pairwise(epochs))


def test_long_sentences_are_dropped_from_train(folder, load, capsys):
    write_rows(folder, "train", [*ROWS, ROWS[2]])
    train, valid, _ = load(max_length=2)
    rows = lambda batches: sum(int((b[2].sum(1) > 0).sum()) for b in batches.as_numpy_iterator())  # noqa: E731
    assert (rows(train(0)), rows(valid)) == (2, 3)
    assert "2 of 4 examples are longer than --max-length 2 syllables" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"^train: 4 of 4 examples are longer than --max-length 1"):
        load(max_length=1)
