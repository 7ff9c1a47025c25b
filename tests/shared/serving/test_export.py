"""Exports: whole or not there, and every defect that would keep one from being served is found.

This file is also the program that is killed:

    python tests/shared/test_export.py BASE

exports the toy into the folder BASE once for each of MOMENTS, each time in a process of its own that
kills itself at that moment.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from shared.serving import export
from shared.serving.clients import SavedModelClient

INPUTS = tf.TensorSpec([None], tf.string, name="inputs")
WEIGHT = tf.TensorSpec([None], tf.float32, name="weight")


class Toy(tf.Module):
    """Two signatures, a variable, a vocabulary."""

    def __init__(self, answer=None):
        super().__init__()
        self.scale = tf.Variable([2.0, 3.0])
        self.endpoints = {
            "serving_default": tf.function(answer or self.answer, input_signature=[INPUTS]),
            "weigh": tf.function(self.weigh, input_signature=[INPUTS, WEIGHT]),
        }

    def answer(self, inputs):
        length = tf.strings.length(inputs)
        score = tf.cast(length, tf.float32)[:, tf.newaxis] * self.scale
        return {"outputs": tf.strings.upper(inputs), "length": length, "score": score}

    def weigh(self, inputs, weight):
        return {"outputs": inputs, "weighed": weight * self.scale[0]}

    def sample_requests(self):
        texts = np.array([b"one", b"", b"\xff three"], object)
        weights = np.array([0.5, 1, 2], np.float32)
        return {
            "serving_default": {"inputs": texts},
            "weigh": {"inputs": texts, "weight": weights},
        }


def write(folder, server=None):
    export.write(server or Toy(), folder, {"app": "toy"})


# ---- Killed --------------------------------------------------------------------------------------

MOMENTS = {
    "milliseconds into the save": 0,
    "variables, and not yet the graph": 1,
    "the check": 2,
    "just before the rename": 3,
    "just after the rename": 4,
}


def kill():
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)  # a thread of the killed process runs on for a moment


def killed_export(base, what, seed):
    """Exports in this process, which does not live to see the end."""
    rng = np.random.default_rng(seed)
    save, run, rename = tf.saved_model.save, subprocess.run, os.rename

    def killed_save(server, folder, **kwargs):
        if what == "milliseconds into the save":
            threading.Timer(rng.uniform(0, 0.1), kill).start()
        if what == "variables, and not yet the graph":
            threading.Thread(target=_kill_when_there, args=[folder]).start()
        save(server, folder, **kwargs)

    def killed_run(*args, **kwargs):
        if what == "the check":
            kill()
        return run(*args, **kwargs)

    def killed_rename(old, new):
        if what == "just before the rename":
            kill()
        rename(old, new)
        kill()

    tf.saved_model.save, subprocess.run, os.rename = killed_save, killed_run, killed_rename
    export.promote(write, base)


def _kill_when_there(folder):
    while not os.path.exists(os.path.join(folder, "variables")):
        pass
    kill()


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """saved_models/toy after a killed export of each kind, and what each of them left there."""
    folder = tmp_path_factory.mktemp("saved_models") / "toy"
    scratch = tmp_path_factory.mktemp("scratch")
    left = {}
    done = subprocess.run(
        [sys.executable, __file__, str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TMPDIR": str(scratch)},
    )
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        what, status, names = json.loads(line)
        assert status == -signal.SIGKILL, (what, done.stderr)
        left[what] = set(names)
    assert left.keys() == MOMENTS.keys()
    return folder, left


def test_a_killed_export_shows_no_version_that_is_not_whole(base):
    folder, left = base
    *before, after = left
    for what in before:
        names = {name.partition("/")[0] for name in left[what]}
        # One half, which is its own: those of the kills before it are cleaned up.
        assert len(names) == 1
        assert names.pop().startswith(".half-")
    has = lambda what, part: any(part in name for name in left[what])  # noqa: E731
    assert has("variables, and not yet the graph", "/model/variables")
    for what in ("milliseconds into the save", "variables, and not yet the graph"):
        assert not has(what, "model_card.json")
    assert has("the check", "/model/saved_model.pb")
    assert not has("the check", "model_card.json")
    assert has("just before the rename", "/model/assets.extra/model_card.json")
    # After the rename all of it is there; the empty half that remains is of no harm.
    assert export.versions(folder) == ["1"]
    whole = {n.partition("/model/")[2] for n in left["just before the rename"] if "/model/" in n}
    assert {n.removeprefix("1/") for n in left[after] if n.startswith("1/")} == whole


@pytest.fixture(scope="module")
def second(base):
    """The version that an export beside all that makes."""
    return export.promote(write, base[0])


def test_the_next_export_is_version_2_and_cleans_up(base, second):
    assert second == base[0] / "2"
    assert sorted(os.listdir(base[0])) == ["1", "2"]
    for version in (base[0] / "1", second):
        answer = SavedModelClient(version).predict("serving_default", ["ab", "c"])
        assert answer["outputs"].tolist() == [b"AB", b"C"]
        np.testing.assert_array_equal(answer["score"], [[4, 6], [2, 3]])
    assert SavedModelClient(base[0]).path == second
    assert os.stat(second).st_mode & 0o055 == 0o055  # a server under another user may read it


def test_a_version_killed_after_the_rename_is_like_any_other(base, second):
    files = [
        {p.relative_to(folder) for p in folder.rglob("*")} for folder in (base[0] / "1", second)
    ]
    assert files[0] == files[1]
    assert export.card_of(base[0] / "1")["app"] == "toy"


# ---- Versions, the warm-up, the card -------------------------------------------------------------


def touch(folder):
    folder.mkdir()
    (folder / "saved_model.pb").touch()


def test_versions_are_numbers(tmp_path):
    for name in ("2", "9", "notes", ".half-old", "9.5"):
        (tmp_path / name).mkdir()
    (tmp_path / "77").touch()  # a file
    assert export.promote(touch, tmp_path).name == "10"
    assert export.promote(touch, tmp_path).name == "11"
    assert sorted(export.versions(tmp_path), key=int) == ["2", "9", "10", "11"]
    assert not (tmp_path / ".half-old").exists()
    assert (tmp_path / "9.5").exists()


def test_an_export_that_fails_leaves_nothing(tmp_path):
    def broken(folder):
        touch(folder)
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        export.promote(broken, tmp_path / "models" / "toy")
    assert not (tmp_path / "models" / "toy").exists()
    export.promote(touch, tmp_path / "models" / "toy")
    with pytest.raises(RuntimeError, match="no"):
        export.promote(broken, tmp_path / "models" / "toy")
    assert os.listdir(tmp_path / "models" / "toy") == ["1"]


def test_two_exports_at_once_are_two_versions(tmp_path):
    """The second does not take the first's half for the debris of one that was killed."""
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
    threads[1].join(0.5)  # whether it waits or goes ahead
    go_on.set()
    for thread in threads:
        thread.join()
    assert sorted(export.versions(tmp_path)) == ["1", "2"]
    assert [(tmp_path / v / "saved_model.pb").exists() for v in ("1", "2")] == [True, True]
    assert len(list(tmp_path.glob("*/last"))) == 1


def test_warmup_records_are_the_requests(second):
    from tensorflow_serving.apis import prediction_log_pb2

    path = second / "assets.extra" / "tf_serving_warmup_requests"
    found = {}
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record)
        assert log.WhichOneof("log_type") == "predict_log"
        request = log.predict_log.request
        found[request.model_spec.signature_name] = {
            name: tf.make_ndarray(proto) for name, proto in request.inputs.items()
        }
    requests = Toy().requests()
    assert found.keys() == requests.keys()
    for signature, request in requests.items():
        assert found[signature].keys() == request.keys()
        for name, value in request.items():
            assert found[signature][name].dtype == value.dtype
            assert found[signature][name].tolist() == value.tolist()


def test_the_card(trained):
    app = trained("language_model")
    folder = app.saved_model / "1"
    card = export.card_of(app.saved_model)
    assert card == json.loads((folder / "assets.extra" / "model_card.json").read_text())
    files = [p for p in folder.rglob("*") if p.is_file() and p.name != "model_card.json"]
    assert card["megabytes"] == pytest.approx(sum(p.stat().st_size for p in files) / 1e6, abs=0.006)
    assert 0 < card["latency_ms"] < 60_000
    assert card["config"]["data_dir"] == ""
    assert card["test"]["value"] > 0
    assert card["preset"] == "tiny"
    text = json.dumps(card)
    assert re.findall(r'"/\w[^"]*"', text) == []
    assert str(app.run) not in text


# ---- Defects -------------------------------------------------------------------------------------


def found(folder, answer, spec=INPUTS, holding=None, **more):
    """The problems of an export of one function."""
    server = tf.Module()
    server.held = holding
    signature = tf.function(answer, input_signature=[spec], **more)
    tf.saved_model.save(server, str(folder), signatures={"serving_default": signature})
    return export.problems(folder)


def test_a_good_export_has_no_problems(second):
    assert export.problems(second) == []


def test_a_function_for_xla_is_found(tmp_path):
    [problem] = found(tmp_path / "1", lambda x: {"outputs": x * 2}, WEIGHT, jit_compile=True)
    assert "_XlaMustCompile" in problem
    inner = tf.function(lambda x: x * 2, jit_compile=True)
    [problem] = found(tmp_path / "2", lambda x: {"outputs": inner(x)}, WEIGHT)
    assert "_XlaMustCompile" in problem


def test_an_op_that_servers_lack_is_found(tmp_path):
    def python(x):
        y = tf.py_function(lambda v: v, [x], tf.string)
        return {"outputs": tf.ensure_shape(y, [None])}

    [problem] = found(tmp_path / "1", python)
    assert "EagerPyFunc" in problem
    # Within the branches and the loops too.
    looped = lambda x: {  # noqa: E731
        "outputs": tf.while_loop(
            lambda i, y: i < 2, lambda i, y: (i + 1, y + tf.random.uniform(tf.shape(y))), [0, x]
        )[1]
    }
    [problem] = found(tmp_path / "2", looped, WEIGHT)
    assert "RandomUniform" in problem


@pytest.mark.parametrize("temporary", [True, False])
def test_an_absolute_path_is_found(temporary, tmp_path, monkeypatch):
    if not temporary:  # a folder of which nothing is known
        monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    (tmp_path / "vocabulary.txt").write_text("a\nb\n")
    table = tf.lookup.StaticHashTable(
        tf.lookup.TextFileInitializer(
            str(tmp_path / "vocabulary.txt"), tf.string, 0, tf.int64, -1, delimiter=" "
        ),
        -1,
    )
    [problem] = found(tmp_path / "1", lambda x: {"outputs": table.lookup(x)}, holding=table)
    assert problem.startswith("the graph names folders of this machine: /")
    if not temporary:
        assert str(tmp_path / "vocabulary.txt") in problem


def test_slashes_alone_are_no_path(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getcwd", lambda: "/app")

    def answer(x):
        with tf.name_scope("a"), tf.name_scope("app"):
            return {"outputs": tf.strings.join([tf.identity(x), "/", "and/or/app"], name="app")}

    assert found(tmp_path / "1", answer) == []
    assert len(found(tmp_path / "2", lambda x: {"outputs": tf.strings.join([x, "/app/data"])})) == 1


def test_a_scalar_is_found(tmp_path):
    scalar = tf.TensorSpec([], tf.float32, name="temperature")
    [problem] = found(
        tmp_path / "1", lambda x: {"outputs": tf.zeros([tf.cast(x, tf.int32)])}, scalar
    )
    assert "serving_default.temperature is not batch-first" in problem
    [problem] = found(tmp_path / "2", lambda x: {"outputs": x, "total": tf.reduce_sum(x)}, WEIGHT)
    assert "serving_default.total is not batch-first" in problem
    fixed = tf.TensorSpec([4], tf.float32, name="weight")
    assert len(found(tmp_path / "3", lambda x: {"outputs": x}, fixed)) == 2


def test_write_refuses_an_export_with_problems(tmp_path):
    answer = lambda inputs: {"outputs": inputs, "n": tf.size(inputs)}  # noqa: E731
    with pytest.raises(RuntimeError, match=r"cannot be served: serving_default\.n is not batch"):
        write(tmp_path / "1", Toy(answer))


class Changed(Toy):
    """Its variable moves once it is saved."""

    def sample_requests(self):
        self.scale.assign_add([0.0, 0.01])
        return super().requests()


class Dropping(Toy):
    """Answers some of the rows, and no row of none."""

    def answer(self, inputs):
        return {"outputs": tf.boolean_mask(inputs, inputs != "")}


class Brittle(Toy):
    """Fails on an empty batch."""

    def answer(self, inputs):
        with tf.control_dependencies([tf.debugging.assert_positive(tf.size(inputs), "no rows")]):
            return {"outputs": tf.identity(inputs)}


class Padding(Toy):
    """Answers an empty batch with a row."""

    def answer(self, inputs):
        missing = tf.maximum(1 - tf.size(inputs), 0)
        return {"outputs": tf.pad(inputs, [[0, missing]])}


class Holding(Toy):
    """Holds a Keras model: TensorFlow 2 finds its variables again, the loader of servers does not."""

    def __init__(self):
        super().__init__()
        x = keras.Input((2,))
        self.model = keras.Model(x, keras.layers.Dense(1)(x))

    def answer(self, inputs):
        return {"outputs": inputs, "score": self.model(super().answer(inputs)["score"])}


@pytest.mark.parametrize(
    ("server", "message"),
    [
        (Changed, r"serving_default\.score differs between the model in memory and the export"),
        (Dropping, r"serving_default, 3 rows: outputs is \(2,\)"),
        (Brittle, r"does not run in a fresh process: .*serving_default, 0 rows: .*no rows"),
        (Padding, r"serving_default, 0 rows: outputs is \(1,\)"),
        (Holding, r"does not run in a fresh process: .*serving_default, 3 rows: .*not find"),
    ],
)
def test_a_defect_that_shows_in_the_answers_is_found(server, message, tmp_path):
    with pytest.raises(RuntimeError, match=message):
        write(tmp_path / "1", server())
    assert not (tmp_path / "1" / "assets.extra" / "model_card.json").exists()


def test_whole_numbers_are_compared_exactly():
    ours = np.array([100_000, 7])
    export._compare("x", ours, ours.copy())
    with pytest.raises(RuntimeError, match="x differs"):
        export._compare("x", ours, np.array([100_001, 7]))
    export._compare("x", np.float32([1, 2]), np.float32([1.00001, 2]))
    with pytest.raises(RuntimeError, match="x differs"):
        export._compare("x", np.float32([1, 2]), np.float32([1.01, 2]))


# ---- The script of an app ------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["missing", "no run", "unfinished", "of another app"])
def test_the_script_refuses_in_one_line_and_leaves_nothing(
    what, trained, tmp_path, monkeypatch, capsys
):
    app = trained("language_model")
    folder = tmp_path / "folder"
    if what == "no run":
        folder.mkdir()
    elif what != "missing":
        shutil.copytree(app.run, folder)
        name = "metrics.json" if what == "unfinished" else "run.json"
        content = json.loads((folder / name).read_text())
        content = (
            {k: v for k, v in content.items() if k != "test"}
            if what == "unfinished"
            else {**content, "app": "other"}
        )
        (folder / name).write_text(json.dumps(content))
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        app.export.main([str(folder)])
    out, err = capsys.readouterr()
    assert stop.value.code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert str(folder) in err
    says = {"missing": "no run", "no run": "no run", "unfinished": "unfinished"}
    assert says.get(what, "a run of other") in err
    assert sorted(tmp_path.rglob("*")) == before


if __name__ == "__main__":
    here = pathlib.Path(sys.argv[1])
    for moment, number in MOMENTS.items():
        pid = os.fork()  # this process has imported TensorFlow and does not use it
        if not pid:
            killed_export(here, moment, number)
            os._exit(0)
        exit_status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        found_there = sorted(str(p.relative_to(here)) for p in here.rglob("*"))
        print(json.dumps([moment, exit_status, found_there]), flush=True)
