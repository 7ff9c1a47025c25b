"""Small files: round trips, damaged files, and writes that fail."""

import errno
import fcntl
import json
import os
import stat

import numpy as np
import pytest

from shared.errors import InputError
from shared.files import (
    lock,
    partial_path,
    read_json,
    read_npz,
    replace,
    write_json,
    write_jsonl,
    write_npz,
    written,
)


def test_json_round_trip(tmp_path):
    value = {"a": [1, 0.1, None, "\u6f22\u5b57"], "b": {"c": True}}
    write_json(tmp_path / "x.json", value)
    assert read_json(tmp_path / "x.json") == value
    assert "\u6f22\u5b57" in (tmp_path / "x.json").read_text(encoding="utf-8")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    write_json(tmp_path / "x.json", 1)
    with pytest.raises(TypeError):
        write_json(tmp_path / "x.json", {"a": object()})
    assert read_json(tmp_path / "x.json") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_jsonl_has_one_value_per_line(tmp_path):
    rows = [{"a": 1}, {"a": "two\nlines"}]
    write_jsonl(tmp_path / "x.jsonl", iter(rows))
    lines = (tmp_path / "x.jsonl").read_text().split("\n")
    assert [json.loads(line) for line in lines[:-1]] == rows
    assert lines[-1] == ""


def test_invalid_json_is_an_error_with_the_path(tmp_path):
    (tmp_path / "x.json").write_text('{"a": ')
    with pytest.raises(InputError, match=r"x\.json is not valid JSON"):
        read_json(tmp_path / "x.json")


@pytest.mark.parametrize("content", [b"", b'{"a": "\xff"}', b"\xff\xfe{\x00}\x00", b"[" * 100_000])
def test_damaged_json_is_an_error_with_the_path(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.json is not valid JSON"):
        read_json(tmp_path / "x.json")


def test_npz_round_trip(tmp_path):
    arrays = {"a": np.arange(3), "b": np.float32(0.5)}
    write_npz(tmp_path / "x.npz", **arrays)
    loaded = read_npz(tmp_path / "x.npz")
    for name, value in arrays.items():
        np.testing.assert_array_equal(loaded[name], value)
        assert loaded[name].dtype == value.dtype
    assert [p.name for p in tmp_path.iterdir()] == ["x.npz"]


def test_damaged_npz_is_an_error_with_the_path(tmp_path):
    path = tmp_path / "x.npz"
    write_npz(path, a=np.arange(1000))
    complete = path.read_bytes()
    for content in (complete[:500], b"", b"text", complete[:100] + b"\0" * 400 + complete[500:]):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"x\.npz is not a valid .npz file"):
            read_npz(path)
    with pytest.raises(InputError, match="No such file"):
        read_npz(tmp_path / "y.npz")


def test_a_partial_file_of_a_killed_process_is_overwritten(tmp_path):
    partial_path(tmp_path / "x.json").write_text("a longer, incomplete file")
    partial_path(tmp_path / "x.npz").write_bytes(b"PK incomplete" * 100)
    write_json(tmp_path / "x.json", 1)
    write_npz(tmp_path / "x.npz", a=np.arange(3))
    assert read_json(tmp_path / "x.json") == 1
    np.testing.assert_array_equal(read_npz(tmp_path / "x.npz")["a"], np.arange(3))
    assert {p.name for p in tmp_path.iterdir()} == {"x.json", "x.npz"}


# --- replace and written -------------------------------------------------------------------------


@pytest.fixture
def events(monkeypatch):
    """The calls of `os.fsync` and `os.replace`, in their order: names, and "a -> b"."""
    calls, fsync, rename = [], os.fsync, os.replace
    name_of = lambda path: os.path.basename(os.path.realpath(path))  # noqa: E731

    def watched_fsync(handle):
        calls.append(name_of(f"/proc/self/fd/{handle}"))
        fsync(handle)

    def watched_replace(source, target):
        calls.append(f"{name_of(source)} -> {name_of(target)}")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    return calls


def test_a_file_is_on_the_disk_before_its_rename(tmp_path, events):
    write_json(tmp_path / "x.json", 1)
    assert events == [".x.json.partial", ".x.json.partial -> x.json", tmp_path.name]


def test_a_folder_is_on_the_disk_before_its_rename(tmp_path, events):
    with written(tmp_path / "model") as partial:
        (partial / "assets").mkdir(parents=True)
        (partial / "assets" / "words.txt").write_text("a")
        (partial / "graph.pb").write_text("b")
    assert sorted(events[:4]) == [".model.partial", "assets", "graph.pb", "words.txt"]
    assert events[4:] == [".model.partial -> model", tmp_path.name]
    assert (tmp_path / "model" / "assets" / "words.txt").read_text() == "a"


def test_a_folder_that_cannot_be_synced_is_renamed(tmp_path, monkeypatch):
    """Some file systems sync files only; the error of a file is an error."""
    fsync = os.fsync

    def files_only(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", files_only)
    write_json(tmp_path / "x.json", 1)
    assert read_json(tmp_path / "x.json") == 1

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_json(tmp_path / "x.json", 2)
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]
    assert read_json(tmp_path / "x.json") == 1


def test_a_folder_does_not_replace_a_folder_with_files(tmp_path):
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_text(name)
    with pytest.raises(OSError, match="not empty"):
        replace(tmp_path / "new", tmp_path / "old")
    assert (tmp_path / "old" / "a").read_text() == "old"


@pytest.mark.parametrize("make", ["file", "folder", "nothing"])
def test_a_failed_context_leaves_nothing(tmp_path, make):
    with pytest.raises(ZeroDivisionError), written(tmp_path / "x") as partial:  # noqa: PT012
        if make == "file":
            partial.write_text("half")
        elif make == "folder":
            partial.mkdir()
            (partial / "a").write_text("half")
        raise ZeroDivisionError
    assert [*tmp_path.iterdir()] == []


# --- lock ----------------------------------------------------------------------------------------


def test_a_lock_of_another_file_object(tmp_path, capsys):
    with open(tmp_path / "lock", "w") as one, open(tmp_path / "lock", "w") as two:
        assert lock(one, "lock")
        assert not lock(two, "lock")
        one.close()
        assert lock(two, "lock", wait=True)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("code", [errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES])
def test_what_means_another_process(tmp_path, monkeypatch, code):
    def flock(handle, operation):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    with open(tmp_path / "lock", "w") as file:
        assert lock(file, "lock") is False


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EINVAL])
@pytest.mark.parametrize("wait", [False, True])
def test_a_file_system_without_locks(tmp_path, monkeypatch, capsys, code, wait):
    def flock(handle, operation):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    with open(tmp_path / "lock", "w") as file:
        assert lock(file, "runs/a", wait) is True
    err = capsys.readouterr().err
    assert err.startswith(f"warning: runs/a cannot be locked ({os.strerror(code)})")
    assert err.count("\n") == 1
