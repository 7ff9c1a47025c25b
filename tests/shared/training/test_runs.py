"""A run folder: nothing in it is changed by mistake, and what does not fit is named."""

import errno
import fcntl
import shutil
import subprocess
import sys
from unittest import mock

import keras
import numpy as np
import pytest

from shared.data.splits import TextSplit
from shared.errors import InputError, reported
from shared.files import read_json, write_json
from shared.training import runs


def test_a_finished_run_is_not_changed(toy, finished):
    before = toy.digest(finished)
    assert toy.start(finished).finished
    assert toy.digest(finished) == before


def test_the_command_of_a_finished_run_says_so(toy, trained, capsys):
    app = trained("language_model")
    before = toy.digest(app.run)
    capsys.readouterr()
    with mock.patch.dict(app.config.PRESETS, tiny=app.config.TINY):
        app.train.main(["tiny", "--run", str(app.run), "--quiet"])
    out, _ = capsys.readouterr()
    assert str(app.run) in out
    assert "finished" in out
    assert "--run" in out
    assert toy.digest(app.run) == before


def test_other_settings_are_named_with_both_values(toy, finished, refusal):
    before = toy.digest(finished)
    line = refusal(lambda: toy.start(finished, toy.Config(units=5, epochs=7, widths=(3,))))
    assert "units: 2 in the run, 5 now" in line
    assert "epochs: 1 in the run, 7 now" in line
    assert "widths: [3, 5] in the run, [3] now" in line
    assert "learning_rate" not in line
    assert "--run" in line
    line = refusal(lambda: toy.start(finished, preset="large"))
    assert "preset: 'default' in the run, 'large' now" in line
    assert toy.digest(finished) == before


def test_the_data_may_lie_in_another_folder_and_other_data_are_named(toy, finished, refusal):
    before = toy.digest(finished)
    assert toy.start(finished, toy.Config(data_dir=("/elsewhere", "/there"))).finished
    line = refusal(lambda: toy.start(finished, train="other"))
    assert "(data of train)" in line
    assert toy.digest(finished) == before


def test_an_extra_test_set_is_part_of_the_data(toy, tmp_path, refusal):
    folder = toy.train(tmp_path / "run", extra="hard sentences")
    before = toy.digest(folder)
    assert toy.start(folder, extra="hard sentences").finished
    assert "(data of extra)" in refusal(lambda: toy.start(folder, extra="other sentences"))
    assert "(data of extra)" in refusal(lambda: toy.start(folder))
    assert toy.digest(folder) == before


def test_an_unfinished_run_takes_a_mended_test_set(toy, tmp_path, capsys):
    """Training does not use it; the result and the card are those of the new data."""
    folder = tmp_path / "run"
    toy.fit(toy.start(folder, toy.Config(epochs=2), extra="hoa3", test="old"), epochs=1)
    (folder / "saved_model" / "1").mkdir(parents=True)
    capsys.readouterr()
    run = toy.start(folder, toy.Config(epochs=2), extra="hao3", test="new")
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{folder}: the data of extra, test has changed")
    assert read_json(folder / "run.json")["data"] == run.about["data"]
    assert not (folder / "saved_model").exists()
    toy.fit(run)
    assert run.state.epoch == 2
    del run
    toy.start(folder, toy.Config(epochs=2), extra="hao3", test="new")
    assert capsys.readouterr().err.count("has changed") == 0


@pytest.mark.parametrize("split", ["train", "valid"])
def test_an_unfinished_run_takes_no_other_training_data(toy, tmp_path, refusal, split):
    folder, config = tmp_path / "run", toy.Config(epochs=2)
    toy.fit(toy.start(folder, config, valid="v"), epochs=1)
    before = toy.digest(folder)
    data = {"valid": "v", split: "other", "test": "new"}
    line = refusal(lambda: toy.start(folder, config, **data))
    assert f"(data of {split})" in line
    assert toy.digest(folder) == before


def test_a_finished_run_takes_no_other_test_set(toy, finished, refusal):
    before = toy.digest(finished)
    assert "(data of test)" in refusal(lambda: toy.start(finished, test="new"))
    assert toy.digest(finished) == before


def test_the_dtype_policy_is_recorded_and_compared(toy, tmp_path, refusal):
    folder, config = tmp_path / "run", toy.Config(epochs=2)
    toy.fit(toy.start(folder, config), epochs=1)
    about = read_json(folder / "run.json")
    assert about["dtype_policy"] == "float32"
    assert "dtype" not in about["command"]
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        line = refusal(lambda: toy.start(folder, config))
        assert "dtype_policy: 'float32' in the run, 'mixed_bfloat16' now" in line
        run = toy.start(tmp_path / "other", config)
        assert run.about["command"].endswith(" --dtype-policy mixed_bfloat16")
    finally:
        keras.config.set_dtype_policy("float32")
    del about["dtype_policy"]  # a run of an earlier version
    write_json(folder / "run.json", about)
    assert not toy.start(folder, config).finished


@pytest.mark.parametrize("policy", ["float64", "float16"])
def test_a_policy_that_is_refused_is_refused_before_the_data_is_read(
    toy, tmp_path, refusal, policy
):
    def open_splits(config):
        raise AssertionError("the data is read")

    keras.config.set_floatx(policy)
    try:
        argv = ["--run", str(tmp_path / "run")]
        line = refusal(lambda: runs.start("apps.toy", {"default": toy.Config()}, open_splits, argv))
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")
    assert "floatx" in line
    assert policy in line
    assert not (tmp_path / "run").exists()


def test_a_file_system_without_locks(toy, tmp_path, monkeypatch, capsys):
    def flock(handle, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    run = toy.start(tmp_path / "run")
    toy.fit(run)
    assert run.state.epoch == 1
    [line] = [line for line in capsys.readouterr().err.splitlines() if "lock" in line]
    assert line.startswith(f"warning: {tmp_path / 'run'} cannot be locked (No locks available)")


def test_a_folder_that_is_no_run_is_not_changed(toy, tmp_path, refusal):
    (tmp_path / "thesis.txt").write_text("years of work")
    before = toy.digest(tmp_path)
    assert "holds no run" in refusal(lambda: toy.start(tmp_path))
    assert "thesis.txt is a file" in refusal(lambda: toy.start(tmp_path / "thesis.txt"))
    assert toy.digest(tmp_path) == before


def test_two_processes_do_not_train_one_run(toy, finished, refusal):
    hold = (
        f"import fcntl; f = open({str(finished / 'lock')!r}); fcntl.flock(f, 2); print(); input()"
    )
    before = toy.digest(finished)
    with subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        other.stdout.readline()
        assert "another process" in refusal(lambda: toy.start(finished))
        assert toy.digest(finished) == before
        other.communicate("")
    assert toy.start(finished).finished


def test_a_run_that_has_ended_unlocks_its_folder(toy, tmp_path, capsys):
    """In one process, as in a notebook, and after an error too."""

    @reported
    def main(argv=None):
        toy.fit(toy.start(tmp_path / "run"), target=np.nan)

    for _ in range(2):
        with pytest.raises(SystemExit):
            main()
        err = capsys.readouterr().err
        assert "loss is nan" in err
        assert "another process" not in err


def test_a_loss_of_nan_stops_with_one_line(toy, tmp_path, refusal):
    train = lambda: toy.fit(toy.start(tmp_path / "run", toy.Config(epochs=2)), np.nan)  # noqa: E731
    line = refusal(train)
    assert "loss is nan" in line
    assert "--learning-rate" in line
    # The same command fails in the same way.
    for _ in range(2):
        assert "loss is nan" in refusal(train)


def test_a_run_without_a_best_epoch_says_so(toy, tmp_path, refusal):
    toy.start(tmp_path / "run").write_metrics(test={})
    assert "has no best.keras" in refusal(runs.load(tmp_path / "run").best_model)


def test_load_accepts_finished_runs_of_the_app(toy, finished, tmp_path):
    assert runs.load(finished, "apps.toy").name == "toy"
    with pytest.raises(InputError, match=r"a run of toy, not of apps\.other"):
        runs.load(finished, "apps.other")
    shutil.copytree(finished, tmp_path / "broken")
    (tmp_path / "broken" / "run.json").write_text("{")
    with pytest.raises(InputError, match=r"run\.json is not valid JSON"):
        runs.load(tmp_path / "broken")


def test_the_files_of_a_run(finished):
    names = {p.name for p in finished.iterdir()}
    assert names == {
        "run.json", "assets", "assets.json", "checkpoints", "best.keras", "metrics.json", "curve.png",
        "logs", "lock",
    }  # fmt: skip
    assert (finished / "curve.png").read_bytes().startswith(b"\x89PNG")
    [epoch] = read_json(finished / "metrics.json")["history"]
    assert set(epoch) == {"epoch", "loss", "val_loss", "learning_rate"}


# --- Settings of other versions ------------------------------------------------------------------


@pytest.fixture
def old_run(finished):
    """A run that has a setting `longest`, which does not exist now, and lacks `widths`, which is new."""
    about = read_json(finished / "run.json")
    config = {"longest": 80, **about["config"]}
    del config["widths"]
    write_json(finished / "run.json", {**about, "config": config})
    return finished


def test_a_setting_that_does_not_exist_now_is_named(toy, old_run, refusal):
    before = toy.digest(old_run)
    for call in (
        lambda: toy.start(old_run),
        lambda: toy.start(old_run, toy.Config(units=5)),
        lambda: runs.load(old_run).config_of(toy.Config),
    ):
        line = refusal(call)
        assert line.startswith(f"error: {old_run} was made by another version of this project")
        assert "do not exist now (longest)" in line
    assert toy.digest(old_run) == before


def test_a_setting_that_is_newer_than_the_run_has_its_default(toy, old_run, refusal):
    about = read_json(old_run / "run.json")
    del about["config"]["longest"]
    write_json(old_run / "run.json", about)
    assert toy.start(old_run).finished
    assert runs.load(old_run).config_of(toy.Config) == toy.Config()
    line = refusal(lambda: toy.start(old_run, toy.Config(widths=(1,))))
    assert "widths: [3, 5] in the run, [1] now" in line


def test_the_settings_of_a_run_survive_json(toy, tmp_path):
    config = toy.Config(widths=(7,), data_dir=("a", "b"))
    run = toy.start(tmp_path / "run", config)
    assert run.config_of(toy.Config) == config
    assert runs.RunFolder(tmp_path / "run").config_of(toy.Config) == config


# --- start and finish ----------------------------------------------------------------------------


def test_start_opens_the_splits_once_and_then_the_run(toy, tmp_path, capsys):
    configs = []

    def open_splits(config):
        configs.append(config)
        return toy.splits_of(train="d", test="t")

    argv = ["--run", str(tmp_path / "run"), "--units", "4", "--quiet"]
    run = runs.start("apps.toy", {"default": toy.Config()}, open_splits, argv)
    assert configs == [run.config] == [toy.Config(units=4)]
    assert list(run.splits["train"]) == ["d"]
    assert not run.finished
    assert read_json(tmp_path / "run" / "run.json")["data"] == {
        name: split.digest for name, split in run.splits.items()
    }
    assert capsys.readouterr().out == ""
    run.write_metrics(test={"value": 1})
    del run
    assert runs.start("apps.toy", {"default": toy.Config()}, open_splits, argv).finished
    assert "is finished; to start again, remove it" in capsys.readouterr().out


def test_data_that_cannot_be_read_leave_no_folder(toy, tmp_path, refusal):
    def open_splits(config):
        raise InputError("train.txt, line 3: not UTF-8")

    argv = ["--run", str(tmp_path / "run")]
    line = refusal(lambda: runs.start("apps.toy", {"default": toy.Config()}, open_splits, argv))
    assert line == "error: train.txt, line 3: not UTF-8"
    assert not (tmp_path / "run").exists()


def test_finish_exports_once_and_records_the_result(toy, tmp_path, capsys):
    run = toy.start(tmp_path / "run")
    toy.fit(run)
    calls = []

    def write(run, folder):
        calls.append("write")
        folder.mkdir()

    def evaluate(folder, config, splits, predictions):
        calls.append("evaluate")
        assert runs.versions(folder) == ["1"]
        assert (config, predictions) == (run.config, run.path / "predictions.jsonl")
        assert isinstance(splits["test"], TextSplit)
        if calls == ["write", "evaluate"]:
            raise InputError("interrupted")
        return {"metric": "errors", "value": 1.5, "baseline": "copy", "baseline_value": 3}

    with pytest.raises(InputError, match="interrupted"):
        run.finish(write, evaluate)
    assert not run.finished
    capsys.readouterr()
    run.finish(write, evaluate)
    assert calls == ["write", "evaluate", "evaluate"]
    assert run.finished
    assert runs.load(tmp_path / "run").metrics["test"]["value"] == 1.5
    assert capsys.readouterr().out == (
        "errors: 1.5 (baseline, copy: 3)\n"
        f"run: {run.path}\nnext: python -m apps.toy.export {run.path}\n"
    )
