"""Which characters a syllable may be, and how syllables are written."""

import numpy as np
import pytest

from apps.pinyin_conversion.lexicon.readings import NUM_TONES, Readings, known_syllables
from shared.errors import InputError


def code(readings, syllable, tone):
    return 1 + NUM_TONES * readings.syllables.index(syllable) + tone


def test_content_of_the_file(small_readings):
    assert small_readings.syllables == ["an", "le", "liao", "ma", "xi", "xian", "yi"]
    assert "".join(small_readings.characters) == "安案了了吗马妈骂西现先一亿"
    np.testing.assert_array_equal(small_readings.starts, [0, 2, 3, 4, 8, 9, 11, 13])
    assert small_readings.size == 13


def test_tones_of_speech_are_allowed(small_readings):
    allowed = {
        c: "".join(map(str, np.flatnonzero(t)))
        for c, t in zip(small_readings.characters, small_readings.tones, strict=True)
    }
    assert allowed["妈"] == "015"  # none, its own, neutral
    assert allowed["马"] == "0235"  # a third tone before another third tone is a second tone
    assert allowed["一"] == "012345"  # its own 1; 2 and 4 in speech; no reading has 3
    assert allowed["亿"] == "0345"


def test_possible_readings_have_the_tone(small_readings):
    possible = small_readings.possible()
    text = lambda c: "".join(small_readings.characters[i] for i in possible[c] if i >= 0)  # noqa: E731
    assert text(0) == ""
    assert text(code(small_readings, "ma", 0)) == "吗马妈骂"
    assert text(code(small_readings, "ma", 5)) == "吗马妈骂"
    assert text(code(small_readings, "ma", 2)) == "马"
    assert text(code(small_readings, "ma", 1)) == "妈"
    assert text(code(small_readings, "le", 1)) == "了"  # no reading has this tone


def test_parse(small_readings):
    codes, numbers = small_readings.parse("ma1 xi le", "妈西了")
    expected = [("ma", 1), ("xi", 0), ("le", 0)]
    assert codes.tolist() == [code(small_readings, *pair) for pair in expected]
    assert "".join(small_readings.characters[i] for i in numbers) == "妈西了"
    assert small_readings.characters[numbers[2]] == "了"
    # The reading of le, not of liao.
    assert small_readings.starts[1] <= numbers[2] < small_readings.starts[2]
    codes, _ = small_readings.parse("ma1 xi1", "妈西", tones=False)
    assert codes.tolist() == [code(small_readings, "ma", 0), code(small_readings, "xi", 0)]
    # A character that does not have this syllable, or not this tone.
    assert small_readings.parse("ma1 ma4", "西妈")[1].tolist() == [-1, -1]
    assert small_readings.parse("ma4", "妈", tones=False)[1].tolist() != [-1]


@pytest.mark.parametrize(
    ("pinyin", "text", "message"),
    [
        ("ma1", "妈西", "1 syllables for 2 characters"),
        ("ma1 foo", "妈西", "'foo' is not a syllable of this model"),
        ("ma1 hao3", "妈西", "'hao3' is not a syllable of this model"),
    ],
)
def test_parse_errors(small_readings, pinyin, text, message):
    with pytest.raises(InputError, match=message):
        small_readings.parse(pinyin, text)


def test_codes_of_a_syllable_without_characters(assets):
    """诶 has the reading `ei` in GB 2312, and no character of it has `ê`."""
    readings = assets.readings
    assert "ê" not in readings.syllables
    assert readings.codes["ê2"] == readings.codes["ei2"]
    codes, numbers = readings.parse("ê2", "诶")
    assert codes.tolist() == [readings.codes["ei2"]]
    assert readings.characters[numbers[0]] == "诶"


def test_build_includes_the_pairs_and_usual_readings(assets):
    readings = assets.readings

    def characters(syllable):
        first, end = readings.starts[readings.syllables.index(syllable) :][:2]
        return readings.characters[first:end]

    assert characters("ta")[0] == "他"  # it is in the pairs, so it comes before 它 and 她
    assert {"它", "她"} <= set(characters("ta"))
    assert "行" in characters("xing")
    assert "行" in characters("hang")  # in phrases such as 银行
    assert characters("zhei") == ["这"]  # a rare reading, the only one of its syllable
    assert 380 < len(readings.syllables) < 430
    assert 6763 < readings.size < 9000
    again = Readings(readings.path)
    assert again.characters == readings.characters
    np.testing.assert_array_equal(again.tones, readings.tones)


def test_known_syllables_are_those_of_the_table(tmp_path):
    pairs = [("hao3 fu4 bia5", "好㕮吧")]  # 㕮 is not in GB 2312, bia is not in pypinyin
    readings = Readings.build(pairs, tmp_path / "readings.txt")
    assert known_syllables(pairs) == {*readings.syllables, "ê"}
    assert "bia" not in known_syllables([])


@pytest.mark.parametrize("spelling", ["zzz1", "Ta1", "hǎo"])
def test_only_canonical_syllables_are_built(spelling, tmp_path):
    with pytest.raises(InputError, match=f"'{spelling}' is not a pinyin syllable"):
        Readings.build([(spelling, "好")], tmp_path / "readings.txt")
    assert not list(tmp_path.iterdir())


def test_a_broken_file_is_named(tmp_path):
    path = tmp_path / "readings.txt"
    with pytest.raises(InputError, match=r"readings\.txt: cannot read the readings"):
        Readings(path)
    path.write_text("ma\t吗5\nxi\t西\n", "utf-8")
    with pytest.raises(InputError, match=r"readings\.txt, line 2: .* received '西'"):
        Readings(path)
