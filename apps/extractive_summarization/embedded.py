"""Sentences and documents that need no download, from a grammar of this project, in English and Chinese.

Level "word": sentences with modifiers, relative clauses, appositions, adverbials and asides; kept is the core
of the main clause. Level "sentence": documents whose main subject has to be found; see the folder grammar.
They are grammatical more often than true.
"""

import functools
import random

from shared.errors import InputError

from .grammar import chinese, documents, english
from .grammar.words import english_text
from .labelled import Record, labelled_split, layout, units_finder

COUNTS = {
    "word": {"train": 4000, "valid": 300, "test": 500},
    "sentence": {"train": 1500, "valid": 150, "test": 250},
}
MAX_TOKENS = 60  # longer sentences are not used
LANGUAGES = ("en", "zh")


def split(config, name, units_of=None):
    """Returns the examples of "train", "valid" or "test"; no text is in two of them.

    Args:
        config: the app's Config.
        name: name of the split.
        units_of: as for `files.read`.

    Returns:
        a `LabelledSplit`.

    Raises:
        InputError: there is no grammar of `config.language`.
    """
    if config.language not in LANGUAGES:
        raise InputError(
            f"--source embedded needs --language {' or '.join(LANGUAGES)}. Received: {config.language!r}"
        )
    units_of = units_of or units_finder(config.level, config.language)
    records = _records(config.level, config.language)[name]
    return labelled_split(name, records, units_of, config.level, config.language)


@functools.cache
def _records(level, language):
    """Returns {split: list of `Record`}."""
    rng = random.Random(1)
    if level == "sentence":
        write = documents.Grammar(rng, language).document
    else:
        write = {"en": english, "zh": chinese}[language].Grammar(rng).sentence
    records = {}
    counts = COUNTS[level]
    while len(records) < sum(counts.values()):
        parts, labels = zip(*write(), strict=True)
        if level == "word" and len(parts) > MAX_TOKENS:
            continue
        if level == "word" and language == "en":
            text, spans = english_text(parts)
        else:
            text, spans = layout(parts, " " if language == "en" else "")
        records.setdefault(text, Record(text, spans, list(labels)))
    records = list(records.values())
    splits = {}
    for name, count in counts.items():
        splits[name], records = records[:count], records[count:]
    return splits
