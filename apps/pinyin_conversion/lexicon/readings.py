"""The table between pinyin and Chinese: which characters each syllable may be."""

import collections
import functools
import itertools
import os
import pathlib

import numpy as np

from shared.errors import InputError
from shared.files import write_text

from .spelling import SYLLABLES, SYNONYMS, TONE_DIGITS

NUM_TONES = 6  # 1 to 4; 5: neutral; 0: no tone given


class Readings:
    """The numbered readings; a *reading* is a syllable and a character that is read so.

    The file has a line for each syllable, in alphabetical order, with its characters, the most
    frequent first, and the tones of each:

        ma	吗5 马3 妈1 骂4

    Readings are numbered in the order of the file. A *code* is a syllable with a tone:
    1 + NUM_TONES * syllable + tone; code 0 is padding.

    Args:
        path: a file written by `build`.

    Attributes:
        syllables: list of strings, such as "lv".
        characters: list of strings, the character of each reading.
        starts: int32 (syllables + 1,), the first reading of each syllable, and the number of readings.
        tones: bool (readings, NUM_TONES), whether a reading may have a tone. Beside the tones of the
            file, any reading may be neutral (5) or without a tone (0), a third tone may be a second one
            (before another third tone), and 一 and 不 change theirs. A tone that no reading of a
            syllable has is ignored: all readings of the syllable may have it.
        codes: {syllable with its tone, such as "lv4" or "lv": code}; a syllable that has no characters
            has the codes of its synonym (`spelling.SYNONYMS`).
        size: number of readings.

    Raises:
        InputError: the file cannot be read or has another form.
    """

    def __init__(self, path):
        try:
            lines = pathlib.Path(path).read_text("utf-8").splitlines()
        except OSError as error:
            raise InputError(f"{path}: cannot read the readings ({error.strerror})") from None
        self.path = os.fspath(path)
        self.syllables, self.characters, starts, tones = [], [], [0], []
        for number, line in enumerate(lines, 1):
            syllable, _, readings = line.partition("\t")
            for reading in readings.split():
                digits = reading[1:]
                if not digits or set(digits) - set(TONE_DIGITS):
                    raise InputError(
                        f"{path}, line {number}: a reading is a character and its tones, such as 马3; "
                        f"received {reading!r}"
                    )
                self.characters.append(reading[0])
                tones.append([str(tone) in digits for tone in range(NUM_TONES)])
            self.syllables.append(syllable)
            starts.append(len(self.characters))
        self.starts, self.tones = np.array(starts, np.int32), np.array(tones)
        self.tones[:, [0, 5]] = True
        self.tones[:, 2] |= self.tones[:, 3]
        for character, sandhi in (("一", [2, 4]), ("不", [2])):
            rows = [i for i, c in enumerate(self.characters) if c == character]
            self.tones[np.ix_(rows, sandhi)] = True
        for first, end in itertools.pairwise(starts):
            self.tones[first:end, ~self.tones[first:end].any(0)] = True
        number = {syllable: i for i, syllable in enumerate(self.syllables)}
        for syllable, synonym in SYNONYMS.items():
            if synonym in number:
                number.setdefault(syllable, number[synonym])
        self.codes = {
            f"{syllable}{tone or ''}": 1 + NUM_TONES * i + tone
            for syllable, i in number.items()
            for tone in range(NUM_TONES)
        }
        self.size = len(self.characters)
        self._reading_of = {
            (syllable, self.characters[i]): i
            for s, syllable in enumerate(self.syllables)
            for i in range(starts[s], starts[s + 1])
        }

    @classmethod
    def build(cls, pairs, path):
        """Makes the table and writes it to `path`.

        Its characters are those of `pairs` and the 6,763 of GB 2312. A reading of a character is
        included if it occurs in `pairs`, if it is the first that `pypinyin` has for the character, if a
        phrase of `pypinyin` has it, or if the syllable would have no character without it (这 is the only
        character of `zhei`). Other readings are rare and would only be confused with the usual ones.

        Args:
            pairs: list of (pinyin, text), as for `parse`.
            path: the file to write.

        Raises:
            InputError: a pair has something that is not a syllable of Mandarin.

        Returns:
            The `Readings` of that file.
        """
        occurrences = collections.Counter()
        for pinyin, text in pairs:
            occurrences.update(zip(pinyin.split(), text, strict=True))
        table, otherwise_empty = (
            collections.defaultdict(lambda: collections.defaultdict(set)) for _ in range(2)
        )
        counts = collections.Counter()
        for (spelling, character), count in occurrences.items():
            syllable, tone = spelling.rstrip(TONE_DIGITS), spelling[-1]
            if syllable not in SYLLABLES:
                raise InputError(f"{spelling!r} is not a pinyin syllable")
            table[syllable][character] |= {tone} & set(TONE_DIGITS)
            counts[syllable, character] += count
        usual, rare = _pypinyin_readings({c for _, c in occurrences} | _gb2312())
        for syllable, character, tone in usual:
            table[syllable][character].add(tone)
        for syllable, character, tone in rare:
            if syllable not in table:
                otherwise_empty[syllable][character].add(tone)
        table |= otherwise_empty
        lines = []
        for syllable in sorted(table):
            row = table[syllable]
            order = sorted(row, key=lambda c: (-counts[syllable, c], c))
            # A reading that occurs only without a tone may have any tone.
            readings = (c + ("".join(sorted(row[c])) or TONE_DIGITS) for c in order)
            lines.append(f"{syllable}\t{' '.join(readings)}\n")
        write_text(path, "".join(lines))
        return cls(path)

    def parse(self, pinyin, text, tones=True):
        """Returns the codes and readings of a pair, int32 (time,) each.

        Args:
            pinyin: syllables separated by spaces, as `spelling.canonical_pinyin` writes them: "lv4 xing2".
            text: one character for each syllable.
            tones: keep the tones; without, the codes have tone 0.

        Returns:
            codes, and readings, -1 where the table has no such reading of the character in this tone.

        Raises:
            InputError: the numbers of syllables and characters differ, or a syllable is unknown.
        """
        spelled = pinyin.split()
        if len(spelled) != len(text):
            raise InputError(
                f"{len(spelled)} syllables for {len(text)} characters: {pinyin}, {text}"
            )
        codes, numbers = [], []
        for spelling, character in zip(spelled, text, strict=True):
            code = self.codes.get(spelling)
            if code is None:
                raise InputError(f"{spelling!r} is not a syllable of this model: {pinyin}")
            syllable, tone = divmod(code - 1, NUM_TONES)
            tone = tone if tones else 0
            number = self._reading_of.get((self.syllables[syllable], character), -1)
            codes.append(1 + NUM_TONES * syllable + tone)
            numbers.append(number if number >= 0 and self.tones[number, tone] else -1)
        return np.array(codes, np.int32), np.array(numbers, np.int32)

    def numbers(self, syllables, characters):
        """Returns the readings of syllables without tones and their characters, a tuple of ints.

        None if one of them is not in the table.
        """
        numbers = tuple(map(self._reading_of.get, zip(syllables, characters, strict=True)))
        return None if None in numbers else numbers

    def possible(self):
        """Returns the readings that each code may have, the most frequent first.

        Returns:
            int32 (codes, n), n the greatest number of readings of a code; -1 is padding.
        """
        rows = [[]]
        for s in range(len(self.syllables)):
            numbers = np.arange(self.starts[s], self.starts[s + 1])
            rows += [numbers[self.tones[numbers, tone]] for tone in range(NUM_TONES)]
        table = np.full((len(rows), max(map(len, rows))), -1, np.int32)
        for row, numbers in zip(table, rows, strict=True):
            row[: len(numbers)] = numbers
        return table


def known_syllables(pairs):
    """Returns the set of syllables, without tones, that `Readings.build(pairs, ...)` can parse."""
    occurrences = set()
    for pinyin, text in pairs:
        occurrences.update(zip(pinyin.split(), text, strict=True))
    usual, rare = _pypinyin_readings({c for _, c in occurrences} | _gb2312())
    syllables = {spelling.rstrip(TONE_DIGITS) for spelling, _ in occurrences}
    syllables.update(syllable for syllable, _, _ in (*usual, *rare))
    return syllables.union(a for a, b in SYNONYMS.items() if b in syllables)


def _gb2312():
    """Returns the set of the Chinese characters of GB 2312."""
    rows = (bytes([high, low]) for high in range(0xB0, 0xF8) for low in range(0xA1, 0xFF))
    return {row.decode("gb2312", errors="ignore") for row in rows} - {""}


def _pypinyin_readings(characters):
    """Returns the usual and the rare readings in `pypinyin`, lists of (syllable, character, tone)."""
    try:
        from pypinyin.constants import PINYIN_DICT
        from pypinyin.contrib.tone_convert import to_tone3
        from pypinyin.phrases_dict import phrases_dict
    except ImportError:
        raise InputError("readings need the package pypinyin: pip install pypinyin") from None

    @functools.cache  # there are few different readings
    def split(marked):
        spelling = to_tone3(marked, neutral_tone_with_five=True, v_to_u=False)
        return spelling[:-1], spelling[-1]

    in_phrases = {
        (split(reading)[0], character)
        for phrase, readings in phrases_dict.items()
        for character, (reading, *_) in zip(phrase, readings, strict=False)
        if character in characters
    }
    usual, rare = [], []
    for character in sorted(characters):
        for i, marked in enumerate(PINYIN_DICT.get(ord(character), "").split(",")):
            syllable, tone = split(marked) if marked else ("", "")
            if syllable in SYLLABLES:
                is_usual = i == 0 or (syllable, character) in in_phrases
                (usual if is_usual else rare).append((syllable, character, tone))
    return usual, rare
