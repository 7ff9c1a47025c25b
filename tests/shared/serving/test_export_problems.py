"""Problems that would keep an export from being served are found in its graph."""

import os
import tempfile

import pytest
import tensorflow as tf

from shared.serving import export

INPUTS = tf.TensorSpec([None], tf.string, name="inputs")
WEIGHT = tf.TensorSpec([None], tf.float32, name="weight")


def problems(folder, answer, spec=INPUTS, table=None, **kwargs):
    """Exports a function and returns the problems of the export."""
    server = tf.Module()
    server.table = table
    signature = tf.function(answer, input_signature=[spec], **kwargs)
    tf.saved_model.save(server, str(folder), signatures={"serving_default": signature})
    return export.problems(folder)


def test_a_good_export_has_no_problems(tmp_path):
    assert problems(tmp_path / "1", lambda x: {"outputs": tf.strings.upper(x)}) == []


def test_a_function_that_xla_must_compile(tmp_path):
    [problem] = problems(tmp_path / "1", lambda x: {"outputs": x * 2}, WEIGHT, jit_compile=True)
    assert "_XlaMustCompile" in problem
    inner = tf.function(lambda x: x * 2, jit_compile=True)
    [problem] = problems(tmp_path / "2", lambda x: {"outputs": inner(x)}, WEIGHT)
    assert "_XlaMustCompile" in problem


def test_an_op_that_is_not_on_the_list(tmp_path):
    def python(x):
        y = tf.py_function(lambda v: v, [x], tf.string)
        return {"outputs": tf.ensure_shape(y, [None])}

    [problem] = problems(tmp_path / "1", python)
    assert "EagerPyFunc" in problem
    # In the body of a loop.
    looped = lambda x: {  # noqa: E731
        "outputs": tf.while_loop(
            lambda i, y: i < 2, lambda i, y: (i + 1, y + tf.random.uniform(tf.shape(y))), [0, x]
        )[1]
    }
    [problem] = problems(tmp_path / "2", looped, WEIGHT)
    assert "RandomUniform" in problem


@pytest.mark.parametrize("temporary", [True, False])
def test_an_absolute_path(temporary, tmp_path, monkeypatch):
    if not temporary:  # a folder that is not known
        monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    (tmp_path / "vocabulary.txt").write_text("a\nb\n")
    table = tf.lookup.StaticHashTable(
        tf.lookup.TextFileInitializer(
            str(tmp_path / "vocabulary.txt"), tf.string, 0, tf.int64, -1, delimiter=" "
        ),
        -1,
    )
    [problem] = problems(tmp_path / "1", lambda x: {"outputs": table.lookup(x)}, table=table)
    assert problem.startswith("the graph names folders of this machine: /")
    if not temporary:
        assert str(tmp_path / "vocabulary.txt") in problem


def test_slashes_that_are_no_path(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getcwd", lambda: "/app")

    def answer(x):
        with tf.name_scope("a"), tf.name_scope("app"):
            return {"outputs": tf.strings.join([tf.identity(x), "/", "and/or/app"], name="app")}

    assert problems(tmp_path / "1", answer) == []
    assert (
        len(problems(tmp_path / "2", lambda x: {"outputs": tf.strings.join([x, "/app/data"])})) == 1
    )


def test_an_input_or_output_that_is_not_batch_first(tmp_path):
    scalar = tf.TensorSpec([], tf.float32, name="temperature")
    [problem] = problems(
        tmp_path / "1", lambda x: {"outputs": tf.zeros([tf.cast(x, tf.int32)])}, scalar
    )
    assert "serving_default.temperature is not batch-first" in problem
    [problem] = problems(
        tmp_path / "2", lambda x: {"outputs": x, "total": tf.reduce_sum(x)}, WEIGHT
    )
    assert "serving_default.total is not batch-first" in problem
    fixed = tf.TensorSpec([4], tf.float32, name="weight")
    assert len(problems(tmp_path / "3", lambda x: {"outputs": x}, fixed)) == 2
