"""The exported summarization model: texts in, summaries out, in one graph."""

import numpy as np
import tensorflow as tf

from shared.serving.export import sample_batch
from shared.serving.groups import in_groups
from shared.text.cleaning import add_error, clean, is_blank

from . import centrality, selection, unit_text, units
from .data import word_ids
from .model import parts

SMALLEST = 1e-9  # probability, so that its logarithm is finite


class Server(tf.Module):
    """The signatures of the exported model.

    serving_default(inputs)
        the summary of each text. `outputs`: the words, or sentences, that the model keeps with the
        threshold that was fitted on valid; at least one.
    summarize(inputs, ratio, max_sentences)
        the summary of a given size. `ratio` (batch,), from 0 to 1: the part of the words, or sentences,
        that is kept, the most probable ones: round-half-up(ratio * their number), at least 1. It is read
        with six decimals. `max_sentences` (batch,), at least 1: the maximum number of sentences. At the level
        word, words are taken from the sentences whose mean probability is highest, all of them if the
        ratio asks for more.
    explain(inputs)
        `outputs`, the default summary; `units` (batch, n), the words or sentences, padded with ""; their
        `probability` (batch, n) of being kept, before the threshold; `keep` (batch, n), 1 for those of the
        default summary; `start` and `limit` (batch, n), their places in the input in characters, the limit
        exclusive; `length` (batch,), their number.

    `score` (batch,) of all signatures: the log-probability of the labels of the summary, each by itself,
    log p of a unit that is kept and log(1 - p) of one that is dropped, summed over the units.

    At the level word, each sentence of a text is compressed by itself. The summary has the original text of
    what it keeps (see `unit_text.join`). HTML is a text as any other: its tags are words. `error` (batch,)
    says why a row has no summary, or what was replaced in it; it is empty otherwise. A row is refused if it
    has more than `config.max_request_bytes` bytes, is blank, or has a wrong parameter: its texts are "" and
    its numbers 0.

    Args:
        model: the model of `model.build`.
        config: Config of the app.
        assets: `data.Assets`.
    """

    def __init__(self, model, config, assets):
        super().__init__()
        self.config, self.words, self.characters = config, assets.words, assets.characters
        layers = parts(model)
        # A function hides the Keras layers from tf.Module, which would save them in a form that TF
        # Serving cannot load.
        self._layers = lambda: layers
        texts = tf.TensorSpec([None], tf.string, name="inputs")
        ratio = tf.TensorSpec([None], tf.float32, name="ratio")
        max_sentences = tf.TensorSpec([None], tf.int32, name="max_sentences")
        graph = lambda function, *specs: tf.function(  # noqa: E731
            function, input_signature=specs, autograph=False
        )
        self.endpoints = {
            "serving_default": graph(self.answer, texts),
            "summarize": graph(self.summarize, texts, ratio, max_sentences),
            "explain": graph(self.explain, texts),
        }

    def answer(self, inputs):
        """The default answer; see the class."""
        text, error = self._read(inputs)
        found, cut, probability, keep = self._label(text)
        keep = selection.at_least_one(keep, probability, cut)
        return {
            "outputs": self._join(cut, keep),
            "score": _score(cut, probability, keep),
            "error": _without_units(error, found),
        }

    def summarize(self, inputs, ratio, max_sentences):
        """A summary of a given size; see the class."""
        text, error = self._read(inputs)
        is_ratio = (ratio >= 0) & (ratio <= 1)  # False for NaN
        message = "ratio must be from 0 to 1. Received: " + tf.strings.as_string(ratio)
        error = add_error(error, ~is_ratio, message)
        message = "max_sentences must be at least 1. Received: " + tf.strings.as_string(
            max_sentences
        )
        error = add_error(error, max_sentences < 1, message)
        is_valid = is_ratio & (max_sentences >= 1)
        found, cut, probability, _ = self._label(tf.where(is_valid, text, ""))
        count = selection.rounded(tf.where(is_valid, ratio, 0.0), cut.text.row_lengths())
        limit = tf.cast(max_sentences, tf.int64)
        if self.config.level == "sentence":
            keep = selection.most_probable(tf.minimum(count, limit), probability, cut)
        else:
            allowed = selection.in_best_sentences(found, probability, limit)
            keep = selection.most_probable(count, probability, cut, allowed)
        return {
            **self._kept(cut, keep),
            "score": _score(cut, probability, keep),
            "error": _without_units(error, found),
        }

    def explain(self, inputs):
        """The units and their probabilities; see the class."""
        text, error = self._read(inputs)
        found, cut, probability, keep = self._label(text)
        keep = selection.at_least_one(keep, probability, cut)
        return {
            **self._kept(cut, keep),
            "units": _padded(cut.text),
            "probability": _padded(cut.text.with_values(probability)),
            "start": _padded(cut.start),
            "limit": _padded(cut.limit),
            "score": _score(cut, probability, keep),
            "error": _without_units(error, found),
        }

    def sample_requests(self):
        """Returns a request for each signature, to check an export: {signature: {input: array}}."""
        texts = sample_batch(
            "The mayor, who was elected in May, opened the new bridge on Monday. It cost $3.5 million.",
            "",
            "Two\r\nlines (of 5 words)",
            "\u5e02\u957f\u5468\u4e00\u5ba3\u5e03\uff0c\u65b0\u6865\u5df2\u7ecf\u5b8c\u5de5\u3002"
            "\u5b83\u5f88\u957f\u3002",
            b"broken \xff UTF-8 <b>and HTML</b>.",
            "A third one, with a wrong ratio.",
        )
        requests = {name: {"inputs": texts} for name in self.endpoints}
        requests["summarize"] |= {
            "ratio": np.array([0.5, 0.5, 0.0, 0.4, 1.0, np.nan], np.float32),
            "max_sentences": np.array([1, 3, 1, 2, 100, 1], np.int32),
        }
        return requests

    def _read(self, inputs):
        """Returns the texts, in which each character has its place of the input, and `error` (batch,)."""
        size = tf.strings.length(inputs)
        _, error = clean(inputs, self.config.max_request_bytes)
        text = tf.where(size > self.config.max_request_bytes, "", inputs)
        text = tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="replace")
        blank = is_blank(text)
        error = add_error(error, blank & (error == ""), "the input is blank")
        text = tf.where(blank, "", text)
        # A byte order mark becomes a space of the same number of bytes.
        return tf.strings.regex_replace(text, r"^\x{feff}", "\u3000"), error

    def _label(self, text):
        """Finds the units of texts and labels them.

        Returns:
            found: `Units`; cut: `UnitText`; probability: float32 (units,), of all texts; keep: bool (units,).
        """
        found = units.read(text, self.config.level, self.config.language)
        cut = unit_text.find(text, found.start, found.limit)
        label = self._label_words if self.config.level == "word" else self._label_sentences
        probability, keep = label(found)
        return found, cut, probability.flat_values, keep.flat_values

    def _label_words(self, found):
        logits, decoder, _ = self._layers()
        length = tf.cast(found.words.row_lengths(), tf.int32)
        words = found.words.flat_values
        columns = {"words": found.words.with_values(word_ids(words, self.words))}
        if self.config.char_filters:
            # The characters of equal words are found once.
            types, index = tf.unique(words)
            letters = tf.gather(units.characters(types, self.characters), index)
            columns["characters"] = found.words.with_values(letters)
        return self._in_groups(logits, decoder, columns, length)

    def _label_sentences(self, found):
        logits, decoder, encoder = self._layers()
        ids = found.words.with_values(word_ids(found.words.flat_values, self.words))
        [vectors] = in_groups(
            lambda words, _: [tf.cast(encoder.encode(words), tf.float32)],
            [ids],
            tf.cast(ids.row_lengths(), tf.int32),
            [tf.TensorSpec([None, encoder.units], tf.float32)],
            self.config.max_request_bytes,
        )
        kind, language = self.config.centrality, self.config.language
        columns = {"vectors": found.start.with_values(vectors)}
        if kind != "none":
            values = centrality.features(found.lower_case(), found.row, kind, language)
            columns["centrality"] = found.start.with_values(values)
        return self._in_groups(
            logits, decoder, columns, tf.cast(found.start.row_lengths(), tf.int32)
        )

    def _in_groups(self, logits, decoder, columns, length):
        """Returns probability and keep, ragged (rows, units)."""

        def label(*padded):
            *values, length = padded
            inputs = {**dict(zip(columns, values, strict=True)), "length": length}
            scores = logits(inputs)
            keep = decoder.keeps(scores, length, self.config.decision)
            return [decoder.probability(scores, length), keep]

        specs = [tf.RaggedTensorSpec([None, None], dtype) for dtype in (tf.float32, tf.bool)]
        limit = self.config.max_request_bytes  # each byte may be a unit
        return in_groups(label, [*columns.values()], length, specs, limit)

    def _kept(self, cut, keep):
        """Returns the outputs of what is kept."""
        return {
            "outputs": self._join(cut, keep),
            "keep": _padded(cut.text.with_values(tf.cast(keep, tf.int32))),
            "length": tf.cast(cut.text.row_lengths(), tf.int32),
        }

    def _join(self, cut, keep):
        return unit_text.join(cut, keep, self.config.level, self.config.language)


def _score(cut, probability, keep):
    """Returns the sum of the log-probabilities of the labels of each text, float32 (batch,)."""
    p = tf.where(keep, probability, 1 - probability)
    log_p = cut.text.with_values(tf.math.log(tf.clip_by_value(p, SMALLEST, 1.0)))
    return tf.reduce_sum(log_p, 1)


def _without_units(error, found):
    """Adds a message to rows that are not blank, but have no word or sentence."""
    is_empty = (found.start.row_lengths() == 0) & (error == "")
    return add_error(error, is_empty, "the input has no words")


def _padded(values):
    """Returns ragged values (batch, n) padded with 0 or "", with n of at least 1.

    TF Serving's JSON cannot carry the shape of an empty tensor.
    """
    values = values.to_tensor()
    return tf.pad(
        values,
        [[0, 0], [0, tf.maximum(1 - tf.shape(values)[1], 0)]],
        constant_values=tf.zeros([], values.dtype),
    )
