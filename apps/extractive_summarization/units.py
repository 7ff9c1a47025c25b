"""Texts to units: the tokens of a sentence, or the sentences of a document. The same ops train and serve."""

from typing import NamedTuple

import tensorflow as tf

from .sentences import split
from .tokens import normalize, tokenize

MAX_CHARACTERS = 20  # characters of a word that the model reads


class Units(NamedTuple):
    """Texts whose tokens and sentences are known.

    Attributes:
        tokens: ragged string (texts, tokens), as they are in the text.
        words: ragged string (sentences, words) of all texts, one after the other: the normalized tokens.
        row: int32 (sentences,), the text of each sentence, ascending.
        start, limit: ragged int32 (texts, units), the byte offsets of the units of `config.level`.
        token_sentence: int32 (tokens,), the sentence of each token, ascending.
    """

    tokens: tf.RaggedTensor
    words: tf.RaggedTensor
    row: tf.Tensor
    start: tf.RaggedTensor
    limit: tf.RaggedTensor
    token_sentence: tf.Tensor

    def lower_case(self):
        """Returns the tokens in lower case, ragged string (sentences, words); numbers still differ."""
        words = tf.strings.lower(self.tokens.flat_values, "utf-8")
        return self.words.with_values(tf.strings.regex_replace(words, "’", "'"))


def read(texts, level, language):
    """Finds the tokens and sentences of texts.

    A token belongs to the last sentence that starts before it or with it.

    Args:
        texts: string (batch,), valid UTF-8.
        level: "word": the units are tokens; "sentence": they are sentences.
        language: of the texts, a code of ISO 639.

    Returns:
        `Units`.
    """
    tokens, sentences = tokenize(texts, language), split(texts)
    text, token_start, token_limit, first_byte, last_byte = (
        ragged.with_row_splits_dtype(tf.int64)
        for ragged in (tokens.text, tokens.start, tokens.limit, sentences.start, sentences.limit)
    )
    # Places in the concatenation of all texts, so that one search serves all rows.
    size = tf.cast(tf.strings.length(texts), tf.int64) + 1
    base = tf.cumsum(size, exclusive=True)
    first, place = (
        tf.gather(base, ragged.value_rowids()) + tf.cast(ragged.flat_values, tf.int64)
        for ragged in (first_byte, token_start)
    )
    sentence = tf.searchsorted(first, place, side="right") - 1
    row = first_byte.value_rowids()
    words = tf.RaggedTensor.from_value_rowids(
        normalize(tokens).flat_values,
        tf.cast(tf.maximum(sentence, 0), tf.int64),
        nrows=tf.size(row, tf.int64),
        validate=False,
    )
    is_word = level == "word"
    return Units(
        text,
        words,
        tf.cast(row, tf.int32),
        token_start if is_word else first_byte,
        token_limit if is_word else last_byte,
        tf.maximum(sentence, 0),
    )


def characters(words, vocabulary):
    """Returns the ids of the first characters of words.

    Args:
        words: string (words,), normalized. "<unk>" has no characters: its letters are lost.
        vocabulary: `Vocabulary` of characters.

    Returns:
        int32 (words, `MAX_CHARACTERS`), padded with 0.
    """
    known = tf.where(words == "<unk>", "", words)
    known = tf.strings.substr(known, 0, MAX_CHARACTERS, unit="UTF8_CHAR")
    split_words = tf.strings.unicode_split(known, "UTF-8")
    ids = split_words.with_flat_values(vocabulary.id(split_words.flat_values))
    return ids.to_tensor(shape=[None, MAX_CHARACTERS])
