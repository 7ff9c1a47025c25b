"""Small files: read with clear errors, written atomically.

Each `write_*` function writes `partial_path(path)` first and then renames it, so that a process that is
killed never leaves an incomplete file under the final name.
"""

import json
import os
import pathlib

import numpy as np

from shared.errors import InputError


def partial_path(path):
    """Returns the hidden path beside `path` under which its content is written before the rename."""
    path = pathlib.Path(path)
    return path.with_name(f".{path.name}.partial")


def read_json(path):
    """Reads a JSON file.

    Raises:
        InputError: the file is not valid JSON.
    """
    try:
        return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
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
    with open(partial_path(path), "wb") as file:  # given a name, NumPy would append ".npz"
        np.savez(file, **arrays)
    os.replace(partial_path(path), path)


def write_text(path, text):
    """Writes a string as a UTF-8 file, without translating its line ends."""
    partial_path(path).write_text(text, encoding="utf-8", newline="")
    os.replace(partial_path(path), path)
