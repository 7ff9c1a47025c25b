"""TensorFlow Datasets of texts with summaries."""

import re
from types import SimpleNamespace

import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from apps.extractive_summarization import datasets
from shared.errors import InputError


def read(name, folder, level="sentence", split="test", **settings):
    config = SimpleNamespace(
        data_dir=(str(folder),), level=level, language="en", **{"max_examples": None, **settings}
    )
    pattern = r"[^.\s][^.]*\.?" if level == "sentence" else r"\w+|[^\w\s]"
    units_of = lambda texts: [[m.span() for m in re.finditer(pattern, t)] for t in texts]  # noqa: E731
    return datasets.read(config, name, split, units_of)


@pytest.mark.parametrize(
    ("name", "features"),
    [("cnn_dailymail", ("article", "highlights")), ("gigaword", ("document", "summary"))],
)
def test_labels_are_found(tmp_path, name, features):
    texts = [
        ("The cat sat. It rained. A dog ran.", "A dog ran .\nThe cat sat ."),
        ("", "x"),
        ("One. Two.", "One."),
    ]

    def as_dataset(self, split, **_):
        columns = dict(zip(features, map(list, zip(*texts, strict=True)), strict=True))
        return tf.data.Dataset.from_tensor_slices(columns)

    with tfds.testing.mock_data(as_dataset_fn=as_dataset):
        split = read(name, tmp_path)
        assert split[:] == [(texts[0][0], "101"), ("One. Two.", "10")]
        assert split.references(0) == texts[0][1]
        words = read(name, tmp_path, "word", "train", max_examples=1)
        [(text, labels)] = words[:]
        assert text == texts[0][0]
        assert labels == "11100000001"  # one of the two sentences: their order is another one


def test_mock_data_of_the_real_features(tmp_path):
    with tfds.testing.mock_data(num_examples=3):
        for name in ("cnn_dailymail", "gigaword"):
            split = read(name, tmp_path, "word", "train")
            assert len(split) == 3
            assert all(text and set(labels) <= {"0", "1"} for text, labels in split)


def test_unknown_and_empty_datasets(tmp_path):
    with pytest.raises(
        InputError, match=r"tfds:mnist is not known\. Known: cnn_dailymail, gigaword"
    ):
        read("mnist", tmp_path)

    def as_dataset(self, split, **_):
        return tf.data.Dataset.from_tensors({"document": " ", "summary": "a"})

    with (
        tfds.testing.mock_data(as_dataset_fn=as_dataset),
        pytest.raises(InputError, match=r"^tfds:gigaword has no text for test$"),
    ):
        read("gigaword", tmp_path)
