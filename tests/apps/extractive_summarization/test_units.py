"""Units of texts: tokens grouped by sentences, and the characters of words."""

import pytest
import tensorflow as tf

from apps.extractive_summarization import units
from apps.extractive_summarization.sentences import split
from apps.extractive_summarization.tokens import normalize, tokenize
from shared.text.vocabulary import Vocabulary

TEXTS = {
    "en": [
        'Mr. Lee\'s firm sold 3.5% on Monday. "No!" he said.',
        "",
        "no full stop\nanother line\n\n  and more",
        " . ",
        "A b. C d? E f!",
        "\u0301 \U0001f600\u200d x\0y <b>bold.</b>",
    ],
    "zh": ["你好！iPhone 15很贵。", "", "没有句号\n第二行", "“好。”他说。"],
}


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("level", ["word", "sentence"])
def test_words_of_sentences(language, level):
    texts = tf.constant(TEXTS[language])
    found = units.read(texts, level, language)
    tokens, sentences = tokenize(texts, language), split(texts)
    expected = tokens if level == "word" else sentences
    assert found.start.to_list() == expected.start.to_list()
    assert found.limit.to_list() == expected.limit.to_list()
    words = found.words.to_list()
    # All tokens, in order, and each in the sentence in which it is.
    assert [w for row in words for w in row] == normalize(tokens).flat_values.numpy().tolist()
    rows = [row for row, starts in enumerate(sentences.start.to_list()) for _ in starts]
    assert found.row.numpy().tolist() == rows
    spans = [
        (row, a, b)
        for row, (starts, limits) in enumerate(
            zip(sentences.start.to_list(), sentences.limit.to_list(), strict=True)
        )
        for a, b in zip(starts, limits, strict=True)
    ]
    places = [(row, a) for row, starts in enumerate(tokens.start.to_list()) for a in starts]
    for sentence, (row, place) in zip(found.token_sentence.numpy(), places, strict=True):
        assert spans[sentence][0] == row
        assert spans[sentence][1] <= place < spans[sentence][2]
    assert len(words) == len(spans)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_rows_do_not_depend_on_each_other(language):
    texts = TEXTS[language]
    together = units.read(tf.constant(texts), "word", language)
    for i, text in enumerate(texts):
        alone = units.read(tf.constant([text]), "word", language)
        assert alone.start.to_list() == together.start[i : i + 1].to_list()
        mine = tf.ragged.boolean_mask(together.words, together.row == i)
        assert alone.words.to_list() == mine.to_list()


@pytest.mark.parametrize("texts", [[], [""], ["", " "]])
def test_without_text(texts):
    found = units.read(tf.constant(texts, tf.string), "word", "en")
    assert found.start.nrows() == len(texts)
    assert found.words.nrows() == found.row.shape[0] == found.token_sentence.shape[0] == 0


def test_characters(tmp_path):
    vocabulary = Vocabulary.build(["abc"], "char", tmp_path / "v.txt")
    words = tf.constant(["ab", "<unk>", "x" * 30, "c", "##", ""])
    ids = units.characters(words, vocabulary).numpy()
    assert ids.shape == (6, units.MAX_CHARACTERS)
    assert ids[0, :3].tolist() == [2, 3, 0]
    assert not ids[1].any()  # its letters are lost
    assert ids[2].tolist() == [1] * units.MAX_CHARACTERS
    assert ids[4, :3].tolist() == [1, 1, 0]
    assert not ids[5].any()
    assert units.characters(words[:0], vocabulary).shape == (0, units.MAX_CHARACTERS)


def test_lower_case_keeps_numbers():
    found = units.read(tf.constant(["He didn’t pay $3.5. ÉTÉ 7!"]), "sentence", "en")
    words = [word.decode() for word in found.lower_case().flat_values.numpy()]
    assert words == ["he", "did", "n't", "pay", "$", "3.5", ".", "été", "7", "!"]
    assert "##" in found.words.flat_values.numpy().tolist()[5].decode()
