"""The Makefile, in a copy with a fake Python: nothing is installed here."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAMES = ["python3", "python3.11", "python3.12", "python3.13"]
# A suitable Python that logs its arguments; `-m venv` makes an environment that contains it.
FAKE_PYTHON = """#!/bin/sh
case "$1" in -m) echo "$*" >> log;; esac
case "$*" in
  *"-m venv"*) mkdir -p .venv/bin; cp "$0" .venv/bin/python;;
  *"-m pip"*) sleep 0.3; [ ! -e no_network ];;
  *fcntl*) exec "{python}" "$@";;
esac
"""
NO_VENV = """#!/bin/sh
exec "{python}" -c 'import sys; sys.modules["ensurepip"] = None; exec(sys.argv[2])' "$@"
"""
TOO_OLD = "#!/bin/sh\nexit 1\n"

pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="needs make")


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "a checkout"  # with a space in its name
    for app in ("alpha", "beta"):
        (root / "apps" / app).mkdir(parents=True)
        (root / "apps" / app / "train.py").touch()
    for name in ("alpha/demo/one.wav", "alpha/demo/two.wav", "beta/demo/inputs.txt"):
        (root / "apps" / name).parent.mkdir(exist_ok=True)
        (root / "apps" / name).touch()
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, root / name)
    return root


def start(tree, *words, python=FAKE_PYTHON):
    tools = tree.parent / "bin"
    tools.mkdir(exist_ok=True)
    for name in NAMES:
        (tools / name).write_text(python.format(python=sys.executable))
        (tools / name).chmod(0o755)
    # Without the variables that the make that runs these tests has set.
    env = {k: v for k, v in os.environ.items() if "MAKE" not in k and k not in ("PYTHON", "APP")}
    env |= {"PATH": f"{tools}:{os.environ['PATH']}", "MFLAGS": ""}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(["make", *words], cwd=tree, env=env, **pipes)


def make(tree, *words, **more):
    process = start(tree, *words, **more)
    out, err = process.communicate()
    return process.returncode, out, err


def log(tree):
    """Returns the arguments of Python since the last call."""
    path = tree / "log"
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return [line.removeprefix("-m ") for line in lines]


VENV = "venv --clear .venv"
PIP = "pip install -c requirements.lock -e .[all,dev]"
PYTEST = "pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder"


def test_make_without_a_target_prints_the_targets_and_the_apps(tree):
    code, out, _ = make(tree)
    assert code == 0
    for word in ("demo", "test", "lint", "format", "bench", "results", "lock", "clean"):
        assert f"make {word} " in out
    assert out.endswith("alpha beta\n")
    assert not (tree / ".venv").exists()


@pytest.mark.parametrize("app", ["gamma", "alpha gamma", ""])
def test_unknown_app_is_one_line_that_lists_the_apps(tree, app):
    code, out, err = make(tree, "demo", f"APP={app}")
    assert code != 0
    assert out == ""
    assert err.count("\n") == 1
    assert "all alpha beta" in err
    assert not (tree / ".venv").exists()


@pytest.mark.parametrize("python", [NO_VENV, TOO_OLD])
def test_without_a_suitable_python_one_line_says_what_to_install(tree, python):
    code, out, err = make(tree, "test", python=python)
    assert code != 0
    assert out == ""
    assert err.count("\n") == 1
    assert "Python 3.11, 3.12 or 3.13" in err
    assert "apt install python3-venv" in err
    assert not (tree / ".venv").exists()


def test_demo_of_all_trains_exports_and_queries_each_app(tree):
    code, _, err = make(tree, "demo", "APP=all")
    assert code == 0, err
    assert log(tree) == [
        VENV,
        PIP,
        "apps.alpha.train",
        "apps.alpha.export runs/alpha/default",
        "shared.predict saved_models/alpha @apps/alpha/demo/one.wav @apps/alpha/demo/two.wav",
        "apps.beta.train",
        "apps.beta.export runs/beta/default",
        "shared.predict saved_models/beta @apps/beta/demo/inputs.txt",
    ]


def test_installs_once_and_updates_when_the_lock_file_is_newer(tree):
    make(tree, "test")
    assert log(tree) == [VENV, PIP, PYTEST]
    make(tree, "test")
    assert log(tree) == [PYTEST]
    stamp = (tree / ".venv/.installed").stat().st_mtime
    os.utime(tree / "requirements.lock", (stamp + 1, stamp + 1))
    make(tree, "test")
    assert log(tree) == [PIP, PYTEST]


def test_a_broken_install_is_started_again(tree):
    (tree / "no_network").touch()
    code, _, _ = make(tree, "test")
    assert code != 0
    assert log(tree) == [VENV, PIP]
    (tree / "no_network").unlink()
    code, _, err = make(tree, "test")
    assert code == 0, err
    assert log(tree) == [VENV, PIP, PYTEST]


def test_a_moved_checkout_is_installed_again(tree):
    make(tree, "test")
    log(tree)
    moved = tree.rename(tree.parent / "moved")
    make(moved, "test")
    assert log(moved) == [VENV, PIP, PYTEST]


def test_two_makes_at_once_install_once(tree):
    both = [start(tree, "-j2", "results", "test"), start(tree, "results")]
    for process in both:
        _, err = process.communicate()
        assert process.returncode == 0, err
    assert log(tree).count(PIP) == 1


def test_bench_without_benchmarks_says_so(tree):
    code, out, _ = make(tree, "bench")
    assert code == 0
    assert "no benchmarks" in out
