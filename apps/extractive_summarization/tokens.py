r"""Tokens of English and Chinese text, inside the graph.

English follows the Penn Treebank, as the Google compression data does: `do` `n't`, `firm` `'s`, `$` `3.5m`,
`U.S.`, `Inc.`; a word keeps its hyphens. Text that is tokenized already, with spaces between its tokens,
comes back as these tokens. Chinese tokens are characters; a run of Latin letters and digits is one token.

The rules insert a `CUT` before each token. They read the classes of the characters (`characters.py`).
"""

import tensorflow as tf

from shared.text.cleaning import lower
from shared.text.languages import is_unseparated

from .characters import CUT, FLAG, JOINER, MARK, SINGLE, SYMBOL, UNCASED, character_classes, spans

# Abbreviations that keep their period. Only a name follows a title, so it never ends a sentence.
TITLES = """
    Mr Mrs Ms Dr Prof St Ste Sen Sens Rep Reps Gov Govs Gen Lt Col Capt Cpl Cmdr Sgt Maj Pvt Rev Hon Pres
""".split()  # noqa: SIM905 (a list would be one line each)
ABBREVIATIONS = r"""
    Jr Sr Inc Corp Co Cos Ltd Plc Bros LLC Bhd Jan Feb Aug Sep Sept Oct Nov Dec Tue Tues Thu Thur Thurs
    Ave Blvd Rd Hwy Ft Mt vs etc al Rs Vol Dept Univ Assn approx est feat Ph\.D W\.Va
""".split()  # noqa: SIM905
# Only with a capital letter: others are words, such as "mass".
CAPITALIZED = """
    Mar Apr Jun Jul Mon Wed Fri Sat Ala Ariz Ark Calif Colo Conn Del Fla Ga Ill Ind Kan Ky La Mass Md Mich
    Minn Mo Mont Neb Nev Okla Ore Pa Penn Tenn Va Vt Wash Wis Wyo Alta Ont Que
""".split()  # noqa: SIM905
BEFORE_NUMBERS = ["no", "nos", "p", "pp", "fig", "figs", "sec", "ch", "art", "vol"]
INITIALS = r"(?:[A-Za-z]\.)+[A-Za-z]|[A-HJ-Z]"  # U.S., e.g., J.; not the word I

_IN_WORD = f"{MARK}{JOINER}"
_LETTERS = f"[A-Za-z{UNCASED}][A-Za-z{UNCASED}{_IN_WORD}]*"
_DIGITS = f"[0-9][0-9{_IN_WORD}]*"
_NUMBER = f"{_DIGITS}(?:[,:/]{_DIGITS})*(?:/{_LETTERS})?"  # 1,000  7:30  24/7  3.45/g
_PART = f"(?:{_LETTERS}|{_NUMBER})"
_TAIL = f"(?:(?:\\.?-|[.&@_`'*])?{_PART})*"  # of 58-year-old, AT&T, Amazon.com, O'Brien, Wis.-based
_WORD = _PART + _TAIL
_SHORT = f"(?:[A-Za-z]-)?(?:(?i:{'|'.join(TITLES + ABBREVIATIONS)})|{'|'.join(CAPITALIZED)})"
_TOKENS = (
    "<unk>|##",  # as the data writes rare words and numbers
    r"(?i:https?://|www\.)[!#-;=?-~]*[A-Za-z0-9/]",
    r"``|''|\.{2,}|-{2,}",
    r"'(?i:s|m|d|re|ve|ll|t|em|til|tis|twas)\b|'[0-9][0-9]s?\b",
    rf"(?:{_SHORT}|{INITIALS})\.(?:-?{_WORD})?",
    rf"[+-]?\.?{_NUMBER}{_TAIL}-?",
    rf"{_WORD}(?:-|\+{{1,2}})?",  # mid-, Google+
    f"{SINGLE}[{_IN_WORD}]*",
    f"{FLAG}{FLAG}?",
    f"{SYMBOL}{MARK}*(?:{JOINER}{SYMBOL}{MARK}*)*|[^ {CUT}][{_IN_WORD}]*",  # an emoji is one token
)

_PENN_TREEBANK = (
    ("[’ʼ＇]", "'"),
    ("‘", "`"),
    ("[“„«]", "``"),
    ("[”»]", "''"),
    ("[—–]", "--"),
    ("…", "..."),
)


def tokenize(texts, language="en"):
    """Splits texts into tokens.

    Args:
        texts: string (batch,).
        language: a code of ISO 639. In a language with spaces between words, contractions are split (`do`
            `n't`), and a period belongs to an abbreviation.

    Returns:
        `Spans` of the tokens, in the text that `tf.strings.unicode_transcode` returns. Control characters
        are tokens, except those that are white space.

    Example:

    >>> tokens = tokenize(tf.constant(["Mr. Smith's firm didn't pay $3.5m."]))
    >>> tf.strings.reduce_join(tokens.text, 1, separator=" ").numpy()[0].decode()
    "Mr. Smith 's firm did n't pay $ 3.5m ."
    >>> tokens.start[0, :4].numpy()
    array([ 0,  4,  9, 12], dtype=int32)
    """
    text = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")
    classes = character_classes(text)
    classes = _replace(classes, "\n", " ")
    # "mid-" is a word with its hyphen, "end--" is a word and a dash.
    classes = _replace(classes, "-{2,}", rf"{CUT}\0{CUT}")
    if is_unseparated(language):
        return spans(text, _cut_tokens(classes), at_spaces=True)
    classes = _cut_contractions(classes)
    return spans(text, _join_periods(_cut_tokens(classes)), at_spaces=True)


def _cut_contractions(classes):
    """Cuts before `n't`, `'s` and the like, and inside `cannot`."""
    clitic = r"(?i:'(?:s|m|d|re|ve|ll)|n't)\b"
    classes = _replace(classes, f"([A-Za-z0-9.{UNCASED}{_IN_WORD}])({clitic})", rf"\1{CUT}\2")
    compounds = r"(?i)\b(?:(can)(not)|(gon|wan)(na)|(got)(ta)|(gim|lem)(me))\b"
    return _replace(classes, compounds, rf"\1\3\5\7{CUT}\2\4\6\8")


def _cut_tokens(classes):
    return _replace(classes, "|".join(_TOKENS), rf"{CUT}\0")


def _join_periods(classes):
    """Removes the cut between a word and a period that does not end a sentence."""
    # A comma or a contraction stands apart from the word before it only if a tokenizer has separated them.
    apart = f"(?s)(.* )?{CUT}([.,]|'s|n't|``|'')( .*)?"
    attached = f"(?s).*[^ ]{CUT}, .*"
    is_tokenized = _matches(classes, apart) & ~_matches(classes, attached)
    word = f"([A-Za-z0-9{UNCASED}{_IN_WORD}])"
    tokenized = _replace(classes, rf"{word}{CUT}([.!]) ", r"\1\2 ")  # of "Yahoo! ." and "Sun. ,"
    tokenized = _replace(tokenized, rf"{word}{CUT}([.!])$", r"\1\2")
    # Before a small letter, if the writer uses capital letters.
    others = _replace(classes, rf"{word}{CUT}(\. +{CUT}[a-z])", r"\1\2")
    others = tf.where(_matches(classes, "(?s).*[A-Z].*"), others, classes)
    numbered = f"({CUT}(?i:{'|'.join(BEFORE_NUMBERS)}))"
    others = _replace(others, rf"{numbered}{CUT}(\. +{CUT}[0-9])", r"\1\2")
    return tf.where(is_tokenized, tokenized, others)


def normalize(tokens):
    """Writes tokens as the Google compression data does.

    A token with a digit is `##`; others are lower-case. Quotes and dashes are those of the Penn Treebank:
    "``", "''", "'", "--" and "...". A straight double quote opens if white space or an opening bracket,
    quote or dash is before it.

    Args:
        tokens: `Spans` of `tokenize`.

    Returns:
        ragged string (batch, tokens).

    Example:

    >>> tokens = tokenize(tf.constant(['He said: "No, I don’t – in 2024."']))
    >>> tf.strings.reduce_join(normalize(tokens), 1, separator=" ").numpy()[0].decode()
    "he said : `` no , i do n't -- in ## . ''"
    """
    text, row = tokens.text.flat_values, tokens.text.value_rowids()
    # The token before the first one is the last one, which does not touch it.
    before = lambda x: tf.concat([x[-1:], x[:-1]], 0)  # noqa: E731
    start, limit = tokens.start.flat_values, tokens.limit.flat_values
    touches = (row == before(row)) & (start == before(limit))
    opening = _matches(text, r"\p{Ps}|\p{Pi}|\p{Pd}+|`+")
    straight = tf.where(touches & ~before(opening), "''", "``")
    text = tf.where(text == '"', straight, lower(text))
    for pattern, rewrite in _PENN_TREEBANK:
        text = _replace(text, pattern, rewrite)
    has_digit = _matches(text, r"(?s).*\p{Nd}.*")
    return tokens.text.with_flat_values(tf.where(has_digit, "##", text))


def _replace(text, pattern, rewrite):
    return tf.strings.regex_replace(text, pattern, rewrite)


def _matches(text, pattern):
    return tf.strings.regex_full_match(text, pattern)
