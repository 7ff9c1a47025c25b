"""Sentences: what ends one, what does not, and where lines are boundaries."""

import pytest
import tensorflow as tf

from apps.extractive_summarization.sentences import split


def sentences_of(text):
    return [s.decode() for s in split(tf.constant([text])).text[0].numpy()]


@pytest.mark.parametrize(
    "text",
    [
        "It was 3.5%.|Then 4.|What?!|Oh!",
        "Mr. and Mrs. J. K. Lee, of St. Louis, met Dr. Who.|They left.",
        "The U.S. Senate paid Acme Inc. Chairman Lee, e.g. on Jan. 5, at 5 p.m. Eastern time.",
        "I live in the U.S.|The firm is Acme Inc.|It is No. 5.|So am I.|And you?",
        "See http://a.com/b.c?d=e or www.x.org.|Go to Amazon.com.|Yes.",
        "Wait... Well... it is.|She said… Then no.",
        'He said: "It is so."|"Why?" she asked.|"No!"|(He left.)|(Really?)|Yes.',
        "“One.”|‘Two.’|«Three.»|[Four.]|Five.[1]|'Six.'|Seven.",
        "He left .|`` Go . ''|She came .",
        "1. One thing.|2. Another.",
        "no capitals.|so each period ends one.|yes",
        "Yahoo! said so.|Hey Ya! by Outkast? yes, it is.",
        "他说：“你好！”|然后走了。|真的吗？！|是的……|好。|「再见。」|他走了。",
        "价格是3.5元。|OK!|好?|对。",
        '他说。|"你好。"|走了。',
        "I know 他。|Then we left.",
        "قال BBC.|نعم.",
    ],
)
def test_sentences(text):
    """The boundaries are marked by "|"; Chinese has no space there."""
    is_chinese = any("\u3000" <= character < "\ua000" for character in text)
    joined = text.replace("|", "" if is_chinese and "Then" not in text else " ")
    assert sentences_of(joined) == text.split("|")


def test_line_ends():
    assert sentences_of("A headline\nA second one\nA third") == [
        "A headline",
        "A second one",
        "A third",
    ]
    assert sentences_of("床前明月光\n疑是地上霜") == ["床前明月光", "疑是地上霜"]
    assert sentences_of("Text that is\nwrapped. And\r\nmore.") == [
        "Text that is\nwrapped.",
        "And\r\nmore.",
    ]


def test_blank_lines_are_boundaries():
    text = "\n A title \n\nIt goes\non. So\n \t\nit is\n\r\n- one\n- two\n"
    expected = ["A title", "It goes\non.", "So", "it is", "- one", "- two"]
    assert sentences_of(text) == expected


def test_lines_that_are_not_wrapped_are_paragraphs():
    long = "It is a long line, " + 30 * "very " + "long. And"
    assert sentences_of(f"A title\n{long}\nmore") == ["A title", long[:-4], "And", "more"]


def test_offsets_are_those_of_the_text():
    result = split(tf.constant(["", " Él. “So.” "]))
    assert result.start.to_list() == [[], [1, 6]]
    assert result.limit.to_list() == [[], [5, 15]]
    assert result.start_character.to_list() == [[], [1, 5]]
    assert result.limit_character.to_list() == [[], [4, 10]]
