"""Which characters a syllable may be: the table between pinyin and Chinese."""

import collections
import functools
import itertools
import os
import pathlib
import unicodedata

import numpy as np
import tensorflow as tf

from shared.errors import InputError
from shared.files import write_text

TONES = 6  # 1 to 4, 5: neutral, 0: not told
MARKS = "\u0304\u0301\u030c\u0300"  # combining, of the tones 1 to 4


class Readings(tf.Module):
    """The readings, each a syllable and a character that is read so, by number.

    The file has a line for each syllable, in alphabetical order, with its characters, the most
    frequent first, and the tones in which each is read so:

        ma	吗5 马3 妈1 骂4

    A *reading* is one such character of one such syllable; readings are numbered through the file. A
    *code* is a syllable and a tone: 1 + TONES * syllable + tone; code 0 is padding.

    Attributes:
        syllables: list of strings, such as "lv".
        characters: list of strings, the character of each reading.
        starts: int32 (syllables + 1,), the first reading of each syllable, and their number.
        tones: bool (readings, TONES), whether a reading may have a tone: those of the file, and what
            speech makes of them. Any may be neutral (5) or not told (0), a third tone may be a second
            one (before another third), and 一 and 不 change theirs. A tone that no reading of a syllable
            has, all of them may have.
        codes: {spelling: code}; see `spellings`.

    Raises:
        InputError: the file cannot be read or has another form.
    """

    def __init__(self, path):
        super().__init__()
        try:
            lines = pathlib.Path(path).read_text("utf-8").splitlines()
        except OSError as error:
            raise InputError(f"{path}: no file of readings ({error.strerror})") from None
        self.path = os.fspath(path)
        self.syllables, self.characters, starts, tones = [], [], [0], []
        for number, line in enumerate(lines, 1):
            syllable, _, readings = line.partition("\t")
            for reading in readings.split():
                told = reading[1:]
                if not told or set(told) - set("12345"):
                    raise InputError(
                        f"{path}, line {number}: {reading!r} is no character with tones"
                    )
                self.characters.append(reading[0])
                tones.append([str(tone) in told for tone in range(TONES)])
            self.syllables.append(syllable)
            starts.append(len(self.characters))
        self.starts, self.tones = np.array(starts, np.int32), np.array(tones)
        self.tones[:, [0, 5]] = True
        self.tones[:, 2] |= self.tones[:, 3]
        for character, also in (("一", [2, 4]), ("不", [2])):
            which = [i for i, c in enumerate(self.characters) if c == character]
            self.tones[np.ix_(which, also)] = True
        for first, end in itertools.pairwise(starts):  # a tone that none has is not heeded
            self.tones[first:end, ~self.tones[first:end].any(0)] = True
        self.codes = spellings(self.syllables)
        self.size = len(self.characters)
        self._number = {
            (syllable, self.characters[i]): i
            for s, syllable in enumerate(self.syllables)
            for i in range(starts[s], starts[s + 1])
        }

    @classmethod
    def build(cls, pairs, path):
        """Makes the table, and writes it to `path`.

        Its characters are those of `pairs` and of GB 2312, in which are 6,763 of Chinese as it is
        written today. A reading of them counts when it is in `pairs`, when `pypinyin` has it first,
        when a phrase in the dictionary of `pypinyin` has it, or when no other character is read so,
        as 这 is the only `zhei`: the rest is for scholars, and would only be there to be mistaken for
        others.

        Args:
            pairs: of pinyin and text, as `parse` takes them.
            path: the file to write.
        """
        seen = collections.Counter()
        for pinyin, text in pairs:
            seen.update(zip(pinyin.split(), text, strict=True))
        table, alone = (collections.defaultdict(lambda: collections.defaultdict(set)) for _ in "ab")
        counts = collections.Counter()
        for (spelled, character), count in seen.items():
            syllable, tone = spelled.rstrip("12345"), spelled[-1]
            table[syllable][character] |= {tone} & set("12345")
            counts[syllable, character] += count
        usual, rare = _dictionary({c for _, c in seen} | _gb2312())
        for syllable, character, tone in usual:
            table[syllable][character].add(tone)
        for syllable, character, tone in rare:
            if syllable not in table:
                alone[syllable][character].add(tone)
        table |= alone
        lines = []
        for syllable in sorted(table):
            row = table[syllable]
            order = sorted(row, key=lambda c: (-counts[syllable, c], c))
            # One that was only ever seen without its tone may have any.
            told = (c + ("".join(sorted(row[c])) or "12345") for c in order)
            lines.append(f"{syllable}\t{' '.join(told)}\n")
        write_text(path, "".join(lines))
        return cls(path)

    def parse(self, pinyin, text, tones=True):
        """A pair to codes and readings, int32 (time,) each; a reading is -1 where there is no such.

        Args:
            pinyin: syllables with spaces between, such as "lv4 xing2".
            text: a character for each.
            tones: whether the codes have the tones that are told.

        Raises:
            InputError: there are more of the one than of the other, or a syllable is none.
        """
        spelled = pinyin.split()
        if len(spelled) != len(text):
            raise InputError(
                f"{len(spelled)} syllables for {len(text)} characters: {pinyin}, {text}"
            )
        codes, numbers = [], []
        for spelling, character in zip(spelled, text, strict=True):
            code = self.codes.get(spelling.lower())
            if code is None:
                raise InputError(f"{spelling!r} is no syllable: {pinyin}")
            syllable, tone = divmod(code - 1, TONES)
            tone = tone if tones else 0
            number = self._number.get((self.syllables[syllable], character), -1)
            codes.append(1 + TONES * syllable + tone)
            numbers.append(number if number >= 0 and self.tones[number, tone] else -1)
        return np.array(codes, np.int32), np.array(numbers, np.int32)

    def numbers(self, syllables, characters):
        """The readings of as many syllables (without tones) and characters, a tuple; None if one is none."""
        found = tuple(map(self._number.get, zip(syllables, characters, strict=True)))
        return None if None in found else found

    def choices(self):
        """The readings that each code may have, the most frequent first, int32 (codes, most); -1: none."""
        rows = [[]]
        for s in range(len(self.syllables)):
            of_syllable = np.arange(self.starts[s], self.starts[s + 1])
            rows += [of_syllable[self.tones[of_syllable, tone]] for tone in range(TONES)]
        table = np.full((len(rows), max(map(len, rows))), -1, np.int32)
        for row, choices in zip(table, rows, strict=True):
            row[: len(choices)] = choices
        return table


def spellings(syllables):
    """Every way to write a syllable, {spelling: code}: `ta`, `ta1`, `tā`; `lv`, `lü`, `lu:`, `lue`.

    Marked vowels are there composed and decomposed (Unicode NFC and NFD).
    """
    codes = {}
    for i, syllable in enumerate(syllables):
        plain = syllable.replace("v", "\u00fc")
        forms = {syllable, plain, syllable.replace("v", "u:")}
        if syllable.endswith("ve"):  # lue and nue are no other syllables
            forms.add(syllable.replace("v", "u"))
        for form in forms:
            codes |= {f"{form}{tone or ''}": 1 + TONES * i + tone for tone in range(TONES)}
        for tone, mark in enumerate(MARKS, 1):
            at = _marked(plain) + 1
            if at:
                whole = unicodedata.normalize("NFC", plain[:at] + mark + plain[at:])
                for form in (whole, unicodedata.normalize("NFD", whole)):
                    codes[form] = 1 + TONES * i + tone
    return codes


def _marked(syllable):
    """Where its tone mark stands: on a, o or e, whichever is first of these; else on its last vowel."""
    for vowel in "aoe":
        if vowel in syllable:
            return syllable.index(vowel)
    return max(syllable.rfind(vowel) for vowel in "iu\u00fc")


def _gb2312():
    rows = (bytes([high, low]) for high in range(0xB0, 0xF8) for low in range(0xA1, 0xFF))
    return {row.decode("gb2312", errors="ignore") for row in rows} - {""}


def _dictionary(characters):
    """The readings that `pypinyin` has for them, (syllable, character, tone): usual ones, rare ones."""
    try:
        from pypinyin.constants import PINYIN_DICT
        from pypinyin.contrib.tone_convert import to_tone3
        from pypinyin.phrases_dict import phrases_dict
    except ImportError:
        raise InputError("readings need the package pypinyin: pip install pypinyin") from None

    @functools.cache  # a few readings, over and over
    def split(marked):
        spelled = to_tone3(marked, neutral_tone_with_five=True, v_to_u=False)
        return spelled[:-1], spelled[-1]

    used = {
        (split(reading)[0], character)
        for phrase, readings in phrases_dict.items()
        for character, (reading, *_) in zip(phrase, readings, strict=False)
        if character in characters
    }
    usual, rare = [], []
    for character in sorted(characters):
        for i, marked in enumerate(PINYIN_DICT.get(ord(character), "").split(",")):
            syllable, tone = split(marked) if marked else ("", "")
            if syllable:
                first = i == 0 or (syllable, character) in used
                (usual if first else rare).append((syllable, character, tone))
    return usual, rare
