"""From sentence pairs to batches of similar length."""

import itertools
import pathlib
import sys
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from shared.data import batching, sources
from shared.data.splits import TextSplit
from shared.errors import InputError
from shared.text.cleaning import clean, is_blank, lower
from shared.text.vocabulary import END, Vocabulary

from . import embedded


class Assets(NamedTuple):
    """What is fitted on the training split; with `config.shared_vocabulary` both are the same."""

    source_vocabulary: Vocabulary
    target_vocabulary: Vocabulary


def splits(config):
    """Opens the pairs of each split, {name: `Split`}; an example is (source sentence, translation).

    Pairs with a blank side are left out, and counted in one line on stderr.

    Raises:
        InputError: there is no such source or dataset, a file is missing, empty or damaged, or more than
            half of the pairs of a split have a blank side.
    """
    opened = sources.open_splits(
        config,
        sources.SPLITS,
        embedded=embedded.pairs,
        files=lambda name: TextSplit(name, *_read(config, name)),
        tfds=lambda dataset, name: sources.tfds_pairs(
            dataset, name, config.languages, config.data_dir
        ),
    )
    return {name: _without_blank_pairs(split) for name, split in opened.items()}


def _without_blank_pairs(split):
    """Returns a `Split` without the pairs that have nothing to translate, or no translation."""
    pairs = split[:]
    blank = np.any([_are_blank(texts) for texts in zip(*pairs, strict=True)], axis=0)
    if not blank.any():
        return split
    count, first = np.count_nonzero(blank), int(np.argmax(blank))
    report = (
        f"{split.name}: {count:,} of {len(pairs):,} pairs have a blank side (the first is "
        f"{split.label(first)})"
    )
    if 2 * count > len(pairs):
        raise InputError(f"{report}, more than half: correct the data")
    print(f"{report} and are left out", file=sys.stderr)
    kept = np.flatnonzero(~blank).tolist()
    return TextSplit(split.name, [pairs[i] for i in kept], [split.label(i) for i in kept])


def _are_blank(texts):
    chunks = [clean(tf.constant(texts[i : i + 10_000]))[0] for i in range(0, len(texts), 10_000)]
    return np.concatenate([is_blank(text).numpy() for text in chunks])


def _read(config, name):
    """Reads the table of each folder, or its pair of files whose lines correspond."""
    tables = sources.find(config.data_dir, name, ".tsv", optional=True)
    rows, labels = sources.read_columns(tables, config.columns)
    tabular = {path.parent for path in tables}
    folders = [folder for folder in config.data_dir if pathlib.Path(folder) not in tabular]
    files = [
        sources.find(folders, name, f".{language}", optional=True) if folders else []
        for language in config.languages
    ]
    names = [f"{name}.{language}" for language in config.languages]
    for first, second in itertools.zip_longest(*files):
        if not (first and second and first.parent == second.parent):
            raise InputError(
                f"{first or second} has no partner file: a folder needs {' and '.join(names)}"
            )
    pairs, pair_labels = sources.read_parallel(*files)
    if not (rows or pairs):
        raise InputError(
            f"{', '.join(config.data_dir)} has neither {name}.tsv nor {' and '.join(names)}, plain or .gz"
        )
    return rows + pairs, labels + pair_labels


def build_assets(config, train, folder):
    """Builds the vocabularies of the training pairs and writes them to `folder`.

    Args:
        config: Config of the app.
        train: the training split, a sequence of (source sentence, translation).
        folder: an empty folder.

    Returns:
        `Assets`.

    Raises:
        InputError: the settings of the vocabularies contradict each other.
    """
    tokenizers = config.source_tokenizer, config.target_tokenizer
    if config.shared_vocabulary and len(set(tokenizers)) > 1:
        raise InputError(
            "--shared-vocabulary needs --source-tokenizer and --target-tokenizer to be the same. "
            f"Received: {', '.join(tokenizers)}"
        )
    sentences, translations = zip(*train[: config.max_examples], strict=True)
    if config.lowercase:  # the same op as in the exported graph
        sentences = [text.decode() for text in lower(sentences).numpy()]
    lines = [sentences, translations]
    if config.shared_vocabulary:
        lines = [[*sentences, *translations]]
    for path, tokenizer, text in zip(_paths(config, folder), tokenizers, lines, strict=False):
        Vocabulary.build(text, tokenizer, path, config.vocabulary_size)
    return load_assets(config, folder)


def load_assets(config, folder):
    """Reads what `build_assets` wrote."""
    tokenizers = config.source_tokenizer, config.target_tokenizer
    paths = _paths(config, folder)
    vocabularies = [Vocabulary(*pair) for pair in zip(paths, tokenizers, strict=False)]
    return Assets(vocabularies[0], vocabularies[-1])


def _paths(config, folder):
    names = ["source_vocabulary.txt", "target_vocabulary.txt"]
    if config.shared_vocabulary:
        names = ["vocabulary.txt"]
    return [pathlib.Path(folder, name) for name in names]


def load(config, splits, assets):
    """Encodes the pairs of `train` and `valid`.

    Args:
        config: Config of the app.
        splits: {name: `Split`}.
        assets: `Assets`.

    Returns:
        train: a function of the epoch that returns a `tf.data.Dataset`; valid: a `tf.data.Dataset`;
        both of (inputs, targets, weights): {"source": int32 (batch, source), "source_length": int32
        (batch,), "target": int32 (batch, target)}, int32 (batch, target) and float32 (batch, target).

    Raises:
        InputError: no training pair is within `config.max_length`.
    """
    train = encode(config, assets, splits["train"][: config.max_examples])
    train = batching.drop_longer(train, config.max_length, "train")
    valid = encode(config, assets, splits["valid"][:])
    return _batches(config, train, config.seed), _batches(config, valid, None)(0)


def encode(config, assets, pairs):
    """Encodes pairs as {"source", "target"}: ragged int32 (pairs, time), each row with `END` at its end."""
    sentences, translations = zip(*pairs, strict=True)
    return {
        "source": _encode(assets.source_vocabulary, sentences, config.lowercase),
        "target": _encode(assets.target_vocabulary, translations, False),
    }


def _encode(vocabulary, texts, lowercase):
    chunks = []
    for begin in range(0, len(texts), 10_000):
        text = tf.constant(texts[begin : begin + 10_000])
        text = lower(text) if lowercase else text
        ids = vocabulary.encode_ragged(text)
        end = tf.fill([ids.nrows(), 1], END)
        chunks.append(tf.concat([ids, tf.RaggedTensor.from_tensor(end)], axis=1))
    return tf.concat(chunks, axis=0)


def _batches(config, ids, seed):
    epoch_of = batching.buckets(ids, config.batch_size, config.pad_to_multiple_of, seed)

    @tf.autograph.experimental.do_not_convert
    def to_inputs(columns):
        (source, source_length), (target, target_length) = columns["source"], columns["target"]
        # The decoder reads the target shifted by one time step.
        decoder_input = tf.pad(target, [[0, 0], [1, 0]], constant_values=END)[:, :-1]
        weights = tf.sequence_mask(target_length, tf.shape(target)[1], tf.float32)
        inputs = {"source": source, "source_length": source_length, "target": decoder_input}
        return inputs, target, weights

    return lambda epoch: epoch_of(epoch).map(to_inputs)
