"""Who may import what: the rule that keeps an app's folder ready to be copied."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted([*ROOT.glob("apps/**/*.py"), *ROOT.glob("shared/**/*.py")])


def imports(path):
    """Absolute names of all that a file imports, wherever in it: module, and module.name."""
    package = path.relative_to(ROOT).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, False) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *filter(None, [node.module])])
            yield from ((f"{module}.{alias.name}", node.level > 0) for alias in node.names)


def breaches(path):
    """The imports of a file that the rule forbids."""
    own = path.relative_to(ROOT).parts
    for name, relative in imports(path):
        parts = name.split(".")
        if own[:2] == ("shared", "layers"):
            if parts[0] not in ("keras", "tensorflow", "inspect", "operator") and not (
                relative and parts[:2] == ["shared", "layers"]
            ):
                yield f"{name}: layers import keras and tensorflow only"
        elif own[0] == "shared" and parts[0] == "apps":
            yield f"{name}: shared knows nothing of any app"
        elif own[0] == "apps" and parts[0] == "apps":
            if parts[1] != own[1]:
                yield f"{name}: apps never import each other"
            elif not relative:
                yield f"{name}: an app imports itself relatively, or its copy would import it"


def own_names(path):
    """Texts in an app's code, docstrings apart, that name the app: its copy has another name."""
    app = path.relative_to(ROOT).parts[1]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    owners = ast.Module, ast.ClassDef, ast.FunctionDef
    firsts = [node.body[0] for node in ast.walk(tree) if isinstance(node, owners) and node.body]
    prose = {id(first.value) for first in firsts if isinstance(first, ast.Expr)}
    for node in ast.walk(tree):
        text = isinstance(node, ast.Constant) and id(node) not in prose and str(node.value)
        if text and app in text:
            yield f"{path.name}, line {node.lineno}: {text!r}; take it from __package__"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports(path):
    assert list(breaches(path)) == []


@pytest.mark.parametrize(
    "path",
    [p for p in FILES if p.parent.parent == ROOT / "apps"],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_an_app_does_not_name_itself(path):
    assert list(own_names(path)) == []


def test_a_name_is_seen(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    path = tmp_path / "apps" / "mine" / "x.py"
    path.parent.mkdir(parents=True)
    path.write_text('"""Of mine."""\nx = "python -m apps.mine.train"\ndef f():\n    "mine"\n')
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
def test_a_breach_is_seen(file, line, tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(line)
    assert list(breaches(path))


def test_a_script_without_heavy_libraries_starts_without_them():
    """The client over REST and the table maker must not wait for TensorFlow."""
    for name in ("predict", "clients", "results", "errors", "files"):
        assert not {
            top
            for top, _ in (
                (n.split(".")[0], r) for n, r in module_level(ROOT / f"shared/{name}.py")
            )
        } & {"tensorflow", "keras", "tensorflow_datasets", "matplotlib"}


def module_level(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from ((alias.name, False) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, node.level > 0
