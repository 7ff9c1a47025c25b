"""The exported captioning model: image files in, captions out, in one graph."""

import io

import numpy as np
import tensorflow as tf
from PIL import Image

from shared.serving import decoding
from shared.text.vocabulary import END, UNKNOWN

from . import images
from .model import parts

N_BEST = 5


class Server(tf.Module):
    """The signatures of the exported model.

    serving_default(inputs)
        captions each image file by beam search with `config.beam_width`. `outputs`: the caption; `score`:
        its log-probability, normalized by its length (`decoding.beam_search`).
    greedy(inputs)
        the same by greedy search.
    n_best(inputs)
        `outputs` and `score` (batch, `N_BEST`) by beam search of that width, the best first and distinct;
        `count` (batch,), the number of captions, after which `outputs` are "" and `score` is 0.
    attend(inputs)
        the attention of the default caption: `outputs`; `tokens` (batch, time) and `attention` (batch,
        time, height, width), with a map of the grid for each of them; `length` (batch,), the number of
        tokens, without the end.
    features(inputs)
        `features` (batch, features), the mean of the grid of the encoder; `outputs`: "".

    Inputs are JPEG, PNG, GIF, BMP or WebP files (see `images.decode`). `error` (batch,) says why a row has
    no caption; it is empty if it has one.

    Args:
        model: the model of `model.build`.
        config: Config of the app.
        assets: `data.Assets`.
    """

    def __init__(self, model, config, assets):
        super().__init__()
        self.config, self.vocabulary = config, assets.vocabulary
        trained_encoder, *others = parts(model)
        encoder = trained_encoder or assets.encoder
        layers = [encoder, *others]
        # A function hides the Keras layers from tf.Module, which would save them in a form that TF
        # Serving cannot load.
        self._layers = lambda: layers
        self._size = encoder.input_shape[1]
        self._grid_shape = (1, 1) if config.attention == "none" else encoder.output_shape[1:3]
        files = tf.TensorSpec([None], tf.string, name="inputs")
        functions = {
            "serving_default": self.caption,
            "greedy": self.greedy,
            "n_best": self.n_best,
            "attend": self.attend,
            "features": self.features,
        }
        self.endpoints = {
            name: tf.function(function, input_signature=[files], autograph=False)
            for name, function in functions.items()
        }

    def caption(self, inputs):
        """The default answer; see the class."""
        return self._best(inputs, self.config.beam_width)

    def greedy(self, inputs):
        """Greedy search; see the class."""
        return self._best(inputs, 1)

    def _best(self, inputs, beam_width):
        """Returns the best caption of each row, `outputs`, with `score` and `error`."""
        ids, lengths, scores, _, error = self._search(inputs, beam_width)
        is_good = error == ""
        return {
            "outputs": tf.where(is_good, self._text(ids, lengths)[:, 0], ""),
            "score": tf.where(is_good, scores[:, 0], 0.0),
            "error": error,
        }

    def n_best(self, inputs):
        """Several captions of each row; see the class."""
        ids, lengths, scores, _, error = self._search(inputs, N_BEST)
        is_good = (error == "")[:, tf.newaxis]
        scores = tf.where(is_good, scores, -np.inf)
        texts, scores, count = decoding.distinct(self._text(ids, lengths), scores)
        return {"outputs": texts, "score": scores, "count": count, "error": error}

    def attend(self, inputs):
        """The attention of the default caption; see the class."""
        ids, lengths, _, memory, error = self._search(inputs, self.config.beam_width)
        _, _, embedding, decoder = self._layers()
        ids, lengths = ids[:, 0], tf.where(error == "", lengths[:, 0], 0)
        # One step more than the tokens, because there may be none.
        decoder_input = tf.pad(ids, [[0, 0], [1, 0]], constant_values=END)
        weights = decoder.attention_weights(embedding(decoder_input), memory)[:, :-1]
        mask = tf.sequence_mask(lengths, tf.shape(ids)[1])
        weights = tf.where(mask[..., tf.newaxis], tf.cast(weights, tf.float32), 0.0)
        shape = tf.concat([tf.shape(ids), self._grid_shape], 0)
        return {
            "outputs": self._text(ids[:, tf.newaxis], lengths[:, tf.newaxis])[:, 0],
            "tokens": tf.where(mask, self.vocabulary.token(ids), ""),
            "attention": tf.reshape(weights, shape),
            "length": lengths,
            "error": error,
        }

    def features(self, inputs):
        """The features of each image; see the class."""
        grid, error = self._encode(inputs)
        mean = tf.reduce_mean(tf.cast(grid, tf.float32), [1, 2])
        mean = tf.where((error == "")[:, tf.newaxis], mean, 0.0)
        return {"features": mean, "outputs": tf.zeros_like(error), "error": error}

    def sample_requests(self):
        """Returns a request for each signature, to check an export: {signature: {input: array}}."""
        rng = np.random.default_rng(0)
        rows = []
        for size, format_ in (((40, 30), "PNG"), ((90, 60), "JPEG")):
            pixels = np.kron(rng.integers(0, 255, (*size, 3)), np.ones((2, 2, 1)))
            file = io.BytesIO()
            Image.fromarray(pixels.astype(np.uint8)).save(file, format_)
            rows.append(file.getvalue())
        # A truncated PNG file: for a JPEG file, libjpeg would print a message to stderr.
        rows = [rows[0], b"", rows[1], b"not an image", rows[0][:200]]
        return {name: {"inputs": np.array(rows, object)} for name in self.endpoints}

    def _encode(self, inputs):
        """Decodes and encodes the images: grid (batch, height, width, features) and `error` (batch,)."""
        encoder, *_ = self._layers()
        values, error = images.decode(inputs, self._size, self.config.max_request_bytes)
        # A convolution of an empty batch has a wrong shape under oneDNN: it gets a row that is dropped.
        batch = tf.shape(values)[0]
        values = tf.pad(values, [[0, tf.maximum(1 - batch, 0)], [0, 0], [0, 0], [0, 0]])
        return encoder(values)[:batch], error

    def _search(self, inputs, beam_width):
        """Captions each row by beam search.

        Returns:
            the results of `decoding.beam_search`; the memory (batch, cells, units); and `error`.
        """
        _, project, embedding, decoder = self._layers()
        grid, error = self._encode(inputs)
        if self.config.encoder != "small_cnn" and not self.config.finetune:
            grid = tf.cast(tf.cast(grid, tf.float16), tf.float32)  # as in the feature cache
        memory = project(grid)
        keys = decoder.attention.keys(memory)

        def step(last, states):
            o, states, _ = decoder.step(embedding(last), states, memory, keys)
            return embedding(o, reverse=True), states

        batch = tf.shape(grid)[0]
        ids, lengths, scores = decoding.beam_search(
            step,
            tf.fill([batch], END),
            decoder.initial_states(memory),
            beam_width=beam_width,
            max_tokens=tf.where(error == "", self.config.max_tokens, 0),
            end_id=END,
            length_penalty=self.config.length_penalty,
            banned_id=UNKNOWN,
        )
        return ids, lengths, scores, memory, error

    def _text(self, ids, lengths):
        """Decodes ids (batch, beam, time) of given lengths (batch, beam) as text, string (batch, beam)."""
        shape = tf.shape(lengths)
        rows = shape[0] * shape[1]
        text = self.vocabulary.decode(
            tf.reshape(ids, [rows, tf.shape(ids)[2]]), tf.reshape(lengths, [rows])
        )
        text = self.vocabulary.join("", text)
        if self.config.tokenizer == "word":  # no space before punctuation, or inside of brackets
            text = tf.strings.regex_replace(text, r" ([.,;:!?%)\]}])", r"\1")
            text = tf.strings.regex_replace(text, r"([(\[{]) ", r"\1")
            text = tf.strings.regex_replace(text, r" ?- ?", "-")
        return tf.reshape(text, shape)
