"""Vocabularies, and text to ids and back, inside the graph.

Training and serving encode with the same ops, so no skew can grow between them. Core TensorFlow ops
only: an exported model needs neither tensorflow-text nor our code.
"""

import collections
import hashlib
import os
import pathlib

import tensorflow as tf

from shared.errors import InputError
from shared.files import write_text
from shared.text import subwords
from shared.text.subwords import END, END_TOKEN, UNKNOWN, UNKNOWN_TOKEN

TOKENIZERS = ("word", "char", "subword")


class Vocabulary(tf.Module):
    """The tokens of a text (words, characters or subwords) and their ids.

    A line's end is a token too, `</s>`: a text of many lines is one stream of tokens. Words are what
    white space separates (ASCII white space, as `tf.strings.split` has it); characters are Unicode
    code points; subwords are pieces of words, of which the first begins with a space. What the
    vocabulary lacks becomes `<unk>`, of which a character shows as U+FFFD.

    Args:
        path: a file with one token a line; the line number is the id; `</s>` and `<unk>` come first.
        tokenizer: "word", "char" or "subword".

    Raises:
        InputError: the file cannot be read, does not begin with the two special tokens, or has a
            token twice.
    """

    def __init__(self, path, tokenizer):
        super().__init__()
        if tokenizer not in TOKENIZERS:
            raise ValueError(
                f"`tokenizer` is one of {', '.join(TOKENIZERS)}. Received: {tokenizer!r}"
            )
        self.path = os.fspath(path)
        self.tokenizer = tokenizer
        try:
            content = pathlib.Path(path).read_bytes()
        except OSError as error:
            raise InputError(f"{path}: no vocabulary file ({error.strerror})") from None
        tokens = content.removesuffix(b"\n").split(b"\n")
        if tokens[:2] != [END_TOKEN.encode(), UNKNOWN_TOKEN.encode()]:
            raise InputError(f"{path}: a vocabulary begins with {END_TOKEN} and {UNKNOWN_TOKEN}")
        self.size = len(tokens)
        if len(set(tokens)) < self.size:
            twice, _ = collections.Counter(tokens).most_common(1)[0]
            raise InputError(
                f"{path}: the token {twice.decode(errors='replace')!r} stands there twice"
            )
        word, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
        self._longest = max(len(token.decode(errors="replace")) for token in tokens)  # characters
        digest = hashlib.sha256(content).hexdigest()
        self._id_of = tf.lookup.StaticHashTable(
            _Asset(path, digest, tf.string, word, tf.int64, number), default_value=UNKNOWN
        )
        self._token_of = tf.lookup.StaticHashTable(
            _Asset(path, digest, tf.int64, number, tf.string, word), default_value=UNKNOWN_TOKEN
        )

    @classmethod
    def build(cls, lines, tokenizer, path, size=None, min_count=1):
        """Counts the tokens of `lines` and writes them to `path`, the most frequent first.

        Args:
            lines: strings without line ends.
            tokenizer: "word", "char" or "subword".
            path: the file to write.
            size: at most so many tokens, the two special ones among them; None keeps all. Subwords
                need one; 8,000 is usual.
            min_count: tokens that are rarer are left out; of subwords, no two are joined that stand
                side by side less often.

        Raises:
            InputError: `size` has no room for the special tokens, or there is none for subwords.
        """
        if size is not None and size < 2:
            raise InputError(
                f"a vocabulary holds at least {END_TOKEN} and {UNKNOWN_TOKEN}; size {size} is too small"
            )
        counts = collections.Counter()
        for line in lines:
            # bytes.split cuts at the same white space as tf.strings.split; str.split cuts at more.
            counts.update(line.replace("\r", "") if tokenizer == "char" else line.encode().split())
        tokens = {t if tokenizer == "char" else t.decode(): n for t, n in counts.items()}
        for special in END_TOKEN, UNKNOWN_TOKEN:
            tokens.pop(special, None)
        if tokenizer == "subword":
            tokens, min_count = subwords.count(tokens, size, min_count), 0
        kept = [token for token, count in tokens.items() if count >= min_count]
        by_frequency = sorted(kept, key=lambda token: (-tokens[token], token))
        kept = [END_TOKEN, UNKNOWN_TOKEN, *by_frequency][:size]
        write_text(path, "".join(f"{token}\n" for token in kept))
        return cls(path, tokenizer)

    def tokens(self, text):
        """string (batch,) to the tokens, ragged string (batch, time); a line's end is `</s>`."""
        text, _ = clean(text)
        if self.tokenizer == "word":
            return tf.strings.split(tf.strings.regex_replace(text, "\n", f" {END_TOKEN} "))
        if self.tokenizer == "subword":
            return tf.ragged.map_flat_values(self._token_of.lookup, self._subwords(text))
        characters = tf.strings.unicode_split(text, "UTF-8")
        return tf.ragged.map_flat_values(
            lambda c: tf.where(tf.equal(c, "\n"), END_TOKEN, c), characters
        )

    def encode_ragged(self, text):
        """string (batch,) to ids, ragged int32 (batch, time)."""
        if self.tokenizer == "subword":
            return tf.cast(self._subwords(clean(text)[0]), tf.int32)
        lookup = lambda tokens: tf.cast(self._id_of.lookup(tokens), tf.int32)  # noqa: E731
        return tf.ragged.map_flat_values(lookup, self.tokens(text))

    def encode(self, text):
        """string (batch,) to ids, int32 (batch, time), padded with `END`, and lengths, int32 (batch,).

        time is at least 1, so that no layer meets an empty sequence.
        """
        ids = self.encode_ragged(text)
        lengths = tf.cast(ids.row_lengths(), tf.int32)
        ids = ids.to_tensor(END)
        missing = tf.maximum(1 - tf.shape(ids)[1], 0)
        return tf.pad(ids, [[0, 0], [0, missing]], constant_values=END), lengths

    def _subwords(self, text):
        """string (batch,) of valid UTF-8 to ids, ragged int64 (batch, time); each word but once."""
        words = tf.strings.split(tf.strings.regex_replace(text, "\n", f" {END_TOKEN} "))
        unique, place = tf.unique(words.flat_values)
        pieces = subwords.encode(unique, self._id_of, self._longest)
        return words.with_values(tf.gather(pieces, place)).merge_dims(1, 2)

    def decode(self, ids, lengths):
        """ids, int (batch, time), of which `lengths` (batch,) count, to text, string (batch,).

        Subwords keep the space before their first word: `join` drops it where a text begins.
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
        """Text and what follows it, string (batch,); between words stands a space."""
        if self.tokenizer == "char":
            return text + continuation
        if self.tokenizer == "subword":  # which bring their spaces along
            apart = tf.strings.regex_full_match(text, r"(?s).*\S")
            bare = tf.strings.regex_replace(continuation, "^ ", "")
            return text + tf.where(apart, continuation, bare)
        apart = tf.strings.regex_full_match(text, r"(?s).*\S") & (continuation != "")
        return text + tf.where(apart, " ", "") + continuation

    def token(self, ids):
        """The text of each id, string of the same shape; a line's end is "\\n"."""
        tokens = self._token_of.lookup(tf.cast(ids, tf.int64))
        tokens = tf.where(tf.equal(ids, END), "\n", tokens)
        if self.tokenizer != "word":
            tokens = tf.where(tf.equal(ids, UNKNOWN), "\ufffd", tokens)
        return tokens


def clean(inputs):
    """Mends text: string (batch,) to valid UTF-8 in which a line ends with "\\n".

    Returns:
        the text, and what was wrong with it, both string (batch,); "" where nothing was.
    """
    text = tf.strings.unicode_transcode(inputs, "UTF-8", "UTF-8", errors="replace")
    error = tf.where(text == inputs, "", "invalid UTF-8 was replaced by U+FFFD")
    return tf.strings.regex_replace(text, "\r\n?", "\n"), error


class _Asset(tf.lookup.TextFileInitializer):
    """A table's file, known in the graph by its content: TensorFlow would write its path there."""

    def __init__(self, path, digest, key_dtype, key_index, value_dtype, value_index):
        self._digest = digest
        super().__init__(os.fspath(path), key_dtype, key_index, value_dtype, value_index)

    @property
    def _shared_name(self):
        return f"vocabulary_{self._digest}_{self._key_index}_{self._value_index}"
