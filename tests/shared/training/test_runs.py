"""A run's folder: nothing in it is changed by mistake."""

import dataclasses
import gc
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf

from shared.cli import Options
from shared.errors import InputError, reported
from shared.training import runs


@dataclasses.dataclass(frozen=True)
class Config:
    data_dir: str = ""
    units: int = 2
    epochs: int = 1
    learning_rate: float = 0.1


def digest(folder):
    """Every file's content, and that of no other."""
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def start(folder, config=None, data="d", preset="default", **options):
    config = config or Config()
    options = Options(run=folder, quiet=True, checkpoint_seconds=0, **options)
    presets = {preset: Config()}
    return runs.Run("apps.toy", preset, presets, config, options, {"train": data, "test": "t"})


def fit(run, targets=1.0, epochs=None):
    """Trains one layer for the epochs that are left."""
    x = keras.Input((3,))
    net = keras.Model(x, keras.layers.Dense(run.config.units, name="dense")(x))
    net.compile(keras.optimizers.Adam(run.config.learning_rate), "mse")
    run.restore(net)
    data = tf.data.Dataset.from_tensors((tf.ones([4, 3]), tf.fill([4, run.config.units], targets)))
    for epoch in run.epochs():
        if epoch == epochs:
            break
        net.fit(
            run.remaining(data.repeat(3)),
            validation_data=data,
            initial_epoch=epoch,
            epochs=epoch + 1,
            callbacks=run.callbacks(),
            verbose=0,
            shuffle=False,
        )
    return net


def refusal(call, capsys):
    """The one line that a script prints to stderr when it refuses, with status 2."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        reported(lambda argv: call())()
    out, err = capsys.readouterr()
    assert stop.value.code == 2
    assert out == ""
    [line] = [line for line in err.splitlines() if not line.startswith("resuming ")]
    return line


@pytest.fixture
def finished(tmp_path):
    run = start(tmp_path / "run")
    fit(run)
    run.record({"value": 1.0})
    return tmp_path / "run"


def test_a_finished_run_is_left_as_it_is(finished):
    before = digest(finished)
    assert start(finished).finished
    assert digest(finished) == before


def test_the_command_of_a_finished_run_says_so(trained, capsys):
    app = trained("language_model")
    before = digest(app.run)
    capsys.readouterr()
    with mock.patch.dict(app.config.PRESETS, tiny=app.config.TINY):
        app.train.main(["tiny", "--run", str(app.run), "--quiet"])
    out, _ = capsys.readouterr()
    assert str(app.run) in out
    assert "finished" in out
    assert "--run" in out
    assert digest(app.run) == before


def test_other_settings_are_named_with_both_values(finished, capsys):
    before = digest(finished)
    err = refusal(lambda: start(finished, Config(units=5, epochs=7)), capsys)
    assert "units: 2 there, 5 now" in err
    assert "epochs: 1 there, 7 now" in err
    assert "learning_rate" not in err
    assert "--run" in err
    err = refusal(lambda: start(finished, preset="large"), capsys)
    assert "preset: 'default' there, 'large' now" in err
    assert digest(finished) == before


def test_the_same_data_may_lie_elsewhere_and_other_data_are_named(finished, capsys):
    before = digest(finished)
    assert start(finished, Config(data_dir="/elsewhere")).finished
    err = refusal(lambda: start(finished, data="other"), capsys)
    assert "(data of train)" in err
    assert digest(finished) == before


def test_a_folder_that_is_no_run_is_left_alone(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("years of work")
    before = digest(tmp_path)
    assert "holds no run" in refusal(lambda: start(tmp_path), capsys)
    assert "thesis.txt" in refusal(lambda: start(tmp_path / "thesis.txt"), capsys)
    assert digest(tmp_path) == before


def test_two_processes_do_not_train_one_run(finished, capsys):
    hold = (
        f"import fcntl; f = open({str(finished / 'lock')!r}); fcntl.flock(f, 2); print(); input()"
    )
    before = digest(finished)
    with subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        other.stdout.readline()
        assert "another process" in refusal(lambda: start(finished), capsys)
        assert digest(finished) == before
        other.communicate("")
    assert start(finished).finished


def test_a_run_that_is_over_lets_go_of_its_folder(tmp_path, capsys):
    """In one process, as in a notebook: also after an error."""

    @reported
    def main(argv=None):
        run = start(tmp_path / "run")
        fit(run, targets=np.nan)

    for _ in range(2):
        with pytest.raises(SystemExit):
            main()
        err = capsys.readouterr().err
        assert "loss is nan" in err
        assert "another process" not in err


def test_a_loss_of_nan_stops_with_one_line(tmp_path, capsys):
    config = Config(epochs=2)
    err = refusal(lambda: fit(start(tmp_path / "run", config), targets=np.nan), capsys)
    assert "loss is nan" in err
    assert "--learning-rate" in err
    # Nor is it overlooked when the command is typed again, though the epochs were run through.
    for _ in range(2):
        assert "loss is nan" in refusal(
            lambda: fit(start(tmp_path / "run", config), np.nan), capsys
        )


def test_a_run_without_a_best_epoch_says_so(tmp_path, capsys):
    run = start(tmp_path / "run")
    run.record({})
    assert "best.keras" in refusal(runs.load(tmp_path / "run").best_model, capsys)


def test_init_from_begins_with_the_weights_of_the_other_run(finished, tmp_path, capsys):
    source = runs.load(finished).best_model()
    other = start(tmp_path / "new", Config(epochs=0), init_from=finished)
    net = fit(other)
    assert len(net.trainable_variables) == 2
    for a, b in zip(net.trainable_variables, source.trainable_variables, strict=True):
        np.testing.assert_array_equal(a, b)
    assert other.about["init_from"] == "toy"
    fit(start(tmp_path / "trained", init_from=finished))
    err = refusal(lambda: start(tmp_path / "trained"), capsys)
    assert "init_from: 'toy' there, None now" in err


def test_init_from_takes_the_vocabulary_that_the_weights_are_of(finished, tmp_path):
    (finished / "vocabulary.txt").write_text("</s>\n<unk>\n\u6f22\n", encoding="utf-8")
    for options in ({}, {"dry_run": True}):
        new = start(tmp_path / "new", init_from=finished, **options)
        content = (new.path / "vocabulary.txt").read_text(encoding="utf-8")
        assert content == "</s>\n<unk>\n\u6f22\n"


def test_a_run_that_has_learned_nothing_takes_other_settings(tmp_path):
    first = start(tmp_path / "run", Config(units=5), data="wrong")
    (first.path / "vocabulary.txt").write_text("of the wrong data")
    del first
    second = start(tmp_path / "run")
    assert not (second.path / "vocabulary.txt").exists()
    assert runs.read_json(second.path / "run.json")["config"]["units"] == Config().units


def test_init_from_is_refused_where_it_cannot_be(finished, tmp_path, capsys):
    new = tmp_path / "new"
    wide = lambda: fit(start(new, Config(units=3), init_from=finished))  # noqa: E731
    err = refusal(wide, capsys)
    assert "dense/kernel has shape (3, 2), here it is (3, 3)" in err
    assert "no run there" in refusal(
        lambda: start(tmp_path / "b", init_from=tmp_path / "c"), capsys
    )
    fit(start(tmp_path / "half", Config(epochs=2)), epochs=1)
    err = refusal(lambda: start(tmp_path / "b", init_from=tmp_path / "half"), capsys)
    assert "half is unfinished" in err
    assert not (tmp_path / "b").exists()


def test_a_dry_run_writes_nothing(trained, tmp_path, monkeypatch, capsys):
    app = trained("language_model")
    monkeypatch.chdir(tmp_path)
    steps = []
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    fit_ = keras.Model.fit
    monkeypatch.setattr(
        keras.Model, "fit", lambda self, *a, **k: steps.append(fit_(self, *a, **k).params["steps"])
    )
    with mock.patch.dict(app.config.PRESETS, tiny=app.config.TINY):
        app.train.main(["tiny", "--dry-run", "--quiet"])
        gc.collect()
        app.train.main(["tiny", "--dry-run", "--quiet", "--run", str(tmp_path / "named")])
        gc.collect()
    assert steps == [1, 1]
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")] == ["scratch"]


def test_the_card_says_nothing_of_where_the_data_lay(finished, tmp_path):
    run = start(tmp_path / "placed", Config(data_dir=str(tmp_path / "private")))
    fit(run)
    run.record({})
    assert "private" in (tmp_path / "placed" / "run.json").read_text()  # for who trains on
    loaded = runs.load(tmp_path / "placed")
    card = loaded.card(loaded.best_model())
    assert card["config"]["data_dir"] == ""
    assert "private" not in json.dumps(card)
    assert "--data-dir DIR" in card["command"]
    assert card["parameters"] == 2 * 3 + 2


def test_load_wants_a_run_of_the_app(finished, tmp_path):
    assert runs.load(finished, "apps.toy").name == "toy"
    with pytest.raises(InputError, match=r"a run of toy, not of apps\.other"):
        runs.load(finished, "apps.other")
    shutil.copytree(finished, tmp_path / "broken")
    (tmp_path / "broken" / "run.json").write_text("{")
    with pytest.raises(InputError, match=r"run\.json is not valid JSON"):
        runs.load(tmp_path / "broken")
