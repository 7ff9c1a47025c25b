"""The whole way of a run in each precision: train, interrupt, resume, finish, export, serve.

The names of the folders contain wildcards, which TensorFlow would read as patterns.
"""

import json
import shlex
from unittest import mock

import keras
import numpy as np
import pytest

from apps.language_model import config, data, export, train
from shared.serving.clients import SavedModelClient
from shared.training.callbacks import RunCallback
from shared.training.runs import Run

FLAGS = shlex.split(
    "--source files --cell gru --num-layers 1 --units 6 --batch-size 8 --window 16 --sampled-softmax 5 "
    "--warmup-steps 5 --epochs 2 --quiet --recurrent-dropout 0 --checkpoint-seconds 0"
)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A folder with a few lines of the embedded text."""
    folder = tmp_path_factory.mktemp("small")
    for name, split in data.splits(config.TINY).items():
        (folder / f"{name}.txt").write_text("".join(f"{line}\n" for line in split[:12]), "utf-8")
    return folder


@pytest.fixture
def trained(small):
    """A function of a folder: trains there; returns all variables of model and optimizer."""

    def main(folder, *flags):
        captured = []
        finish = Run.finish

        def watched(run, *args):
            captured.append([np.asarray(v) for v in run.model.optimizer.variables])
            finish(run, *args)

        tiny = {"tiny": config.TINY}
        with mock.patch.dict(config.PRESETS, tiny), mock.patch.object(Run, "finish", watched):
            train.main(["tiny", "--run", str(folder), "--data-dir", str(small), *FLAGS, *flags])
        return captured[0]

    yield main
    keras.config.set_dtype_policy("float32")


def interrupted(self, epoch, logs=None):
    raise KeyboardInterrupt


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_from_training_to_serving(trained, tmp_path, capsys, policy):
    precision = ["--dtype-policy", policy]
    whole = trained(tmp_path / "whole", *precision)
    folder = tmp_path / "run [a]*"
    with (
        mock.patch.object(RunCallback, "on_epoch_end", interrupted),
        pytest.raises(SystemExit) as stop,
    ):
        trained(folder, *precision)
    assert stop.value.code == 130
    del stop  # its traceback keeps the run, and so its lock
    assert len([*(folder / "checkpoints").glob("*.index")]) == 2
    capsys.readouterr()
    resumed = trained(folder, *precision)
    assert "resuming" in capsys.readouterr().err
    # The optimizer of mixed_float16 has the scale of the loss, and when it changes.
    for a, b in zip(whole, resumed, strict=True):
        np.testing.assert_array_equal(a, b)
    about = json.loads((folder / "run.json").read_text("utf-8"))
    assert about["dtype_policy"] == policy
    assert json.loads((folder / "metrics.json").read_text("utf-8"))["test"]["value"] > 0

    keras.config.set_dtype_policy("float32")  # as in the process of another command
    export.main([str(folder), "--to", str(tmp_path / "models [b]")])
    client = SavedModelClient(tmp_path / "models [b]" / "language_model_tiny")
    state = client.predict("start", ["the"])["state"]
    assert state.dtype == np.float32
    answers = [
        client.predict("serving_default", ["the", ""]),
        client.predict("score", ["the", ""]),
        client.predict("step", [" cat"], state=state),
    ]
    for answer in answers:
        assert all(np.isfinite(v).all() for v in answer.values() if v.dtype.kind == "f")
        assert set(answer["error"]) == {b""}
    assert answers[0]["outputs"][0].startswith(b"the")
