"""The exported translation model: sentences in, translations out, in one graph."""

import tensorflow as tf

from shared.layers.masking import padding_mask
from shared.serving import decoding
from shared.serving.export import sample_batch
from shared.text.cleaning import add_error, clean, is_blank, lower
from shared.text.vocabulary import END, UNKNOWN

N_BEST = 10
# Rows are translated in groups of similar length: up to GROUP_LENGTH tokens, up to twice as many, and so
# on. A group has at most GROUP_LENGTH * GROUP_LENGTH tokens, padding included.
GROUP_LENGTH = 128


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
        """Applies a function to groups of rows of similar length.

        In one batch, each step would cost as much for a short row as for the longest one, and there
        would be as many steps as the longest one needs.

        Args:
            function: a function of ids (rows, time) and their lengths (rows,) that returns tensors.
            ids, length: as `_read` returns them.
            specs: a `tf.TensorSpec` for each result of `function`.

        Returns:
            the results of all rows, padded with 0; 0 for a row of length 0.
        """
        limits = [GROUP_LENGTH]
        while limits[-1] < self.config.max_request_bytes + 2:  # each byte may be a token
            limits.append(2 * limits[-1])
        size = tf.searchsorted(limits, length)
        is_of_size = tf.one_hot(size, len(limits), dtype=tf.int32)
        rank = tf.gather(tf.cumsum(is_of_size, exclusive=True), size, batch_dims=1)
        rows_of_group = [max(1, GROUP_LENGTH**2 // limit) for limit in limits]
        group = size + len(limits) * (rank // tf.gather(rows_of_group, size))
        is_read = length > 0
        groups, _ = tf.unique(tf.boolean_mask(group, is_read))

        def add_group(i, order, results):
            rows = tf.where(is_read & (group == groups[i]))[:, 0]
            lengths = tf.gather(length, rows)
            new = function(tf.gather(ids, rows)[:, : tf.reduce_max(lengths)], lengths)
            results = [
                _concat(a, b, spec.shape) for a, b, spec in zip(results, new, specs, strict=True)
            ]
            return i + 1, tf.concat([order, rows], 0), results

        order = tf.where(length == 0)[:, 0]
        results = [
            # A size of at least 1, because TF Serving's JSON cannot carry the shape of an empty tensor.
            tf.zeros([tf.size(order), *(n or 1 for n in spec.shape[1:])], spec.dtype)
            for spec in specs
        ]
        shapes = tf.TensorShape([]), tf.TensorShape([None]), [spec.shape for spec in specs]
        _, order, results = tf.while_loop(
            lambda i, *_: i < tf.size(groups), add_group, (0, order, results), shapes
        )
        order = tf.math.invert_permutation(order)
        return [tf.gather(result, order) for result in results]

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


def _concat(first, second, shape):
    """Concatenates along the batch; sizes that are None in the static shape are padded with 0."""
    size = tf.maximum(tf.shape(first), tf.shape(second))[1:]

    def pad(t):
        return tf.pad(t, tf.pad(tf.stack([0 * size, size - tf.shape(t)[1:]], 1), [[1, 0], [0, 0]]))

    joined = tf.concat([pad(first), pad(second)], 0)
    joined.set_shape(shape)
    return joined
