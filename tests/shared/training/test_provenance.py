import dataclasses
import re
import shutil
import subprocess
import types

import pytest

from shared import cli
from shared.training import provenance


@dataclasses.dataclass(frozen=True)
class Config:
    units: int = 3
    learning_rate: float = 0.1
    data_dir: tuple[str, ...] = ()
    columns: tuple[int, ...] = (0, 1)
    tones: bool = False
    clean: bool = True
    size: int | None = None


def test_command_has_the_settings_that_differ_from_the_preset():
    presets = {"default": Config(), "big": Config(units=9)}
    command = lambda preset, config: provenance.command("toy", preset, presets, config)  # noqa: E731
    assert command("default", Config()) == "python -m apps.toy.train default"
    assert command("big", Config(units=9)) == "python -m apps.toy.train big"
    assert command("big", Config(learning_rate=0.2, data_dir=("/home/me/data",))) == (
        "python -m apps.toy.train big --units 3 --learning-rate 0.2 --data-dir DIR"
    )
    assert command("default", Config(data_dir=("/a", "/b"), columns=(2, 0), size=9)) == (
        "python -m apps.toy.train default --data-dir DIR DIR --columns 2 0 --size 9"
    )
    assert command("default", Config(tones=True, clean=False)) == (
        "python -m apps.toy.train default --tones --no-clean"
    )
    other = types.SimpleNamespace(about={"preset": "default"})
    assert provenance.command("toy", "big", presets, Config(units=9), init_from=other) == (
        "python -m apps.toy.train big --init-from runs/toy/default"
    )


def test_command_can_be_parsed_again():
    presets = {"default": Config(), "big": Config(units=9, size=4, columns=(1,))}
    config = Config(tones=True, data_dir=("DIR", "DIR"), columns=(2, 0, 1))
    text = provenance.command("toy", "big", presets, config)
    preset, parsed, _ = cli.parse("apps.toy", presets, text.split()[3:])
    assert (preset, parsed) == ("big", config)


def test_versions_and_hardware():
    assert set(provenance.versions()) == {"python", "tensorflow", "keras"}
    assert re.fullmatch(r".+, \d+ cores.*", provenance.hardware())


@pytest.mark.skipif(not shutil.which("git"), reason="needs git")
def test_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(
        provenance, "__file__", str(tmp_path / "shared" / "training" / "provenance.py")
    )
    assert provenance.commit() is None  # not a checkout
    git = ["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    clean = provenance.commit()
    assert re.fullmatch("[0-9a-f]{12}", clean)
    (tmp_path / "new").touch()
    assert provenance.commit() == clean + "+"
