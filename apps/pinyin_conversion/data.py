"""From sentences with pinyin to batches of similar length."""

import pathlib
import sys
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from shared.data import batching, sources
from shared.data.splits import TextSplit
from shared.errors import InputError
from shared.text.ngram_table import TrigramTable

from . import embedded
from .lexicon import annotate
from .lexicon.dictionary import Dictionary
from .lexicon.readings import NUM_TONES, Readings, known_syllables
from .lexicon.spelling import TONE_DIGITS, canonical_pinyin
from .lexicon.syllables import Syllables


class Assets(NamedTuple):
    """What is fitted on the training split."""

    readings: Readings
    syllables: Syllables
    dictionary: Dictionary
    trigram: TrigramTable


class PinyinSplit(TextSplit):
    """A split of pairs (pinyin, text): syllables with tones separated by spaces, and a character for each.

    Args:
        name, examples, labels: as of `TextSplit`.
        groups: the group of each pair, by which results are reported; None: the name of the split.
        table_rows: number of pairs that come from a .tsv; the others come from a .txt.
    """

    def __init__(self, name, examples, labels=None, groups=None, table_rows=0):
        super().__init__(name, examples, labels)
        self.groups = [name] * len(examples) if groups is None else groups
        self.table_rows = table_rows


def splits(config):
    """Opens the pairs of train, valid, test and the extra test sets, {name: `PinyinSplit`}.

    A train.txt is used beside a train.tsv, without the sentences that are in train.tsv or another split.
    The syllables of a .tsv may be written in any way that `spelling.parse_spelling` reads; those of the
    pairs are written in one form, such as "lv4". What is left out is reported on stderr.

    Raises:
        InputError: there is no such source or dataset; a file is missing, empty or damaged; a pair has
            not as many syllables as characters, or something that is not a syllable; or most of a split
            would be left out.
    """
    if config.extra_tests and config.source != "files":
        raise InputError(f"--extra-tests needs --source files. Received: {config.source!r}")
    opened = sources.open_splits(
        config,
        (*sources.SPLITS, *config.extra_tests),
        embedded=lambda name: PinyinSplit(name, embedded.pairs(name)),
        files=lambda name: _files(config, name),
        tfds=lambda dataset, name: PinyinSplit(
            name,
            annotate.sentences(sources.tfds_lines(dataset, name, config.data_dir), name),
        ),
    )
    opened["train"] = _without_known_sentences(opened)
    _check_syllables(config, opened)
    return opened


def _files(config, name):
    """Reads the .tsv files of a split, then its .txt files; only train uses both in one folder."""
    folders = config.data_dir
    tables = sources.find(folders, name, ".tsv", optional=True)
    texts = sources.find(folders, name, ".txt", optional=True)
    if name != "train":
        tabular = {path.parent for path in tables}
        texts = [path for path in texts if path.parent not in tabular]
    if not (tables or texts):
        raise InputError(
            f"{', '.join(folders)} has neither {name}.tsv nor {name}.txt, plain or .gz"
        )
    pairs, labels, groups = [], [], []
    if tables:
        group_columns = [] if config.group_column is None else [config.group_column]
        rows, row_labels = sources.read_columns(tables, (*config.columns, *group_columns))
        for i, (pinyin, text, *group) in enumerate(rows):
            if not (pinyin.strip() or text.strip()):
                continue
            pairs.append((_canonical(pinyin, text, row_labels[i]), text))
            labels.append(row_labels[i])
            groups += group or [name]
        _report(name, len(rows) - len(pairs), len(rows), "lines are empty and left out")
    table_rows = len(pairs)
    if texts:
        lines, line_labels = sources.read_lines(texts)
        for line, pair in annotate.numbered_sentences(lines, name):
            pairs.append(pair)
            labels.append(line_labels[line])
            groups.append(name)
    return PinyinSplit(name, pairs, labels, groups, table_rows)


def _canonical(pinyin, text, label):
    """Returns the pinyin of a line of a .tsv in one form; see `spelling.canonical_pinyin`."""
    canonical, unknown = canonical_pinyin(pinyin)
    if canonical is None:
        raise InputError(
            f"{label}: {unknown!r} is not a pinyin syllable: correct it, or remove the line; --columns "
            "gives the columns of pinyin and text"
        )
    count = len(canonical.split())
    if count != len(text):
        raise InputError(
            f"{label}: {count} syllables for {len(text)} characters; --columns gives the columns of pinyin "
            "and text"
        )
    return canonical


def _report(name, count, total, what):
    """Prints how many of `total` of a split have a fault; raises InputError if they are more than half."""
    message = f"{name}: {count:,} of {total:,} {what}"
    if 2 * count > total:
        raise InputError(message)
    if count:
        print(message, file=sys.stderr)


def _without_known_sentences(opened):
    """Removes from train the sentences of train.txt that are in train.tsv or in another split."""
    train = opened["train"]
    if train.table_rows in (0, len(train)):
        return train
    known = {text for name, split in opened.items() if name != "train" for _, text in split}
    known.update(text for _, text in train[: train.table_rows])
    kept = [i for i, (_, text) in enumerate(train) if i < train.table_rows or text not in known]
    if len(kept) < len(train):
        print(
            f"train: {len(train) - len(kept):,} of {len(train) - train.table_rows:,} sentences of text are "
            "left out, because train.tsv or another split has them",
            file=sys.stderr,
        )
    columns = ([column[i] for i in kept] for column in (train.examples, train.labels, train.groups))
    return PinyinSplit("train", *columns, train.table_rows)


def _check_syllables(config, opened):
    """Raises InputError if a split has a syllable that the `Readings` of the training pairs do not know."""
    known = known_syllables(opened["train"][: config.max_examples])
    for split in opened.values():
        distinct = {spelling for pinyin, _ in split for spelling in pinyin.split()}
        unknown = {spelling for spelling in distinct if spelling.rstrip(TONE_DIGITS) not in known}
        for i, (pinyin, _) in enumerate(split if unknown else ()):
            for spelling in pinyin.split():
                if spelling in unknown:
                    raise InputError(
                        f"{split.label(i)}: no character of the training data and of GB 2312 is read "
                        f"{spelling!r}: remove the line, or add a sentence with it to the training data"
                    )


def build_assets(config, train, folder):
    """Builds the tables of the training pairs and writes them to `folder`."""
    pairs = train[: config.max_examples]
    paths = _paths(folder)
    readings = Readings.build(pairs, paths.readings)
    ids = encode(config, readings, pairs)
    if not any(map(len, ids["readings"])):
        raise InputError("train has no sentence")
    return Assets(
        readings,
        Syllables.build(ids["codes"], readings, paths.syllables),
        Dictionary.build(
            annotate.word_counts(pairs, config.lexicon_size), readings, paths.dictionary
        ),
        TrigramTable.build(ids["readings"], readings.size, paths.trigram),
    )


def load_assets(config, folder):
    """Reads what `build_assets` wrote."""
    paths = _paths(folder)
    readings = Readings(paths.readings)
    return Assets(
        readings,
        Syllables(readings, paths.syllables),
        Dictionary(readings, paths.dictionary),
        TrigramTable(paths.trigram),
    )


def _paths(folder):
    names = ("readings.txt", "syllables.npz", "dictionary.npz", "trigram.npz")
    return Assets(*(pathlib.Path(folder, name) for name in names))


def load(config, splits, assets):
    """Encodes the pairs of `train` and `valid`.

    Returns:
        train: a function of the epoch that returns a `tf.data.Dataset`; valid: a `tf.data.Dataset`;
        both of (inputs, targets, weights): the inputs of `PinyinModel`; readings, int32 (batch, time);
        float32 (batch, time), 0 at padding and where the character has no such reading (target -1).

    Raises:
        InputError: no training sentence is within `config.max_length`; or most characters of another split
            do not have the syllable that is given for them.
    """
    train = encode(config, assets.readings, splits["train"][: config.max_examples])
    train = batching.drop_longer(train, config.max_length, "train", unit="syllables")
    valid = encode(config, assets.readings, splits["valid"])
    for name, split in splits.items():
        if name != "train":
            _report_unknown(
                name, valid if name == "valid" else encode(config, assets.readings, split)
            )
    return (
        _batches(config, assets.dictionary, train, training=True),
        _batches(config, assets.dictionary, valid, training=False)(0),
    )


def encode(config, readings, pairs):
    """Encodes pairs as {"codes", "readings"}, lists of int32 arrays (time,); see `Readings.parse`."""
    ids = {"codes": [], "readings": []}
    for pinyin, text in pairs:
        codes, numbers = readings.parse(pinyin, text, config.tones)
        ids["codes"].append(codes)
        ids["readings"].append(numbers)
    return ids


def _report_unknown(name, ids):
    """Reports the characters without a reading in the table: the model cannot write them there."""
    known = np.concatenate(ids["readings"]) >= 0
    what = "characters are not in the table of readings with their syllable, so the model cannot be right"
    _report(name, int((~known).sum()), known.size, what)


def _batches(config, dictionary, ids, training):
    # Batches are padded with 0, which is a reading: padding becomes -1 by adding 1 here and subtracting
    # it below.
    ids = {"codes": ids["codes"], "readings": [row + 1 for row in ids["readings"]]}
    seed = config.seed if training else None
    buckets = batching.buckets(ids, config.batch_size, config.pad_to_multiple_of, seed)
    tone_dropout = config.tone_dropout if config.tones and training else 0.0

    @tf.autograph.experimental.do_not_convert  # it has no Python control flow that depends on tensors
    # A `tf.function`, so that the graph of the dictionary is traced once and not in every epoch.
    @tf.function(autograph=False)
    def to_inputs(columns, seed):
        codes, targets = columns["codes"][0], columns["readings"][0] - 1
        if tone_dropout:
            dropped = tf.random.stateless_uniform(tf.shape(codes), seed) < tone_dropout
            tone = tf.cast(codes > 0, tf.int32) * ((codes - 1) % NUM_TONES)
            codes -= tf.where(dropped, tone, 0)
        candidates, features = dictionary.candidates(codes, causal=not config.bidirectional)
        inputs = {"codes": codes, "candidates": candidates, "candidate_features": features}
        return inputs, targets, tf.cast(targets >= 0, tf.float32)

    def epoch_of(epoch):
        batches = buckets(epoch)
        seeds = np.random.default_rng([config.seed, epoch, 1]).integers(
            2**31, size=(batches.cardinality().numpy(), 2)
        )
        seeds = tf.data.Dataset.from_tensor_slices(seeds.astype(np.int32))
        return tf.data.Dataset.zip(batches, seeds).map(to_inputs).prefetch(2)

    return epoch_of
