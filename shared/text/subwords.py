"""Subwords: pieces of words, trained with the `tokenizers` package and encoded inside the graph.

Words are separated by white space, and each word begins with the space before it. Joining all pieces
therefore restores the text, except that a run of white space becomes one space. There is no other
normalisation, and words are not split at punctuation, which could not be undone.

    " the", " Don", "au", "dampf", "schiff", "."

References: Sennrich et al. 2016 (byte-pair encoding, which trains the pieces); Schuster & Nakajima 2012
and Wu et al. 2016 (WordPiece: greedy longest match, which encodes words).
"""

import collections
import itertools
import unicodedata

import tensorflow as tf

from shared.errors import InputError

END, UNKNOWN = 0, 1  # ids of the special tokens, in every vocabulary
END_TOKEN, UNKNOWN_TOKEN = "</s>", "<unk>"


def train(words, size, min_count=1):
    """Trains the pieces that encode `words` with the fewest tokens.

    No piece contains both letters and punctuation, although a word can: "dog." and "dog," share " dog".

    Args:
        words: {word: number of occurrences}.
        size: maximum number of pieces, plus 2 for the special tokens.
        min_count: pairs of pieces that occur less often are not merged.

    Returns:
        {piece: number of occurrences in `words`}. Every character of `words` is a piece, unless `size` is
        too small.

    Raises:
        InputError: `size` is None, or `tokenizers` is not installed.
    """
    if size is None:
        raise InputError("subwords need a --vocabulary-size, such as 8000")
    tokenizer, trainer = _wordpiece(size, min_count)
    parts = collections.Counter()
    for word, n in words.items():
        runs = ["".join(run) for _, run in itertools.groupby(word, _is_letter)]
        for part in [f" {runs[0]}", *runs[1:]]:
            parts[part] += n
    tokenizer.train_from_iterator(
        (part for part, n in sorted(parts.items()) for _ in range(n)), trainer
    )
    pieces = collections.Counter(dict.fromkeys(tokenizer.get_vocab(), 0))
    for word, n in words.items():
        for piece in tokenizer.encode([f" {word}"], is_pretokenized=True).tokens:
            pieces[piece] += n
    del pieces[END_TOKEN], pieces[UNKNOWN_TOKEN]
    return pieces


def _is_letter(character):
    """Returns whether a character is a letter, a digit or a combining mark, such as a Hindi vowel."""
    return unicodedata.category(character)[0] in "LNM"


def _wordpiece(size, min_count):
    """Returns an untrained WordPiece tokenizer of `tokenizers` and its trainer."""
    try:
        import tokenizers
    except ImportError:
        raise InputError("subwords need the package tokenizers: pip install tokenizers") from None
    model = tokenizers.models.WordPiece(
        unk_token=UNKNOWN_TOKEN, continuing_subword_prefix="", max_input_chars_per_word=10**9
    )
    trainer = tokenizers.trainers.WordPieceTrainer(
        vocab_size=size,
        min_frequency=min_count,
        special_tokens=[END_TOKEN, UNKNOWN_TOKEN],
        continuing_subword_prefix="",
        show_progress=False,
    )
    return tokenizers.Tokenizer(model), trainer


def encode(words, table, max_piece_length):
    """Splits words into pieces: from left to right, always the longest piece that matches.

    A character that no piece matches becomes `UNKNOWN`, and encoding continues after it.

    Args:
        words: string (words,), valid UTF-8 without white space; the word "</s>" becomes `END`.
        table: a lookup table from string to int64 id, with `UNKNOWN` as its default value.
        max_piece_length: length of the longest piece, in characters.

    Returns:
        ids: ragged int64 (words, pieces).
    """
    is_end = words == END_TOKEN
    words = " " + words
    word_lengths = tf.strings.length(words, "UTF8_CHAR")
    lengths = tf.range(max_piece_length, 0, -1)

    def any_unfinished(position, rows, ids):
        return tf.reduce_any(position < word_lengths)

    def add_pieces(position, rows, ids):
        """Appends one piece of each word that is not at its end; `rows` are the words they belong to."""
        unfinished = tf.where(position < word_lengths)[:, 0]
        start = tf.gather(position, unfinished)
        remaining = tf.gather(word_lengths - position, unfinished)
        begin, length = tf.meshgrid(start, lengths, indexing="ij")
        candidates = tf.strings.substr(  # (unfinished, max_piece_length)
            tf.gather(words, unfinished)[:, tf.newaxis], begin, length, "UTF8_CHAR"
        )
        candidate_ids = table.lookup(candidates)
        matches = candidate_ids > UNKNOWN
        first = tf.argmax(matches, axis=1)
        any_matches = tf.reduce_any(matches, axis=1)
        # At the end of a word, `substr` returns fewer characters than requested.
        step = tf.where(any_matches, tf.minimum(tf.gather(lengths, first), remaining), 1)
        piece = tf.where(any_matches, tf.gather(candidate_ids, first, batch_dims=1), UNKNOWN)
        position = tf.tensor_scatter_nd_add(position, unfinished[:, tf.newaxis], step)
        return position, tf.concat([rows, unfinished], 0), tf.concat([ids, piece], 0)

    ends = tf.where(is_end)[:, 0]
    initial = (
        tf.where(is_end, word_lengths, 0),
        ends,
        tf.fill(tf.shape(ends), tf.constant(END, tf.int64)),
    )
    vector = tf.TensorShape([None])
    _, rows, ids = tf.while_loop(any_unfinished, add_pieces, initial, (vector, vector, vector))
    order = tf.argsort(rows, stable=True)
    return tf.RaggedTensor.from_value_rowids(
        tf.gather(ids, order), tf.gather(rows, order), tf.size(words, tf.int64), validate=False
    )
