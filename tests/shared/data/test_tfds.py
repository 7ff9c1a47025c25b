"""TensorFlow Datasets: splits, errors, and no waiting without a network."""

import socket

import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from shared.data import sources
from shared.data.sources import SPLITS
from shared.errors import InputError


class PeepholeLines(tfds.core.GeneratorBasedBuilder):
    """100 numbered texts; the configuration says in which splits they are."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [  # noqa: RUF012
        tfds.core.BuilderConfig(name=name)
        for name in ("one", "two", "three", "val", "small", "late", "labels")
    ]

    def _info(self):
        name = "label" if self.builder_config.name == "labels" else "text"
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict({name: tfds.features.Text()}), description="-"
        )

    def _split_generators(self, dl_manager):
        names = {
            "one": ["train"],
            "two": ["train", "test"],
            "three": ["train", "validation", "test"],
            "val": ["train", "val", "test"],
            "small": ["train"],
            "late": ["test"],
            "labels": ["train"],
        }[self.builder_config.name]
        return {name: self._generate_examples(name) for name in names}

    def _generate_examples(self, split):
        for i in range(3 if self.builder_config.name == "small" else 100):
            if self.builder_config.name == "labels":
                yield i, {"label": "x"}
            else:
                yield i, {"text": f"\n{split} {i}\r\nsecond 漢\u2028字\n"}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A function: prepares a configuration and returns its name and (folder,)."""
    folder = tmp_path_factory.mktemp("tfds")

    def prepare(config):
        PeepholeLines(config=config, data_dir=str(folder)).download_and_prepare()
        return f"peephole_lines/{config}", (str(folder),)

    return prepare


def read(name, data_dir):
    """Returns {split: [(TFDS split, number) of each text]}; checks that every text has two lines."""
    examples = {}
    for split in SPLITS:
        lines = sources.tfds_lines(name, split, data_dir)
        assert lines[1::2] == ["second 漢\u2028字"] * (len(lines) // 2)
        examples[split] = [line.split() for line in lines[::2]]
    return examples


@pytest.mark.parametrize(("config", "valid"), [("three", "validation"), ("val", "val")])
def test_tfds_with_all_splits(prepared, config, valid):
    examples = read(*prepared(config))
    for split, tfds_name in {"train": "train", "valid": valid, "test": "test"}.items():
        assert {name for name, _ in examples[split]} == {tfds_name}
        assert sorted(int(i) for _, i in examples[split]) == list(range(100))


@pytest.mark.parametrize("config", ["one", "two"])
def test_tfds_without_a_split_uses_parts_of_train(prepared, config):
    examples = read(*prepared(config))
    parts = SPLITS if config == "one" else ("train", "valid")
    assert {name for split in parts for name, _ in examples[split]} == {"train"}
    numbers = [int(i) for split in parts for _, i in examples[split]]
    assert sorted(numbers) == list(range(100))  # each example is in one part
    sizes = {split: len(examples[split]) for split in SPLITS}
    if config == "one":
        assert sizes == {"train": 90, "valid": 5, "test": 5}
    else:
        assert sizes == {"train": 95, "valid": 5, "test": 100}
        assert {name for name, _ in examples["test"]} == {"test"}


def test_tfds_has_the_same_order_each_time(prepared):
    name, data_dir = prepared("three")
    first, second = (sources.tfds_lines(name, "train", data_dir) for _ in range(2))
    assert first == second


def test_tfds_with_too_few_examples_for_a_split(prepared):
    name, data_dir = prepared("small")
    assert len(sources.tfds_lines(name, "train", data_dir)) == 6
    with pytest.raises(InputError, match=r"^tfds:peephole_lines/small has no text for valid$"):
        sources.tfds_lines(name, "valid", data_dir)


def test_tfds_without_a_train_split(prepared):
    name, data_dir = prepared("late")
    for split in "train", "valid":
        with pytest.raises(InputError, match=rf"^tfds:{name} has no text for {split}$"):
            sources.tfds_lines(name, split, data_dir)


def test_tfds_without_text(prepared):
    name, data_dir = prepared("labels")
    with pytest.raises(InputError, match=r"has no feature 'text'\. Its features: label"):
        sources.tfds_lines(name, "train", data_dir)


def test_tfds_takes_one_folder(prepared):
    name, data_dir = prepared("three")
    with pytest.raises(InputError, match="--data-dir takes one folder when --source is tfds"):
        sources.tfds_lines(name, "train", data_dir * 2)


def test_tfds_real_names(tmp_path):
    with tfds.testing.mock_data(num_examples=3):
        for name in "tiny_shakespeare", "lm1b", "wiki40b/en":
            lines = sources.tfds_lines(name, "train", (str(tmp_path),))
            assert len(lines) >= 3
            assert all(isinstance(line, str) and "\n" not in line for line in lines)
        with pytest.raises(InputError, match=r"no feature 'text'\. Its features: image, label"):
            sources.tfds_lines("mnist", "train", (str(tmp_path),))


def test_tfds_pairs(tmp_path):
    def as_dataset(self, split, **_):
        return tf.data.Dataset.from_tensors({"pt": " um\ndois ", "en": b"one\xff two"})

    with tfds.testing.mock_data(as_dataset_fn=as_dataset):
        read = lambda *languages: sources.tfds_pairs(  # noqa: E731
            "ted_hrlr_translate/pt_to_en", "train", languages, (str(tmp_path),)
        )
        assert read("en", "pt") == [("one\ufffd two", "um dois")]
        with pytest.raises(InputError, match=r"no feature 'de' or 'fr'\. Its features: pt, en"):
            read("de", "fr")


def test_tfds_removes_the_section_marks_of_wiki40b(tmp_path):
    article = (
        "\n_START_ARTICLE_\nThe title\n_START_SECTION_\nHistory\n_START_PARAGRAPH_\n"
        "One._NEWLINE_Two."
    )

    def as_dataset(self, split, **_):
        return tf.data.Dataset.from_tensors(
            {"text": article, "wikidata_id": "Q1", "version_id": "1"}
        )

    with tfds.testing.mock_data(as_dataset_fn=as_dataset):
        lines = sources.tfds_lines("wiki40b/en", "train", (str(tmp_path),))
    assert lines == ["The title", "History", "One.", "Two."]


@pytest.mark.parametrize(
    "name", ["no_such_set", "", "a/b/c/d", "tiny_shakespeare", "wiki40b/no_such_language", "lm1b"]
)
def test_tfds_that_is_not_available_fails_fast(tmp_path, name, monkeypatch):
    requests = []

    def offline(*address, **_):
        requests.append(address)
        raise socket.gaierror("no network here")

    monkeypatch.setattr(socket, "getaddrinfo", offline)
    with pytest.raises(InputError, match=rf"^tfds:{name} is not available \(.+\): check the") as e:
        sources.tfds_lines(name, "train", (str(tmp_path),))
    assert "\n" not in str(e.value)
    assert len(requests) <= 3  # by default TFDS tries each address ten times, for 200 s
    assert bool(requests) == (name in ("tiny_shakespeare", "lm1b"))
