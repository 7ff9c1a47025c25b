"""Splits: examples, display names and digests."""

import builtins
import hashlib
import os
import pathlib

import pytest

from shared.data.splits import LineLabels, MediaSplit, TextSplit, digests
from shared.errors import InputError


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


# --- TextSplit -----------------------------------------------------------------------------------


def test_a_text_split_is_a_sequence():
    pairs = [("one", "eins"), ("two", "zwei"), ("three", "drei")]
    split = TextSplit("train", pairs)
    assert len(split) == 3
    assert list(split) == pairs
    assert split[-1] == ("three", "drei")
    assert split[1:] == pairs[1:]
    assert split[:None] == pairs
    with pytest.raises(IndexError):
        split[3]


def test_labels_of_a_text_split():
    split = TextSplit("valid", ["a", "b", "c"])
    assert [split.label(i) for i in range(3)] == [f"valid, example {n}" for n in (1, 2, 3)]
    labels = LineLabels(["x.txt", "y.txt"], [1, 2])
    split = TextSplit("valid", ["a", "b", "c"], labels)
    assert [split.label(i) for i in range(3)] == ["x.txt, line 1", "y.txt, line 1", "y.txt, line 2"]


def test_digest_of_lines_and_of_pairs():
    assert TextSplit("train", ["one", "", "漢字"]).digest == sha256("one\n\n漢字\n")
    assert TextSplit("test", [("a", "b"), ("c", "d")]).digest == sha256("a\tb\nc\td\n")
    digest = lambda *lines: TextSplit("train", list(lines)).digest  # noqa: E731
    assert digest("a", "b") != digest("ab")
    assert digest("a", "b") != digest("b", "a")
    # Labels say where the text lies, which does not change it.
    assert TextSplit("test", ["a"], ["file, line 1"]).digest == digest("a")


def test_digest_of_bytes():
    sound = TextSplit("train", [(b"RIFF\xff", "loud"), (b"", "soft")])
    hashes = [hashlib.sha256(data).hexdigest() for data in (b"RIFF\xff", b"")]
    assert sound.digest == sha256(f"{hashes[0]}\tloud\n{hashes[1]}\tsoft\n")
    assert TextSplit("train", [b"a"]).digest != TextSplit("train", ["a"]).digest


def test_digests():
    splits = {"train": TextSplit("train", ["a"]), "extra": TextSplit("extra", ["b"])}
    assert digests(splits) == {"train": sha256("a\n"), "extra": sha256("b\n")}


def test_labels_of_lines_of_several_files():
    labels = LineLabels(["a", "b", "c"], [2, 1, 3])
    assert len(labels) == 6
    assert [labels[i] for i in range(6)] == [
        "a, line 1", "a, line 2", "b, line 1", "c, line 1", "c, line 2", "c, line 3",
    ]  # fmt: skip
    both = labels + LineLabels(["d"], [2])
    assert [both[i] for i in (0, 2, 5, 6, 7)] == [
        "a, line 1", "b, line 1", "c, line 3", "d, line 1", "d, line 2",
    ]  # fmt: skip
    nothing = LineLabels([], [])
    assert len(nothing) == 0
    assert (nothing + labels)[2] == (labels + nothing)[2] == "b, line 1"


# --- MediaSplit ----------------------------------------------------------------------------------


def files(folder, **contents):
    """Writes files, {name: content}, and returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / f"{name}.wav").write_bytes(content)
    return [folder / f"{name}.wav" for name in contents]


@pytest.fixture
def opened(monkeypatch):
    """The names of the files that are opened from here on."""
    names = []
    open_, path_open = builtins.open, pathlib.Path.open

    def counted(real):
        def opens(path, *args, **kwargs):
            names.append(pathlib.Path(path).name)
            return real(path, *args, **kwargs)

        return opens

    monkeypatch.setattr(builtins, "open", counted(open_))
    monkeypatch.setattr(pathlib.Path, "open", counted(path_open))
    return names


def test_a_media_split_reads_a_file_when_it_is_asked_for(tmp_path, opened):
    paths = files(tmp_path, a=b"RIFF\xff", b=b"", c=b"three")
    opened.clear()
    split = MediaSplit("train", map(str, paths), ["x", "y", "z"])
    assert len(split) == 3
    assert split.label(1) == "b.wav"
    assert opened == []
    assert split[2] == (b"three", "z")
    assert opened == ["c.wav"]
    assert split[:2] == [(b"RIFF\xff", "x"), (b"", "y")]
    assert list(split) == [(b"RIFF\xff", "x"), (b"", "y"), (b"three", "z")]
    assert sorted(opened) == ["a.wav", "a.wav", "b.wav", "b.wav", "c.wav", "c.wav"]


def test_the_digest_reads_each_file_once(tmp_path, opened):
    paths = files(tmp_path, a=b"1", b=b"2")
    opened.clear()
    first = MediaSplit("train", paths, ["x", "y"]).digest
    assert sorted(name for name in opened if name.endswith(".wav")) == ["a.wav", "b.wav"]
    opened.clear()
    assert MediaSplit("train", paths, ["x", "y"]).digest == first
    assert [name for name in opened if name.endswith(".wav")] == []


def test_what_the_digest_of_a_media_split_depends_on(tmp_path):
    contents = {"a": b"1", "b": b"2"}
    paths, targets = files(tmp_path / "here", **contents), ["x", "y"]
    digest = lambda paths, targets=targets: MediaSplit("train", paths, targets).digest  # noqa: E731
    first = digest(paths)
    assert len(first) == 64
    assert digest(files(tmp_path / "elsewhere", **contents)) == first
    others = [
        digest(files(tmp_path / "content", a=b"1", b=b"3")),
        digest(files(tmp_path / "name", a=b"1", c=b"2")),
        digest(paths, ["x", "z"]),
        digest(paths[::-1], targets[::-1]),
        digest(paths, targets[::-1]),
        digest(paths[:1], targets[:1]),
    ]
    assert len({first, *others}) == 1 + len(others)


def test_bad_media_files_are_named(tmp_path):
    paths = [*files(tmp_path, a=b"1"), tmp_path / "missing.wav"]
    with pytest.raises(InputError, match="train has 2 files and 1 targets"):
        MediaSplit("train", paths, ["x"])
    with pytest.raises(InputError, match="valid has no files"):
        MediaSplit("valid", [], [])
    split = MediaSplit("train", paths, ["x", "y"])
    with pytest.raises(InputError, match=r"missing\.wav: No such file"):
        _ = split.digest
    with pytest.raises(InputError, match=r"missing\.wav: No such file"):
        split[1]
    # The other files can still be read.
    assert split[0] == (b"1", "x")


def test_a_file_name_that_is_not_utf8(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.wav")
    with pytest.raises(InputError, match=r"caf\\udce9\.wav': the file name is not UTF-8"):
        MediaSplit("train", [path], ["x"])
    (tmp_path / "café 漢.wav").write_bytes(b"1")
    assert len(MediaSplit("train", [tmp_path / "café 漢.wav"], ["x"]).digest) == 64
