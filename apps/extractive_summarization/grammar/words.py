"""Tokens with labels, and how they become text."""

import re

KEEP, DROP = 1, 0
COMMAS = set(",，")
MARKS = COMMAS | set(".)。）")
NO_SPACE_BEFORE = set(".,;:!?)") | {"'s", "n't"}
NO_SPACE_AFTER = set("(")


def keep(*parts):
    """Returns tokens that are kept.

    Args:
        parts: strings of tokens between spaces, or lists of (token, label), which stay as they are.
    """
    return _flat(parts, KEEP)


def drop(*parts):
    """Returns tokens that are dropped; lists of (token, label) lose their labels."""
    return [(token, DROP) for token, _ in _flat(parts, KEEP)]


def _flat(parts, label):
    tokens = []
    for part in parts:
        tokens += [(t, label) for t in part.split()] if isinstance(part, str) else part
    return tokens


def tidy(tokens):
    """Removes the commas that close a part where another mark follows; of two commas, a kept one stays."""
    result = []
    for token, label in tokens:
        if result and result[-1][0] in COMMAS and token in MARKS:
            if token in COMMAS:
                label = max(label, result[-1][1])
            result.pop()
        result.append((token, label))
    return result


def parse_lexicon(text):
    """Reads lines "name: entry entry ..."; entries are separated by " / " if there is one, else by spaces.

    Returns:
        {name: list of strings}.
    """
    lexicon = {}
    for line in re.sub(r"\n\s{8,}", " ", text).strip().split("\n"):
        name, _, entries = line.strip().partition(": ")
        lexicon[name] = [e.strip() for e in entries.split("/" if "/" in entries else None)]
    return lexicon


def english_text(tokens):
    """Joins tokens as English is written.

    Args:
        tokens: list of str.

    Returns:
        text: str; spans: list of (start, limit), byte offsets of the tokens.
    """
    text, spans = "", []
    for i, token in enumerate(tokens):
        if i and token not in NO_SPACE_BEFORE and tokens[i - 1] not in NO_SPACE_AFTER:
            text += " "
        spans.append((len(text.encode()), len((text + token).encode())))
        text += token
    return text, spans
