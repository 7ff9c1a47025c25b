"""Batches of images or features with their captions."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from apps.image_captioning import data, images
from apps.image_captioning.config import TINY
from shared.errors import InputError


@pytest.fixture
def config(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("PEEPHOLE_CACHE", str(tmp_path / "cache"))
    return dataclasses.replace(
        TINY,
        source="files",
        data_dir=(str(folder),),
        image_size=16,
        batch_size=4,
        pad_to_multiple_of=2,
    )


@pytest.fixture
def encoder(tmp_path):
    """A .keras file of an encoder: the mean colour of quarters of the image, and its square."""
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.AveragePooling2D(8)(inputs)
    x = keras.layers.Rescaling(1 / 255)(x)
    keras.Model(inputs, keras.layers.Concatenate()([x, x])).save(tmp_path / "encoder.keras")
    return str(tmp_path / "encoder.keras")


def open_all(config, folder):
    splits = data.splits(config)
    folder.mkdir()
    assets = data.build_assets(config, splits["train"], folder)
    train, valid = data.load(config, splits, assets)
    return splits, assets, train, valid


def decoded(file, size=16):
    return images.decode(tf.constant([file]), size, 10**6)[0][0].numpy()


def test_tokenized():
    word = lambda text: data.tokenized(TINY, text)  # noqa: E731
    assert word("A dog , running (fast).") == "a dog , running ( fast ) ."
    assert word("a dog's  bed") == "a dog's bed"
    assert word("\u0915\u0941\u0924\u094d\u0924\u093e!") == "\u0915\u0941\u0924\u094d\u0924\u093e !"
    char = dataclasses.replace(TINY, tokenizer="char")
    assert data.tokenized(char, "A Dog.") == "a dog."
    assert data.tokenized(dataclasses.replace(char, language="zh"), "一只狗。") == "一只狗。"


def test_batches_of_images(config, tmp_path):
    splits, assets, train, valid = open_all(config, tmp_path / "assets")
    vocabulary = assets.vocabulary
    seen = set()
    pictures = [decoded(file) for file, _ in splits["train"]]
    for inputs, targets, weights in train(0).as_numpy_iterator():
        assert inputs["images"].shape == (4, 16, 16, 3)
        for image, read, target, weight in zip(
            inputs["images"], inputs["captions"], targets, weights, strict=True
        ):
            length = int(weight.sum())
            assert weight.tolist() == [1] * length + [0] * (len(weight) - length)
            text = vocabulary.decode(target[None], [length - 1])[0].numpy().decode()
            row = int(np.argmin([np.abs(image - p).sum() for p in pictures]))
            np.testing.assert_allclose(image, pictures[row], atol=0.51)
            assert text in [
                data.tokenized(config, c) for c in splits["train"].targets[row].split("\n")
            ]
            assert target[length - 1] == 0
            assert read.tolist() == [0, *target[:-1]]
            seen.add((row, text))
    assert len(seen) == 12
    assert sum(int(w.any(1).sum()) for *_, w in valid.as_numpy_iterator()) == 4


def test_features_of_a_fixed_encoder_are_computed_once(config, encoder, tmp_path, monkeypatch):
    config = dataclasses.replace(config, encoder=encoder)
    splits, assets, train, _ = open_all(config, tmp_path / "assets")
    inputs, *_ = next(train(0).as_numpy_iterator())
    assert inputs["images"].shape == (4, 2, 2, 6)
    expected = [assets.encoder(decoded(file)[np.newaxis])[0] for file, _ in splits["train"]]
    for grid in inputs["images"]:
        assert min(np.abs(grid - e).max() for e in expected) < 1e-3

    def fail(*_):
        raise AssertionError("an image was decoded again")

    monkeypatch.setattr(images, "decode", fail)
    again, _ = data.load(config, splits, assets)
    np.testing.assert_array_equal(next(again(0).as_numpy_iterator())[0]["images"], inputs["images"])


def test_an_encoder_that_is_finetuned_reads_images(config, encoder, tmp_path):
    config = dataclasses.replace(config, encoder=encoder, finetune=True)
    _, _, train, _ = open_all(config, tmp_path / "assets")
    assert next(train(0).as_numpy_iterator())[0]["images"].shape == (4, 16, 16, 3)


def test_damaged_images_are_counted_named_and_left_out(config, folder, tmp_path, capsys):
    (folder / "images" / "1.png").write_bytes((folder / "images" / "1.png").read_bytes()[:60])
    (folder / "images" / "9.png").write_bytes(b"")
    _, _, train, _ = open_all(config, tmp_path / "assets")
    errors = capsys.readouterr().err
    assert "train: 1 of 6 images cannot be decoded (1.png); they are left out of training" in errors
    assert "test: 1 of 2 images cannot be decoded (9.png)" in errors
    assert sum(int(w.any(1).sum()) for *_, w in train(0).as_numpy_iterator()) == 10


def test_more_than_half_damaged_images_are_an_error(config, folder, tmp_path):
    for i in range(4):
        (folder / "images" / f"{i}.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"train: 4 of 6 images cannot be decoded \(0.png, 1.png"):
        open_all(config, tmp_path / "assets")


def test_assets_of_another_encoder_are_refused(config, encoder, tmp_path):
    open_all(config, tmp_path / "assets")
    other = dataclasses.replace(config, encoder=encoder)
    with pytest.raises(
        InputError, match=r"assets belongs to --encoder small_cnn\. Received: .*keras"
    ):
        data.load_assets(other, tmp_path / "assets")


def test_max_examples_counts_images(config, tmp_path):
    config = dataclasses.replace(config, max_examples=2)
    _, assets, train, _ = open_all(config, tmp_path / "assets")
    assert sum(int(w.any(1).sum()) for *_, w in train(0).as_numpy_iterator()) == 4
    words = {assets.vocabulary.token(i).numpy() for i in range(assets.vocabulary.size)}
    assert b"1" in words
    assert b"2" not in words


def test_long_captions_are_dropped(config, tmp_path, capsys):
    config = dataclasses.replace(config, max_length=6)
    _, _, train, _ = open_all(config, tmp_path / "assets")
    assert sum(int(w.any(1).sum()) for *_, w in train(0).as_numpy_iterator()) == 6
    assert "train: 6 of 12 examples are longer than --max-length 6" in capsys.readouterr().err


def stored_images(builder, split, decoders, **_):
    """Stands for `as_dataset`, because mock data has no files: colours as JPEG, with two captions each."""
    tfds = pytest.importorskip("tensorflow_datasets")
    assert isinstance(decoders["image"], tfds.decode.SkipDecoding)
    # Mock data has no split but train.
    parts = {"train[:90%]": (8, 0), "train[95%:100%]": (4, 9), "train[90%:95%]": (4, 20)}
    count, first = parts[split]
    colours = tf.range(count) * 30 + first

    def example(colour):
        image = tf.cast(tf.fill([8, 8, 3], colour), tf.uint8)
        texts = ["a  colour", tf.strings.format("number\n{}", colour)]
        return {"image": tf.io.encode_jpeg(image), "captions": {"text": tf.stack(texts)}}

    return tf.data.Dataset.from_tensor_slices(colours).map(example)


def test_tfds(config, tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")
    with tfds.testing.mock_data(as_dataset_fn=stored_images):
        config = dataclasses.replace(config, source="tfds:coco_captions/2014", data_dir=())
        splits, _, train, _ = open_all(config, tmp_path / "assets")
    assert [len(splits[name]) for name in ("train", "valid", "test")] == [8, 4, 4]
    file, target = splits["train"][1]
    assert file.startswith(b"\xff\xd8\xff")
    assert target == splits["train"].targets[1] == "a colour\nnumber 30"
    assert [t for _, t in splits["valid"][1:3]] == ["a colour\nnumber 39", "a colour\nnumber 69"]
    assert len({split.digest for split in splits.values()}) == 3
    assert next(train(0).as_numpy_iterator())[0]["images"].shape == (4, 16, 16, 3)
