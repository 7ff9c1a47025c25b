"""Hashes of files: right, and computed once."""

import hashlib
import json
import os
import pathlib

import pytest

from shared.data import hashes
from shared.errors import InputError


@pytest.fixture
def hashed(monkeypatch):
    """The names of the files that are hashed from here on."""
    names, digest = [], hashlib.file_digest

    def counted(file, algorithm):
        names.append(pathlib.Path(file.name).name)
        return digest(file, algorithm)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    return names


@pytest.fixture
def paths(tmp_path):
    """Three files in two folders."""
    paths = [tmp_path / "data" / name for name in ("a/1.wav", "b/1.wav", "b/2.wav")]
    for i, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % i)
    return paths


def expected(paths):
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


def test_each_file_is_hashed_once(paths, hashed):
    assert hashes.file_hashes(paths) == expected(paths)
    assert hashed == ["1.wav", "1.wav", "2.wav"]
    # In another order, some of them, twice, and as strings.
    assert hashes.file_hashes(map(str, paths[::-1])) == expected(paths[::-1])
    assert hashes.file_hashes([paths[2], paths[2]]) == expected([paths[2]] * 2)
    assert len(hashed) == 3


def test_a_relative_path_is_the_same_file(paths, hashed, monkeypatch):
    hashes.file_hashes(paths)
    monkeypatch.chdir(paths[0].parent)
    assert hashes.file_hashes(["1.wav"]) == expected(paths[:1])
    assert len(hashed) == 3


def test_a_changed_file_is_hashed_again(paths, hashed):
    hashes.file_hashes(paths)
    hashed.clear()
    paths[0].write_bytes(b"another size")
    status = paths[2].stat()
    paths[2].write_bytes(b"x")  # the same size
    os.utime(paths[2], ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert hashes.file_hashes(paths) == expected(paths)
    assert hashed == ["1.wav", "2.wav"]
    assert hashes.file_hashes(paths) == expected(paths)
    assert len(hashed) == 2


def test_new_files_are_added(paths, hashed):
    hashes.file_hashes(paths[:2])
    assert hashes.file_hashes(paths) == expected(paths)
    assert hashed == ["1.wav", "1.wav", "2.wav"]
    hashes.file_hashes(paths[1:])
    assert len(hashed) == 3


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\x00",
        b"[]",
        b"3",
        b'{"1.wav": 3}',
        b'{"1.wav": [1, 2]}',
        b'{"1.wav": "abc"}',
    ],
)
def test_a_damaged_index_is_ignored(paths, cache, hashed, content):
    hashes.file_hashes(paths)
    indexes = list((cache / "hashes").iterdir())
    assert len(indexes) == 2
    for path in indexes:
        path.write_bytes(content)
    assert hashes.file_hashes(paths) == expected(paths)
    assert len(hashed) == 6
    hashes.file_hashes(paths)
    assert len(hashed) == 6
    assert all(json.loads(path.read_text()) for path in indexes)


def test_a_missing_file_is_named_and_the_hashes_before_it_are_kept(paths, hashed, tmp_path):
    with pytest.raises(InputError, match=r"none\.wav: No such file"):
        hashes.file_hashes([*paths[:2], tmp_path / "none.wav", paths[2]])
    hashes.file_hashes(paths)
    assert hashed == ["1.wav", "1.wav", "2.wav"]


def test_a_cache_that_cannot_be_written(paths, cache, hashed):
    cache.write_text("a file, not a folder")
    for _ in range(2):
        assert hashes.file_hashes(paths) == expected(paths)
    assert len(hashed) == 6


def test_the_cache_folder(monkeypatch, cache, tmp_path):
    assert hashes.cache_folder() == cache
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert hashes.cache_folder() == cache
    monkeypatch.setenv("PEEPHOLE_CACHE", "")  # the same as unset
    assert hashes.cache_folder() == tmp_path / "xdg" / "peephole"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert hashes.cache_folder() == tmp_path / "home" / ".cache" / "peephole"
    monkeypatch.delenv("PEEPHOLE_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert hashes.cache_folder() == tmp_path / "home" / ".cache" / "peephole"


def test_nothing_is_written_beside_the_data(paths, cache):
    hashes.file_hashes(paths)
    assert sorted(p for p in paths[0].parents[1].rglob("*") if p.is_file()) == sorted(paths)
    assert [p.name for p in cache.iterdir()] == ["hashes"]
