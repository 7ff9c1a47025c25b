"""Text files of every form, in one or several folders, and the choice of a source."""

import dataclasses
import gzip
import hashlib

import pytest

from shared.data import sources
from shared.data.sources import SPLITS
from shared.data.splits import TextSplit
from shared.errors import InputError


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    content = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def lines_of(*paths):
    return sources.read_lines(paths)[0]


# --- find ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form", ["{}.txt", "ptb.{}.txt", "a.b.{}.txt", "{}.txt.gz", "ptb.{}.txt.gz"]
)
def test_every_form_of_a_file_name(tmp_path, form):
    for split in SPLITS:
        write(tmp_path / form.format(split), f"the {split} split\n")
    for name in ("readme.txt", "ptb.char.text", "mytrain.txt", "train.tsv", "train.txt.bak"):
        write(tmp_path / name, "another file\n")
    for split in SPLITS:
        paths = sources.find([tmp_path], split)
        assert paths == [tmp_path / form.format(split)]
        assert sources.find((str(tmp_path),), split) == paths
        assert lines_of(*paths) == [f"the {split} split"]


def test_other_names_of_a_split(tmp_path):
    for name in "val.en", "test_2016_flickr.en", "train.en.gz", "training.en", "contest.en":
        write(tmp_path / name, "a")
    names = [path.name for split in SPLITS for path in sources.find([tmp_path], split, ".en")]
    assert names == ["train.en.gz", "val.en", "test_2016_flickr.en"]
    write(tmp_path / "test_2017.en", "a")
    with pytest.raises(InputError, match=r"test_2016_flickr\.en, test_2017\.en; keep one"):
        sources.find([tmp_path], "test", ".en")
    exact = write(tmp_path / "test.en", "a")
    assert sources.find([tmp_path], "test", ".en") == [exact]


def test_another_suffix(tmp_path):
    write(tmp_path / "train.txt", "text")
    path = write(tmp_path / "train.tsv", "table")
    assert sources.find([tmp_path], "train", ".tsv") == [path]


def test_several_files_in_one_folder_for_a_split(tmp_path):
    for name in "train.txt", "train.txt.gz", "ptb.train.txt", "valid.txt":
        write(tmp_path / name, "a")
    with pytest.raises(InputError, match=r"ptb\.train\.txt, train\.txt, train\.txt\.gz; keep one"):
        sources.find([tmp_path], "train")
    assert sources.find([tmp_path], "valid") == [tmp_path / "valid.txt"]


@pytest.mark.parametrize("name", [".my.train.txt", "._my.train.txt", ".train.txt", "._train.txt"])
def test_hidden_files_are_ignored(tmp_path, name):
    write(tmp_path / name, "written by another program")
    assert sources.find([tmp_path], "train", optional=True) == []
    path = write(tmp_path / "my.train.txt", "a")
    assert sources.find([tmp_path], "train") == [path]


def test_a_missing_file(tmp_path):
    write(tmp_path / "train.txt", "a")
    with pytest.raises(InputError, match=r"has no test\.txt, test\.txt\.gz or <name>\.test\.txt"):
        sources.find([tmp_path], "test")
    assert sources.find([tmp_path], "test", optional=True) == []


def test_several_folders_in_their_order(tmp_path):
    first = write(tmp_path / "b" / "train.txt", "one\n")
    second = write(tmp_path / "a" / "other.train.txt.gz", "two\nthree")
    folders = (str(tmp_path / "b"), str(tmp_path / "a"))
    assert sources.find(folders, "train") == [first, second]
    assert lines_of(*sources.find(folders, "train")) == ["one", "two", "three"]
    assert lines_of(*sources.find(folders[::-1], "train")) == ["two", "three", "one"]


def test_a_split_that_only_some_folders_have(tmp_path):
    write(tmp_path / "a" / "train.txt", "a")
    path = write(tmp_path / "b" / "valid.txt", "b")
    folders = [tmp_path / "a", tmp_path / "b"]
    assert sources.find(folders, "valid") == [path]
    with pytest.raises(InputError, match=r"a, .*b has no test\.txt"):
        sources.find(folders, "test")


@pytest.mark.parametrize("folder", ["", "missing", "file"])
def test_a_folder_that_does_not_exist(tmp_path, folder, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "train.txt", "a")  # an empty name is not the current folder
    write(tmp_path / "file", "a")
    write(tmp_path / "data" / "train.txt", "a")
    for folders in ([folder], ["data", folder]):
        with pytest.raises(InputError, match=rf"--data-dir '{folder}' is not a folder"):
            sources.find(folders, "train")


def test_no_data_dir():
    with pytest.raises(InputError, match=r"--data-dir is missing: .* with train\.tsv, valid\.tsv"):
        sources.find((), "train", ".tsv")


# --- read_columns and read_parallel --------------------------------------------------------------


def test_columns(tmp_path):
    path = write(tmp_path / "a.tsv.gz", "one\teins\tun\ntwo\tzwei\tdeux\textra\n")
    assert sources.read_columns([path], (0, 1))[0] == [("one", "eins"), ("two", "zwei")]
    assert sources.read_columns([path], (2, 0))[0] == [("un", "one"), ("deux", "two")]
    other = write(tmp_path / "b.tsv", "three\tdrei\n")
    rows, labels = sources.read_columns([path, other], (0, 1))
    assert rows == [("one", "eins"), ("two", "zwei"), ("three", "drei")]
    assert [labels[i] for i in range(3)] == [
        f"{path}, line 1",
        f"{path}, line 2",
        f"{other}, line 1",
    ]


def test_a_line_with_too_few_columns_is_named(tmp_path):
    path = write(tmp_path / "a.tsv", "one\teins\ntwo zwei\n")
    with pytest.raises(InputError, match=r"a\.tsv, line 2: 2 columns .* needed\. Received: 1"):
        sources.read_columns([path], (0, 1))


def test_a_bad_line_in_the_second_folder_is_named(tmp_path):
    good = write(tmp_path / "first" / "train.tsv", "one\teins\ntwo\tzwei\n")
    write(tmp_path / "second" / "train.tsv", "three\tdrei\nfour vier\n")
    paths = sources.find([good.parent, tmp_path / "second"], "train", ".tsv")
    with pytest.raises(InputError, match=r"second/train\.tsv, line 2: 2 columns"):
        sources.read_columns(paths, (0, 1))
    write(paths[1], b"three\tdrei\nfour\tf\xfcnf\n")
    with pytest.raises(InputError, match=r"second/train\.tsv, line 2: not UTF-8"):
        sources.read_columns(paths, (0, 1))


def test_parallel(tmp_path):
    en, de = write(tmp_path / "a.en", "one\ntwo\n"), write(tmp_path / "a.de", "eins\nzwei\n")
    more_en, more_de = write(tmp_path / "b.en", "three"), write(tmp_path / "b.de", "drei")
    pairs, labels = sources.read_parallel([en, more_en], [de, more_de])
    assert pairs == [("one", "eins"), ("two", "zwei"), ("three", "drei")]
    assert [labels[1], labels[2]] == [f"{en}, line 2", f"{more_en}, line 1"]
    longer = write(tmp_path / "c.de", "eins\nzwei\ndrei\n")
    with pytest.raises(InputError, match=r"a\.en has 2 lines and .*c\.de has 3"):
        sources.read_parallel([more_en, en], [more_de, longer])


# --- read_lines ----------------------------------------------------------------------------------


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
    assert lines_of(write(tmp_path / name, content)) == expected


def test_lines_of_several_files(tmp_path):
    # Each file ends its last line, and each may begin with a byte order mark.
    first = write(tmp_path / "a.txt", "one\ntwo")
    second = write(tmp_path / "b.txt.gz", "\ufeffthree\n\n")
    lines, labels = sources.read_lines([first, second])
    assert lines == ["one", "two", "three", ""]
    assert len(labels) == 4
    assert labels[1] == f"{first}, line 2"
    assert labels[3] == f"{second}, line 2"


@pytest.mark.parametrize("content", [b"", b"\n\n", b" \r\n\t", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_an_empty_file(tmp_path, name, content):
    path = write(tmp_path / name, content)
    good = write(tmp_path / "good.txt", "one")
    for paths in ([path], [good, path]):
        with pytest.raises(InputError, match=rf"{name} is empty"):
            sources.read_lines(paths)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"\xff", 1),
        (b"one\ntwo \xe6\xbc\nthree\n", 2),
        (b"one\n\n\nfour\xed\xa0\x80", 4),
        (b"\xef\xbb\xbfone\n\xff", 2),  # the byte order mark does not shift the count
        ("one\n".encode("utf-16"), 1),
    ],
)
@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_a_file_that_is_not_utf8_names_the_line(tmp_path, name, content, line):
    path = write(tmp_path / name, content)
    good = write(tmp_path / "good.txt", "one\ntwo\n")
    for paths in ([path], [good, path]):
        with pytest.raises(InputError, match=rf"{name}, line {line}: not UTF-8"):
            sources.read_lines(paths)


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
        sources.read_lines([path])
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        sources.read_lines([tmp_path / "none.txt"])
    (tmp_path / "train.txt").mkdir()
    with pytest.raises(InputError, match="Is a directory"):
        sources.read_lines(sources.find([tmp_path], "train"))


def test_the_digest_is_the_sha256_of_the_file(tmp_path):
    content = "one\n漢字\u2028\n\nlast\n"
    path = write(tmp_path / "a.txt", content)
    digest = TextSplit("train", *sources.read_lines([path])).digest
    assert digest == hashlib.sha256(content.encode()).hexdigest()
    # It depends on the text, not on compression or line ends.
    packed = write(tmp_path / "a.txt.gz", content.replace("\n", "\r\n").removesuffix("\r\n"))
    assert TextSplit("train", *sources.read_lines([packed])).digest == digest
    # Nor on the number of files.
    parts = [write(tmp_path / "b.txt", "one\n漢字\u2028"), write(tmp_path / "c.txt", "\nlast\n")]
    assert TextSplit("train", *sources.read_lines(parts)).digest == digest


# --- open_splits ---------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Config:
    source: str = "embedded"


def open_splits(source, names=("train", "test")):
    return sources.open_splits(
        Config(source),
        names,
        embedded=lambda name: [f"{name} one", f"{name} two"],
        files=lambda name: TextSplit(name, [f"file of {name}"], [f"{name}.txt, line 1"]),
        tfds=lambda dataset, name: [(dataset, name)],
    )


def test_the_source_chooses_the_reader():
    splits = open_splits("embedded")
    assert list(splits) == ["train", "test"]
    assert list(splits["test"]) == ["test one", "test two"]
    assert splits["test"].name == "test"
    assert splits["test"].label(1) == "test, example 2"
    splits = open_splits("files", ["train", "extra"])
    assert list(splits["extra"]) == ["file of extra"]
    assert splits["extra"].label(0) == "extra.txt, line 1"
    splits = open_splits("tfds:wiki40b/en")
    assert splits["train"][0] == ("wiki40b/en", "train")


@pytest.mark.parametrize("source", ["", "file", "tfds", "embedded "])
def test_an_unknown_source(source):
    message = rf"--source must be embedded, files or tfds:<name>\. Received: '{source}'"
    with pytest.raises(InputError, match=message):
        open_splits(source)
