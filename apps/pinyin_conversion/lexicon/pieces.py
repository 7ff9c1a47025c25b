"""Text to letter sequences, inside the graph: which parts may be pinyin, and which letters are a syllable."""

import numpy as np
import tensorflow as tf

from .readings import NUM_TONES
from .spelling import (
    ERHUA,
    FULL_WIDTH_OFFSET,
    LETTERS,
    MAX_LETTERS,
    OTHER_LETTER,
    SPELLINGS,
    VOWELS,
    character_table,
)

MAX_SPAN = MAX_LETTERS + len(ERHUA)  # letters of a syllable with the suffix of erhua
SEPARATOR = b"\xff"  # marks the borders of pieces: no byte of valid UTF-8
# Digits that follow one another are a number; a single one after letters is a tone.
NUMBER = r"\p{Nd}{2,}"
_U_COLON = r"[nlNL][uU]:|[jqxyJQXY][uU]:[0-5aenAEN]"  # u: for \u00fc
SEQUENCE = rf"(?:(?:{_U_COLON}|\p{{Latin}}\pM*)+[0-5\x{{ff10}}-\x{{ff15}}]?)+"
LOWER_CASE = r"(?s).*\p{Ll}.*"
ABBREVIATION = r"(?s).*\p{Lu}\pM*(?:[^\p{Ll}\pM].*)?"  # a capital that no lower-case letter follows
# Spaces but no line ends; invisible characters that separate: soft hyphen, zero width, word joiner, BOM.
SPACE = r"[\p{Zs}\t\x{ad}\x{200b}-\x{200f}\x{2060}\x{feff}]"
APOSTROPHE = "['`\u00b4\u02b9\u02bb\u02bc\u2018\u2019\u201b\u2032\u2035\uff07\uff40]"


def split(text):
    """Splits text into letter sequences, numbers and the parts between them.

    Args:
        text: string (batch,), valid UTF-8.

    Returns:
        pieces: ragged string (batch, pieces), which concatenate to the text. Neighbours of a letter
            sequence are numbers, or parts between that may be empty.
        is_letters: bool (pieces of the batch,), which are letter sequences.
        letters: string (pieces of the batch,), the letter sequences that may be pinyin; "" for others,
            and for capitals in a text that has lower-case letters.
    """
    marks = lambda pattern, t: tf.strings.regex_replace(  # noqa: E731
        t, pattern, SEPARATOR + b"\\0" + SEPARATOR
    )
    pieces = tf.strings.split(marks(SEQUENCE, marks(NUMBER, text)), SEPARATOR)
    flat = pieces.flat_values
    is_letters = tf.strings.regex_full_match(flat, r"(?s)\p{Latin}.*")
    has_lower = tf.strings.regex_full_match(text, LOWER_CASE)
    is_abbreviation = tf.strings.regex_full_match(flat, ABBREVIATION)
    is_abbreviation &= tf.gather(has_lower, pieces.value_rowids())
    return pieces, is_letters, tf.where(is_letters & ~is_abbreviation, flat, "")


class Spans(tf.Module):
    """Finds the syllables that the letters of a sequence may form; see `spelling.parse_spelling`.

    Args:
        readings: `Readings`.

    Attributes:
        erhua: int, the code of the suffix \u513f, beyond the codes of the syllables.
    """

    def __init__(self, readings):
        super().__init__()
        syllables = readings.syllables
        keys = {
            sum(LETTERS.index(c) << 5 * i for i, c in enumerate(reversed(letters))): (
                readings.codes[syllable] // NUM_TONES
            )
            for letters, syllable in SPELLINGS.items()
            if syllable in readings.codes
        }
        self._syllable_of = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer([*keys], [*keys.values()], tf.int64, tf.int32),
            default_value=len(syllables),
        )
        self._kinds, self._fields = character_table()
        self._size = len(syllables)
        self._has_vowel = np.array([bool(set(s) & set(VOWELS)) for s in (*syllables, "")])
        has_suffix = readings.numbers(["er"], "儿")
        self._er = readings.codes["er"] // NUM_TONES if has_suffix else -1
        self._is_vowel = np.array([letter in VOWELS for letter in LETTERS])
        self.erhua = 1 + NUM_TONES * len(syllables)

    def __call__(self, sequences):
        """Looks up every span of up to `MAX_SPAN` letters.

        Args:
            sequences: string (n,).

        Returns:
            codes: int32 (letters, MAX_SPAN), of the span of k + 1 letters that ends at each letter of all
                sequences; `erhua` is added to it if the span ends in that suffix; 0 where it is no
                syllable.
            lengths: int32 (n,), number of letters of each sequence.
            is_suffix: bool (n,), whether the sequence is the suffix alone.
        """
        letter, tone, marks, digit, place, lengths = self._letters(sequences)
        k, column = tf.range(MAX_LETTERS), lambda t: t[:, tf.newaxis]
        in_sequence = column(place) >= k  # the letter k before this one
        before = tf.where(in_sequence, column(tf.range(tf.size(letter))) - k, 0)
        mark_on_consonant = tf.where(tf.gather(self._is_vowel, letter), 0, marks)
        has_digit = tf.cast(digit >= 0, tf.int32)
        sums = tf.stack([tone, marks, mark_on_consonant, has_digit], 1)
        sums = tf.cumsum(tf.gather(sums, before), axis=1)  # (letters, MAX_LETTERS, 4), of each span
        its_tone, its_marks, on_consonant, digits = tf.unstack(sums, axis=2)
        key = tf.cast(tf.gather(letter, before), tf.int64)
        key = tf.cumsum(tf.bitwise.left_shift(key, tf.cast(5 * k, tf.int64)), axis=1)
        syllable = self._syllable_of.lookup(key)
        possible = (syllable < self._size) & in_sequence & (its_marks <= 1)
        possible &= digits == column(has_digit)  # no digit but the last
        possible &= (on_consonant == 0) | ~tf.gather(self._has_vowel, syllable)
        possible &= (its_marks == 0) | column(digit < 0) | (column(digit) == its_tone)
        its_tone = tf.maximum(its_tone, column(digit))
        codes = tf.where(possible, 1 + NUM_TONES * syllable + its_tone, 0)
        # The suffix follows a syllable with a vowel, of two letters or more, and no vowel follows it.
        base = tf.pad(codes, [[1, 0], [1, 0]])[:-1]
        base_syllable, base_tone = tf.maximum(base - 1, 0) // NUM_TONES, (base - 1) % NUM_TONES
        is_r = (letter == LETTERS.index(ERHUA)) & (marks == 0)
        follows = tf.pad(tf.where(place > 0, letter, 0), [[0, 1]])[1:]
        is_suffix = is_r & ((digit >= 0) | ~tf.gather(self._is_vowel, follows)) & (self._er >= 0)
        possible = (base > 0) & column(is_suffix & (place > 0)) & (tf.range(MAX_SPAN) > 1)
        possible &= tf.gather(self._has_vowel, base_syllable) & (base_syllable != self._er)
        has_tone = column((digit > 0) & (digit < 5))
        possible &= ~has_tone | (base_tone == 0)
        base += tf.where(has_tone, column(digit), 0)
        codes = tf.pad(codes, [[0, 0], [0, MAX_SPAN - MAX_LETTERS]])
        codes = tf.where(possible & (codes == 0), base + self.erhua, codes)
        alone = tf.where(is_r & (self._er >= 0) & ((digit < 1) | (digit == 5)), 1, 0)
        first = tf.gather(tf.pad(alone, [[0, 1]]), tf.cumsum(lengths, exclusive=True))
        return codes, lengths, (first > 0) & (lengths == 1)

    def _letters(self, sequences):
        """Reads the letters and the tones.

        Returns:
            letter: int32 (letters,), numbers in `LETTERS`, of all sequences; tone: 1 to 4 of a tone mark, or
            0; marks: number of tone marks; digit: 0 to 5, or -1; place: index in its sequence; all of the
            same shape. lengths: int32 (n,), number of letters of each sequence.
        """
        characters = tf.strings.unicode_decode(sequences, "UTF-8")
        code_points = characters.flat_values
        shifted = code_points - FULL_WIDTH_OFFSET
        code_points = tf.where((shifted > 0x20) & (shifted < 0x7F), shifted, code_points)
        kinds = tf.gather(self._kinds, tf.minimum(code_points, len(self._kinds) - 1))
        fields = tf.gather(self._fields, kinds)  # (characters, fields)
        is_letter = tf.cast(fields[:, 0] > 0, tf.int32)
        lengths = tf.reduce_sum(characters.with_values(is_letter), 1)
        number = tf.maximum(tf.cumsum(is_letter) - 1, 0)
        sums = tf.math.unsorted_segment_sum(fields, number, tf.reduce_sum(lengths))
        letter, tone, marks, diaeresis, circumflex, digit, digits = tf.unstack(sums, axis=1)
        is_v = (letter == LETTERS.index("u")) & (diaeresis == 1)
        is_e = (letter == LETTERS.index("e")) & (circumflex == 1)
        valid = (diaeresis + circumflex == 0) | ((diaeresis + circumflex == 1) & (is_v | is_e))
        valid &= (marks <= 1) & (digits <= 1)
        letter = tf.where(is_v, LETTERS.index("v"), letter)
        letter = tf.where(is_e, LETTERS.index("\u00ea"), letter)
        letter = tf.where(valid, letter, OTHER_LETTER)
        place = tf.ragged.range(lengths).flat_values
        return letter, tone, marks, tf.where(digits > 0, digit, -1), place, lengths
