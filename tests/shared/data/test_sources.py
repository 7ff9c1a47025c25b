"""Files of every form, and TensorFlow Datasets without a network."""

import gzip
import hashlib
import socket

import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from shared.data import sources
from shared.data.sources import SPLITS
from shared.errors import InputError


def write(path, content):
    content = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


# --- find ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form", ["{}.txt", "ptb.{}.txt", "a.b.{}.txt", "{}.txt.gz", "ptb.{}.txt.gz"]
)
def test_each_form_of_a_name(tmp_path, form):
    for split in SPLITS:
        write(tmp_path / form.format(split), f"{split} it is\n")
    for name in ("readme.txt", "ptb.char.text", "mytrain.txt", "train.tsv", "train.txt.bak"):
        write(tmp_path / name, "not meant\n")
    for split in SPLITS:
        path = sources.find(tmp_path, split)
        assert path == tmp_path / form.format(split)
        assert sources.find(str(tmp_path), split) == path
        assert sources.lines(path) == [f"{split} it is"]


def test_other_names_of_a_split(tmp_path):
    for name in "val.en", "test_2016_flickr.en", "train.en.gz", "training.en", "contest.en":
        write(tmp_path / name, "a")
    found = [sources.find(tmp_path, split, ".en").name for split in SPLITS]
    assert found == ["train.en.gz", "val.en", "test_2016_flickr.en"]
    write(tmp_path / "test_2017.en", "a")
    with pytest.raises(InputError, match=r"test_2016_flickr\.en, test_2017\.en; keep one"):
        sources.find(tmp_path, "test", ".en")
    exact = write(tmp_path / "test.en", "a")
    assert sources.find(tmp_path, "test", ".en") == exact


def test_another_suffix(tmp_path):
    write(tmp_path / "train.txt", "text")
    path = write(tmp_path / "train.tsv", "table")
    assert sources.find(tmp_path, "train", ".tsv") == path


def test_several_files_could_be_meant(tmp_path):
    for name in "train.txt", "train.txt.gz", "ptb.train.txt", "valid.txt":
        write(tmp_path / name, "a")
    with pytest.raises(InputError, match=r"ptb\.train\.txt, train\.txt, train\.txt\.gz; keep one"):
        sources.find(tmp_path, "train")
    assert sources.find(tmp_path, "valid").name == "valid.txt"


def test_a_file_is_missing(tmp_path):
    write(tmp_path / "train.txt", "a")
    with pytest.raises(InputError, match=r"holds no test\.txt, test\.txt\.gz or <name>\.test\.txt"):
        sources.find(tmp_path, "test")
    assert sources.find(tmp_path, "test", optional=True) is None


@pytest.mark.parametrize("folder", ["", "none", "file"])
def test_no_folder(tmp_path, folder, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "train.txt", "a")  # which an empty --data-dir does not mean
    write(tmp_path / "file", "a")
    with pytest.raises(InputError, match=r"is no folder: it names a folder with train\.txt"):
        sources.find(folder, "train")


# --- columns and parallel ------------------------------------------------------------------------


def test_columns(tmp_path):
    path = write(tmp_path / "a.tsv.gz", "one\teins\tun\ntwo\tzwei\tdeux\textra\n")
    assert sources.columns(path, (0, 1)) == [("one", "eins"), ("two", "zwei")]
    assert sources.columns(path, (2, 0)) == [("un", "one"), ("deux", "two")]


def test_a_line_with_too_few_columns_is_named(tmp_path):
    path = write(tmp_path / "a.tsv", "one\teins\ntwo zwei\n")
    with pytest.raises(InputError, match=r"a\.tsv, line 2: 1 columns, .* 2 are needed"):
        sources.columns(path, (0, 1))


def test_parallel(tmp_path):
    en, de = write(tmp_path / "a.en", "one\ntwo\n"), write(tmp_path / "a.de", "eins\nzwei\n")
    assert sources.parallel(en, de) == [("one", "eins"), ("two", "zwei")]
    more = write(tmp_path / "b.de", "eins\nzwei\ndrei\n")
    with pytest.raises(InputError, match=r"a\.en has 2 lines and .*b\.de 3"):
        sources.parallel(en, more)


# --- lines ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("one\ntwo\n", ["one", "two"]),
        ("one\ntwo", ["one", "two"]),
        ("one\n\n\ntwo\n\n", ["one", "", "", "two", ""]),
        ("one\r\ntwo\r\n", ["one", "two"]),
        (
            "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\ntwo\n",
            ["a\u2028b\u2029c\x85d\x0be\x0cf\x1cg", "two"],
        ),
        ("\ufeffone\n\ufefftwo", ["one", "\ufefftwo"]),
        (" one \t\n", [" one \t"]),
        ("漢字 \U0001f600\0", ["漢字 \U0001f600\0"]),
    ],
)
def test_lines(tmp_path, name, content, expected):
    assert sources.lines(write(tmp_path / name, content)) == expected


@pytest.mark.parametrize("content", [b"", b"\n\n", b" \r\n\t", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_an_empty_file(tmp_path, name, content):
    path = write(tmp_path / name, content)
    with pytest.raises(InputError, match=rf"{name} is empty"):
        sources.lines(path)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"\xff", 1),
        (b"one\ntwo \xe6\xbc\nthree\n", 2),
        (b"one\n\n\nfour\xed\xa0\x80", 4),
        (b"\xef\xbb\xbfone\n\xff", 2),  # the mark does not shift the count
        ("one\n".encode("utf-16"), 1),
    ],
)
@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_a_file_that_is_not_utf8_names_the_line(tmp_path, name, content, line):
    path = write(tmp_path / name, content)
    with pytest.raises(InputError, match=rf"{name}, line {line}: not UTF-8"):
        sources.lines(path)


def damaged():
    whole = gzip.compress(b"some text, and more of it\n" * 1000, mtime=0)
    middle = len(whole) // 2
    return {
        "not gzip": b"plain text\n",
        "cut": whole[:middle],
        "cut in the header": whole[:5],
        "cut before its checksum": whole[:-8],
        "another checksum": whole[:-8] + bytes(4) + whole[-4:],
        "no such block": whole[:10] + b"\xff" + whole[11:],
        "noise": whole[:20] + bytes(255 - b for b in whole[20:-8]) + whole[-8:],
    }


@pytest.mark.parametrize("damage", damaged())
def test_a_damaged_gz(tmp_path, damage):
    path = tmp_path / "train.txt.gz"
    path.write_bytes(damaged()[damage])
    with pytest.raises(InputError, match=r"train\.txt\.gz: .") as caught:
        sources.lines(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        sources.lines(tmp_path / "none.txt")
    (tmp_path / "train.txt").mkdir()
    with pytest.raises(InputError, match="Is a directory"):
        sources.lines(sources.find(tmp_path, "train"))


def test_sha256_is_that_of_the_file(tmp_path):
    content = "one\n漢字\u2028\n\nlast\n"
    path = write(tmp_path / "a.txt", content)
    assert sources.sha256(sources.lines(path)) == hashlib.sha256(content.encode()).hexdigest()
    # The form of the file does not matter, its text does.
    packed = write(tmp_path / "a.txt.gz", content.replace("\n", "\r\n").removesuffix("\r\n"))
    assert sources.sha256(sources.lines(packed)) == sources.sha256(sources.lines(path))
    assert sources.sha256(["a", "b"]) != sources.sha256(["ab"])


# --- TensorFlow Datasets -------------------------------------------------------------------------


class PeepholeLines(tfds.core.GeneratorBasedBuilder):
    """100 numbered texts; the configuration says in which splits they are."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [  # noqa: RUF012
        tfds.core.BuilderConfig(name=name)
        for name in ("one", "two", "three", "small", "late", "labels")
    ]

    def _info(self):
        name = "label" if self.builder_config.name == "labels" else "text"
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict({name: tfds.features.Text()}), description="-"
        )

    def _split_generators(self, dl_manager):
        names = {
            "one": ["train"],
            "two": ["train", "test"],
            "three": ["train", "validation", "test"],
            "small": ["train"],
            "late": ["test"],
            "labels": ["train"],
        }[self.builder_config.name]
        return {name: self._generate_examples(name) for name in names}

    def _generate_examples(self, split):
        for i in range(3 if self.builder_config.name == "small" else 100):
            if self.builder_config.name == "labels":
                yield i, {"label": "x"}
            else:
                yield i, {"text": f"\n{split} {i}\r\nsecond 漢\u2028字\n"}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Prepares a configuration; gives its name and folder."""
    folder = tmp_path_factory.mktemp("tfds")

    def of(config):
        PeepholeLines(config=config, data_dir=str(folder)).download_and_prepare()
        return f"peephole_lines/{config}", str(folder)

    return of


def read(name, folder):
    """{split: numbers of its texts}; every text has its two lines."""
    found = {}
    for split in SPLITS:
        lines = sources.tfds_lines(name, split, folder)
        assert lines[1::2] == ["second 漢\u2028字"] * (len(lines) // 2)
        found[split] = [line.split() for line in lines[::2]]
    return found


def test_tfds_with_all_splits(prepared):
    found = read(*prepared("three"))
    for split, theirs in {"train": "train", "valid": "validation", "test": "test"}.items():
        assert {name for name, _ in found[split]} == {theirs}
        assert sorted(int(i) for _, i in found[split]) == list(range(100))


@pytest.mark.parametrize("config", ["one", "two"])
def test_tfds_without_a_split_cuts_it_out_of_train(prepared, config):
    found = read(*prepared(config))
    cut = SPLITS if config == "one" else ("train", "valid")
    assert {name for split in cut for name, _ in found[split]} == {"train"}
    numbers = [int(i) for split in cut for _, i in found[split]]
    assert sorted(numbers) == list(range(100))  # all of it, and none twice
    sizes = {split: len(found[split]) for split in SPLITS}
    if config == "one":
        assert sizes == {"train": 90, "valid": 5, "test": 5}
    else:
        assert sizes == {"train": 95, "valid": 5, "test": 100}
        assert {name for name, _ in found["test"]} == {"test"}


def test_tfds_comes_in_the_same_order_each_time(prepared):
    name, folder = prepared("three")
    assert sources.tfds_lines(name, "train", folder) == sources.tfds_lines(name, "train", folder)


def test_tfds_with_too_little_for_a_split(prepared):
    name, folder = prepared("small")
    assert len(sources.tfds_lines(name, "train", folder)) == 6
    with pytest.raises(InputError, match=r"^tfds:peephole_lines/small has no text for valid$"):
        sources.tfds_lines(name, "valid", folder)


def test_tfds_without_a_train_split(prepared):
    name, folder = prepared("late")
    for split in "train", "valid":
        with pytest.raises(InputError, match=rf"^tfds:{name} has no text for {split}$"):
            sources.tfds_lines(name, split, folder)


def test_tfds_without_text(prepared):
    name, folder = prepared("labels")
    with pytest.raises(InputError, match="has no feature 'text', only label"):
        sources.tfds_lines(name, "train", folder)


def test_tfds_real_names(tmp_path):
    with tfds.testing.mock_data(num_examples=3):
        for name in "tiny_shakespeare", "lm1b", "wiki40b/en":
            found = sources.tfds_lines(name, "train", str(tmp_path))
            assert len(found) >= 3
            assert all(isinstance(line, str) and "\n" not in line for line in found)
        with pytest.raises(InputError, match="has no feature 'text', only image, label"):
            sources.tfds_lines("mnist", "train", str(tmp_path))


def test_tfds_drops_the_marks_of_wiki40b(tmp_path):
    article = (
        "\n_START_ARTICLE_\nThe title\n_START_SECTION_\nHistory\n_START_PARAGRAPH_\n"
        "One._NEWLINE_Two."
    )

    def as_dataset(self, split, **_):
        return tf.data.Dataset.from_tensors(
            {"text": article, "wikidata_id": "Q1", "version_id": "1"}
        )

    with tfds.testing.mock_data(as_dataset_fn=as_dataset):
        found = sources.tfds_lines("wiki40b/en", "train", str(tmp_path))
    assert found == ["The title", "History", "One.", "Two."]


@pytest.mark.parametrize(
    "name", ["no_such_set", "", "a/b/c/d", "tiny_shakespeare", "wiki40b/no_such_language", "lm1b"]
)
def test_tfds_that_is_not_to_be_had_fails_fast(tmp_path, name, monkeypatch):
    asked = []

    def offline(*address, **_):
        asked.append(address)
        raise socket.gaierror("no network here")

    monkeypatch.setattr(socket, "getaddrinfo", offline)
    with pytest.raises(InputError, match=rf"^tfds:{name} is not to be had \(.+\): check the") as e:
        sources.tfds_lines(name, "train", str(tmp_path))
    assert "\n" not in str(e.value)
    assert len(asked) <= 3  # TFDS by itself tries each address ten times, for 200 s
    assert bool(asked) == (name in ("tiny_shakespeare", "lm1b"))
