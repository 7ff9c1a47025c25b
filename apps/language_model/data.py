"""From raw text to windows for truncated back-propagation through time."""

import pathlib
import pydoc_data.topics

import numpy as np
import tensorflow as tf

from shared.data import batching, sources
from shared.data.sources import SPLITS
from shared.errors import InputError
from shared.text.vocabulary import Vocabulary


def examples(config, split):
    """The lines of `split` ("train", "valid" or "test"): strings without line ends.

    Raises:
        InputError: no such source; a missing, empty or broken file; a dataset that is not to be had.
    """
    if config.source == "embedded":
        return _embedded(split)
    if config.source == "files":
        return sources.lines(sources.find(config.data_dir, split))
    if config.source.startswith("tfds:"):
        return sources.tfds_lines(config.source.removeprefix("tfds:"), split, config.data_dir)
    raise InputError(f"--source is embedded, files or tfds:<name>. Received: {config.source!r}")


def digests(config):
    """{split: SHA-256 of its text}."""
    return {split: sources.sha256(examples(config, split)) for split in SPLITS}


def load(config, folder):
    """Encodes the text, with the vocabulary in `folder`, which is built where it is missing.

    Returns:
        train: a function of the epoch that gives its `tf.data.Dataset`; valid: a `tf.data.Dataset`;
        both of (inputs, targets, weights), see `batching.windows`. And the `Vocabulary`.
    """
    train = examples(config, "train")
    path = pathlib.Path(folder, "vocabulary.txt")
    if path.exists():
        vocabulary = Vocabulary(path, config.tokenizer)
    else:
        limits = {"size": config.vocabulary_size, "min_count": config.min_count}
        vocabulary = Vocabulary.build(train, config.tokenizer, path, **limits)
    train = encode(vocabulary, train)
    valid = encode(vocabulary, examples(config, "valid"))
    for split, ids in (("train", train), ("valid", valid)):
        if len(ids) < config.batch_size:
            raise InputError(
                f"{split} has {len(ids)} tokens, fewer than --batch-size {config.batch_size}"
            )
    return (
        batching.windows(train, config.batch_size, config.window, config.seed),
        batching.windows(valid, config.batch_size, config.window)(0),
        vocabulary,
    )


def encode(vocabulary, lines):
    """Lines to one stream of ids, int32 (tokens,), in which each line ends with `</s>`."""
    pieces = [
        vocabulary.encode_ragged(tf.constant([f"{line}\n" for line in lines[i : i + 10_000]]))
        for i in range(0, len(lines), 10_000)
    ]
    return np.concatenate([piece.flat_values.numpy() for piece in pieces])


def _embedded(split):
    """The Python language reference, which every CPython carries: one paragraph a line.

    Topics repeat each other's sections, so that a paragraph counts once, where it stands first:
    no paragraph of one split stands in another. Of each ten blocks, eight are for training.
    """
    paragraphs = {}
    for topic in pydoc_data.topics.topics.values():
        for paragraph in topic.split("\n\n"):
            text = " ".join(paragraph.split())
            if len(text) > 40 and not text.startswith(("**", "==", "--")):
                paragraphs[text] = None
    share = {"train": range(8), "valid": [8], "test": [9]}[split]
    block = 20  # neighbours are alike: whole blocks of paragraphs go to one split
    return [p for i, p in enumerate(paragraphs) if i // block % 10 in share]
