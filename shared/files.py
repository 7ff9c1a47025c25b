"""Small files, read with a clear error and written whole or not at all."""

import json
import os
import pathlib

from shared.errors import InputError


def read_json(path):
    """Reads a JSON file, or says which one is broken."""
    try:
        return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is not valid JSON: {error}") from None


def write_json(path, value):
    """Writes a JSON file, whole or not at all."""
    _write(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def write_jsonl(path, rows):
    """Writes a JSON object a line, whole or not at all."""
    _write(path, "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows))


def _write(path, text):
    path = pathlib.Path(path)
    half = path.with_name(f".{path.name}.half")
    half.write_text(text, encoding="utf-8")
    os.replace(half, path)
