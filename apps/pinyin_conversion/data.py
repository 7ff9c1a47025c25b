"""From sentences with their pinyin to batches of about the same length."""

import functools
import pathlib

import numpy as np
import tensorflow as tf

from shared.data import batching, sources
from shared.data.sources import SPLITS
from shared.errors import InputError

from . import annotate, embedded
from .dictionary import Dictionary
from .readings import TONES, Readings
from .syllables import Syllables
from .trigram import Trigram


def examples(config, split):
    """The pairs of `split` ("train", "valid" or "test"): tuples of the pinyin and the text.

    Pinyin has its tones, and a space after each syllable; the text has a character for each.

    Where a folder has a `train.txt` beside its `train.tsv`, train has the sentences of both, but of the
    former none that is elsewhere too.

    Raises:
        InputError: no such source; a missing, empty or broken file; a dataset that is not to be had.
    """
    of = functools.partial(_examples, config.source, config.data_dir, tuple(config.columns))
    text = _text_beside(config.data_dir) if (config.source, split) == ("files", "train") else []
    if not text:
        return of(split)
    known = {text for other in (*SPLITS, *config.extra_tests) for _, text in of(other)}
    return of(split) + [pair for pair in text if pair[1] not in known]


def groups(config, split):
    """Where each of the `examples` is from: names; that of the split where the data does not say."""
    if config.source == "files" and config.group_column is not None:
        table = sources.find(config.data_dir, split, ".tsv", optional=True)
        if table:  # a .txt has no columns
            names = [name for (name,) in sources.columns(table, (config.group_column,))]
            return names + [split] * (len(examples(config, split)) - len(names))
    return [split] * len(examples(config, split))


@functools.lru_cache(maxsize=8)
def _examples(source, data_dir, columns, split):
    if source == "embedded":
        return embedded.pairs(split)
    if source == "files":
        return _files(data_dir, columns, split)
    if source.startswith("tfds:"):
        name = source.removeprefix("tfds:")
        return annotate.sentences(sources.tfds_lines(name, split, data_dir), split)
    raise InputError(f"--source is embedded, files or tfds:<name>. Received: {source!r}")


@functools.lru_cache(maxsize=2)
def _text_beside(data_dir):
    """The sentences of `train.txt`, where there is a `train.tsv` too."""
    table = sources.find(data_dir, "train", ".tsv", optional=True)
    text = sources.find(data_dir, "train", optional=True)
    return annotate.sentences(sources.lines(text), "train") if table and text else []


def _files(data_dir, columns, split):
    table = sources.find(data_dir, split, ".tsv", optional=True)
    if not table:
        text = sources.find(data_dir, split, optional=True)
        if not text:
            raise InputError(
                f"{data_dir} holds no {split}.tsv, plain or .gz; nor is there a {split}.txt"
            )
        return annotate.sentences(sources.lines(text), split)
    pairs = sources.columns(table, columns)
    for number, (pinyin, text) in enumerate(pairs, 1):
        if len(pinyin.split()) != len(text):
            raise InputError(
                f"{table}, line {number}: {len(pinyin.split())} syllables for {len(text)} characters; "
                "--columns says which column has which"
            )
    return pairs


def digests(config):
    """{split: SHA-256 of its pairs, as lines with a tab between}."""
    return {s: sources.sha256(map("\t".join, examples(config, s))) for s in SPLITS}


def load(config, folder):
    """Encodes the pairs, with the tables in `folder`, which are built where they are missing.

    Returns:
        train: a function of the epoch that gives its `tf.data.Dataset`; valid: a `tf.data.Dataset`;
        both of (inputs, targets, weights): the inputs of `PinyinModel`, the characters again, and
        float32 (batch, time), which is 0 at padding and where a character is not read so by the table.
        And the `Readings`, the `Syllables`, the `Dictionary` and the `Trigram`.
    """
    tables, train = build_tables(config, folder, examples(config, "train")[: config.max_examples])
    readings, _, dictionary, _ = tables
    valid = encode(config, readings, examples(config, "valid"))
    train = _batches(config, dictionary, train, "train")
    return train, _batches(config, dictionary, valid, "valid")(0), *tables


def open_tables(folder):
    """The `Readings`, `Syllables`, `Dictionary` and `Trigram` in `folder`."""
    readings, syllables, dictionary, trigram = _paths(folder)
    readings = Readings(readings)
    return (
        readings, Syllables(readings, syllables), Dictionary(readings, dictionary), Trigram(trigram),
    )  # fmt: skip


def build_tables(config, folder, pairs):
    """`open_tables`, of which those that are missing are built from `pairs`; and the pairs, encoded."""
    paths = _paths(folder)
    readings = Readings(paths[0]) if paths[0].exists() else Readings.build(pairs, paths[0])
    ids = encode(config, readings, pairs)
    if not paths[1].exists():
        Syllables.build(ids["codes"], readings, paths[1])
    if not paths[2].exists():
        Dictionary.build(annotate.word_counts(pairs, config.lexicon_size), readings, paths[2])
    if not paths[3].exists():
        Trigram.build(ids["characters"], readings.size, paths[3])
    return open_tables(folder), ids


def _paths(folder):
    names = ("readings.txt", "syllables.npz", "dictionary.npz", "trigram.npz")
    return [pathlib.Path(folder, name) for name in names]


def encode(config, readings, pairs):
    """Pairs to {"codes", "characters"}: lists of int32 (time,); -1 is a character not read so."""
    ids = {"codes": [], "characters": []}
    for pinyin, text in pairs:
        codes, characters = readings.parse(pinyin, text, config.tones)
        ids["codes"].append(codes)
        ids["characters"].append(characters)
    return ids


def _batches(config, dictionary, ids, split):
    if split == "train":
        fits = [len(row) <= config.max_length for row in ids["codes"]]
        if not any(fits):
            raise InputError(f"no sentence of train is within --max-length {config.max_length}")
        ids = {
            name: [x for x, fit in zip(rows, fits, strict=True) if fit]
            for name, rows in ids.items()
        }
    # Batches are padded with 0: that is no code, but it is a reading.
    ids = {"codes": ids["codes"], "characters": [row + 1 for row in ids["characters"]]}
    seed = config.seed if split == "train" else None
    of_epoch = batching.buckets(ids, config.batch_size, config.pad_to_multiple_of, seed)
    drop = config.tone_dropout if config.tones and split == "train" else 0.0

    def example(columns, seed):
        codes, characters = columns["codes"][0], columns["characters"][0] - 1
        if drop:
            dropped = tf.random.stateless_uniform(tf.shape(codes), seed) < drop
            told = tf.cast(codes > 0, tf.int32) * ((codes - 1) % TONES)
            codes -= tf.where(dropped, told, 0)
        guesses, told = dictionary.guesses(codes, causal=not config.bidirectional)
        inputs = {"codes": codes, "guesses": guesses, "told": told, "characters": characters}
        return inputs, characters, tf.cast(characters >= 0, tf.float32)

    def epoch_of(epoch):
        batches = of_epoch(epoch)
        seeds = np.random.default_rng([config.seed, epoch, 1]).integers(
            2**31, size=(batches.cardinality().numpy(), 2)
        )
        numbers = tf.data.Dataset.from_tensor_slices(seeds.astype(np.int32))
        # While a step runs, the next batch is made.
        return tf.data.Dataset.zip(batches, numbers).map(example).prefetch(2)

    return epoch_of
