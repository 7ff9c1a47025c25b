"""Vocabularies: text to ids and back, inside the graph.

Training and serving encode with the same ops, so they cannot differ. Only core TensorFlow ops are used:
an exported model needs neither tensorflow-text nor this package.
"""

import collections
import hashlib
import os
import pathlib

import tensorflow as tf

from shared.errors import InputError
from shared.files import write_text
from shared.text import subwords
from shared.text.cleaning import clean
from shared.text.subwords import END, END_TOKEN, UNKNOWN, UNKNOWN_TOKEN

TOKENIZERS = ("word", "char", "subword")


class Vocabulary(tf.Module):
    """The tokens of a text (words, characters or subwords) and their ids.

    Words are separated by ASCII white space, as in `tf.strings.split`. Characters are Unicode code points.
    Subwords are pieces of words; the first piece of a word begins with a space. The end of a line is a
    token too, `</s>`, so that a text of several lines is one sequence. Out-of-vocabulary tokens become
    `<unk>`, which is decoded as U+FFFD if the tokens are characters or subwords.

    Args:
        path: a file with one token per line; the line number, from 0, is the id. The first two tokens
            are `</s>` and `<unk>`.
        tokenizer: "word", "char" or "subword".

    Raises:
        InputError: the file cannot be read, does not begin with the two special tokens, or contains a
            token twice.

    Example:

    >>> import tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "vocabulary.txt")
    >>> vocabulary = Vocabulary.build(["the cat", "the dog"], "word", path)
    >>> ids, lengths = vocabulary.encode(tf.constant(["the dog", "a cat sat"]))
    >>> ids.numpy()
    array([[2, 4, 0],
           [1, 3, 1]], dtype=int32)
    >>> vocabulary.decode(ids, lengths).numpy()
    array([b'the dog', b'<unk> cat <unk>'], dtype=object)
    """

    def __init__(self, path, tokenizer):
        super().__init__()
        if tokenizer not in TOKENIZERS:
            raise ValueError(
                f"`tokenizer` must be one of {', '.join(TOKENIZERS)}. Received: {tokenizer!r}"
            )
        self.path = os.fspath(path)
        self.tokenizer = tokenizer
        try:
            content = pathlib.Path(path).read_bytes()
        except OSError as error:
            raise InputError(f"cannot read the vocabulary {path}: {error.strerror}") from None
        tokens = content.removesuffix(b"\n").split(b"\n")
        if tokens[:2] != [END_TOKEN.encode(), UNKNOWN_TOKEN.encode()]:
            raise InputError(
                f"{path} is not a vocabulary: its first lines must be {END_TOKEN} and {UNKNOWN_TOKEN}"
            )
        self.size = len(tokens)
        if len(set(tokens)) < self.size:
            token, _ = collections.Counter(tokens).most_common(1)[0]
            raise InputError(f"{path} contains the token {token.decode(errors='replace')!r} twice")
        self._max_token_length = max(len(token.decode(errors="replace")) for token in tokens)
        word, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
        digest = hashlib.sha256(content).hexdigest()
        self._id_of = tf.lookup.StaticHashTable(
            _FileInitializer(path, digest, tf.string, word, tf.int64, number),
            default_value=UNKNOWN,
        )
        self._token_of = tf.lookup.StaticHashTable(
            _FileInitializer(path, digest, tf.int64, number, tf.string, word),
            default_value=UNKNOWN_TOKEN,
        )

    @classmethod
    def build(cls, lines, tokenizer, path, size=None, min_count=1):
        """Counts the tokens of a text and writes the vocabulary, the most frequent tokens first.

        Args:
            lines: strings without line ends.
            tokenizer: "word", "char" or "subword".
            path: the file to write.
            size: maximum number of tokens, the two special tokens included; None keeps all tokens.
                Subwords require a size; 8,000 is usual.
            min_count: tokens that occur less often are dropped. For subwords: pairs of pieces that occur
                less often are not merged.

        Returns:
            the `Vocabulary` in `path`.

        Raises:
            InputError: `size` is below 2, or is None for subwords.
        """
        if size is not None and size < 2:
            raise InputError(
                f"a vocabulary needs a size of at least 2, for {END_TOKEN} and {UNKNOWN_TOKEN}. "
                f"Received: {size}"
            )
        counts = collections.Counter()
        for line in lines:
            line = line.lstrip("\ufeff")  # as `clean` does
            # bytes.split splits at ASCII white space, as tf.strings.split does; str.split does not.
            counts.update(line.replace("\r", "") if tokenizer == "char" else line.encode().split())
        tokens = {t if tokenizer == "char" else t.decode(): n for t, n in counts.items()}
        for special in END_TOKEN, UNKNOWN_TOKEN:
            tokens.pop(special, None)
        if tokenizer == "subword":
            tokens, min_count = subwords.train(tokens, size, min_count), 0
        kept = [token for token, count in tokens.items() if count >= min_count]
        by_frequency = sorted(kept, key=lambda token: (-tokens[token], token))
        kept = [END_TOKEN, UNKNOWN_TOKEN, *by_frequency][:size]
        write_text(path, "".join(f"{token}\n" for token in kept))
        return cls(path, tokenizer)

    def tokens(self, text):
        """Splits text into tokens.

        Args:
            text: string (batch,).

        Returns:
            ragged string (batch, time); the end of a line is `</s>`.
        """
        text, _ = clean(text)
        if self.tokenizer == "word":
            return _split_words(text)
        if self.tokenizer == "subword":
            return tf.ragged.map_flat_values(self._token_of.lookup, self._encode_subwords(text))
        characters = tf.strings.unicode_split(text, "UTF-8")
        return tf.ragged.map_flat_values(
            lambda c: tf.where(tf.equal(c, "\n"), END_TOKEN, c), characters
        )

    def encode_ragged(self, text):
        """Encodes text without padding.

        Args:
            text: string (batch,).

        Returns:
            ids: ragged int32 (batch, time).
        """
        if self.tokenizer == "subword":
            return tf.cast(self._encode_subwords(clean(text)[0]), tf.int32)
        return tf.ragged.map_flat_values(self.id, self.tokens(text))

    def encode(self, text):
        """Encodes text with padding.

        Args:
            text: string (batch,).

        Returns:
            ids: int32 (batch, time), padded with `END`; time is at least 1, because some layers fail on
                an empty sequence.
            lengths: int32 (batch,), the number of tokens of each row.
        """
        ids = self.encode_ragged(text)
        lengths = tf.cast(ids.row_lengths(), tf.int32)
        ids = ids.to_tensor(END)
        missing = tf.maximum(1 - tf.shape(ids)[1], 0)
        return tf.pad(ids, [[0, 0], [0, missing]], constant_values=END), lengths

    def _encode_subwords(self, text):
        """Encodes valid UTF-8, string (batch,), to ragged int64 (batch, time)."""
        words = _split_words(text)
        unique, index = tf.unique(words.flat_values)  # each distinct word is split once
        pieces = subwords.encode(unique, self._id_of, self._max_token_length)
        return words.with_values(tf.gather(pieces, index)).merge_dims(1, 2)

    def decode(self, ids, lengths):
        """Decodes ids to text.

        Args:
            ids: int (batch, time).
            lengths: int (batch,), the number of ids of each row that are decoded.

        Returns:
            string (batch,). Text of subwords begins with a space, which `join` removes where it is at
            the start of a line.
        """
        tokens = self.token(ids)
        keep = tf.sequence_mask(lengths, tf.shape(ids)[1])
        ragged = tf.ragged.boolean_mask(tokens, keep)
        if self.tokenizer == "word":
            text = tf.strings.reduce_join(ragged, axis=-1, separator=" ")
            return tf.strings.regex_replace(text, " ?\n ?", "\n")
        text = tf.strings.reduce_join(ragged, axis=-1)
        return tf.strings.regex_replace(text, "\n ", "\n") if self.tokenizer == "subword" else text

    def join(self, text, continuation):
        """Appends decoded text to a text, with a space where one is needed between two words.

        Args:
            text: string (batch,).
            continuation: string (batch,), as `decode` returns it.

        Returns:
            string (batch,).
        """
        if self.tokenizer == "char":
            return text + continuation
        ends_in_word = tf.strings.regex_full_match(text, r"(?s).*\S")
        if self.tokenizer == "subword":
            # The pieces contain their spaces: one is removed where nothing comes before it.
            without_space = tf.strings.regex_replace(continuation, "^ ", "")
            return text + tf.where(ends_in_word, continuation, without_space)
        return text + tf.where(ends_in_word & (continuation != ""), " ", "") + continuation

    def id(self, tokens):
        """Looks up the id of each token.

        Args:
            tokens: string, any shape; "</s>" is the end of a line.

        Returns:
            int32, the same shape; `UNKNOWN` for a token that is not in the vocabulary.
        """
        return tf.cast(self._id_of.lookup(tokens), tf.int32)

    def token(self, ids):
        r"""Looks up the text of each id.

        Args:
            ids: int, any shape.

        Returns:
            string, the same shape; the end of a line is "\n".
        """
        tokens = self._token_of.lookup(tf.cast(ids, tf.int64))
        tokens = tf.where(tf.equal(ids, END), "\n", tokens)
        if self.tokenizer != "word":
            tokens = tf.where(tf.equal(ids, UNKNOWN), "\ufffd", tokens)
        return tokens


def _split_words(text):
    """Splits string (batch,) at white space, to ragged string (batch, words); line ends become `</s>`."""
    return tf.strings.split(tf.strings.regex_replace(text, "\n", f" {END_TOKEN} "))


class _FileInitializer(tf.lookup.TextFileInitializer):
    """Initializes a table from a file and names it, in the graph, after the hash of the content.

    TensorFlow names it after the path, which would be written into every export.
    """

    def __init__(self, path, digest, key_dtype, key_index, value_dtype, value_index):
        self._digest = digest
        super().__init__(os.fspath(path), key_dtype, key_index, value_dtype, value_index)

    @property
    def _shared_name(self):
        return f"vocabulary_{self._digest}_{self._key_index}_{self._value_index}"
