"""Chinese text to sentences with pinyin, by `pypinyin`; and the words of `jieba`."""

import collections
import logging
import pathlib
import re
import sys

from tqdm import tqdm

from shared.errors import InputError

from .spelling import SYLLABLES, TONE_DIGITS

SENTENCE = re.compile("[^。！？；!?;\n]+")
NOT_CHINESE = re.compile("[^\u3400-\u9fff]+")
# Characters that stand for a syllable but are not in the table of readings: 々 〆 〇, the numerals of
# Suzhou, radicals, compatibility ideographs, and all outside the basic multilingual plane.
OTHER_CHINESE = re.compile(
    "[\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3038-\u303b\uf900-\ufaff\U00020000-\U0003ffff]"
)
TONE = re.compile(f"[{TONE_DIGITS}]")


def sentences(lines, name):
    """Splits text into sentences and adds their pinyin.

    Punctuation, digits and Latin letters are removed: a served model copies them, and converts the
    syllables around them as one sentence. A sentence with a Chinese character that has no reading, or that
    is not in the table of readings, is left out as a whole; so is one without Chinese characters. What is
    left out is reported on stderr.

    Args:
        lines: list of strings.
        name: name of the text, for the progress bar and the report.

    Returns:
        list of (pinyin, text), such as ("ni3 hao3", "你好").

    Raises:
        InputError: more than half of the sentences are left out.
    """
    return [pair for _, pair in numbered_sentences(lines, name)]


def numbered_sentences(lines, name):
    """As `sentences`, with the index of its line: list of (index, (pinyin, text))."""
    pairs, not_chinese, unreadable = [], 0, 0
    bar = tqdm(lines, desc=f"readings of {name}", mininterval=1, disable=len(lines) < 1000)
    for index, line in enumerate(bar):
        for sentence in SENTENCE.findall(line):
            text = NOT_CHINESE.sub("", sentence)
            if OTHER_CHINESE.search(sentence):
                unreadable += 1
            elif not text:
                # Quotes and spaces between two ends of sentences are not a sentence.
                not_chinese += any(map(str.isalnum, sentence))
            elif _is_readable(text, pinyin := read(text)):
                pairs.append((index, (" ".join(pinyin), text)))
            else:
                unreadable += 1
    left_out = not_chinese + unreadable
    if left_out:
        report = (
            f"{name}: {left_out:,} of {len(pairs) + left_out:,} sentences are left out: {unreadable:,} have "
            f"a Chinese character without a reading, {not_chinese:,} have no Chinese character"
        )
        if left_out > len(pairs):
            raise InputError(f"{report}; most of the text must be Chinese")
        print(report, file=sys.stderr)
    return pairs


def _is_readable(text, pinyin):
    return len(pinyin) == len(text) and all(
        syllable.rstrip(TONE_DIGITS) in SYLLABLES for syllable in pinyin
    )


def read(text):
    """Returns the list of the syllables of `text`, such as "lv4".

    Its length differs from that of `text` if a character has no reading.
    """
    try:
        from pypinyin import Style, lazy_pinyin
    except ImportError:
        raise InputError("readings need the package pypinyin: pip install pypinyin") from None
    return lazy_pinyin(
        text, Style.TONE3, errors="ignore", neutral_tone_with_five=True, v_to_u=False
    )


def word_counts(pairs, lexicon_size):
    """Counts words, {(pinyin, word): float}, pinyin without tones.

    The words are those of the dictionary of `jieba`, with its counts, and those that `jieba` finds in
    `pairs`, with the readings they have there. Both sources get the same total weight.

    Args:
        pairs: list of (pinyin, text), as `sentences` returns it.
        lexicon_size: number of words of the dictionary that are used, the most frequent.
    """
    jieba = _jieba()
    counts, corpus_counts = collections.Counter(), collections.Counter()
    for pinyin, text in tqdm(
        pairs, desc="words of sentences", mininterval=1, disable=len(pairs) < 1000
    ):
        syllables, start = TONE.sub("", pinyin).split(), 0
        for word in jieba.cut(text, HMM=False):
            corpus_counts[" ".join(syllables[start : start + len(word)]), word] += 1
            start += len(word)
    lexicon = dictionary(min_length=1)[:lexicon_size]
    for word, n in tqdm(lexicon, desc="words of jieba", mininterval=1, disable=lexicon_size < 1000):
        pinyin = read(word)
        if len(pinyin) == len(word):
            counts[TONE.sub("", " ".join(pinyin)), word] += n
    scale = max(1, counts.total()) / max(1, corpus_counts.total())
    for word, n in corpus_counts.items():
        counts[word] += n * scale
    return counts


def dictionary(part_of_speech=None, min_length=2):
    """Returns the words of `jieba` and their counts, list of (word, count), the most frequent first.

    Args:
        part_of_speech: tag of `jieba`, such as "n"; None: all.
        min_length: minimum length of a word in characters.
    """
    path = pathlib.Path(_jieba().__file__).with_name("dict.txt")
    rows = (line.split() for line in path.read_text("utf-8").splitlines())
    words = [
        (word, int(count))
        for word, count, tag in rows
        if len(word) >= min_length
        and part_of_speech in (None, tag)
        and not NOT_CHINESE.search(word)
    ]
    return sorted(words, key=lambda pair: (-pair[1], pair[0]))


def _jieba():
    try:
        import jieba
    except ImportError:
        raise InputError("words need the package jieba: pip install jieba") from None
    jieba.setLogLevel(logging.WARNING)  # it reports its loading time
    return jieba
