"""The translation model as a service: sentences in, translations out, all of it inside one graph."""

import numpy as np
import tensorflow as tf

from shared.layers.masking import padding_mask
from shared.serving import decoding
from shared.text.vocabulary import END, UNKNOWN, clean

LONGEST = 500  # tokens that are read of a sentence; a translation has at most twice as many and 10
N_BEST = 10


class Server(tf.Module):
    """The signatures of the exported model.

    serving_default(inputs)
        translates each sentence by a beam of `config.beam_width`. `outputs`: the translation; `score`: its
        log-probability, normalised by its length (`decoding.beam_search`).
    greedy(inputs)
        the same by the likeliest token each time.
    n_best(inputs)
        `outputs` and `score` (batch, `N_BEST`) of a beam of as many, the best first, and `tokens`, how
        many each has. `outputs` is empty and `score` -inf where there are fewer.
    align(inputs)
        what the default translation attended to: `attention` (batch, target, source), a row for each
        token of it; `outputs`, `source_tokens` (batch, source), `target_tokens` (batch, target), with
        "" as padding, and `source_length`, `target_length` (batch,). The end of a sentence is a token.

    In all of them `error` (batch,) says what was wrong with a row, and is empty when all is well. Line
    ends are read as spaces.

    Args:
        model: as `model.build` gives it.
        config: the app's Config.
        source, target: `text.Vocabulary` of each language.
    """

    def __init__(self, model, config, source, target):
        super().__init__()
        # A Keras model as an attribute saves a graph that TF Serving cannot load; its variables do.
        self._held = [v.value for v in model.trainable_variables]
        self.source, self.target, self.config = source, target, config
        embed = model.get_layer("embedding")
        embed_source = embed if config.shared_vocabulary else model.get_layer("source_embedding")
        encoder, decoder = model.get_layer("encoder"), model.get_layer("decoder")
        self._net = lambda: (embed_source, encoder, embed, decoder)
        texts = tf.TensorSpec([None], tf.string, name="inputs")
        functions = {
            "serving_default": self.translate,
            "greedy": self.greedy,
            "n_best": self.n_best,
            "align": self.align,
        }
        self.endpoints = {
            name: tf.function(function, input_signature=[texts])
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
        _, _, embed, decoder = self._net()
        ids, lengths = ids[:, 0], lengths[:, 0]
        # With its end, which is attended from too; one step more, if it was cut before its end.
        ids = tf.pad(ids, [[0, 0], [0, 1]], constant_values=END)
        before = tf.pad(ids, [[0, 0], [1, 0]], constant_values=END)[:, :-1]
        attention = decoder.attention_weights(embed(before), memory, length)
        real = tf.sequence_mask(lengths + 1, tf.shape(ids)[1])
        known = padding_mask(length, source)
        return {
            "outputs": self._text(ids[:, tf.newaxis], lengths[:, tf.newaxis])[:, 0],
            "attention": tf.where(real[..., tf.newaxis], attention, 0.0),
            "source_tokens": tf.where(known, self.source.token(source), ""),
            "target_tokens": tf.where(real, self.target.token(ids), ""),
            "source_length": length,
            "target_length": lengths + 1,
            "error": error,
        }

    def sample_requests(self):
        """A request for each signature, to check an export with: {signature: {input: array}}."""
        texts = ["a man", "", "Two\nlines of 3 words. ", "\u6f22\u5b57", b"broken \xff UTF-8"]
        texts = np.array([t if isinstance(t, bytes) else t.encode() for t in texts], object)
        return {name: {"inputs": texts} for name in self.endpoints}

    def _best(self, inputs, beam):
        (ids, lengths, scores), error, _ = self._search(inputs, beam)
        return {
            "outputs": self._text(ids, lengths)[:, 0],
            "score": scores[:, 0],
            "error": error,
        }

    def _search(self, inputs, beam):
        """Beam search over each row.

        Returns:
            what `decoding.beam_search` returns; `error`; and the sentence as the model reads it: ids
            (batch, source), memory (batch, source, memory) and length (batch,).
        """
        embed_source, encoder, embed, decoder = self._net()
        ids, length, error = self._read(inputs)
        memory = encoder(embed_source(ids), length)
        keys, mask = decoder.attention.keys(memory), padding_mask(length, memory)

        def step(last, states):
            o, states, _ = decoder.step(embed(last), states, memory, keys, mask)
            return embed(o, reverse=True), states

        found = decoding.beam_search(
            step,
            tf.fill([tf.shape(ids)[0]], END),
            decoder.initial_states(memory, length),
            beam_width=beam,
            max_tokens=2 * length + 10,
            end_id=END,
            length_penalty=self.config.length_penalty,
            banned_id=UNKNOWN,
        )
        return found, error, (ids, memory, length)

    def _read(self, inputs):
        """Text to ids (batch, source), each with its end, lengths (batch,), and `error`."""
        text, error = clean(inputs)
        text = tf.strings.regex_replace(text, "\n", " ")
        text = tf.strings.lower(text, "utf-8") if self.config.lowercase else text
        ids, length = self.source.encode(text)
        long = length > LONGEST
        cut = f"only the first {LONGEST} tokens were read"
        error = tf.where(long, tf.where(error == "", cut, error + "; " + cut), error)
        error = tf.where((length == 0) & (error == ""), "nothing to translate", error)
        length = tf.minimum(length, LONGEST)
        ids = tf.pad(ids[:, :LONGEST], [[0, 0], [0, 1]], constant_values=END)
        return ids, length + 1, error

    def _text(self, ids, lengths):
        """Ids (batch, beam, time) and lengths (batch, beam) to text, string (batch, beam)."""
        shape = tf.shape(lengths)
        rows = shape[0] * shape[1]
        text = self.target.decode(
            tf.reshape(ids, [rows, tf.shape(ids)[2]]), tf.reshape(lengths, [rows])
        )
        return tf.reshape(self.target.join("", text), shape)
