"""The exported translation model: sentences in, translations out, in one graph."""

import tensorflow as tf

from shared.layers.masking import padding_mask
from shared.serving import decoding
from shared.serving.export import sample_batch
from shared.serving.groups import in_groups
from shared.text.cleaning import add_error, clean, is_blank, lower
from shared.text.vocabulary import END, UNKNOWN

N_BEST = 10


class Server(tf.Module):
    """The signatures of the exported model.

    serving_default(inputs)
        translates each sentence by beam search with `config.beam_width`. `outputs`: the translation;
        `score`: its log-probability, normalized by its length (`decoding.beam_search`).
    greedy(inputs)
        the same by greedy search.
    n_best(inputs)
        `outputs` and `score` (batch, `N_BEST`) by beam search of that width: distinct translations, the
        best first; `tokens`, their lengths; `count` (batch,), their number. In the places after them,
        `outputs` is "", and `score` and `tokens` are 0.
    align(inputs)
        the attention of the default translation: `attention` (batch, target, source), with a row for each
        token of it; `outputs`, `source_tokens` (batch, source), `target_tokens` (batch, target), padded
        with "", and `source_length`, `target_length` (batch,). The end of a sentence is a token.

    `error` (batch,) says what is wrong with a row; it is empty if nothing is. A row is not translated if it
    has more than `config.max_request_bytes` bytes, is blank, or has no token in the vocabulary: its texts
    are empty, and its numbers are 0. A translation has at most 2 * source_length + 10 tokens. Line ends
    are read as spaces.

    Args:
        model: the model of `model.build`.
        config: Config of the app.
        assets: `data.Assets`.
    """

    def __init__(self, model, config, assets):
        super().__init__()
        self.source, self.target = assets.source_vocabulary, assets.target_vocabulary
        self.config = config
        embedding = model.get_layer("embedding")
        shared = config.shared_vocabulary
        source_embedding = embedding if shared else model.get_layer("source_embedding")
        encoder, decoder = model.get_layer("encoder"), model.get_layer("decoder")
        # A function hides the Keras layers from tf.Module, which would save them in a form that TF
        # Serving cannot load.
        self._layers = lambda: (source_embedding, encoder, embedding, decoder)
        texts = tf.TensorSpec([None], tf.string, name="inputs")
        functions = {
            "serving_default": self.translate,
            "greedy": self.greedy,
            "n_best": self.n_best,
            "align": self.align,
        }
        self.endpoints = {
            name: tf.function(function, input_signature=[texts], autograph=False)
            for name, function in functions.items()
        }

    def translate(self, inputs):
        """The default answer; see the class."""
        return self._best(inputs, self.config.beam_width)

    def greedy(self, inputs):
        """A beam of one; see the class."""
        return self._best(inputs, 1)

    def n_best(self, inputs):
        """Several answers to each row; see the class."""
        ids, lengths, scores, source_length, error = self._search(inputs, N_BEST)
        scores = tf.where(source_length[:, tf.newaxis] > 0, scores, float("-inf"))
        texts, scores, count, tokens = decoding.distinct(self._text(ids, lengths), scores, lengths)
        return {
            "outputs": texts,
            "score": scores,
            "tokens": tokens,
            "count": count,
            "error": error,
        }

    def align(self, inputs):
        """The attention of the default answer; see the class."""
        source, source_length, error = self._read(inputs)
        specs = (
            tf.TensorSpec([None, None], tf.int32),
            tf.TensorSpec([None], tf.int32),
            tf.TensorSpec([None, None, None], tf.float32),
        )
        ids, length, attention = self._in_groups(self._align, source, source_length, specs)
        source = source[:, : tf.shape(attention)[2]]
        source_mask, target_mask = padding_mask(source_length, source), padding_mask(length, ids)
        return {
            "outputs": self._text(ids[:, tf.newaxis], tf.nn.relu(length - 1)[:, tf.newaxis])[:, 0],
            "attention": attention,
            "source_tokens": tf.where(source_mask, self.source.token(source), ""),
            "target_tokens": tf.where(target_mask, self.target.token(ids), ""),
            "source_length": source_length,
            "target_length": length,
            "error": error,
        }

    def sample_requests(self):
        """Returns a request for each signature, to check an export: {signature: {input: array}}."""
        texts = sample_batch(
            "a man", "", "Two\nlines of 3 words. ", "\u6f22\u5b57", b"broken \xff UTF-8"
        )
        return {name: {"inputs": texts} for name in self.endpoints}

    def _best(self, inputs, beam_width):
        ids, lengths, scores, _, error = self._search(inputs, beam_width)
        return {
            "outputs": self._text(ids, lengths)[:, 0],
            "score": scores[:, 0],
            "error": error,
        }

    def _search(self, inputs, beam_width):
        """Translates each row by beam search.

        Returns:
            ids, lengths and scores as of `decoding.beam_search`, 0 for a row that is not translated; the
            lengths of the sentences and `error`, as of `_read`.
        """
        source, length, error = self._read(inputs)
        specs = (
            tf.TensorSpec([None, beam_width, None], tf.int32),
            tf.TensorSpec([None, beam_width], tf.int32),
            tf.TensorSpec([None, beam_width], tf.float32),
        )
        hypotheses = self._in_groups(
            lambda ids, length: self._decode(self._encode(ids, length), length, beam_width),
            source,
            length,
            specs,
        )
        return *hypotheses, length, error

    def _read(self, inputs):
        """Encodes text.

        Returns:
            ids (batch, source), each row with its end; lengths (batch,), 0 for a row that is not
            translated; `error` (batch,).
        """
        text, error = clean(inputs, self.config.max_request_bytes)
        blank = is_blank(text)
        error = add_error(error, blank & (error == ""), "the input is blank")
        text = tf.strings.regex_replace(text, "\n", " ")
        text = lower(text) if self.config.lowercase else text
        ids, length = self.source.encode(text)
        is_known = padding_mask(length, ids) & (ids != UNKNOWN)
        known = tf.strings.reduce_join(tf.where(is_known, self.source.token(ids), ""), axis=1)
        nothing_known = is_blank(known)
        message = "no token of the input is in the vocabulary"
        error = add_error(error, nothing_known & ~blank, message)
        ids = tf.pad(ids, [[0, 0], [0, 1]], constant_values=END)
        return ids, tf.where(nothing_known, 0, length + 1), error

    def _in_groups(self, function, ids, length, specs):
        """Applies a function of ids and lengths to groups of rows of similar length; see `in_groups`."""
        max_length = self.config.max_request_bytes + 2  # each byte may be a token
        return in_groups(function, [ids], length, specs, max_length)

    def _encode(self, ids, length):
        source_embedding, encoder, _, _ = self._layers()
        return encoder(source_embedding(ids), length)

    def _decode(self, memory, length, beam_width):
        """Searches for the translations of encoded sentences; see `decoding.beam_search`."""
        _, _, embedding, decoder = self._layers()
        keys, mask = decoder.attention.keys(memory), padding_mask(length, memory)

        def step(last, states):
            o, states, _ = decoder.step(embedding(last), states, memory, keys, mask)
            return embedding(o, reverse=True), states

        return decoding.beam_search(
            step,
            tf.fill(tf.shape(length), END),
            decoder.initial_states(memory, length),
            beam_width=beam_width,
            max_tokens=2 * length + 10,
            end_id=END,
            length_penalty=self.config.length_penalty,
            banned_id=UNKNOWN,
        )

    def _align(self, source, source_length):
        """Returns the ids of the best translations, their lengths and their attention, end included."""
        memory = self._encode(source, source_length)
        ids, length, _ = self._decode(memory, source_length, self.config.beam_width)
        ids, length = ids[:, 0], length[:, 0]
        # The end of the sentence has an attention too, also if the translation stopped at its maximum length.
        ids = tf.pad(ids[:, : tf.reduce_max(length)], [[0, 0], [0, 1]], constant_values=END)
        decoder_input = tf.pad(ids, [[0, 0], [1, 0]], constant_values=END)[:, :-1]
        _, _, embedding, decoder = self._layers()
        attention = decoder.attention_weights(embedding(decoder_input), memory, source_length)
        mask = padding_mask(length + 1, ids)[..., tf.newaxis]
        return ids, length + 1, tf.where(mask, tf.cast(attention, tf.float32), 0.0)

    def _text(self, ids, lengths):
        """Decodes ids (batch, beam, time) of given lengths (batch, beam) as text, string (batch, beam)."""
        shape = tf.shape(lengths)
        rows = shape[0] * shape[1]
        text = self.target.decode(
            tf.reshape(ids, [rows, tf.shape(ids)[2]]), tf.reshape(lengths, [rows])
        )
        return tf.reshape(self.target.join("", text), shape)
