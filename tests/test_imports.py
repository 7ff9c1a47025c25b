"""The import rules of CONTRIBUTING.md: with them, the folder of an app can be copied."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted([*ROOT.glob("apps/**/*.py"), *ROOT.glob("shared/**/*.py")])


def imports(path):
    """Yields the absolute name of each import in a file, and whether the import is relative."""
    package = path.relative_to(ROOT).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, False) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *filter(None, [node.module])])
            yield from ((f"{module}.{alias.name}", node.level > 0) for alias in node.names)


def violations(path):
    """Yields the imports of a file that the rules forbid."""
    file = path.relative_to(ROOT).parts
    for name, relative in imports(path):
        parts = name.split(".")
        if file[:2] == ("shared", "layers"):
            if parts[0] not in ("keras", "tensorflow", "inspect", "operator") and not (
                relative and parts[:2] == ["shared", "layers"]
            ):
                yield f"{name}: layers import keras and tensorflow only"
        elif file[0] == "shared" and parts[0] == "apps":
            yield f"{name}: shared never imports an app"
        elif file[0] == "apps" and parts[0] == "apps":
            if parts[1] != file[1]:
                yield f"{name}: apps never import each other"
            elif not relative:
                yield f"{name}: an app imports its own files relatively, so that a copy works"


def own_names(path):
    """Yields the strings in the code of an app, except docstrings, that contain its name."""
    app = path.relative_to(ROOT).parts[1]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    owners = ast.Module, ast.ClassDef, ast.FunctionDef
    statements = [node.body[0] for node in ast.walk(tree) if isinstance(node, owners) and node.body]
    docstrings = {id(node.value) for node in statements if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        text = isinstance(node, ast.Constant) and id(node) not in docstrings and str(node.value)
        if text and app in text:
            yield f"{path.name}, line {node.lineno}: {text!r}; take it from __package__"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports(path):
    assert list(violations(path)) == []


@pytest.mark.parametrize(
    "path",
    [p for p in FILES if (ROOT / "apps") in p.parents and p.parent != ROOT / "apps"],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_an_app_does_not_contain_its_own_name(path):
    assert list(own_names(path)) == []


def test_a_name_is_found(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    path = tmp_path / "apps" / "mine" / "x.py"
    path.parent.mkdir(parents=True)
    path.write_text('"""The app mine."""\nx = "python -m apps.mine.train"\ndef f():\n    "mine"\n')
    [name] = own_names(path)
    assert "line 2" in name


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("shared/x.py", "import apps.language_model.data"),
        ("shared/x.py", "def f():\n    from apps import language_model"),
        ("shared/layers/x.py", "from shared import text"),
        ("shared/layers/x.py", "import numpy as np"),
        ("shared/layers/x.py", "from .. import text"),
        ("apps/a/x.py", "from apps.b import data"),
        ("apps/a/x.py", "from apps.a import data"),
        ("apps/a/x.py", "from ..b import data"),
    ],
)
def test_a_violation_is_found(file, line, tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(line)
    assert list(violations(path))


def test_clients_and_tables_start_without_tensorflow():
    """A client of a server, and the command that writes the tables, must start fast."""
    modules = ("predict", "results", "errors", "files", "serving.clients")
    heavy = {"tensorflow", "keras", "tensorflow_datasets", "matplotlib"}
    code = f"import sys, {', '.join(f'shared.{name}' for name in modules)}\n"
    code += f"print(sorted({heavy} & set(sys.modules)))"
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert process.stdout == "[]\n", process.stdout + process.stderr
