"""Files of vocabularies: errors, several of them in one process, and exports."""

import gc
import shutil

import pytest
import tensorflow as tf

from shared.errors import InputError
from shared.text.vocabulary import UNKNOWN, Vocabulary


def decoded(vocabulary, text):
    return vocabulary.decode(*vocabulary.encode(tf.constant([text]))).numpy()[0].decode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "its first lines must be </s> and <unk>"),
        (b"a\nb\n", "its first lines must be </s> and <unk>"),
        (b"</s>\n", "its first lines must be </s> and <unk>"),
        (b"<unk>\n</s>\na\n", "its first lines must be </s> and <unk>"),
        (b"</s>\n<unk>\na\nb\na\n", "contains the token 'a' twice"),
    ],
)
def test_errors_of_invalid_files(tmp_path, content, message):
    path = tmp_path / "v.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        Vocabulary(path, "word")
    assert str(path) in str(caught.value)


def test_errors_of_missing_files(tmp_path):
    with pytest.raises(InputError, match=r"cannot read the vocabulary .*none\.txt: No such file"):
        Vocabulary(tmp_path / "none.txt", "word")
    with pytest.raises(InputError, match="Is a directory"):
        Vocabulary(tmp_path, "word")


def test_an_unknown_tokenizer(tmp_path):
    with pytest.raises(
        ValueError, match=r"`tokenizer` must be one of word, char, subword\. Received: 'byte'"
    ):
        Vocabulary(tmp_path, "byte")


def test_the_last_line_may_lack_its_line_end(tmp_path):
    path = tmp_path / "v.txt"
    path.write_bytes("</s>\n<unk>\na\n漢".encode())
    vocabulary = Vocabulary(path, "char")
    assert vocabulary.size == 4
    assert vocabulary.encode(tf.constant(["漢a"]))[0].numpy().tolist() == [[3, 2]]


def test_two_vocabularies_in_one_graph(tmp_path):
    first = Vocabulary.build(["a b c"], "word", tmp_path / "one.txt")
    second = Vocabulary.build(["c c b"], "word", tmp_path / "two.txt")

    @tf.function
    def both(text):
        return first.encode(text)[0], second.encode(text)[0]

    ids = [t.numpy().tolist() for t in both(tf.constant(["a b c"]))]
    assert ids == [[[2, 3, 4]], [[UNKNOWN, 3, 2]]]


def test_equal_vocabularies_of_which_one_is_deleted(tmp_path):
    first = Vocabulary.build(["a b"], "word", tmp_path / "one.txt")
    second = Vocabulary.build(["a b"], "word", tmp_path / "two.txt")
    assert decoded(first, "a b") == "a b"
    del first
    gc.collect()
    assert decoded(second, "a b") == "a b"


def test_an_export_contains_no_path_and_can_be_moved(tmp_path):
    vocabulary = Vocabulary.build(["a b \u6f22"], "word", tmp_path / "vocabulary.txt")
    module = tf.Module()
    module.vocabulary = vocabulary
    module.echo = tf.function(
        lambda text: vocabulary.decode(*vocabulary.encode(text)),
        input_signature=[tf.TensorSpec([None], tf.string)],
    )
    tf.saved_model.save(module, str(tmp_path / "written"))
    for file in (tmp_path / "written").rglob("*"):
        assert file.is_dir() or str(tmp_path).encode() not in file.read_bytes()
    shutil.move(tmp_path / "written", tmp_path / "moved")
    (tmp_path / "vocabulary.txt").unlink()
    loaded = tf.saved_model.load(str(tmp_path / "moved"))
    text = tf.constant(["b  a \u6f22 c\n", ""])
    assert [t.decode() for t in loaded.echo(text).numpy()] == ["b a \u6f22 <unk>\n", ""]
    assert [p.name for p in (tmp_path / "moved" / "assets").iterdir()] == ["vocabulary.txt"]
