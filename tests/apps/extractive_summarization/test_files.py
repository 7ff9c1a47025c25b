"""Reading of .jsonl files, and the messages about what is wrong with them."""

import gzip
import json
import re
from types import SimpleNamespace

import pytest

from apps.extractive_summarization import files
from shared.errors import InputError

PATTERNS = {"word": r"\w+|[^\w\s]", "sentence": r"[^.\u3002\s][^.\u3002]*[.\u3002]"}


def read(folder, name="train", level="word", language="en", **settings):
    config = SimpleNamespace(
        data_dir=(str(folder),),
        level=level,
        language=language,
        **{"max_examples": None, **settings},
    )

    def units_of(texts):
        return [
            [
                (len(text[: m.start()].encode()), len(text[: m.end()].encode()))
                for m in re.finditer(PATTERNS[level], text)
            ]
            for text in texts
        ]

    return files.read(config, name, units_of)


def write(folder, *rows, name="train.jsonl"):
    text = "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows)
    content = text.encode()
    (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)


def test_tokens(tmp_path):
    write(
        tmp_path,
        {"tokens": "a dog  ran .", "labels": "0111", "id": 3},
        {"tokens": ["a", "\u2028dog", "ran", "."], "labels": [1, 0, "0", "1"]},
        {"tokens": "a ## .", "labels": "110", "raw_tokens": "A 5th .", "compression": "A"},
    )
    split = read(tmp_path)
    assert split[:] == [("a dog ran .", "0111"), ("a dog ran .", "1001"), ("A 5th .", "110")]
    assert [split.references(i) for i in range(3)] == ["dog ran .", "a .", "A 5th"]
    assert split.label(1) == f"{tmp_path / 'train.jsonl'}, line 2"


def test_sentences(tmp_path, capsys):
    rows = [
        {
            "sentences": ["One. ", "Two.", "Three."],
            "labels": [0, 1, 1],
            "summary": "Three. Two.",
            "title": "x",
        },
        {"sentences": ["A longer one. It", "goes on."], "labels": [1, 0]},
    ]
    write(tmp_path, *rows, name="bbc.valid.jsonl.gz")
    split = read(tmp_path, "valid", "sentence")
    assert split[:] == [("One. Two. Three.", "011"), ("A longer one. It goes on.", "10")]
    assert split.references(0) == "Two.\nThree."
    assert "valid: 1 of 2 texts (the first is" in capsys.readouterr().err


def test_chinese_is_joined_without_spaces(tmp_path):
    write(tmp_path, {"sentences": ["\u4e00\u3002", "\u4e8c\u3002"], "labels": "01"})
    split = read(tmp_path, level="sentence", language="zh")
    assert split[0] == ("\u4e00\u3002\u4e8c\u3002", "01")


def test_text_and_summary(tmp_path):
    row = {"text": "The man saw the dog. It ran.\n", "summary": "The man saw it."}
    write(tmp_path, row, {**row, "summary": "It ran \ud83d."})
    assert [labels for _, labels in read(tmp_path)] == ["111001001"[:0] + "111000101", "000000111"]
    split = read(tmp_path, level="sentence")
    assert [labels for _, labels in split] == ["10", "01"]
    assert split.references(1) == "It ran \ufffd."
    assert split[0][0] == row["text"]


def test_the_first_training_examples(tmp_path):
    write(tmp_path, *[{"tokens": f"a {i}", "labels": "01"} for i in range(5)], "bad")
    assert len(read(tmp_path, max_examples=3)) == 3
    with pytest.raises(InputError, match=r"line 6: not JSON"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("", "the line is empty; remove it"),
        ("{", r"not JSON \(Expecting property name"),
        ("[" * 100_000, r"not JSON \("),
        ("[1, 2]", r"a JSON object with tokens and labels, or .*Received: \[1, 2\]"),
        ("{}", r"tokens and labels, or text and summary are needed\. Received: no keys"),
        ({"words": 1, "label": 2}, r"are needed\. Received: words, label"),
        ({"tokens": "a b"}, "tokens need labels; received none"),
        ({"tokens": "a b", "labels": "011"}, "3 labels for 2 tokens"),
        ({"tokens": "a b", "labels": [1]}, "1 labels for 2 tokens"),
        ({"tokens": "a b", "labels": "0x"}, r'labels\[1\] must be 0 or 1\. Received: "x"'),
        ({"tokens": "a b", "labels": [0, 2]}, r"labels\[1\] must be 0 or 1\. Received: 2"),
        ({"tokens": "a b", "labels": [0, True]}, r"labels\[1\] must be 0 or 1\. Received: true"),
        ({"tokens": "a b", "labels": [0, None]}, r"labels\[1\] must be 0 or 1\. Received: null"),
        ({"tokens": "a b", "labels": [0, []]}, r"labels\[1\] must be 0 or 1\. Received: \[\]"),
        ({"tokens": "a b", "labels": 10}, r"labels must be a string or a list\. Received: 10"),
        ({"tokens": "", "labels": ""}, "tokens is empty; remove the line"),
        ({"tokens": [], "labels": []}, "tokens is empty; remove the line"),
        ({"tokens": ["a", " "], "labels": "01"}, r"tokens\[1\] is empty"),
        ({"tokens": ["a", 5], "labels": "01"}, r"tokens must be a list of strings or a string"),
        ({"tokens": {"a": "b"}, "labels": "01"}, r"tokens must be .* Received: \{\"a\""),
        ({"tokens": "a b", "raw_tokens": "A", "labels": "01"}, "1 raw_tokens for 2 tokens"),
        ({"sentences": ["a"], "labels": "0"}, "sentences need --level sentence"),
        ({"text": "a"}, r"are needed\. Received: text"),
        ({"text": 5, "summary": "b"}, r"text must be a string\. Received: 5"),
        ({"text": "a", "summary": " "}, "summary is empty; remove the line"),
        (
            {"text": "a" * 99, "summary": ["x" * 99]},
            r'summary must be a string\. Received: \["x{58}\.\.\.$',
        ),
    ],
)
def test_errors_name_file_and_line(tmp_path, row, message):
    write(tmp_path, {"tokens": "a b", "labels": "01"}, row)
    with pytest.raises(InputError, match=rf"train\.jsonl, line 2: .*{message}") as error:
        read(tmp_path)
    assert len(str(error.value)) < len(str(tmp_path)) + 300


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"tokens": "a", "labels": "0"}, "tokens need --level word"),
        ({"sentences": "a. b.", "labels": "01"}, r"sentences must be a list of strings\. Received"),
        ({"sentences": ["a."], "labels": "01"}, "2 labels for 1 sentences"),
        ({"sentences": ["a.", ""], "labels": "01"}, r"sentences\[1\] is empty"),
        ({"text": "a"}, "sentences and labels, or text and summary are needed"),
    ],
)
def test_errors_of_sentences(tmp_path, row, message):
    write(tmp_path, row, name="x.test.jsonl.gz")
    with pytest.raises(InputError, match=rf"x\.test\.jsonl\.gz, line 1: {message}"):
        read(tmp_path, "test", "sentence")


def test_a_missing_file(tmp_path):
    with pytest.raises(
        InputError, match=r"has no train\.jsonl, train\.jsonl\.gz or <name>\.train\.jsonl"
    ):
        read(tmp_path)
