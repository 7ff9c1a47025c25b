"""Chinese text to sentences with their pinyin, by `pypinyin`; and the words of `jieba`."""

import pathlib
import re

from tqdm import tqdm

from shared.errors import InputError

SENTENCE = re.compile("[^。！？；!?;\n]+")
OTHER = re.compile("[^\u3400-\u9fff]+")  # what is not Chinese


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


def words(count):
    """The most frequent words of `dictionary`: a list of `count` pairs, as `sentences` gives them."""
    return sentences([word for word, _ in dictionary()[:count]] if count else [], "words")


def dictionary(kind=None):
    """The words of `jieba` that have two characters at least, and how often it met each.

    Args:
        kind: the part of speech, such as "n"; None takes all.

    Returns:
        a list of (word, count), the most frequent first.
    """
    try:
        import jieba
    except ImportError:
        raise InputError(
            "the words of --words and of --source embedded need the package jieba: pip install jieba"
        ) from None
    path = pathlib.Path(jieba.__file__).with_name("dict.txt")
    rows = (line.split() for line in path.read_text("utf-8").splitlines())
    found = [
        (word, int(count))
        for word, count, is_a in rows
        if len(word) > 1 and kind in (None, is_a) and not OTHER.search(word)
    ]
    return sorted(found, key=lambda pair: (-pair[1], pair[0]))
