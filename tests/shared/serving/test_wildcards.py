r"""Models in folders whose path has wildcards: brackets, * and ? and \."""

import os

import pytest
import tensorflow as tf

from shared import predict
from shared.serving import export
from shared.serving.clients import SavedModelClient
from shared.serving.wildcards import loadable

INPUTS = tf.TensorSpec([None], tf.string, name="inputs")


class Counting(tf.Module):
    """Has a variable and a vocabulary file."""

    def __init__(self, vocabulary, value):
        super().__init__()
        self.value = tf.Variable(value)
        self.table = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(
                str(vocabulary), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE,
                tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER,
            ),
            2,
        )  # fmt: skip
        function = tf.function(self.answer, input_signature=[INPUTS], autograph=False)
        self.endpoints = {"serving_default": function}

    def answer(self, inputs):
        ids = self.table.lookup(inputs)
        number = tf.strings.as_string(tf.cast(ids, tf.float32) + self.value, precision=0)
        return {"outputs": number, "error": tf.fill(tf.shape(inputs), "")}

    def sample_requests(self):
        return {"serving_default": {"inputs": export.sample_batch("a", "", "c")}}


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A function that returns a model with a given value; the current folder is `tmp_path`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vocabulary").mkdir()
    (tmp_path / "vocabulary" / "words.txt").write_text("a\nb\n")
    # The name of the file is relative, because no export may have an absolute path.
    return lambda value: Counting(os.path.join("vocabulary", "words.txt"), value)


# With a sibling that the name matches when it is read as a pattern.
@pytest.mark.parametrize(
    ("name", "sibling"),
    [("a[1]", "a1"), ("[a]", "a"), ("a*", "ab"), ("a?", "ab"), ("a\\b", "ab"), ("a]", "b")],
)
def test_a_model_is_loaded_from_a_folder_with_wildcards(name, sibling, server, tmp_path):
    export.save(server(10.0), tmp_path / sibling / "1")
    export.save(server(20.0), tmp_path / name / "1")
    for folder in (name, tmp_path / name, tmp_path / name / "1"):
        answer = SavedModelClient(folder).predict("serving_default", ["a", "b", "x"])
        assert answer["outputs"].tolist() == [b"20", b"21", b"22"]
    answer = SavedModelClient(sibling).predict("serving_default", ["a"])
    assert answer["outputs"].tolist() == [b"10"]


def test_a_model_is_exported_to_a_folder_with_wildcards(server, capsys):
    base = "runs [new]*?\\/toy"
    version = export.promote(lambda f: export.write(server(5.0), f, {"app": "toy"}), base)
    assert str(version) == f"{base}/1"
    assert os.listdir(base) == ["1"]
    assert export.card_of(base)["app"] == "toy"
    assert predict.main([base, "b"]) == 0
    assert capsys.readouterr().out == "6\n"


def test_the_link_is_removed(tmp_path):
    (tmp_path / "a[1]").mkdir()
    with loadable(tmp_path / "a[1]") as path:
        assert os.path.samefile(path, tmp_path / "a[1]")
    assert not os.path.lexists(path)
    with loadable(tmp_path / "a b") as path:
        assert path == str(tmp_path / "a b")
