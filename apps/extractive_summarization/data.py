"""From texts and labels to batches."""

import functools
import pathlib
import weakref
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from shared.data import batching, sources
from shared.errors import InputError
from shared.text.vocabulary import UNKNOWN, UNKNOWN_TOKEN, Vocabulary

from . import centrality, datasets, embedded, files, units

CHUNK = 1000  # texts that are read at once


class Assets(NamedTuple):
    """What is fitted on the training split: the vocabularies of words and of their characters."""

    words: Vocabulary
    characters: Vocabulary


def splits(config):
    """Opens the examples of each split, {name: `Split`}; an example is (text, labels).

    The labels are a string with a "1" (keep) or "0" (drop) for each unit that `units.read` finds in the
    text: its tokens, or its sentences.

    Raises:
        InputError: there is no such source or dataset, or a file is missing, empty or damaged.
    """
    return sources.open_splits(
        config,
        sources.SPLITS,
        embedded=lambda name: embedded.split(config, name),
        files=lambda name: files.read(config, name),
        tfds=lambda dataset, name: datasets.read(config, dataset, name),
    )


class Parsed(NamedTuple):
    """The words of some examples.

    Attributes:
        types: list of str, the distinct normalized words.
        words: ragged int32 (sentences, words), indices of `types`; the sentences of all examples.
        row: int32 (sentences,), the example of each sentence, ascending.
        labels: ragged int32 (examples, units).
        features: ragged float32 (examples, sentences, features) of `centrality`; None without them.
    """

    types: list
    words: tf.RaggedTensor
    row: np.ndarray
    labels: tf.RaggedTensor
    features: tf.RaggedTensor | None


_parsed = weakref.WeakKeyDictionary()  # {split: {settings: Parsed}}: a split is read once


def parse(config, split, count=None):
    """Reads the first `count` examples of a split, or all, with the ops that serve.

    Raises:
        InputError: a text has another number of units than labels.
    """
    count = min(len(split), count or len(split))
    key = config.level, config.language, config.centrality, count
    cache = _parsed.setdefault(split, {})
    if key not in cache:
        cache[key] = _parse(config, split, count)
    return cache[key]


def _parse(config, split, count):
    read = _reader(config.level, config.language, config.centrality)
    number, words, lengths, rows, features, targets = {}, [], [], [], [], []
    starts = range(0, count, CHUNK)
    for start in tqdm(starts, f"words of {split.name}", mininterval=1, disable=count < 5 * CHUNK):
        examples = split[start : min(start + CHUNK, count)]
        texts, labels = zip(*examples, strict=True)
        types, index, length, row, num_units, values = (t.numpy() for t in read(tf.constant(texts)))
        for i, (target, n) in enumerate(zip(labels, num_units, strict=True)):
            if len(target) != n:
                raise InputError(
                    f"{split.label(start + i)}: {len(target)} labels for {n} {config.level}s"
                )
        numbers = [number.setdefault(word, len(number)) for word in types.tolist()]
        words.append(np.array(numbers, np.int32)[index])
        lengths.append(length)
        rows.append(row + start)
        features.append(values)
        targets += labels
    lengths, rows = np.concatenate(lengths), np.concatenate(rows).astype(np.int32)
    labels = np.frombuffer("".join(targets).encode(), np.uint8).astype(np.int32) - ord("0")
    has_features = config.centrality != "none"
    return Parsed(
        [word.decode() for word in number],
        tf.RaggedTensor.from_row_lengths(np.concatenate(words), lengths),
        rows,
        tf.RaggedTensor.from_row_lengths(labels, [*map(len, targets)]),
        tf.RaggedTensor.from_value_rowids(np.concatenate(features), rows, nrows=count)
        if has_features
        else None,
    )


@functools.cache
def _reader(level, language, centrality_kind):
    """Returns the graph that reads texts for training."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def read(texts):
        found = units.read(texts, level, language)
        types, index = tf.unique(found.words.flat_values)
        values = centrality.features(found.lower_case(), found.row, centrality_kind, language)
        return (
            types,
            index,
            found.words.row_lengths(),
            found.row,
            found.start.row_lengths(),
            values,
        )

    return read


def build_assets(config, train, folder):
    """Builds the vocabularies of the training texts and writes them to `folder`."""
    paths = _paths(folder)
    parsed = parse(config, train, config.max_examples)
    types = np.array(parsed.types, object)
    lines = [" ".join(types[ids]) for ids in _rows(parsed.words)]
    Vocabulary.build(lines, "word", paths.words, config.vocabulary_size, config.min_count)
    letters = [word for word in parsed.types if word != UNKNOWN_TOKEN]
    Vocabulary.build(letters, "char", paths.characters)
    return load_assets(config, folder)


def _rows(ragged):
    """Returns the rows of a ragged tensor, a list of arrays."""
    return np.split(ragged.flat_values.numpy(), ragged.row_splits.numpy()[1:-1])


def load_assets(config, folder):
    """Reads what `build_assets` wrote."""
    paths = _paths(folder)
    return Assets(Vocabulary(paths.words, "word"), Vocabulary(paths.characters, "char"))


def _paths(folder):
    return Assets(pathlib.Path(folder, "words.txt"), pathlib.Path(folder, "characters.txt"))


def word_ids(words, vocabulary):
    """Returns the ids of normalized words, int32 of the same shape; none is 0, which is padding."""
    return tf.maximum(vocabulary.id(words), UNKNOWN)


def load(config, splits, assets):
    """Encodes the examples of `train` and `valid`.

    Returns:
        train: a function of the epoch that returns a `tf.data.Dataset`; valid: a `tf.data.Dataset`; both of
        (inputs, labels, weights): the inputs of `model.build`; int32 (batch, units); float32 (batch, units).

    Raises:
        InputError: most training examples are longer than `config.max_length`, or a text has another
            number of units than labels.
    """
    parsed = parse(config, splits["train"], config.max_examples)
    counts = np.bincount(parsed.words.flat_values.numpy(), minlength=len(parsed.types))
    valid = parse(config, splits["valid"])
    return (
        _batches(config, assets, parsed, counts),
        _batches(config, assets, valid, None)(0),
    )


def _batches(config, assets, parsed, counts):
    """Returns a function of the epoch; `counts` are those of the types in train, None for other splits."""
    columns = _of_words(parsed) if config.level == "word" else _of_sentences(parsed)
    if counts is not None:
        unit = "words" if config.level == "word" else "sentences"
        numbers = tf.range(columns["units"].nrows(), dtype=tf.int32)[:, tf.newaxis]
        kept = {"units": columns["units"], "numbers": tf.RaggedTensor.from_tensor(numbers)}
        kept = batching.drop_longer(kept, config.max_length, "train", unit=unit)["numbers"]
        columns = {name: tf.gather(column, kept.values) for name, column in columns.items()}
    seed = None if counts is None else config.seed
    buckets = batching.buckets(columns, config.batch_size, config.pad_to_multiple_of, seed)
    types = tf.constant(parsed.types)
    ids, letters = word_ids(types, assets.words), units.characters(types, assets.characters)
    # A word that occurs n times becomes <unk> with the probability a / (a + n).
    a = config.word_dropout if counts is not None else 0.0
    rate = tf.constant(a / np.maximum(a + (0 if counts is None else counts), 1e-9), tf.float32)

    def words_of(types, length, seed):
        mask = tf.sequence_mask(length, tf.shape(types)[1])
        words = tf.gather(ids, types)
        if a:
            dropped = tf.random.stateless_uniform(tf.shape(types), seed) < tf.gather(rate, types)
            words = tf.where(dropped, UNKNOWN, words)
        return tf.where(mask, words, 0), mask

    def word_inputs(columns, seed):
        (labels, length), (types, _) = columns["units"], columns["words"]
        words, mask = words_of(types, length, seed)
        inputs = {"words": words, "length": length}
        if config.char_filters:
            inputs["characters"] = tf.where(mask[..., tf.newaxis], tf.gather(letters, types), 0)
        return inputs, labels, tf.cast(mask, tf.float32)

    def sentence_inputs(columns, seed):
        (labels, length), (types, num_words) = columns["units"], columns["words"]
        words, is_word = words_of(types, num_words, seed)
        sizes, (rows, _) = columns["sizes"][0], columns["rows"]
        padded = tf.RaggedTensor.from_row_lengths(
            tf.boolean_mask(words, is_word), tf.reshape(sizes, [-1]), validate=False
        ).to_tensor()
        # To few different lengths, because XLA compiles the recurrent layers for each of them.
        multiple = config.pad_to_multiple_of
        missing = tf.maximum(multiple, -(-tf.shape(padded)[1] // multiple) * multiple)
        padded = tf.pad(padded, [[0, 0], [0, missing - tf.shape(padded)[1]]])
        inputs = {
            "words": tf.reshape(padded, [*tf.unstack(tf.shape(sizes)), missing]),
            "length": length,
        }
        mask = tf.sequence_mask(length, tf.shape(labels)[1])
        if parsed.features is not None:
            size = parsed.features.shape[-1]
            shape = [*tf.unstack(tf.shape(labels)), size]
            values = tf.gather(parsed.features, rows[:, 0]).to_tensor()
            values = tf.where(mask[..., tf.newaxis], _resized(values, shape), 0.0)
            inputs["centrality"] = tf.ensure_shape(values, [None, None, size])
        return inputs, labels, tf.cast(mask, tf.float32)

    function = word_inputs if config.level == "word" else sentence_inputs
    to_inputs = tf.function(function, autograph=False)  # traced once, and not in every epoch

    def epoch_of(epoch):
        batches = buckets(epoch)
        seeds = np.random.default_rng([config.seed, epoch, 1]).integers(
            2**31, size=(batches.cardinality().numpy(), 2)
        )
        seeds = tf.data.Dataset.from_tensor_slices(seeds.astype(np.int32))
        return tf.data.Dataset.zip(batches, seeds).map(to_inputs).prefetch(2)

    return epoch_of


def _of_words(parsed):
    """Returns the columns of sentences whose units are words."""
    labels = tf.RaggedTensor.from_row_splits(parsed.labels.flat_values, parsed.words.row_splits)
    return {"units": labels, "words": parsed.words}


def _of_sentences(parsed):
    """Returns the columns of documents whose units are sentences."""
    splits = parsed.labels.row_splits
    documents = tf.RaggedTensor.from_row_splits(parsed.words, splits)
    numbers = tf.range(parsed.labels.nrows())[:, tf.newaxis]
    return {
        "units": parsed.labels,
        "words": documents.merge_dims(1, 2),
        "sizes": tf.RaggedTensor.from_row_splits(parsed.words.row_lengths(), splits),
        "rows": tf.RaggedTensor.from_tensor(numbers),
    }


def _resized(values, shape):
    """Cuts or pads values (batch, time, features) with 0 to a shape."""
    values = values[:, : shape[1]]
    return tf.pad(values, [[0, 0], [0, shape[1] - tf.shape(values)[1]], [0, 0]])
