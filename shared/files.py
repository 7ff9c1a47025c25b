"""Small files, read with a clear error and written whole or not at all."""

import json
import os
import pathlib

import numpy as np

from shared.errors import InputError


def read_json(path):
    """Reads a JSON file, or says which one is broken."""
    try:
        return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is not valid JSON: {error}") from None


def write_json(path, value):
    """Writes a JSON file, whole or not at all."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def write_jsonl(path, rows):
    """Writes a JSON object a line, whole or not at all."""
    write_text(path, "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows))


def read_npz(path):
    """Reads a .npz, {name: array}, or says what is wrong with it."""
    try:
        with open(path, "rb") as raw, np.load(raw) as file:
            return dict(file)
    except Exception as error:  # of a damaged file, NumPy raises nearly anything
        raise InputError(f"{path} is no valid .npz: {error}") from None


def write_npz(path, **arrays):
    """Writes arrays to a .npz, whole or not at all."""
    path = pathlib.Path(path)
    half = path.with_name(f".{path.name}.half.npz")
    np.savez(half, **arrays)
    os.replace(half, path)


def write_text(path, text):
    """Writes a UTF-8 file, whole or not at all: no kill leaves half of it under its name."""
    path = pathlib.Path(path)
    half = path.with_name(f".{path.name}.half")
    half.write_text(text, encoding="utf-8", newline="")
    os.replace(half, path)
