"""A dry run trains one step and writes nothing."""

import tempfile
from unittest import mock

import keras
import pytest
import tensorflow as tf


@pytest.fixture
def dry_run(trained, tmp_path, monkeypatch):
    """A function: runs a dry run of the language model; its value is a folder in which it may write."""
    app = trained("language_model")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()

    def main():
        with mock.patch.dict(app.config.PRESETS, tiny=app.config.TINY):
            app.train.main(["tiny", "--dry-run", "--quiet"])  # test_contract has one with --run

    main.app = app
    return main


def test_a_dry_run_writes_nothing(dry_run, tmp_path, monkeypatch):
    steps = []
    fit = keras.Model.fit
    monkeypatch.setattr(
        keras.Model, "fit", lambda self, *a, **k: steps.append(fit(self, *a, **k).params["steps"])
    )
    dry_run()
    assert steps == [1]
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")] == ["scratch"]


def test_a_dry_run_that_fails_writes_nothing(dry_run, tmp_path, monkeypatch):
    def broken(config, assets):
        assert [p.name for p in tmp_path.iterdir()] == ["scratch"]
        raise ZeroDivisionError

    monkeypatch.setattr(dry_run.app.train, "build", broken)
    with pytest.raises(ZeroDivisionError) as caught:
        dry_run()
    # The traceback keeps all objects alive.
    assert caught.value.__traceback__ is not None
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")] == ["scratch"]


def test_a_training_is_traced_without_autograph(dry_run, monkeypatch):
    """AutoGraph has nothing to convert here, is slow, and warns with Python 3.13."""
    from tensorflow.python.autograph.impl import api

    converted = []
    real = api._convert_actual
    monkeypatch.setattr(
        api, "_convert_actual", lambda entity, ctx: converted.append(entity) or real(entity, ctx)
    )
    tf.data.Dataset.range(1).map(lambda x: x + 1)
    assert len(converted) == 1  # as this lambda is
    converted.clear()
    dry_run()
    assert converted == []
