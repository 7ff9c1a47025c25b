"""Texts whose units, the tokens or the sentences, have labels: 1 for those that a summary keeps, else 0."""

import functools
import hashlib
import sys
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from shared.data.splits import TextSplit
from shared.errors import InputError
from shared.text.languages import is_unseparated

from . import oracle

CHUNK = 1000  # texts whose units are found at once


class LabelledSplit(TextSplit):
    """A split of (text, labels) with a summary of each text.

    The labels are a string with one "0" or "1" for each unit of the text.

    Args:
        name: name of the split.
        examples: list of (text, labels).
        summaries: list of str, the reference summaries. A line end separates sentences.
        labels: display names of the examples; None numbers them.
    """

    def __init__(self, name, examples, summaries, labels=None):
        super().__init__(name, examples, labels)
        self.summaries = summaries

    def references(self, index):
        """Returns the reference summary of an example."""
        return self.summaries[index]

    @functools.cached_property
    def digest(self):
        """SHA-256 of the texts, labels and summaries."""
        digest = hashlib.sha256()
        for (text, labels), summary in zip(self.examples, self.summaries, strict=True):
            digest.update(f"{text}\t{labels}\t{summary}\0".encode())
        return digest.hexdigest()


@functools.cache  # traced once
def units_finder(level, language):
    """Returns the function that finds the units of texts with the ops that serve.

    Args:
        level: "word": the units are tokens; "sentence": they are sentences.
        language: of the texts.

    Returns:
        A function of a list of texts. It returns, for each text, a list of (start, limit), byte offsets.
    """
    import tensorflow as tf

    from . import units

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def read(texts):
        found = units.read(texts, level, language)
        return found.start, found.limit

    def units_of(texts):
        starts, limits = read(tf.constant(texts, tf.string))
        pairs = np.stack([starts.flat_values.numpy(), limits.flat_values.numpy()], 1)
        return [part.tolist() for part in np.split(pairs, starts.row_splits.numpy()[1:-1])]

    return units_of


def pieces(text, units):
    """Returns the units of a text as strings.

    Args:
        text: str.
        units: list of (start, limit), byte offsets.

    Example:

    >>> pieces("a b\u00e9 c", [(0, 1), (2, 5)])
    ['a', 'b\u00e9']
    """
    content = text.encode()
    return [content[start:limit].decode(errors="replace") for start, limit in units]


def joined(parts, level, language):
    """Joins the kept units to a summary.

    Sentences are separated by line ends, as ROUGE-Lsum needs them; tokens by spaces, except in languages
    without spaces.
    """
    separator = "\n" if level == "sentence" else "" if is_unseparated(language) else " "
    return separator.join(part.strip() for part in parts)


def layout(parts, separator):
    """Joins parts to a text.

    Returns:
        text: str; spans: list of (start, limit), the byte offsets of each part.

    Example:

    >>> layout(["a", "bc"], " ")
    ('a bc', [(0, 1), (2, 4)])
    """
    spans, place = [], 0
    for part in parts:
        size = len(part.encode())
        spans.append((place, place + size))
        place += size + len(separator.encode())
    return separator.join(parts), spans


def transfer(text, spans, labels, units):
    """Maps the labels of spans of a text to its units.

    A unit is kept if more than half of its bytes, white space aside, are in kept spans.

    Args:
        text: str.
        spans: list of (start, limit), byte offsets.
        labels: list of 0 and 1, one for each span.
        units: list of (start, limit), byte offsets.

    Returns:
        labels: list of 0 and 1, one for each unit.
        fits: whether no unit has both kept and dropped bytes, and all kept bytes are in units.

    Example:

    >>> transfer("a. b. c.", [(0, 2), (3, 8)], [1, 0], [(0, 2), (3, 5), (6, 8)])
    ([1, 0, 0], True)
    """
    if [tuple(unit) for unit in units] == [tuple(span) for span in spans]:
        return list(labels), True
    content = np.frombuffer(text.encode(), np.uint8)
    visible = content > ord(" ")
    kept = np.zeros(len(content), bool)
    for (start, limit), label in zip(spans, labels, strict=True):
        kept[start:limit] = label
    total, kept = (np.concatenate([[0], np.cumsum(v)]) for v in (visible, visible & kept))
    starts, limits = np.array(units, np.int64).reshape(-1, 2).T
    size, in_unit = total[limits] - total[starts], kept[limits] - kept[starts]
    fits = bool(np.all((in_unit == 0) | (in_unit == size)) and in_unit.sum() == kept[-1])
    return (2 * in_unit > size).astype(int).tolist(), fits


class Record(NamedTuple):
    """A text with its labels, or with a summary from which they are found.

    Attributes:
        text: str.
        spans: list of (start, limit), byte offsets of what the labels belong to; None: labels are not known.
        labels: list of 0 and 1, one for each span; None: they are found by `oracle`.
        summary: str, the reference summary; None: the kept units.
    """

    text: str
    spans: list | None = None
    labels: list | None = None
    summary: str | None = None


def labelled_split(name, records, units_of, level, language, display_names=None):
    """Finds the units of texts, and their labels.

    Args:
        name: name of the split.
        records: list of `Record`.
        units_of: as of `units_finder`.
        level, language: as of `units_finder`.
        display_names: of the records; None numbers them.

    Returns:
        a `LabelledSplit`. Texts whose labels do not fit to their units are counted in one line on stderr, and
        summaries without any word of their text in another.

    Raises:
        InputError: a text has no units.
    """
    split = LabelledSplit(name, [], [], display_names)
    units = _all_units(split, records, units_of, level)
    unknown = [i for i, record in enumerate(records) if record.labels is None]
    pairs = ((pieces(records[i].text, units[i]), records[i].summary) for i in unknown)
    found = dict(zip(unknown, oracle.label_all(pairs, len(unknown), level), strict=True))
    misfits = []
    for i, (record, own) in enumerate(zip(records, units, strict=True)):
        labels, fits = found.get(i), True
        if labels is None:
            labels, fits = transfer(record.text, record.spans, record.labels, own)
        if not fits:
            misfits.append(i)
        summary = record.summary
        if summary is None:
            kept = [unit for unit, label in zip(own, labels, strict=True) if label]
            summary = joined(pieces(record.text, kept), level, language)
        split.examples.append((record.text, "".join(map(str, labels))))
        split.summaries.append(summary)
    empty = [i for i, labels in found.items() if not any(labels)]
    for rows, message in (
        (misfits, f"in which a {level} is kept in part; it is kept if more than half of it is"),
        (empty, "that have no word of their summary; all of their labels are 0"),
    ):
        if rows:
            first = split.label(rows[0])
            report = f"{name}: {len(rows):,} of {len(records):,} texts (the first is {first})"
            print(f"{report} {message}", file=sys.stderr)
    return split


def _all_units(split, records, units_of, level):
    """Returns the units of each record, a list of lists of (start, limit)."""
    units = []
    starts = range(0, len(records), CHUNK)
    description = f"{level}s of {split.name}"
    for begin in tqdm(starts, description, mininterval=1, disable=len(records) < 20 * CHUNK):
        units += units_of([record.text for record in records[begin : begin + CHUNK]])
    for i, own in enumerate(units):
        if not own:
            raise InputError(f"{split.label(i)}: the text has no {level}s; remove it")
    return units
