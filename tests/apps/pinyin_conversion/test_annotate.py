"""Readings of Chinese text, and the words of the dictionary."""

import builtins

import pytest

from apps.pinyin_conversion import annotate
from shared.errors import InputError


def test_sentences_end_at_marks_and_hold_chinese_alone():
    lines = ["他说：“你好！”我们去旅行。", "", "mp3 很好；3天"]
    assert annotate.sentences(lines, "lines") == [
        ("ta1 shuo1 ni3 hao3", "他说你好"),
        ("wo3 men5 qu4 lv3 xing2", "我们去旅行"),
        ("hen3 hao3", "很好"),
        ("tian1", "天"),
    ]


def test_a_sentence_with_a_character_of_no_reading_is_left_out():
    assert annotate.sentences(["他很好。他\u3402好。"], "lines") == [("ta1 hen3 hao3", "他很好")]


def test_readings_depend_on_the_words():
    assert annotate.read("银行很行") == ["yin2", "hang2", "hen3", "xing2"]
    assert annotate.read("觉得睡觉") == ["jue2", "de5", "shui4", "jiao4"]


def test_words_are_the_most_frequent_first():
    words = annotate.words(50)
    assert len(words) == 50
    assert words[0] == ("yi2 ge4", "一个")
    counts = dict(annotate.dictionary())
    assert [counts[text] for _, text in words] == sorted(counts.values(), reverse=True)[:50]
    assert annotate.words(0) == []


def test_words_of_one_kind():
    names = annotate.dictionary("nr")
    assert 0 < len(names) < len(annotate.dictionary())
    assert all(len(word) > 1 for word, _ in names)


@pytest.mark.parametrize(
    ("package", "call"),
    [("pypinyin", lambda: annotate.read("好")), ("jieba", lambda: annotate.words(1))],
)
def test_a_missing_package_is_named(package, call, monkeypatch):
    real = builtins.__import__

    def missing(name, *rest):
        if name == package:
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(InputError, match=f"pip install {package}"):
        call()
