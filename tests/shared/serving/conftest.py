"""Two small exports that fit together, for the tests of chains."""

import pytest
import tensorflow as tf

from shared.serving import export

INPUTS = tf.TensorSpec([None], tf.string, name="inputs")


class _Lines(tf.lookup.TextFileInitializer):
    """Names a table by itself: TensorFlow would put the path into the export."""

    def __init__(self, path, name):
        self._name_of_table = name
        super().__init__(path, tf.string, 0, tf.string, 1, delimiter="\t")

    @property
    def _shared_name(self):
        return self._name_of_table


class Words(tf.Module):
    """Looks texts up in words.txt, whose lines are key, tab, value: models differ in what is in it."""

    def __init__(self, folder, words, scale):
        super().__init__()
        path = folder / "words.txt"  # the same name for all models
        path.write_bytes(b"".join(key + b"\t" + words[key] + b"\n" for key in words))
        name = f"table_{type(self).__name__}"
        self.table = tf.lookup.StaticHashTable(_Lines(str(path), name), "?")
        self.scale = tf.Variable(scale, name="scale")
        self.endpoints = {"serving_default": tf.function(self.answer, input_signature=[INPUTS])}
        self.samples = export.sample_batch(*words, "xyz")

    def answer(self, inputs):
        text = self.table.lookup(inputs)
        is_known = text != "?"
        text = tf.where(is_known, text, "")
        noisy = tf.strings.regex_full_match(inputs, "noisy .*")
        error = tf.where(noisy, "noise was removed", "")
        parts = tf.strings.split(text, " ").to_tensor("")
        return {
            "outputs": text,
            "error": tf.where(is_known, error, "unknown: " + inputs),
            "score": -self.scale * tf.cast(tf.strings.length(text), tf.float32),
            "parts": tf.pad(parts, [[0, 0], [0, tf.maximum(1 - tf.shape(parts)[1], 0)]]),
            "wav_bytes": tf.where(is_known, b"RIFF\xff" + text, ""),
            "long": tf.strings.length(text) > 6,
        }

    def sample_requests(self):
        return {name: {"inputs": self.samples} for name in self.endpoints}


class Exact(Words):
    """Fails on an empty text."""

    def answer(self, inputs):
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(inputs != ""), ["empty"])]):
            return super().answer(tf.identity(inputs))


ENGLISH = {
    b"PNG\0\xff dog": b"a dog",
    b"cat": b"a cat",
    b"fish": b"a fish",
    b"silent": b"",
    b"noisy dog": b"a dog",
    b"noisy fish": b"a fish",
}
GERMAN = {b"a dog": b"ein Hund", b"a cat": b"eine Katze", b"cat": b"Katze"}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder with two exports, `english` and `german`.

    Their files, variables and tables have the same names, as those of exports of two processes may have.
    """
    folder, scratch = tmp_path_factory.mktemp("saved_models"), tmp_path_factory.mktemp("words")
    for name, kind, words, scale in (
        ("english", Words, ENGLISH, 1.0),
        ("german", Exact, GERMAN, 10.0),
    ):
        server = kind(scratch, words, scale)
        card = {"app": name, "preset": "default", "config": {"seed": 1}, "data": {"test": "abc"}}
        export.promote(lambda part, s=server, c=card: export.write(s, part, c), folder / name)
    # In one process, tables of the same name are one table.
    path = folder / "german" / "1" / "saved_model.pb"
    content = path.read_bytes()
    assert content.count(b"table_Exact") > 1
    path.write_bytes(content.replace(b"table_Exact", b"table_Words"))  # as long: the file is valid
    return folder
