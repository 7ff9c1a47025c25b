"""Versions: an export that fails or is killed leaves no incomplete version.

This file is also the program that is killed:

    python tests/shared/serving/test_export_killed.py BASE

exports a toy model into the folder BASE once for each of MOMENTS, each time in a new process that kills
itself at that moment.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import tensorflow as tf

from shared.serving import export
from shared.serving.clients import SavedModelClient

INPUTS = tf.TensorSpec([None], tf.string, name="inputs")


class Toy(tf.Module):
    """One signature and one variable."""

    def __init__(self):
        super().__init__()
        self.scale = tf.Variable([2.0, 3.0])
        self.endpoints = {"serving_default": tf.function(self.answer, input_signature=[INPUTS])}

    def answer(self, inputs):
        length = tf.cast(tf.strings.length(inputs), tf.float32)
        return {
            "outputs": tf.strings.upper(inputs),
            "score": length[:, tf.newaxis] * self.scale,
        }

    def sample_requests(self):
        return {"serving_default": {"inputs": export.sample_batch("one", "", b"\xff three")}}


def write(folder):
    export.write(Toy(), folder, {"app": "toy"})


MOMENTS = {
    "milliseconds into the save": 0,
    "variables are written, the graph is not": 1,
    "the check": 2,
    "just before the rename": 3,
    "just after the rename": 4,
}


def kill():
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)  # the threads of a killed process continue for a moment


def killed_export(base, what, seed):
    """Exports in this process, which is killed before the end."""
    rng = np.random.default_rng(seed)
    save, run, rename = tf.saved_model.save, subprocess.run, os.replace

    def killed_save(server, folder, **kwargs):
        if what == "milliseconds into the save":
            threading.Timer(rng.uniform(0, 0.1), kill).start()
        if what == "variables are written, the graph is not":
            threading.Thread(target=_kill_when_variables_exist, args=[folder]).start()
        save(server, folder, **kwargs)

    def killed_run(*args, **kwargs):
        if what == "the check":
            kill()
        return run(*args, **kwargs)

    def killed_rename(old, new):
        if not os.path.isdir(old):  # the model card
            return rename(old, new)
        if what == "just before the rename":
            kill()
        rename(old, new)
        kill()
        return None

    tf.saved_model.save, subprocess.run, os.replace = killed_save, killed_run, killed_rename
    export.promote(write, base)


def _kill_when_variables_exist(folder):
    while not os.path.exists(os.path.join(folder, "variables")):
        pass
    kill()


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """The folder of the model after a killed export at each moment, and the files after each of them."""
    folder = tmp_path_factory.mktemp("saved_models") / "toy"
    scratch = tmp_path_factory.mktemp("scratch")
    left = {}
    root = pathlib.Path(__file__).parents[3]
    process = subprocess.run(
        [sys.executable, __file__, str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TMPDIR": str(scratch), "PYTHONPATH": str(root)},
    )
    assert process.returncode == 0, process.stderr
    for line in process.stdout.splitlines():
        what, status, names = json.loads(line)
        assert status == -signal.SIGKILL, (what, process.stderr)
        left[what] = set(names)
    assert left.keys() == MOMENTS.keys()
    return folder, left


def test_a_killed_export_leaves_no_incomplete_version(base):
    folder, left = base
    *before, after = left
    for what in before:
        names = {name.partition("/")[0] for name in left[what]}
        # Each export removes the partial folder of the one before.
        assert len(names) == 1
        assert names.pop().startswith(".partial-")
    has = lambda what, part: any(part in name for name in left[what])  # noqa: E731
    assert has("variables are written, the graph is not", "/model/variables")
    for what in ("milliseconds into the save", "variables are written, the graph is not"):
        assert not has(what, "model_card.json")
    assert has("the check", "/model/saved_model.pb")
    assert not has("the check", "model_card.json")
    assert has("just before the rename", "/model/assets.extra/model_card.json")
    # After the rename the version is complete; an empty partial folder remains.
    assert export.versions(folder) == ["1"]
    whole = {n.partition("/model/")[2] for n in left["just before the rename"] if "/model/" in n}
    assert {n.removeprefix("1/") for n in left[after] if n.startswith("1/")} == whole


@pytest.fixture(scope="module")
def second(base):
    """The version that the next export writes."""
    return export.promote(write, base[0])


def test_the_next_export_is_version_2_and_removes_partial_folders(base, second):
    assert second == base[0] / "2"
    assert sorted(os.listdir(base[0])) == ["1", "2"]
    for version in (base[0] / "1", second):
        answer = SavedModelClient(version).predict("serving_default", ["ab", "c"])
        assert answer["outputs"].tolist() == [b"AB", b"C"]
        np.testing.assert_array_equal(answer["score"], [[4, 6], [2, 3]])
    assert SavedModelClient(base[0]).path == second
    assert os.stat(second).st_mode & 0o055 == 0o055  # a server of another user may read it


def test_a_version_is_complete_after_the_rename(base, second):
    files = [
        {p.relative_to(folder) for p in folder.rglob("*")} for folder in (base[0] / "1", second)
    ]
    assert files[0] == files[1]
    assert export.card_of(base[0] / "1")["app"] == "toy"


def test_everything_is_on_the_disk_before_the_rename(tmp_path, monkeypatch):
    """A power cut after the rename leaves a complete version."""
    synced, at_rename = set(), []
    fsync, rename = os.fsync, os.replace

    def note_sync(handle):
        synced.add(os.fstat(handle).st_ino)
        fsync(handle)

    def note_rename(old, new):
        files = [pathlib.Path(old), *pathlib.Path(old).rglob("*")]
        at_rename.extend(path for path in files if path.stat().st_ino not in synced)
        rename(old, new)

    def make(folder):
        (folder / "variables").mkdir(parents=True)
        (folder / "saved_model.pb").write_text("a")
        (folder / "variables" / "variables.index").write_text("b")

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_rename)
    version = export.promote(make, tmp_path / "toy")
    assert sorted(os.listdir(version)) == ["saved_model.pb", "variables"]
    assert at_rename == []
    assert version.parent.stat().st_ino in synced


# ---- Versions ------------------------------------------------------------------------------------


def touch(folder):
    folder.mkdir()
    (folder / "saved_model.pb").touch()


def test_versions_are_numbers(tmp_path):
    for name in ("2", "9", "notes", ".partial-old", "9.5"):
        (tmp_path / name).mkdir()
    (tmp_path / "77").touch()  # a file
    assert export.promote(touch, tmp_path).name == "10"
    assert export.promote(touch, tmp_path).name == "11"
    assert sorted(export.versions(tmp_path), key=int) == ["2", "9", "10", "11"]
    assert not (tmp_path / ".partial-old").exists()
    assert (tmp_path / "9.5").exists()


def test_an_export_that_fails_leaves_nothing(tmp_path):
    def broken(folder):
        touch(folder)
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        export.promote(broken, tmp_path / "models" / "toy")
    assert os.listdir(tmp_path) == []
    export.promote(touch, tmp_path / "models" / "toy")
    with pytest.raises(RuntimeError, match="no"):
        export.promote(broken, tmp_path / "models" / "toy")
    assert os.listdir(tmp_path / "models" / "toy") == ["1"]


def test_two_exports_at_once_are_two_versions(tmp_path):
    """The second does not remove the partial folder of the first, which is not of a killed export."""
    entered, go_on = threading.Event(), threading.Event()

    def slow(folder):
        touch(folder)
        entered.set()
        assert go_on.wait(60)
        (folder / "last").touch()

    threads = [threading.Thread(target=export.promote, args=[slow, tmp_path])]
    threads[0].start()
    assert entered.wait(60)
    threads.append(threading.Thread(target=export.promote, args=[touch, tmp_path]))
    threads[1].start()
    threads[1].join(0.5)  # it may wait or continue
    go_on.set()
    for thread in threads:
        thread.join()
    assert sorted(export.versions(tmp_path)) == ["1", "2"]
    assert [(tmp_path / v / "saved_model.pb").exists() for v in ("1", "2")] == [True, True]
    assert len(list(tmp_path.glob("*/last"))) == 1


if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1])
    for moment, number in MOMENTS.items():
        pid = os.fork()  # this process has imported TensorFlow and does not use it
        if not pid:
            killed_export(folder, moment, number)
            os._exit(0)
        exit_status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        names = sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))
        print(json.dumps([moment, exit_status, names]), flush=True)
