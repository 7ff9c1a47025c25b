"""Tokens: the Penn Treebank's rules, text that is tokenized already, Chinese, and normalization."""

import pytest
import tensorflow as tf

from apps.extractive_summarization.tokens import normalize, tokenize


def tokens_of(text, language="en"):
    return [t.decode() for t in tokenize(tf.constant([text]), language).text[0].numpy()]


def normalized(text, language="en"):
    tokens = normalize(tokenize(tf.constant([text]), language))
    return b" ".join(tokens[0].numpy()).decode()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "I don't think Mr. Smith's U.S. firm paid $3.5m (about 2%).",
            "I do n't think Mr. Smith 's U.S. firm paid $ 3.5m ( about 2 % ) .",
        ),
        ("We'll say they've, I'm, he'd, you're.", "We 'll say they 've , I 'm , he 'd , you 're ."),
        ("CAN'T IT'S don’t it’s", "CA N'T IT 'S do n’t it ’s"),
        ("I cannot; he's gonna, gotta.", "I can not ; he 's gon na , got ta ."),
        ("the players' 'yes' O'Brien o'clock '90s", "the players ' ' yes ' O'Brien o'clock '90s"),
        ('She said "Go!" and (he) left.', 'She said " Go ! " and ( he ) left .'),
        (
            "A 58-year-old al-Qaida-linked mid- end-- x",
            "A 58-year-old al-Qaida-linked mid- end -- x",
        ),
        ("1,300 7:30 24/7 $3.45/g +1 .40 -5", "1,300 7:30 24/7 $ 3.45/g +1 .40 -5"),
        (
            "AT&T, R&B and Google+ at e.g. 5 p.m. today.",
            "AT&T , R&B and Google+ at e.g. 5 p.m. today .",
        ),
        ("See http://a.com/b?c=d&e, www.x.org.", "See http://a.com/b?c=d&e , www.x.org ."),
        ("Amazon.co.uk, a@b.com and/or so...", "Amazon.co.uk , a@b.com and / or so ..."),
        (
            "Apple Inc. of Calif. and Wis.-based J. K. Co.",
            "Apple Inc. of Calif. and Wis.-based J. K. Co.",
        ),
        ("It was No. 5, he said no. Then I.", "It was No. 5 , he said no . Then I ."),
        ("approx. half went. Then they left.", "approx. half went . Then they left ."),
        ("A unkn. word before a small letter", "A unkn. word before a small letter"),
        ("no capitals. so each period is apart.", "no capitals . so each period is apart ."),
        ("Beyonce\u0301's ca\u00f1\u00f3n", "Beyonce\u0301 's ca\u00f1\u00f3n"),
        ("ok 👍🏽👨‍👩‍👧🇨🇳 5€", "ok 👍🏽 👨‍👩‍👧 🇨🇳 5 €"),
    ],
)
def test_english(text, expected):
    assert tokens_of(text) == expected.split(" ")


# As in the Google compression data; "Yahoo!", "II.", "Sun." and "ET." are single tokens there.
@pytest.mark.parametrize(
    "text",
    [
        "The firm 's chief , Mr. Lee , did n't say so .",
        "`` It 's ours , '' said Yahoo! on Sun. , at 5 pm ET. .",
        "Yahoo! Inc. , of St. Paul , Minn. , beat Elizabeth II. .",
        "A17 near U- turn : 100 % of $ 5 & £ 3.2bn / -- ... ; 1/2 -- ` x ' ® 2014 - 15",
        "<unk> said ## of the <unk> 's <unk> sold ## .",
        "confirm.The world`s http://a.com/b-c 1.12Âµm W.Va OG&E 3.45/g 09:57 # 1 * > ,",
        "they ca n't , wo n't and can not , gon na",
        "� \u200b ó ™",
    ],
)
def test_tokenized_text_comes_back(text):
    assert tokens_of(text) == text.split(" ")
    assert tokens_of(text.lower()) == text.lower().split(" ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("他说：“好！”", "他 说 ： “ 好 ！ ”"),
        ("iPhone 15卖3.5元，占20%……", "iPhone 15 卖 3.5 元 ， 占 20 % … …"),
        ("don't可以", "don't 可 以"),
        ("二〇二四年　OK", "二 〇 二 四 年 OK"),
    ],
)
def test_chinese(text, expected):
    assert tokens_of(text, "zh") == expected.split(" ")


def test_offsets_are_those_of_the_text():
    tokens = tokenize(tf.constant(["Él can't。"]))
    assert tokens.start.to_list() == [[0, 4, 6, 9]]
    assert tokens.limit.to_list() == [[3, 6, 9, 12]]
    assert tokens.start_character.to_list() == [[0, 3, 5, 8]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The A17, 3.5m, 2½ and 21-year-old", "the ## , ## , ## and ##"),
        ("<unk> ## Sleaford É", "<unk> ## sleaford é"),
        ('"No," he said: "It ("so")."', "`` no , '' he said : `` it ( `` so '' ) . ''"),
        ("“It’s” ‘don’t’ – a—b…", "`` it 's '' ` do n't ' -- a -- b ..."),
        ("`` x ''", "`` x ''"),
        ("½ x", "½ x"),
    ],
)
def test_normalize(text, expected):
    assert normalized(text) == expected


def test_a_quote_at_the_start_of_a_row_opens_whatever_the_row_before_is():
    rows = normalize(tokenize(tf.constant(['a"', '"b', '("']))).to_list()
    assert rows == [[b"a", b"''"], [b"``", b"b"], [b"(", b"``"]]
