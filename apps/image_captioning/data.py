"""From images and captions to batches."""

import hashlib
import pathlib
import sys
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from shared.data import batching, sources
from shared.data.features import FeatureCache
from shared.data.splits import Split
from shared.errors import InputError
from shared.files import write_text
from shared.text.vocabulary import END, Vocabulary

from . import captions, embedded, encoders, images
from .metrics import is_punctuation


class Assets(NamedTuple):
    """What belongs to the training split, and the encoder if it is not trained (else None)."""

    vocabulary: Vocabulary
    encoder: keras.Model | None


def splits(config):
    """Opens the images of each split, {name: `Split`}; an example is (image file, captions).

    The captions of an image are separated by line ends. The embedded source has a second test set,
    "unseen_pairs".

    Raises:
        InputError: there is no such source or dataset, or a file is missing, empty or damaged.
    """
    names = sources.SPLITS
    if config.source == "embedded":
        names = (*names, "unseen_pairs")
    return sources.open_splits(
        config,
        names,
        embedded=embedded.SceneSplit,
        files=lambda name: captions.read(config, name),
        tfds=lambda dataset, name: captions.TfdsSplit(dataset, name, config.data_dir),
    )


def tokenized(config, caption):
    """Returns a caption as the model learns it: lower-case words and punctuation marks between spaces."""
    if config.tokenizer == "char":
        return caption.lower()
    separated = (f" {c} " if is_punctuation(c) and c != "'" else c for c in caption.lower())
    return " ".join("".join(separated).split())


def build_assets(config, train, folder):
    """Builds the vocabulary of the training captions and writes it to `folder`, with a fixed encoder.

    Raises:
        InputError: the encoder is not available, or the settings of the vocabulary contradict each other.
    """
    paths = _paths(folder)
    texts = targets(used_images(config, train))
    lines = [tokenized(config, caption) for text in texts for caption in text.split("\n")]
    Vocabulary.build(
        lines, config.tokenizer, paths.vocabulary, config.vocabulary_size, config.min_count
    )
    write_text(paths.encoder.with_suffix(".txt"), config.encoder)
    if config.encoder != "small_cnn":
        encoder = encoders.build(config)
        encoder.trainable = False
        encoder.save(paths.encoder)
    return load_assets(config, folder)


def load_assets(config, folder):
    """Reads what `build_assets` wrote.

    Raises:
        InputError: the assets, such as those of `--init-from`, belong to another encoder, or are damaged.
    """
    paths = _paths(folder)
    encoder = None
    name = paths.encoder.with_suffix(".txt").read_text(encoding="utf-8")
    if name != config.encoder:
        raise InputError(
            f"{folder} belongs to --encoder {name}. Received: --encoder {config.encoder}"
        )
    if config.encoder != "small_cnn":
        try:
            encoder = keras.saving.load_model(paths.encoder, compile=False)
        except (OSError, ValueError) as error:
            raise InputError(f"{paths.encoder} cannot be loaded: {error}") from None
    return Assets(Vocabulary(paths.vocabulary, config.tokenizer), encoder)


def _paths(folder):
    return Assets(pathlib.Path(folder, "vocabulary.txt"), pathlib.Path(folder, "encoder.keras"))


class FirstImages(Split):
    """The first images of a split."""

    def __init__(self, split, count):
        self.split, self.count, self.name = split, count, split.name

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if isinstance(index, slice):
            return super().__getitem__(index)
        return self.split[range(self.count)[index]]

    def label(self, index):
        """Returns the name of an image."""
        return self.split.label(index)

    @property
    def digest(self):
        """SHA-256 of the whole split, and the number of images."""
        return f"{self.split.digest} {self.count}"

    @property
    def targets(self):
        """The captions of each image."""
        return targets(self.split)[: self.count]


def used_images(config, train):
    """Returns the training images that are used: all, or the first `config.max_examples`."""
    if config.max_examples is None or config.max_examples >= len(train):
        return train
    return FirstImages(train, config.max_examples)


def targets(split):
    """Returns the captions of each image, separated by line ends, without reading the images."""
    known = getattr(split, "targets", None)
    return [target for _, target in split] if known is None else known


def load(config, splits, assets):
    """Decodes the images, computes their features, and encodes the captions of `train` and `valid`.

    Returns:
        train: a function of the epoch that returns a `tf.data.Dataset`; valid: a `tf.data.Dataset`;
        both of (inputs, targets, weights): {"images": of the shape that the model reads, "captions":
        int32 (batch, time)}, int32 (batch, time), float32 (batch, time).

    Raises:
        InputError: most images of a split are damaged, or no training caption is short enough.
    """
    used = {**splits, "train": used_images(config, splits["train"])}
    caches = {name: features(config, split, assets) for name, split in used.items()}
    train = encode(config, assets, used["train"], caches["train"])
    train = batching.drop_longer(train, config.max_length, "train")
    valid = encode(config, assets, used["valid"], caches["valid"])
    return (
        _batches(config, assets, caches["train"], train, config.seed),
        _batches(config, assets, caches["valid"], valid, None)(0),
    )


def features(config, split, assets):
    """Returns what the model reads of each image of a split, a `FeatureCache`.

    An entry is the image, uint8 (size, size, 3), if the encoder is trained; else the cells of its grid of
    features, float16 (height * width, features). The entry of a damaged image is empty.

    Raises:
        InputError: most images are damaged.
    """
    encoder = assets.encoder
    size = encoder.input_shape[1] if encoder else config.image_size
    settings = {
        "images": 2,  # version of the decoding
        "size": size,
        "max_request_bytes": config.max_request_bytes,
    }
    if not encoders.is_trained(config):
        settings["encoder"] = _digest(encoder)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def compute(files):
        values, error = images.decode(files, size, config.max_request_bytes)
        if encoders.is_trained(config):
            return tf.cast(tf.round(values), tf.uint8), error
        grid = encoder(values)
        return tf.cast(
            tf.reshape(grid, [-1, grid.shape[1] * grid.shape[2], grid.shape[3]]), tf.float16
        ), error

    def compute_list(files):
        values, error = compute(tf.constant(files))
        return [
            v if e == b"" else v[:0] for v, e in zip(values.numpy(), error.numpy(), strict=True)
        ]

    cache = FeatureCache.build(split, compute_list, settings)
    damaged = np.flatnonzero(cache.lengths == 0)
    if len(damaged):
        names = ", ".join(split.label(i) for i in damaged[:5])
        message = (
            f"{split.name}: {len(damaged):,} of {len(cache):,} images cannot be decoded ({names}"
        )
        message += ", ...)" if len(damaged) > 5 else ")"
        if 2 * len(damaged) > len(cache):
            raise InputError(f"{message}: more than half")
        print(f"{message}; they are left out of training", file=sys.stderr)
    return cache


def _digest(encoder):
    """Returns the SHA-256 of the structure and the weights of an encoder."""
    digest = hashlib.sha256(encoder.to_json().encode())
    for weight in encoder.weights:
        digest.update(weight.numpy().tobytes())
    return digest.hexdigest()


def encode(config, assets, split, cache):
    """Encodes the captions of the images that are not damaged.

    Returns:
        {"captions": ragged ids with END, "rows": ragged (captions, 1), the image of each}.
    """
    texts, rows = [], []
    for row, target in enumerate(targets(split)):
        if cache.lengths[row]:
            for caption in target.split("\n"):
                texts.append(tokenized(config, caption))
                rows.append([row])
    ids = assets.vocabulary.encode_ragged(tf.constant(texts))
    ends = tf.fill([ids.nrows(), 1], END)
    ids = tf.concat([ids, tf.RaggedTensor.from_tensor(ends)], axis=1)
    return {"captions": ids, "rows": tf.RaggedTensor.from_tensor(tf.constant(rows, tf.int32))}


def _batches(config, assets, cache, columns, seed):
    rows = columns["rows"].flat_values.numpy()
    columns = {"captions": columns["captions"], "images": cache.take(rows)}
    epoch_of = batching.buckets(columns, config.batch_size, config.pad_to_multiple_of, seed)
    length = int(cache.lengths.max())
    shape = None if encoders.is_trained(config) else assets.encoder.output_shape[1:]

    @tf.autograph.experimental.do_not_convert
    def to_inputs(columns):
        (ids, lengths), (values, _) = columns["captions"], columns["images"]
        values = tf.cast(values[:, :length], tf.float32)
        values = tf.ensure_shape(values, [None, length, *cache.shape])
        if shape is not None:
            values = tf.reshape(values, [-1, *shape])
        # The decoder reads the caption shifted by one time step.
        decoder_input = tf.pad(ids, [[0, 0], [1, 0]], constant_values=END)[:, :-1]
        weights = tf.sequence_mask(lengths, tf.shape(ids)[1], tf.float32)
        return {"images": values, "captions": decoder_input}, ids, weights

    # The conversion of images takes time: it runs beside the training step.
    return lambda epoch: epoch_of(epoch).map(to_inputs).prefetch(2)
