"""Reads texts with labels or summaries from .jsonl files."""

import json
import re

from shared.data import sources
from shared.errors import InputError
from shared.text.languages import is_unseparated

from .labelled import Record, labelled_split, layout, units_finder

FORMS = {
    "word": "tokens and labels, or text and summary",
    "sentence": "sentences and labels, or text and summary",
}


def read(config, name, units_of=None):
    """Opens a split of the folders of `--data-dir`: `train.jsonl` or `<anything>.train.jsonl`, plain or .gz.

    A line is a JSON object with one of

        tokens, labels       level word; tokens: a list, or a string with spaces between the tokens
        sentences, labels    level sentence; sentences: a list
        text, summary        both levels; the labels are found by `oracle`

    Labels are a string of "0" and "1" or a list of 0 and 1. If there are `raw_tokens`, the tokens before they
    were lower-cased, the text is made of them. Other keys are ignored. The labels are mapped to the tokens
    or sentences that the exported model finds in the text.

    Args:
        config: the app's Config, with `data_dir`, `level`, `language` and `max_examples`.
        name: "train", "valid", "test" or the name of another test set. Of "train", the first
            `config.max_examples` lines are used.
        units_of: finds the units of texts; see `labelled.units_finder`, whose result is the default.

    Returns:
        a `LabelledSplit`.

    Raises:
        InputError: a file is missing or damaged, or a line is not as described (file and line are named).
    """
    lines, names = sources.read_lines(sources.find(config.data_dir, name, ".jsonl"))
    if name == "train":
        lines = lines[: config.max_examples]
    parse = _parse_word if config.level == "word" else _parse_sentence
    records = []
    for i, line in enumerate(lines):
        try:
            records.append(parse(_object(line, config.level), config.language))
        except InputError as error:
            raise InputError(f"{names[i]}: {error}") from None
    units_of = units_of or units_finder(config.level, config.language)
    return labelled_split(name, records, units_of, config.level, config.language, names)


def _object(line, level):
    """Returns the JSON object of a line."""
    if not line.strip():
        raise InputError("the line is empty; remove it")
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON ({error})") from None
    if not isinstance(value, dict):
        raise InputError(f"a JSON object with {FORMS[level]} is needed. Received: {_short(value)}")
    return value


def _parse_word(record, language):
    if "tokens" not in record:
        if "sentences" in record and not _has_summary(record):
            raise InputError("sentences need --level sentence")
        return _parse_summary(record, "word")
    tokens = _strings(record, "tokens", split=True)
    labels = _labels(record, len(tokens), "tokens")
    if "raw_tokens" in record:
        raw = _strings(record, "raw_tokens", split=True)
        if len(raw) != len(tokens):
            raise InputError(f"{len(raw)} raw_tokens for {len(tokens)} tokens")
        tokens = raw
    return Record(*layout(tokens, "" if is_unseparated(language) else " "), labels)


def _parse_sentence(record, language):
    if "sentences" not in record:
        if "tokens" in record and not _has_summary(record):
            raise InputError("tokens need --level word")
        return _parse_summary(record, "sentence")
    sentences = _strings(record, "sentences")
    labels = _labels(record, len(sentences), "sentences")
    return Record(*layout(sentences, "" if is_unseparated(language) else " "), labels)


def _has_summary(record):
    return "text" in record and "summary" in record


def _parse_summary(record, level):
    for key in ("text", "summary"):
        if key not in record:
            keys = ", ".join(map(str, record)) or "no keys"
            raise InputError(f"{FORMS[level]} are needed. Received: {keys}")
        if not isinstance(record[key], str):
            raise InputError(f"{key} must be a string. Received: {_short(record[key])}")
        if not record[key].strip():
            raise InputError(f"{key} is empty; remove the line")
    return Record(_valid(record["text"]), summary=_valid(record["summary"]))


def _strings(record, key, split=False):
    """Returns the tokens or sentences of a record, a list of strings that are not blank."""
    value = record[key]
    if split and isinstance(value, str):
        value = [token for token in value.split(" ") if token]
    if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
        kind = "a list of strings or a string" if split else "a list of strings"
        raise InputError(f"{key} must be {kind}. Received: {_short(record[key])}")
    if not value:
        raise InputError(f"{key} is empty; remove the line")
    for i, part in enumerate(value):
        if not part.strip():
            raise InputError(f"{key}[{i}] is empty")
    return [_valid(part.strip()) for part in value]


def _labels(record, count, of):
    """Returns the labels of a record, a list of 0 and 1."""
    if "labels" not in record:
        raise InputError(f"{of} need labels; received none")
    labels = record["labels"]
    if not isinstance(labels, str | list):
        raise InputError(f"labels must be a string or a list. Received: {_short(labels)}")
    for i, label in enumerate(labels):
        # JSON's true is 1 in Python, but a file with it has another meaning of labels.
        if isinstance(label, bool) or label not in (0, 1, "0", "1"):
            raise InputError(f"labels[{i}] must be 0 or 1. Received: {_short(label)}")
    if len(labels) != count:
        raise InputError(f"{len(labels)} labels for {count} {of}")
    return [int(label) for label in labels]


def _valid(text):
    """Replaces what UTF-8 cannot write: JSON may have halves of surrogate pairs."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


def _short(value):
    """Returns the start of a value, for a message of one line."""
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= 60 else f"{text[:60]}..."
