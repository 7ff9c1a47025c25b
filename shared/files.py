"""Small files: read with clear errors, written atomically, and locked.

Each `write_*` function writes `partial_path(path)` first and then renames it with `replace`, so that
neither a process that is killed nor a power cut leaves an incomplete file under the final name.
"""

import contextlib
import errno
import json
import os
import pathlib
import shutil
import sys

import numpy as np

from shared.errors import InputError


def partial_path(path):
    """Returns the hidden path beside `path` under which its content is written before the rename."""
    path = pathlib.Path(path)
    return path.with_name(f".{path.name}.partial")


def replace(partial, path):
    """Renames a complete file or folder to its final name, so that a power cut does not shorten it.

    Its content is on the disk before the rename, and the rename is on the disk before this returns.

    Args:
        partial: a file, or a folder with everything in it.
        path: the final name. A file replaces an older one; a folder must not exist, or be empty.
    """
    partial, path = pathlib.Path(partial), pathlib.Path(path)
    if partial.is_dir():
        for folder, _, names in os.walk(partial):
            for name in names:
                _sync(os.path.join(folder, name))
            _sync(folder, directory=True)
    else:
        _sync(partial)
    os.replace(partial, path)
    _sync(path.parent, directory=True)


def _sync(path, directory=False):
    """Waits until a file, or the list of names in a folder, is on the disk."""
    if directory and os.name == "nt":  # Windows cannot open a folder
        return
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:  # some file systems cannot do this for a folder
        if not (directory and error.errno in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)):
            raise
    finally:
        os.close(handle)


@contextlib.contextmanager
def written(path):
    """A context whose value is the name to write; at its end the file or folder gets the name `path`.

    If the context ends with an error, such as a full disk, what was written is removed.

    Args:
        path: the final name, as for `replace`.

    Example:

    >>> import tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "a.txt")
    >>> with written(path) as partial:
    ...     _ = partial.write_text("a whole file")
    >>> path.read_text()
    'a whole file'
    """
    partial = partial_path(path)
    try:
        yield partial
        replace(partial, path)
    except BaseException:
        remove(partial)
        raise


def remove(path):
    """Removes a file, or a folder with everything in it; it may be missing."""
    path = pathlib.Path(path)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def lock(handle, path, wait=False):
    """Locks an open file or folder for this process until it is closed.

    Where the file system has no locks, a warning is printed and the work goes on without one.

    Args:
        handle: an open file, or the number of a file descriptor.
        path: its name, for the warning.
        wait: whether to wait while another process has the lock.

    Returns:
        False if another process has the lock, otherwise True.
    """
    try:
        import fcntl
    except ImportError:  # Windows has no such locks
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if not wait and error.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES):
            return False
        print(
            f"warning: {path} cannot be locked ({error.strerror}): let no other process write there",
            file=sys.stderr,
        )
    return True


def read_json(path):
    """Reads a JSON file.

    Raises:
        InputError: the file is not valid JSON in UTF-8.
    """
    try:
        return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON: {error}") from None


def write_json(path, value):
    """Writes a value as a JSON file."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def write_jsonl(path, rows):
    """Writes an iterable of values as a file with one JSON value per line."""
    write_text(path, "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows))


def read_npz(path):
    """Reads a .npz file into a dict, {name: array}.

    Raises:
        InputError: the file cannot be read or is damaged.
    """
    try:
        with open(path, "rb") as raw, np.load(raw) as file:
            return dict(file)
    except Exception as error:  # NumPy raises many types of exception for a damaged file
        raise InputError(f"{path} is not a valid .npz file: {error}") from None


def write_npz(path, **arrays):
    """Writes named arrays as an uncompressed .npz file."""
    # Given a name, NumPy would append ".npz".
    with written(path) as partial, open(partial, "wb") as file:
        np.savez(file, **arrays)


def write_text(path, text):
    """Writes a string as a UTF-8 file, without translating its line ends."""
    with written(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="")
