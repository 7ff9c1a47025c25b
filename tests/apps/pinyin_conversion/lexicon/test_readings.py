"""Which characters a syllable may be, and how syllables are written."""

import numpy as np
import pytest
from apps.pinyin_conversion.readings import TONES, Readings, spellings

from shared.errors import InputError


def code(readings, syllable, tone):
    return 1 + TONES * readings.syllables.index(syllable) + tone


def test_the_file_says_all(few):
    assert few.syllables == ["an", "le", "liao", "ma", "xi", "xian", "yi"]
    assert "".join(few.characters) == "安案了了吗马妈骂西现先一亿"
    np.testing.assert_array_equal(few.starts, [0, 2, 3, 4, 8, 9, 11, 13])
    assert few.size == 13


def test_tones_of_speech_are_allowed(few):
    allowed = {
        c: "".join(map(str, np.flatnonzero(t)))
        for c, t in zip(few.characters, few.tones, strict=True)
    }
    assert allowed["妈"] == "015"  # not told, its own, neutral
    assert allowed["马"] == "0235"  # a third tone before another is a second
    assert allowed["一"] == "012345"  # its own 1, in speech 2 and 4; 3 is that of none
    assert allowed["亿"] == "0345"


def test_choices_are_those_of_the_tone(few):
    choices = few.choices()
    names = lambda c: "".join(few.characters[i] for i in choices[c] if i >= 0)  # noqa: E731
    assert names(0) == ""
    assert names(code(few, "ma", 0)) == "吗马妈骂"
    assert names(code(few, "ma", 5)) == "吗马妈骂"
    assert names(code(few, "ma", 2)) == "马"
    assert names(code(few, "ma", 1)) == "妈"
    assert names(code(few, "le", 1)) == "了"  # nothing else is read so


def test_parse(few):
    codes, characters = few.parse("ma1 XI le", "妈西了")
    assert codes.tolist() == [code(few, "ma", 1), code(few, "xi", 0), code(few, "le", 0)]
    assert "".join(few.characters[i] for i in characters) == "妈西了"
    assert few.characters[characters[2]] == "了"
    assert few.starts[1] <= characters[2] < few.starts[2]  # that of le, not of liao
    codes, _ = few.parse("ma1 xi1", "妈西", tones=False)
    assert codes.tolist() == [code(few, "ma", 0), code(few, "xi", 0)]
    # A character that is not read so, or not in this tone.
    assert few.parse("ma1 ma4", "西妈")[1].tolist() == [-1, -1]
    assert few.parse("ma4", "妈", tones=False)[1].tolist() != [-1]


@pytest.mark.parametrize(
    ("pinyin", "text", "says"),
    [("ma1", "妈西", "1 syllables for 2 characters"), ("ma1 foo", "妈西", "'foo' is no syllable")],
)
def test_what_cannot_be_parsed_says_why(few, pinyin, text, says):
    with pytest.raises(InputError, match=says):
        few.parse(pinyin, text)


def test_spellings():
    codes = spellings(["lv", "lve", "shui", "xue"])
    same = lambda *forms: {codes[form] for form in forms}  # noqa: E731
    assert same("lv", "lü", "lu:") == {1}
    assert same("lv4", "lü4", "lu:4", "lǜ", "lu\u0308\u0300") == {5}
    assert same("lve", "lüe", "lue", "lu:e") == {1 + TONES}
    assert same("lüè", "lue4", "lve4") == {5 + TONES}
    assert same("shuǐ", "shui3", "shui\u030c") == {1 + 2 * TONES + 3}
    assert same("xué", "xue2") == {1 + 3 * TONES + 2}
    assert codes["shui5"] == 1 + 2 * TONES + 5
    assert "xve" not in codes


def test_build_takes_what_was_seen_and_what_is_usual(tables):
    readings, *_ = tables
    of = lambda s: readings.characters[slice(*readings.starts[readings.syllables.index(s) :][:2])]  # noqa: E731
    assert of("ta")[0] == "他"  # seen in the pairs, so before 它 and 她
    assert {"它", "她"} <= set(of("ta"))
    assert "行" in of("xing")
    assert "行" in of("hang")  # in phrases such as 银行
    assert of("zhei") == ["这"]  # rare, but no other is read so
    assert 380 < len(readings.syllables) < 430
    assert 6763 < readings.size < 9000
    again = Readings(readings.path)
    assert again.characters == readings.characters
    np.testing.assert_array_equal(again.tones, readings.tones)


def test_a_broken_file_is_named(tmp_path):
    path = tmp_path / "readings.txt"
    with pytest.raises(InputError, match=r"readings\.txt: no file of readings"):
        Readings(path)
    path.write_text("ma\t吗5\nxi\t西\n", "utf-8")
    with pytest.raises(InputError, match=r"readings\.txt, line 2: '西' is no character with tones"):
        Readings(path)
