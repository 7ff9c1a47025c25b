"""The exported translation model: sentences in, translations out, in one graph."""

import tensorflow as tf

from shared.layers.masking import padding_mask
from shared.serving import decoding
from shared.serving.export import sample_batch
from shared.text.cleaning import add_error, clean
from shared.text.vocabulary import END, UNKNOWN

MAX_TOKENS = 500  # tokens of a sentence that are read; a translation has 2 * length + 10 at most
N_BEST = 10


class Server(tf.Module):
    """The signatures of the exported model.

    serving_default(inputs)
        translates each sentence by beam search with `config.beam_width`. `outputs`: the translation;
        `score`: its log-probability, normalized by its length (`decoding.beam_search`).
    greedy(inputs)
        the same by greedy search.
    n_best(inputs)
        `outputs` and `score` (batch, `N_BEST`) by beam search of that width, the best first, and
        `tokens`, their lengths. If there are fewer, the last `outputs` are empty and their `score` is
        -inf.
    align(inputs)
        the attention of the default translation: `attention` (batch, target, source), with a row for each
        token of it; `outputs`, `source_tokens` (batch, source), `target_tokens` (batch, target), padded
        with "", and `source_length`, `target_length` (batch,). The end of a sentence is a token.

    `error` (batch,) says what is wrong with a row; it is empty if nothing is. Line ends are read as
    spaces.

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
        (ids, lengths, scores), error, _ = self._search(inputs, N_BEST)
        return {
            "outputs": self._text(ids, lengths),
            "score": scores,
            "tokens": lengths,
            "error": error,
        }

    def align(self, inputs):
        """The attention of the default answer; see the class."""
        (ids, lengths, _), error, (source, memory, length) = self._search(
            inputs, self.config.beam_width
        )
        _, _, embedding, decoder = self._layers()
        ids, lengths = ids[:, 0], lengths[:, 0]
        # The end of the sentence has an attention too, also if the translation stopped at its maximum length.
        ids = tf.pad(ids, [[0, 0], [0, 1]], constant_values=END)
        decoder_input = tf.pad(ids, [[0, 0], [1, 0]], constant_values=END)[:, :-1]
        attention = decoder.attention_weights(embedding(decoder_input), memory, length)
        target_mask = tf.sequence_mask(lengths + 1, tf.shape(ids)[1])
        source_mask = padding_mask(length, source)
        return {
            "outputs": self._text(ids[:, tf.newaxis], lengths[:, tf.newaxis])[:, 0],
            "attention": tf.where(target_mask[..., tf.newaxis], attention, 0.0),
            "source_tokens": tf.where(source_mask, self.source.token(source), ""),
            "target_tokens": tf.where(target_mask, self.target.token(ids), ""),
            "source_length": length,
            "target_length": lengths + 1,
            "error": error,
        }

    def sample_requests(self):
        """Returns a request for each signature, to check an export: {signature: {input: array}}."""
        texts = sample_batch(
            "a man", "", "Two\nlines of 3 words. ", "\u6f22\u5b57", b"broken \xff UTF-8"
        )
        return {name: {"inputs": texts} for name in self.endpoints}

    def _best(self, inputs, beam_width):
        (ids, lengths, scores), error, _ = self._search(inputs, beam_width)
        return {
            "outputs": self._text(ids, lengths)[:, 0],
            "score": scores[:, 0],
            "error": error,
        }

    def _search(self, inputs, beam_width):
        """Translates each row by beam search.

        Returns:
            the results of `decoding.beam_search`; `error`; and the encoded sentence: ids (batch, source),
            memory (batch, source, memory) and length (batch,).
        """
        source_embedding, encoder, embedding, decoder = self._layers()
        ids, length, error = self._read(inputs)
        memory = encoder(source_embedding(ids), length)
        keys, mask = decoder.attention.keys(memory), padding_mask(length, memory)

        def step(last, states):
            o, states, _ = decoder.step(embedding(last), states, memory, keys, mask)
            return embedding(o, reverse=True), states

        hypotheses = decoding.beam_search(
            step,
            tf.fill([tf.shape(ids)[0]], END),
            decoder.initial_states(memory, length),
            beam_width=beam_width,
            max_tokens=2 * length + 10,
            end_id=END,
            length_penalty=self.config.length_penalty,
            banned_id=UNKNOWN,
        )
        return hypotheses, error, (ids, memory, length)

    def _read(self, inputs):
        """Encodes text as ids (batch, source), each row with its end, lengths (batch,), and `error`."""
        text, error = clean(inputs)
        text = tf.strings.regex_replace(text, "\n", " ")
        text = tf.strings.lower(text, "utf-8") if self.config.lowercase else text
        ids, length = self.source.encode(text)
        message = f"only the first {MAX_TOKENS} tokens were read"
        error = add_error(error, length > MAX_TOKENS, message)
        error = tf.where((length == 0) & (error == ""), "nothing to translate", error)
        length = tf.minimum(length, MAX_TOKENS)
        ids = tf.pad(ids[:, :MAX_TOKENS], [[0, 0], [0, 1]], constant_values=END)
        return ids, length + 1, error

    def _text(self, ids, lengths):
        """Decodes ids (batch, beam, time) of given lengths (batch, beam) as text, string (batch, beam)."""
        shape = tf.shape(lengths)
        rows = shape[0] * shape[1]
        text = self.target.decode(
            tf.reshape(ids, [rows, tf.shape(ids)[2]]), tf.reshape(lengths, [rows])
        )
        return tf.reshape(self.target.join("", text), shape)
