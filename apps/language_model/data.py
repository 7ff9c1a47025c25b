"""From raw text to windows for truncated back-propagation through time."""

import functools
import pathlib
import pydoc_data.topics
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from shared.data import batching, sources
from shared.data.splits import TextSplit
from shared.errors import InputError
from shared.text.vocabulary import Vocabulary


class Assets(NamedTuple):
    """What is fitted on the training split."""

    vocabulary: Vocabulary


def splits(config):
    """Opens the text of each split, {name: `Split`}; an example is a line without its line end.

    Raises:
        InputError: there is no such source or dataset, or a file is missing, empty or damaged.
    """
    return sources.open_splits(
        config,
        sources.SPLITS,
        embedded=_embedded,
        files=functools.partial(_files, config.data_dir),
        tfds=lambda dataset, name: sources.tfds_lines(dataset, name, config.data_dir),
    )


def _files(folders, name):
    return TextSplit(name, *sources.read_lines(sources.find(folders, name)))


def build_assets(config, train, folder):
    """Builds the vocabulary of the training text and writes it to `folder`."""
    limits = {"size": config.vocabulary_size, "min_count": config.min_count}
    Vocabulary.build(train, config.tokenizer, pathlib.Path(folder, "vocabulary.txt"), **limits)
    return load_assets(config, folder)


def load_assets(config, folder):
    """Reads what `build_assets` wrote."""
    return Assets(Vocabulary(pathlib.Path(folder, "vocabulary.txt"), config.tokenizer))


def load(config, splits, assets):
    """Encodes the text of `train` and `valid`.

    Returns:
        train: a function of the epoch that returns a `tf.data.Dataset`; valid: a `tf.data.Dataset`;
        both of (inputs, targets, weights), see `batching.windows`.

    Raises:
        InputError: a split has fewer tokens than a batch has rows.
    """
    train, valid = (encode(assets.vocabulary, splits[name]) for name in ("train", "valid"))
    for name, ids in (("train", train), ("valid", valid)):
        if len(ids) < config.batch_size:
            raise InputError(
                f"{name} has {len(ids)} tokens, fewer than --batch-size {config.batch_size}"
            )
    return (
        batching.windows(train, config.batch_size, config.window, config.seed),
        batching.windows(valid, config.batch_size, config.window)(0),
    )


def encode(vocabulary, lines):
    """Encodes lines as one stream of ids, int32 (tokens,), in which `</s>` ends each line."""
    chunks = [
        vocabulary.encode_ragged(tf.constant([f"{line}\n" for line in lines[i : i + 10_000]]))
        for i in range(0, len(lines), 10_000)
    ]
    return np.concatenate([chunk.flat_values.numpy() for chunk in chunks])


def _embedded(name):
    """Returns paragraphs of the Python language reference, which is part of CPython.

    Topics repeat sections of each other. Each paragraph is used once, so that no paragraph is in two
    splits. Eight of ten blocks of paragraphs are for training.
    """
    paragraphs = {}
    for topic in pydoc_data.topics.topics.values():
        for paragraph in topic.split("\n\n"):
            text = " ".join(paragraph.split())
            if len(text) > 40 and not text.startswith(("**", "==", "--")):
                paragraphs[text] = None
    blocks = {"train": range(8), "valid": [8], "test": [9]}[name]
    size = 20  # neighbouring paragraphs are similar, so they go to the same split
    return [text for i, text in enumerate(paragraphs) if i // size % 10 in blocks]
