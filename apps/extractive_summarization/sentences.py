r"""Sentences of English and Chinese text, inside the graph. One set of rules serves both languages.

A sentence ends at `.`, `!` or `?` before white space, or at `。`, `！`, `？` or `……` of Chinese; closing
quotes and brackets belong to it. The rules insert a `CUT` at each such place, and remove it again where the
period belongs to an abbreviation, an initial or the number of an item, or where a small letter follows. A
blank line is always a boundary, a line end only where there is no full stop. The rules read the classes of
the characters (`characters.py`).
"""

import tensorflow as tf

from .characters import CUT, ELLIPSIS, SINGLE, STOP, SYMBOL, character_classes, spans
from .tokens import ABBREVIATIONS, BEFORE_NUMBERS, CAPITALIZED, INITIALS, TITLES

# Words that begin a sentence after an abbreviation such as "Inc.", which may end one.
STARTERS = """
    The This That These Those A An He She It They We You I His Her Its Their Our My But And So Or Yet Then
    There Here In On At For From With By As If When While After Before Since Because Although Though Until
    Once During However Meanwhile Some Many Most All Both Each Not What Who Why How Where Which Mr Mrs
""".split()  # noqa: SIM905 (a list would be one line each)
# In characters. A text with a longer line is not wrapped, so each of its lines is a paragraph.
MAX_WRAPPED = 120

_CLOSE = r"(?:[\"')\]}]| ''|\[[0-9]+\])*"  # '' is a quote of the Penn Treebank, [1] a footnote
_OPEN = r"[\"'(\[{`]*"
_SPACE = "[ \n]"
_BLANK_LINE = "\x0b"  # not the class of any character


def split(texts):
    """Splits texts into sentences.

    Args:
        texts: string (batch,).

    Returns:
        `Spans` of the sentences, in the text that `tf.strings.unicode_transcode` returns.

    Example:

    >>> sentences = split(tf.constant(["Mr. Lee paid 3.5% (approx.). “Too much!” he said.", "你好！再见。"]))
    >>> for row in sentences.text.numpy():
    ...     print(*[sentence.decode() for sentence in row], sep=" | ")
    Mr. Lee paid 3.5% (approx.). | “Too much!” he said.
    你好！ | 再见。
    >>> sentences.start.to_list()
    [[0, 29], [0, 9]]
    """
    text = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")
    classes = _cut_sentences(character_classes(text))
    blocks = tf.strings.split(_replace(classes, r"(\n *\n)", rf"\1{_BLANK_LINE}"), _BLANK_LINE)
    blocks = blocks.with_values(_cut_lines(blocks.flat_values))
    return spans(text, tf.strings.reduce_join(blocks, 1, separator=CUT), at_spaces=False)


def _cut_sentences(text):
    """Inserts a `CUT` after each sentence."""
    # Without spaces, only its place in a pair shows whether a straight quote opens or closes.
    paired = _replace(text, r'"([^"\n]*)"', r"(\1)")
    text = tf.where(_contains(text, STOP), paired, text)
    has_capitals = _contains(text, "[A-Z]")
    text = _replace(text, rf"([.!?]{_CLOSE})({_SPACE}|$)", rf"\1{CUT}\2")
    text = _replace(text, rf"(\.\.{_CLOSE}){CUT}", r"\1")
    stop = f"{STOP}[{STOP}!?]*|{SINGLE}{ELLIPSIS}{ELLIPSIS}+"
    text = _replace(text, rf"((?:{stop}){_CLOSE}){CUT}?", rf"\1{CUT}")
    text = _replace(text, rf"([!?]{_CLOSE})({_OPEN}{SINGLE})", rf"\1{CUT}\2")
    text = _replace(text, f"{CUT}( *[,;:])", r"\1")
    # A small letter follows, if the writer uses capital letters.
    small = _replace(text, rf"{CUT}((?:{_SPACE}+{_OPEN}| +[-{SYMBOL}]+ ?)[a-z])", r"\1")
    text = tf.where(has_capitals, small, text)

    never = rf"\b(?i:{'|'.join(TITLES)})\."
    text = _replace(text, rf"({never}){CUT}", r"\1")
    seldom = rf"\b(?:(?i:{'|'.join(ABBREVIATIONS)})|{'|'.join(CAPITALIZED)}|{INITIALS})\.{_CLOSE}"
    text = _replace(text, rf"({seldom}){CUT}", r"\1")
    new = rf"{_SPACE}+{_OPEN}(?:{'|'.join(STARTERS)})\b|\s*$"
    text = _replace(text, rf"({seldom})({new})", rf"\1{CUT}\2")
    numbered = rf"\b(?i:{'|'.join(BEFORE_NUMBERS)})\."
    text = _replace(text, rf"({numbered}){CUT}({_SPACE}+[0-9])", r"\1\2")
    item = rf"(?:^|\n|{CUT}) *\(?(?:[0-9]{{1,3}}|[A-Za-z])\."  # "1." and "a." of a list
    return _replace(text, rf"({item}){CUT}", r"\1")


def _cut_lines(text):
    """Inserts a `CUT` at each line end of a block without a full stop, or with lines that are not wrapped."""
    is_wrapped = _contains(text, CUT) & ~_contains(text, rf"[^\n]{{{MAX_WRAPPED + 1}}}")
    return tf.where(is_wrapped, text, _replace(text, "\n", f"{CUT}\n"))


def _contains(text, pattern):
    return tf.strings.regex_full_match(text, f"(?s).*{pattern}.*")


def _replace(text, pattern, rewrite):
    return tf.strings.regex_replace(text, pattern, rewrite)
