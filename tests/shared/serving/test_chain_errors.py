"""Models that cannot be joined, and invalid arguments: one clear line, and nothing is written."""

import re

import pytest
import tensorflow as tf

from shared.serving import chain

INPUTS = tf.TensorSpec([None], tf.string, name="inputs")


def save(folder, answer, spec=INPUTS, signature="serving_default"):
    function = tf.function(answer, input_signature=[spec])
    tf.saved_model.save(tf.Module(), str(folder / "1"), signatures={signature: function})
    return str(folder)


ANSWERS = {
    "no signature": (lambda x: {"outputs": x, "error": x}, INPUTS, "other"),
    "floats": (
        lambda x: {"outputs": tf.strings.as_string(x), "error": tf.strings.as_string(x)},
        tf.TensorSpec([None], tf.float32, name="inputs"),
    ),
    "another name": (
        lambda x: {"outputs": x, "error": x},
        tf.TensorSpec([None], tf.string, name="x"),
    ),
    "fixed batch": (
        lambda x: {"outputs": x, "error": x},
        tf.TensorSpec([4], tf.string, name="inputs"),
    ),
    "no error": (lambda x: {"outputs": x},),
    "two texts": (lambda x: {"outputs": tf.stack([x, x], 1), "error": x},),
    "hash": (lambda x: {"outputs": tf.strings.as_string(tf.strings.to_hash_bucket(x, 9)), "error": x},),
    "brittle": (lambda x: {"outputs": tf.strings.as_string(tf.strings.to_number(x)), "error": x},),
}  # fmt: skip


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("missing", "no such folder: "),
        ("empty", "no SavedModel in "),
        ("http://localhost:8501/v1/models/x", "joins SavedModel folders, not servers"),
        ("no signature", "no signature/1 has no signature serving_default; it has: other"),
        ("floats", r"serving_default must be inputs string\[batch\]. Received: inputs float32\[b"),
        ("another name", r"serving_default must be inputs string\[batch\]. Received: x string"),
        ("fixed batch", r"the input of serving_default must be inputs string\[batch\]"),
        ("no error", r"must return error string\[batch\]. Received: outputs string\[batch\]"),
        ("two texts", r"outputs string\[batch\]. Received: .*outputs string\[batch, 2\]"),
        ("hash", "cannot be joined: the export cannot be served: ops that are not on the list"),
        ("brittle", "cannot be joined: .*could not correctly convert string: a "),
    ],
)
def test_a_model_that_cannot_be_joined(second, message, models, tmp_path, capsys):
    folder = tmp_path / second
    if second == "empty":
        folder.mkdir()
    elif second in ANSWERS:
        save(folder, *ANSWERS[second])
    path = second if "://" in second else str(folder)
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        chain.main([str(models / "english"), path, "--name", "a", "--to", str(tmp_path / "to")])
    out, err = capsys.readouterr()
    assert stop.value.code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert not (tmp_path / "to").exists()
    assert re.search(message, err), err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--name", "a/b"], "--name is a part of the server's address: .* Received: 'a/b'"),
        (["--name", "字"], "Received: '字'"),
        (["--name", ".a"], "Received: '.a'"),
        (["--name", ""], "Received: ''"),
        (["--name", "a:1"], "Received: 'a:1'"),
        (["--name", "a", "--weights", "1", "1"], "--weights needs --n-best"),
        (["--name", "a", "--n-best", "--weights", "1"], "each of the 2 models. Received: 1"),
        (["--name", "a", "--n-best", "--weights", "1", "nan"], "finite and at least 0"),
        (["--name", "a", "--n-best", "--weights", "1", "-1"], "finite and at least 0"),
        (["--name", "a", "--n-best"], "--n-best cannot be used: .*has no signature n_best; it has: s"),
    ],
)  # fmt: skip
def test_invalid_arguments(arguments, message, models, tmp_path, capsys):
    paths = [str(models / name) for name in ("english", "german")]
    with pytest.raises(SystemExit) as stop:
        chain.main([*paths, *arguments, "--to", str(tmp_path / "to")])
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert re.search(message, err), err
    assert not (tmp_path / "to").exists()


def test_one_model_is_no_chain(models, capsys):
    for paths in ([], [str(models / "english")]):
        with pytest.raises(SystemExit) as stop:
            chain.main([*paths, "--name", "a"])
        assert stop.value.code == 2
        assert "error: give at least two models to join. Received: " in capsys.readouterr().err
