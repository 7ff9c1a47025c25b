"""The syllables of Mandarin, and every way to write them.

A syllable is written in the letters a to z, v for \u00fc, and \u00ea: `lv`. Other forms of it are `l\u00fc`,
`lu:`, `L\u01da`, `lv4` and so on. `parse_spelling` reads them in Python; `pieces.Spans` reads them in the
graph with the same tables, `character_table` and `SPELLINGS`.
"""

import functools
import unicodedata
from typing import NamedTuple

import numpy as np

# By initial. Beside the usual syllables: interjections (hm, hng, m, n, ng, \u00ea, lo, yo), spoken forms
# (dei, shei, zhei), rare and dialect readings (bia, cei, den, fiao, kei, nia, rua, tei, wong), an old
# reading (yai).
TABLE = """
    a ai an ang ao e ei en eng er o ou \u00ea m n ng hm hng
    ba bai ban bang bao bei ben beng bi bia bian biang biao bie bin bing bo bong bu
    pa pai pan pang pao pei pen peng pi pian piao pie pin ping po pou pu
    ma mai man mang mao me mei men meng mi mian miao mie min ming miu mo mou mu
    fa fan fang fei fen feng fiao fo fou fu
    da dai dan dang dao de dei den deng di dia dian diao die din ding diu dong dou du duan dui dun duo
    ta tai tan tang tao te tei teng ti tian tiao tie ting tong tou tu tuan tui tun tuo
    na nai nan nang nao ne nei nen neng ni nia nian niang niao nie nin ning niu nong nou nu nuan nun nuo
    nv nve
    la lai lan lang lao le lei len leng li lia lian liang liao lie lin ling liu lo long lou lu luan lun luo
    lv lve
    ga gai gan gang gao ge gei gen geng gong gou gu gua guai guan guang gui gun guo
    ka kai kan kang kao ke kei ken keng kong kou ku kua kuai kuan kuang kui kun kuo
    ha hai han hang hao he hei hen heng hong hou hu hua huai huan huang hui hun huo
    ji jia jian jiang jiao jie jin jing jiong jiu ju juan jue jun
    qi qia qian qiang qiao qie qin qing qiong qiu qu quan que qun
    xi xia xian xiang xiao xie xin xing xiong xiu xu xuan xue xun
    zha zhai zhan zhang zhao zhe zhei zhen zheng zhi zhong zhou zhu zhua zhuai zhuan zhuang zhui zhun zhuo
    cha chai chan chang chao che chen cheng chi chong chou chu chua chuai chuan chuang chui chun chuo
    sha shai shan shang shao she shei shen sheng shi shou shu shua shuai shuan shuang shui shun shuo
    ran rang rao re ren reng ri rong rou ru rua ruan rui run ruo
    za zai zan zang zao ze zei zen zeng zi zong zou zu zuan zui zun zuo
    ca cai can cang cao ce cei cen ceng ci cong cou cu cuan cui cun cuo
    sa sai san sang sao se sen seng si song sou su suan sui sun suo
    ya yai yan yang yao ye yi yin ying yo yong you yu yuan yue yun
    wa wai wan wang wei wen weng wo wong wu
"""
SYLLABLES = dict.fromkeys(TABLE.split())  # in order
TONE_DIGITS = "12345"  # 5: neutral; the digit 0 is no tone
SYNONYMS = {"\u00ea": "ei"}  # read as another syllable by a model without characters for it
VOWELS = "aeiouv\u00ea"
LETTERS = "\0abcdefghijklmnopqrstuvwxyz\u00ea\uffff"  # by number; the last is any other letter
OTHER_LETTER = len(LETTERS) - 1
ERHUA = "r"  # the suffix \u513f, written after a syllable without a vowel of its own: huar, hua1r5

_TONE_MARKS = {
    "\u0304": 1,
    "\u0301": 2,
    "\u030c": 3,
    "\u0306": 3,  # a breve, often typed for the caron
    "\u0300": 4,
}
_LOOK_ALIKES = {"\u0251": "a", "\u0261": "g", "\u0131": "i"}  # textbooks; an i without its dot
_FULL_WIDTH = range(0xFF01, 0xFF5F)  # forms of U+0021 to U+007E
FULL_WIDTH_OFFSET = 0xFEE0


def _spellings():
    spellings = {}
    for syllable in SYLLABLES:
        spellings[syllable] = syllable
        if syllable[0] in "jqxy" and syllable[1] == "u":
            spellings[f"{syllable[0]}v{syllable[2:]}"] = syllable
        if syllable in ("lve", "nve"):
            spellings[syllable.replace("v", "u")] = syllable
    return spellings


SPELLINGS = _spellings()  # {letters: syllable}: `lue` is lve, `jv` is ju
MAX_LETTERS = max(map(len, SPELLINGS))


class Character(NamedTuple):
    """What a character adds to a spelling. The numbers of a letter and of the marks after it are summed."""

    letter: int = (
        0  # number in `LETTERS`; 0 for a mark or a digit, which belong to the letter before
    )
    tone: int = 0  # of a tone mark
    tone_marks: int = 0
    diaeresis: int = 0  # the two dots, or the colon of `u:`
    circumflex: int = 0
    digit: int = 0
    digits: int = 0


def read_character(character):
    """Returns the `Character` of a string of one character; of an unknown one, another letter."""
    if ord(character) in _FULL_WIDTH:
        character = chr(ord(character) - FULL_WIDTH_OFFSET)
    if character == ":":
        return Character(diaeresis=1)
    if character in f"0{TONE_DIGITS}":
        return Character(digit=int(character), digits=1)
    first, *marks = unicodedata.normalize("NFD", character)
    if first in _TONE_MARKS or first in "\u0308\u0302":
        first, marks = "", [first, *marks]
    first = _LOOK_ALIKES.get(first, first.lower())
    if (first and first not in LETTERS[1:27]) or set(marks) - {*_TONE_MARKS, "\u0308", "\u0302"}:
        return Character(letter=OTHER_LETTER)
    tones = [_TONE_MARKS[mark] for mark in marks if mark in _TONE_MARKS]
    return Character(
        letter=LETTERS.index(first) if first else 0,
        tone=sum(tones),
        tone_marks=len(tones),
        diaeresis=marks.count("\u0308"),
        circumflex=marks.count("\u0302"),
    )


@functools.cache
def character_table():
    """Returns the characters below U+2000 as arrays; full-width forms are to be shifted first.

    Returns:
        kinds: int32 (8192,), a number of kind for each code point; the last is that of another letter.
        fields: int32 (kinds, 7), the `Character` of each kind.
    """
    characters = [read_character(chr(code_point)) for code_point in range(0x2000)]
    number = {character: i for i, character in enumerate(dict.fromkeys(characters))}
    kinds = np.array([number[character] for character in characters], np.int32)
    return kinds, np.array([*number], np.int32)


def parse_spelling(spelling):
    """Reads a syllable, which may have the suffix of erhua.

    Args:
        spelling: string, such as "n\u01d0", "LV4" or "huar1".

    Returns:
        list of (syllable, tone), such as [("ni", 3)], [("lv", 4)] or [("hua", 1), ("er", 0)]; tone 0 is
        none, 5 is neutral. None if it is no syllable of Mandarin.

    Example:

    >>> parse_spelling("nu:3"), parse_spelling("hua1r"), parse_spelling("hoa3")
    ([('nv', 3)], [('hua', 1), ('er', 0)], None)
    """
    letters = []  # (letter, tone of its mark, digit after it or None)
    for character in map(read_character, spelling):
        if character.letter:
            letters.append(character)
        elif letters:
            sums = map(sum, zip(letters[-1], character, strict=True))
            letters[-1] = Character(*sums)
        else:
            return None
    letters = [*map(_resolve, letters)]
    if not letters or None in letters:
        return None
    whole = _syllable(letters)
    if whole:
        return [whole]
    *base, (last, mark, digit) = letters
    if last != ERHUA or mark:
        return None
    if not base:
        return [("er", digit or 0)] if digit in (None, 0, 5) else None
    syllable, tone = _syllable(base) or ("er", 0)
    if len(base) < 2 or syllable == "er" or not set(syllable) & set(VOWELS):
        return None
    if digit in (None, 0, 5):
        return [(syllable, tone), ("er", digit or 0)]
    return None if tone else [(syllable, digit), ("er", 0)]


def _resolve(character):
    """Returns (letter, tone of the mark or 0, digit or None) of a letter and its marks, or None."""
    marked = character.diaeresis, character.circumflex
    letter = LETTERS[character.letter]
    if marked != (0, 0):
        letter = {("u", 1, 0): "v", ("e", 0, 1): "\u00ea"}.get((letter, *marked))
    if (
        letter is None
        or character.letter == OTHER_LETTER
        or character.tone_marks > 1
        or character.digits > 1
    ):
        return None
    return letter, character.tone, character.digit if character.digits else None


def _syllable(letters):
    """Returns (syllable, tone) of resolved letters, or None.

    The tone mark may be on any vowel, or on any letter of a syllable without vowels. A digit is the last.
    """
    syllable = SPELLINGS.get("".join(letter for letter, *_ in letters))
    marks = [(letter, mark) for letter, mark, _ in letters if mark]
    *inner, digit = (digit for *_, digit in letters)
    if syllable is None or len(marks) > 1 or any(d is not None for d in inner):
        return None
    for letter, mark in marks:
        if letter not in VOWELS and set(syllable) & set(VOWELS):
            return None
        if digit not in (None, mark):
            return None
        return syllable, mark
    return syllable, digit or 0


def canonical_pinyin(pinyin):
    """Writes syllables, separated by white space, in one form: "n\u01d0 HAO3" becomes "ni3 hao3".

    Returns:
        a string; and the first part that is no syllable, or None.
    """
    syllables = []
    for spelling in pinyin.split():
        parsed = _written(spelling)
        if parsed is None:
            return None, spelling
        syllables.append(parsed)
    return " ".join(syllables), None


@functools.lru_cache(100_000)
def _written(spelling):
    parsed = parse_spelling(spelling)
    return parsed and " ".join(f"{syllable}{tone or ''}" for syllable, tone in parsed)
