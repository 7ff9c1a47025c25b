"""The examples in the docstrings of `shared`."""

import doctest
import importlib
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[2]
# tests/shared/layers has the examples of the layers.
FOLDERS = ("shared", "shared/data", "shared/text", "shared/serving", "shared/training")


def modules_with_examples():
    paths = (path for folder in FOLDERS for path in sorted((ROOT / folder).glob("*.py")))
    return [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in paths
        if re.search(r"^\s*>>> ", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]


def test_modules_with_examples_were_found():
    assert {"shared.results", "shared.data.splits", "shared.text.vocabulary"} <= set(
        modules_with_examples()
    )


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PEEPHOLE_CACHE", str(tmp_path))
    failures, examples = doctest.testmod(importlib.import_module(name))
    assert examples
    assert not failures
