"""Chinese text to sentences with their pinyin, by `pypinyin`; and the words of `jieba`."""

import collections
import logging
import pathlib
import re

from tqdm import tqdm

from shared.errors import InputError

SENTENCE = re.compile("[^。！？；!?;\n]+")
OTHER = re.compile("[^\u3400-\u9fff]+")  # what is not Chinese
TONE = re.compile("[1-5]")


def sentences(lines, name):
    """The sentences of a text, with readings.

    What is not Chinese (marks, digits, Latin letters) is left out, and of a sentence that has a
    character without a reading, all.

    Args:
        lines: strings.
        name: what the progress bar says.

    Returns:
        a list of (pinyin, text), such as ("ni3 hao3", "你好").
    """
    found = []
    for line in tqdm(lines, desc=f"readings of {name}", mininterval=1, disable=len(lines) < 1000):
        for sentence in SENTENCE.findall(line):
            text = OTHER.sub("", sentence)
            pinyin = read(text)
            if text and len(pinyin) == len(text):
                found.append((" ".join(pinyin), text))
    return found


def read(text):
    """A list of the syllable of each character, such as "lv4"; fewer or more where one has none."""
    try:
        from pypinyin import Style, lazy_pinyin
    except ImportError:
        raise InputError("readings need the package pypinyin: pip install pypinyin") from None
    return lazy_pinyin(
        text, Style.TONE3, errors="ignore", neutral_tone_with_five=True, v_to_u=False
    )


def word_counts(pairs, count):
    """How often words are met, {(pinyin, word): float}, pinyin without tones.

    They are those of the dictionary of `jieba`, and those that it finds in `pairs`, where they have the
    readings that they have there. Both texts count as much, however long they are.

    Args:
        pairs: of pinyin and text, as `sentences` gives them.
        count: words of the dictionary, the most frequent.
    """
    jieba = _jieba()
    theirs, ours = collections.Counter(), collections.Counter()
    for pinyin, text in tqdm(
        pairs, desc="words of sentences", mininterval=1, disable=len(pairs) < 1000
    ):
        syllables, at = TONE.sub("", pinyin).split(), 0
        for word in jieba.cut(text, HMM=False):
            ours[" ".join(syllables[at : at + len(word)]), word] += 1
            at += len(word)
    known = dictionary(shortest=1)[:count]
    for word, n in tqdm(known, desc="words of jieba", mininterval=1, disable=count < 1000):
        pinyin = read(word)
        if len(pinyin) == len(word):
            theirs[TONE.sub("", " ".join(pinyin)), word] += n
    share = max(1, theirs.total()) / max(1, ours.total())
    for word, n in ours.items():
        theirs[word] += n * share
    return theirs


def dictionary(kind=None, shortest=2):
    """The words of `jieba`, and how often it met each.

    Args:
        kind: the part of speech, such as "n"; None takes all.
        shortest: characters of a word, at least.

    Returns:
        a list of (word, count), the most frequent first.
    """
    path = pathlib.Path(_jieba().__file__).with_name("dict.txt")
    rows = (line.split() for line in path.read_text("utf-8").splitlines())
    found = [
        (word, int(count))
        for word, count, is_a in rows
        if len(word) >= shortest and kind in (None, is_a) and not OTHER.search(word)
    ]
    return sorted(found, key=lambda pair: (-pair[1], pair[0]))


def _jieba():
    try:
        import jieba
    except ImportError:
        raise InputError("words need the package jieba: pip install jieba") from None
    jieba.setLogLevel(logging.WARNING)  # it tells how long it takes to begin
    return jieba
