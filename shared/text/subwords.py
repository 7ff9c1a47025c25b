"""Subwords: pieces of words, found by `tokenizers` and cut inside the graph.

A word is what white space separates, and it begins with the space before it: joining all pieces gives
the text back, runs of white space aside. No other normalisation, and no cut at punctuation that could
not be undone.

    " the", " Don", "au", "dampf", "schiff", "."

Sources: Sennrich et al. 2016 (byte-pair encoding, by which pieces are found), Schuster & Nakajima 2012
and Wu et al. 2016 (WordPiece: greedy longest match, by which words are cut).
"""

import collections
import itertools
import unicodedata

import tensorflow as tf

from shared.errors import InputError

END, UNKNOWN = 0, 1  # their ids, in every vocabulary
END_TOKEN, UNKNOWN_TOKEN = "</s>", "<unk>"  # which are no pieces


def count(words, size, min_count=1):
    """Finds the pieces that cut `words` best.

    Pieces do not reach over the border of letters and punctuation, though a word holds both: "dog." and
    "dog," share " dog".

    Args:
        words: {word: how often it comes}.
        size: number of pieces, with the two special tokens.
        min_count: two pieces that stand side by side less often are not joined.

    Returns:
        {piece: how often it comes in `words`}, `size` - 2 of them at most; every character of `words`
        is one, if there is room for all.

    Raises:
        InputError: there is no `size`, or `tokenizers` is not installed.
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
    """Whether it is a letter, a digit, or a mark on one, such as a vowel of Hindi."""
    return unicodedata.category(character)[0] in "LNM"


def _wordpiece(size, min_count):
    """An empty model of `tokenizers` and its trainer."""
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


def encode(words, table, longest):
    """Cuts words into pieces: the longest that fits, from the left. Core ops only.

    A character that is no piece becomes `UNKNOWN`, and the rest of its word is cut all the same.

    Args:
        words: string (words,), valid UTF-8, without white space; "</s>" is the token.
        table: a lookup table of string to int64 id, `UNKNOWN` where it has none.
        longest: of the pieces, in characters.

    Returns:
        ids, ragged int64 (words, pieces).
    """
    end = words == END_TOKEN
    words = " " + words
    size = tf.strings.length(words, "UTF8_CHAR")
    lengths = tf.range(longest, 0, -1)

    def going(at, rows, ids):
        return tf.reduce_any(at < size)

    def body(at, rows, ids):
        left = tf.where(at < size)[:, 0]  # the words that are not at their end
        now, rest = tf.gather(at, left), tf.gather(size - at, left)
        begin, length = tf.meshgrid(now, lengths, indexing="ij")
        candidates = tf.strings.substr(  # (left, longest)
            tf.gather(words, left)[:, tf.newaxis], begin, length, "UTF8_CHAR"
        )
        found = table.lookup(candidates)
        fits = found > UNKNOWN
        first = tf.argmax(fits, axis=1)
        any_fits = tf.reduce_any(fits, axis=1)
        # Beyond a word's end, `substr` gives less than it is asked for.
        taken = tf.where(any_fits, tf.minimum(tf.gather(lengths, first), rest), 1)
        piece = tf.where(any_fits, tf.gather(found, first, batch_dims=1), UNKNOWN)
        at = tf.tensor_scatter_nd_add(at, left[:, tf.newaxis], taken)
        return at, tf.concat([rows, left], 0), tf.concat([ids, piece], 0)

    ends = tf.where(end)[:, 0]
    start = tf.where(end, size, 0), ends, tf.fill(tf.shape(ends), tf.constant(END, tf.int64))
    some = tf.TensorShape([None])
    _, rows, ids = tf.while_loop(going, body, start, (some, some, some))
    order = tf.argsort(rows, stable=True)
    return tf.RaggedTensor.from_value_rowids(
        tf.gather(ids, order), tf.gather(rows, order), tf.size(words, tf.int64), validate=False
    )
