"""The commands in the READMEs work, and their tables are those of results/*.json.

Long work is shortened: presets are as small as TINY, the first training command with --data-dir of each
app trains one step, and the others only open their data. Exports and evaluations use the models of the
fixture `trained`; test_contract tests that these models are exported and evaluated correctly.
"""

import dataclasses
import functools
import importlib
import json
import re
import shlex
import shutil
import sys
import types
from pathlib import Path

import pytest
from PIL import Image

from shared import predict, results
from shared.data.sources import SPLITS
from shared.serving import clients, export
from shared.training import runs

ROOT = Path(__file__).parents[1]
READMES = [
    ROOT / "README.md",
    *sorted(ROOT.glob("*/README.md")),
    *sorted(ROOT.glob("apps/*/README.md")),
]
APPS = sorted(path.parent.name for path in ROOT.glob("apps/*/train.py"))
TARGETS = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
SHELL = re.compile(r"```sh\n(.*?)```", re.DOTALL)
# Data for DIR: {app: {file: line of example n}}. Each word occurs twice, for --min-count 2, and there are
# more words than benchmarks.cells samples for its softmax.
DATA = {
    "extractive_summarization": {
        f"{split}.jsonl": (
            f'{{{{"text": "The {split} has number{{n}} here. It was number{{n}} once.", '
            f'"summary": "The {split} has number{{n}}."}}}}'
        )
        for split in SPLITS
    },
    "image_captioning": {
        f"captions.{split}.tsv": f"{{n}}.png\t{split} caption of an image number{{n}}"
        for split in SPLITS
    },
    "language_model": {f"{split}.txt": f"the {split} number{{n}} number{{n}}" for split in SPLITS},
    "machine_translation": {
        f"{split}.{language}": f"{split} {language} number{{n}}"
        for split in SPLITS
        for language in ("en", "de")
    },
    "pinyin_conversion": {
        **{
            f"{split}.tsv": "thchs30\tta1 shi4 yan2 jiu1\t他是研究"
            for split in (*SPLITS, "gold_baker")
        },
        "train.txt": "他很好。他去西安。",
    },
}
EXAMPLES = {
    "extractive_summarization": 100,
    "image_captioning": 8,
    "language_model": 1200,
    "machine_translation": 200,
    "pinyin_conversion": 100,
}
# Files of the public datasets that join_text reads.
PUBLIC = {
    "CPP/dev.sent": "他▁得▁去。\n",
    "CPP/test.sent": "银▁行▁\n",
    "THREE_AM/train.zh": "一个男孩。\n",
    "HOTEL/ChnSentiCorp_htl_all.csv": "label,review\n1,很好\n",
}


def commands(readme):
    """Yields the lines of the shell blocks, without comments."""
    for block in SHELL.findall(readme.read_text(encoding="utf-8")):
        for line in block.splitlines():
            line = line.partition(" #")[0].strip()
            if line:
                yield line


CASES = [(readme, line) for readme in READMES for line in commands(readme)]


def first_training_commands():
    """Returns the first training command with --data-dir of each app."""
    first = {}
    for _, line in CASES:
        match = re.match(r"python -m apps\.(\w+)\.train .*--data-dir", line)
        if match:
            first.setdefault(match[1], line)
    return set(first.values())


@pytest.fixture(scope="module")
def apps(trained):
    return {name: trained(name) for name in APPS}


@pytest.fixture(scope="module")
def folder(apps, tmp_path_factory):
    """A folder with everything that the commands name: data, runs, models, demo inputs."""
    folder = tmp_path_factory.mktemp("readme")
    for name in APPS:
        link(folder / "apps" / name / "demo", ROOT / "apps" / name / "demo")
    files = {"DIR/empty": "", **PUBLIC}
    for name, lines in DATA.items():
        for file, line in lines.items():
            text = "".join(f"{line.format(n=n)}\n" for n in range(EXAMPLES[name]))
            files[f"data/{name}/{file}"] = text
    for file, text in files.items():
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for n in range(EXAMPLES["image_captioning"]):
        Image.new("RGB", (8, 8), (30 * n, 0, 0)).save(folder / f"data/image_captioning/{n}.png")
    for name, app in apps.items():
        for preset in app.config.PRESETS:
            link(folder / "runs" / name / preset, app.run)
            model = name if preset == "default" else f"{name}_{preset}"
            link(folder / "saved_models" / model, app.saved_model)
    link(folder / "runs" / "mine", apps["language_model"].run)
    # A copy, because a command exports its second version.
    shutil.copytree(apps["language_model"].saved_model, folder / "saved_models" / "mine")
    return folder


def link(path, target):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


@pytest.fixture(scope="module")
def connect():
    """`clients.connect` that loads each model once."""
    return functools.cache(clients.connect)


@pytest.fixture
def shortened(apps, connect, monkeypatch):
    """Presets are as small as TINY, an export is a copy, and an evaluation reads the model card."""
    monkeypatch.setattr(predict, "connect", connect)
    for app in apps.values():
        default, tiny = app.config.Config(), dataclasses.asdict(app.config.TINY)
        small = {name: value for name, value in tiny.items() if value != getattr(default, name)}
        for name, preset in app.config.PRESETS.items():
            monkeypatch.setitem(app.config.PRESETS, name, dataclasses.replace(preset, **small))
        version, test = app.saved_model / "1", export.card_of(app.saved_model)["test"]
        monkeypatch.setattr(app.export, "write", functools.partial(copy_version, version))
        monkeypatch.setattr(app.evaluate, "evaluate", lambda *_, test=test: dict(test))


def copy_version(version, run, folder, test):
    assert test == run.metrics["test"]
    shutil.copytree(version, folder)


def only_start(monkeypatch):
    """Makes `train` end after it has parsed its arguments and opened the data."""
    start = runs.start

    def start_and_stop(*arguments):
        run = start(*arguments)
        assert not run.finished
        return types.SimpleNamespace(finished=True)

    monkeypatch.setattr(runs, "start", start_and_stop)


@pytest.mark.parametrize(
    ("readme", "line"), CASES, ids=[f"{r.parent.name}:{line[:60]}" for r, line in CASES]
)
def test_command(readme, line, folder, shortened, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    words = shlex.split(line)
    if words[0] == "make":
        assert words[1] in TARGETS
        return
    if words[0] in ("docker", "curl", "tensorflow_model_server"):
        pytest.skip("needs Docker or a server")
    assert words[:2] == ["python", "-m"], f"{readme}: unknown command {line!r}"
    module, *arguments = words[2:]
    package, _, script = module.rpartition(".")
    app = package.removeprefix("apps.")
    data = folder / "data" / (app if app in APPS else "language_model")
    arguments = [str(data) if argument == "DIR" else argument for argument in arguments]
    if script == "train" and "--help" not in arguments:
        arguments += ["--dry-run", "--quiet"]
        if line not in first_training_commands():
            only_start(monkeypatch)
    if script == "evaluate":
        # The models of the fixture `trained` use the embedded data.
        arguments = [a for a in arguments if a not in ("--data-dir", str(data), "--record")]
    if package == "benchmarks":
        arguments = [sys.executable if a == "PYTHON" else a for a in arguments] + ["--dry-run"]
    try:
        status = importlib.import_module(module).main(arguments)
    except SystemExit as stopped:
        status = stopped.code
    assert not status, capsys.readouterr().err


def test_each_app_has_a_command_that_trains_on_files():
    assert len(first_training_commands()) == len(APPS)


def test_tables_are_those_of_the_results():
    results.main(["--check"])


def test_tables_of_benchmarks_are_those_of_their_results():
    folder = ROOT / "benchmarks"
    text = (folder / "README.md").read_text(encoding="utf-8")
    tables = dict.fromkeys(re.findall(r"<!-- ([a-z_]+) -->", text), "Not measured yet.\n")
    for path in (folder / "results").glob("*.json"):
        benchmark = importlib.import_module(f"benchmarks.{path.stem}")
        tables |= benchmark.tables(json.loads(path.read_text(encoding="utf-8")))
    for place, table in tables.items():
        assert f"<!-- {place} -->\n{table}<!-- /{place} -->" in text
