"""The commands that READMEs print work, and their tables are those of results/*.json.

Long work is cut short: models are TINY, training takes one step, and what is exported and evaluated are
the models that `trained` gives, of which test_contract sees that they are made and measured again.
"""

import dataclasses
import functools
import importlib
import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from shared import results
from shared.serving import export

ROOT = Path(__file__).parents[1]
READMES = [
    ROOT / "README.md",
    *sorted(ROOT.glob("*/README.md")),
    *sorted(ROOT.glob("apps/*/README.md")),
]
APPS = sorted(path.parent.name for path in ROOT.glob("apps/*/train.py"))
TARGETS = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
SHELL = re.compile(r"```sh\n(.*?)```", re.DOTALL)


def commands(readme):
    """The lines of its shell blocks, without comments."""
    for block in SHELL.findall(readme.read_text(encoding="utf-8")):
        for line in block.splitlines():
            line = line.partition(" #")[0].strip()
            if line:
                yield line


@pytest.fixture(scope="module")
def apps(trained):
    return {name: trained(name) for name in APPS}


@pytest.fixture(scope="module")
def place(apps, tmp_path_factory):
    """A folder with what the commands name: data, runs, models, questions."""
    folder = tmp_path_factory.mktemp("readme")
    data = folder / "DIR"
    data.mkdir()
    for i, split in enumerate(("train", "valid", "test")):
        # More words than the ptb preset draws for its softmax, none of them rare.
        lines = [f"the first said number{n} and number{n} {i} 好\n" for n in range(1200)]
        for ending in ("txt", "en", "de"):
            (data / f"{split}.{ending}").write_text("".join(lines))
    (folder / "questions.txt").write_text("one\ntwo\n")
    for name, app in apps.items():
        for preset in app.config.PRESETS:
            _link(folder / "runs" / name / preset, app.run)
            model = name if preset == "default" else f"{name}_{preset}"
            _link(folder / "saved_models" / model, app.saved_model)
    _link(folder / "runs" / "mine", apps["language_model"].run)
    return folder


def _link(path, target):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


@pytest.fixture
def cut_short(apps, monkeypatch):
    """Presets are as small as TINY; an export is a copy; the figures are those of the model card."""
    for app in apps.values():
        plain, tiny = app.config.Config(), dataclasses.asdict(app.config.TINY)
        small = {name: value for name, value in tiny.items() if value != getattr(plain, name)}
        for name, preset in app.config.PRESETS.items():
            monkeypatch.setitem(app.config.PRESETS, name, dataclasses.replace(preset, **small))
        version, test = app.saved_model / "1", export.card_of(app.saved_model)["test"]
        copy = functools.partial(_copy, version)
        monkeypatch.setattr(app.export, "write", copy)
        monkeypatch.setattr(app.evaluate, "evaluate", lambda *_, test=test: dict(test))


def _copy(version, run, folder, test):
    assert test == run.metrics["test"]
    shutil.copytree(version, folder)


CASES = [(readme, line) for readme in READMES for line in commands(readme)]


@pytest.mark.parametrize(
    ("readme", "line"), CASES, ids=[f"{r.parent.name}:{line[:60]}" for r, line in CASES]
)
def test_command(readme, line, place, cut_short, monkeypatch, capsys):
    monkeypatch.chdir(place)
    words = shlex.split(line)
    if words[0] == "make":
        assert words[1] in TARGETS
    elif words[0] in ("docker", "curl", "tensorflow_model_server"):
        pytest.skip("needs Docker or a server")
    else:
        assert words[:2] == ["python", "-m"], f"{readme}: what is {line!r}?"
        module, *arguments = words[2:]
        if module.endswith(".train") and "--help" not in arguments:
            arguments += ["--dry-run", "--quiet"]
        if module.endswith(".evaluate"):
            # The models here are TINY ones of the embedded text, under the presets' names.
            arguments = [a for a in arguments if a not in ("--data-dir", "DIR", "--record")]
        if module.startswith("benchmarks."):
            arguments = [sys.executable if a == "PYTHON" else a for a in arguments] + ["--dry-run"]
        try:
            status = importlib.import_module(module).main(arguments)
        except SystemExit as end:
            status = end.code
        assert not status, capsys.readouterr().err


def test_tables_are_those_of_the_results(capsys):
    results.main(["--check"])


def test_tables_of_benchmarks_are_those_of_their_results():
    folder = ROOT / "benchmarks"
    text = (folder / "README.md").read_text(encoding="utf-8")
    places = dict.fromkeys(re.findall(r"<!-- ([a-z_]+) -->", text), "Not measured yet.\n")
    for path in (folder / "results").glob("*.json"):
        benchmark = importlib.import_module(f"benchmarks.{path.stem}")
        places |= benchmark.tables(json.loads(path.read_text(encoding="utf-8")))
    for place, table in places.items():
        assert f"<!-- {place} -->\n{table}<!-- /{place} -->" in text
