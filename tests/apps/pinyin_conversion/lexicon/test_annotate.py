"""Pinyin of Chinese text, and the words of the dictionary."""

import builtins

import pytest

from apps.pinyin_conversion.lexicon import annotate
from shared.errors import InputError


def test_sentences_end_at_punctuation_and_contain_only_chinese():
    lines = ["他说：“你好！”我们去旅行。", "", "mp3 很好；3天"]
    pairs = [
        ("ta1 shuo1 ni3 hao3", "他说你好"),
        ("wo3 men5 qu4 lv3 xing2", "我们去旅行"),
        ("hen3 hao3", "很好"),
        ("tian1", "天"),
    ]
    assert annotate.sentences(lines, "lines") == pairs
    numbered = annotate.numbered_sentences(lines, "lines")
    assert numbered == list(zip([0, 0, 2, 2], pairs, strict=True))


def test_a_sentence_with_a_character_without_reading_is_left_out(capsys):
    lines = ["他很好。他\u3402好。二〇年", "他\U00020bb7好。他很好。人々。很好；〡个"]
    pairs = [("ta1 hen3 hao3", "他很好"), ("ta1 hen3 hao3", "他很好"), ("hen3 hao3", "很好")]
    lines.append("很好。他很好")
    assert annotate.sentences(lines, "lines") == [*pairs, ("hen3 hao3", "很好"), pairs[0]]
    message = (
        "lines: 5 of 10 sentences are left out: 5 have a Chinese character without a reading, 0 have no "
        "Chinese character\n"
    )
    assert capsys.readouterr().err == message


def test_text_without_much_chinese_is_refused(capsys):
    assert annotate.sentences(["很好。", "abc 123", "”。，"], "lines") == [("hen3 hao3", "很好")]
    assert "lines: 1 of 2 sentences are left out" in capsys.readouterr().err
    with pytest.raises(
        InputError, match=r"lines: 2 of 3 sentences .* most of the text must be Chinese"
    ):
        annotate.sentences(["很好。", "abc. def? ghi", "”。"], "lines")


def test_readings_of_pypinyin_that_are_no_syllables_are_left_out(monkeypatch, capsys):
    read = annotate.read
    monkeypatch.setattr(annotate, "read", lambda text: ["xyz1"] if text == "好" else read(text))
    assert annotate.sentences(["很好。好。"], "lines") == [("hen3 hao3", "很好")]
    assert "1 of 2 sentences" in capsys.readouterr().err


def test_readings_depend_on_the_words():
    assert annotate.read("银行很行") == ["yin2", "hang2", "hen3", "xing2"]
    assert annotate.read("觉得睡觉") == ["jue2", "de5", "shui4", "jiao4"]


def test_words_are_sorted_by_frequency():
    words = annotate.dictionary()
    counts = [count for _, count in words]
    assert counts == sorted(counts, reverse=True)
    assert min(len(word) for word, _ in words) == 2
    assert min(len(word) for word, _ in annotate.dictionary(min_length=1)) == 1


def test_dictionary_and_sentences_have_the_same_weight():
    """A word that is in the sentences has its readings there."""
    pairs = [("wo3 men5 hen3 hao3", "我们很好"), ("ta1 men5 zhang3 de5 hen3 gao1", "他们长得很高")]
    without = annotate.word_counts([], 1000)
    counts = annotate.word_counts(pairs, 1000)
    assert len(without) == 1000
    assert without["de", "的"] == dict(annotate.dictionary(min_length=1))["的"]
    added = {word: n - without[word] for word, n in counts.items() if n != without[word]}
    assert set(added) == {
        ("wo men", "我们"), ("hen", "很"), ("hao", "好"), ("ta men", "他们"), ("zhang", "长"),
        ("de", "得"), ("gao", "高"),
    }  # fmt: skip
    assert added["hen", "很"] == pytest.approx(2 * added["gao", "高"])
    assert sum(added.values()) == pytest.approx(sum(without.values()))
    only = annotate.word_counts(pairs, 0)
    assert only["hen", "很"] == 2 * only["gao", "高"]


def test_words_of_one_part_of_speech():
    names = annotate.dictionary("nr")
    assert 0 < len(names) < len(annotate.dictionary())
    assert all(len(word) > 1 for word, _ in names)


@pytest.mark.parametrize(
    ("package", "call"),
    [("pypinyin", lambda: annotate.read("好")), ("jieba", lambda: annotate.dictionary())],
)
def test_a_missing_package_is_named(package, call, monkeypatch):
    original = builtins.__import__

    def fail(name, *arguments):
        if name == package:
            raise ImportError(name)
        return original(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", fail)
    with pytest.raises(InputError, match=f"pip install {package}"):
        call()
