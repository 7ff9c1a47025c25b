"""From pairs of sentences to batches of about the same length."""

import pathlib

import numpy as np
import tensorflow as tf

from shared.data import batching, sources
from shared.data.sources import SPLITS
from shared.errors import InputError
from shared.text.vocabulary import END, Vocabulary

from . import embedded


def examples(config, split):
    """The pairs of `split` ("train", "valid" or "test"): tuples of a sentence and its translation.

    Raises:
        InputError: no such source; a missing, empty or broken file; a dataset that is not to be had.
    """
    if config.source == "embedded":
        return embedded.pairs(split)
    if config.source == "files":
        return _files(config, split)
    if config.source.startswith("tfds:"):
        name = config.source.removeprefix("tfds:")
        return sources.tfds_pairs(name, split, config.languages, config.data_dir)
    raise InputError(f"--source is embedded, files or tfds:<name>. Received: {config.source!r}")


def _files(config, split):
    """Of a table, or of two files whose lines belong together."""
    try:
        table = sources.find(config.data_dir, split, ".tsv")
    except InputError:
        ends = [f".{language}" for language in config.languages]
        try:
            both = [sources.find(config.data_dir, split, end) for end in ends]
        except InputError as error:
            raise InputError(f"{error}; nor is there a {split}.tsv") from None
        return sources.parallel(*both)
    return sources.columns(table, config.columns)


def digests(config):
    """{split: SHA-256 of its pairs, as lines with a tab between}."""
    return {s: sources.sha256(map("\t".join, examples(config, s))) for s in SPLITS}


def load(config, folder):
    """Encodes the pairs, with the vocabularies in `folder`, which are built where they are missing.

    Returns:
        train: a function of the epoch that gives its `tf.data.Dataset`; valid: a `tf.data.Dataset`;
        both of (inputs, targets, weights): {"source": int32 (batch, source), "source_length": int32
        (batch,), "target": int32 (batch, target)}, int32 (batch, target) and float32 (batch,
        target). And the `Vocabulary` of each language.
    """
    pairs = {split: examples(config, split) for split in ("train", "valid")}
    pairs["train"] = pairs["train"][: config.max_examples]
    vocabularies = open_vocabularies(config, folder, pairs["train"])
    batches = {
        split: _batches(config, encode(config, vocabularies, pairs[split]), split)
        for split in pairs
    }
    return batches["train"], batches["valid"](0), *vocabularies


def open_vocabularies(config, folder, pairs=None):
    """The `Vocabulary` of the sentences and that of their translations, or twice that of both.

    Args:
        folder: where their files are.
        pairs: where a file is missing, it is built from these.
    """
    names = (
        ["vocabulary"] if config.shared_vocabulary else ["vocabulary_source", "vocabulary_target"]
    )
    units = config.source_tokenizer, config.target_tokenizer
    if config.shared_vocabulary and len(set(units)) > 1:
        raise InputError(
            f"--shared-vocabulary needs one unit for both languages. Received: {', '.join(units)}"
        )
    found = []
    for i, (name, unit) in enumerate(zip(names, units, strict=False)):
        path = pathlib.Path(folder, f"{name}.txt")
        if path.exists():
            found.append(Vocabulary(path, unit))
            continue
        lines = [] if i else [source for source, _ in pairs]
        if lines and config.lowercase:  # by the op that serves
            lines = [text.decode() for text in tf.strings.lower(lines, "utf-8").numpy()]
        if i or config.shared_vocabulary:
            lines += [target for _, target in pairs]
        found.append(Vocabulary.build(lines, unit, path, config.vocabulary_size))
    return found * 2 if config.shared_vocabulary else found


def encode(config, vocabularies, pairs):
    """Pairs to ids, {"source", "target"}: lists of int32 (time,), each with `END` at its end."""
    ids = {}
    for i, (name, vocabulary) in enumerate(zip(("source", "target"), vocabularies, strict=True)):
        ids[name] = []
        for begin in range(0, len(pairs), 10_000):
            text = tf.constant([pair[i] for pair in pairs[begin : begin + 10_000]])
            if name == "source" and config.lowercase:
                text = tf.strings.lower(text, "utf-8")
            rows = vocabulary.encode_ragged(text)
            ends = tf.fill([rows.nrows(), 1], END)
            rows = tf.concat([rows, tf.RaggedTensor.from_tensor(ends)], axis=1)
            splits = rows.row_splits.numpy()
            ids[name] += np.split(rows.flat_values.numpy(), splits[1:-1])
    return ids


def _batches(config, ids, split):
    if split == "train":
        fits = [
            max(map(len, pair)) <= config.max_length for pair in zip(*ids.values(), strict=True)
        ]
        ids = {
            name: [x for x, fit in zip(rows, fits, strict=True) if fit]
            for name, rows in ids.items()
        }
        if not any(fits):
            raise InputError(f"no pair of train is within --max-length {config.max_length}")
    seed = config.seed if split == "train" else None
    of_epoch = batching.buckets(ids, config.batch_size, config.pad_to_multiple_of, seed)

    def example(columns):
        (source, length), (target, target_length) = columns["source"], columns["target"]
        before = tf.pad(target, [[0, 0], [1, 0]], constant_values=END)[:, :-1]
        weights = tf.sequence_mask(target_length, tf.shape(target)[1], tf.float32)
        return {"source": source, "source_length": length, "target": before}, target, weights

    return lambda epoch: of_epoch(epoch).map(example)
