"""SHA-256 of files, computed once for each file."""

import contextlib
import hashlib
import os
import pathlib

from tqdm import tqdm

from shared.errors import InputError
from shared.files import read_json, write_json


def cache_folder():
    """Returns the folder of all caches: $PEEPHOLE_CACHE, or `peephole` in the user's cache folder."""
    if os.environ.get("PEEPHOLE_CACHE"):
        return pathlib.Path(os.environ["PEEPHOLE_CACHE"])
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base, "peephole")


def file_hashes(paths, description="hash"):
    """Returns the SHA-256 (hex) of each file, a list of strings.

    Path, size, modification time and hash are kept in `cache_folder()`, so that a file that has not
    changed is not read again.

    Args:
        paths: the files.
        description: text of the progress bar.

    Raises:
        InputError: a file cannot be read.
    """
    paths = [pathlib.Path(path).absolute() for path in paths]
    indexes, hashes = {}, []
    for folder in {path.parent for path in paths}:
        indexes[folder] = _read_index(folder)
    changed = set()
    try:
        for path in tqdm(paths, desc=description, mininterval=1, disable=len(paths) < 100):
            index = indexes[path.parent]
            try:
                status = path.stat()
                size, modified, digest = index.get(path.name, (None, None, None))
                if (size, modified) != (status.st_size, status.st_mtime_ns):
                    with open(path, "rb") as file:
                        digest = hashlib.file_digest(file, "sha256").hexdigest()
                    index[path.name] = [status.st_size, status.st_mtime_ns, digest]
                    changed.add(path.parent)
            except OSError as error:
                raise InputError(f"{path}: {error.strerror}") from None
            hashes.append(digest)
    finally:
        for folder in changed:
            with contextlib.suppress(OSError):  # without an index, the files are read again
                _index_path(folder).parent.mkdir(parents=True, exist_ok=True)
                write_json(_index_path(folder), indexes[folder])
    return hashes


def _index_path(folder):
    """Returns the path of the index of one data folder."""
    name = hashlib.sha256(str(folder).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return cache_folder() / "hashes" / f"{name}.json"


def _read_index(folder):
    """Returns {file name: [size, modification time, hash]}; {} if there is no index or it is damaged."""
    try:
        index = read_json(_index_path(folder))
    except (OSError, ValueError, InputError):
        return {}
    entries = index.values() if isinstance(index, dict) else [None]
    return index if all(isinstance(e, list) and len(e) == 3 for e in entries) else {}
