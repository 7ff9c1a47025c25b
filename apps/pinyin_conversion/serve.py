"""The pinyin model as a service: pinyin in, Chinese text out, all of it inside one graph."""

import numpy as np
import tensorflow as tf

from shared.text.vocabulary import clean

from .readings import TONES
from .search import Search

N_BEST = 5
CANDIDATES = 10
LONGEST = 10_000  # syllables of a text that is converted
DOUBT = 4.0  # by how much, in nats, a cut may be less likely for it to be tried
MARGIN = 2.0  # how many times that its characters must be likelier; the best of 0 to 4 on valid


class Server(tf.Module):
    """The signatures of the exported model.

    serving_default(inputs)
        converts each text. `outputs`: the text with a character in place of each syllable; `score`: what
        the model says of these characters (`search`).
    n_best(inputs)
        `outputs` and `score` (batch, `N_BEST`), the best first; "" and -inf where there are fewer, as
        of a beam that is narrower.
    segment(inputs)
        the syllables found: `outputs`: the text with a space between syllables; `syllables` (batch,
        time), with "" as padding; `length` (batch,).
    start(inputs), step(inputs, state, chosen)
        only of a model that is not bidirectional: a syllable (or some) as it is typed, at the beginning
        or after a `state`. `chosen`: the character that was taken for the last syllable before, "" for
        the likeliest. `candidates` (batch, `CANDIDATES`) for the last syllable, the likeliest first, ""
        where there are fewer, with their `log_probability`; `outputs`: the likeliest characters of what
        was typed; `state` (batch, size), to go on from.

    What is no syllable passes through; spaces beside characters go. In all of them `error` (batch,)
    says what was wrong with a row, and which letters are no syllables; it is empty when all is well.

    Args:
        model: as `model.build` gives it.
        config: the app's Config.
        readings, syllables, dictionary, trigram: `Readings`, `Syllables`, `Dictionary`, `Trigram`.
    """

    def __init__(self, model, config, readings, syllables, dictionary, trigram):
        super().__init__()
        # A Keras model as an attribute saves a graph that TF Serving cannot load; its variables do.
        self._held = [v.value for v in model.trainable_variables]
        self.config, self.readings = config, readings
        self.syllables, self.dictionary, self.trigram = syllables, dictionary, trigram
        search = Search(model, config, readings, dictionary, trigram)
        self._search = lambda: search
        texts = tf.TensorSpec([None], tf.string, name="inputs")
        found = tf.function(self._find, input_signature=[texts])  # one graph for three signatures
        self._found = lambda inputs: found(inputs)
        endpoints = {
            "serving_default": tf.function(self.convert, input_signature=[texts]),
            "n_best": tf.function(self.n_best, input_signature=[texts]),
            "segment": tf.function(self.segment, input_signature=[texts]),
        }
        if not config.bidirectional:
            state = tf.TensorSpec([None, search.width], tf.float32, name="state")
            chosen = tf.TensorSpec([None], tf.string, name="chosen")
            endpoints |= {
                "start": tf.function(self.start, input_signature=[texts]),
                "step": tf.function(self.step, input_signature=[texts, state, chosen]),
            }
        self.endpoints = endpoints  # whole, for a dict that has changed cannot be exported

    def convert(self, inputs):
        """The default answer; see the class."""
        pieces, codes, found, score, error = self._found(inputs)
        text = self._text(pieces, codes, found[:, 0])
        return {"outputs": text, "score": score[:, 0], "error": error}

    def n_best(self, inputs):
        """Several answers to each row; see the class."""
        pieces, codes, found, score, error = self._found(inputs)
        found = [found[:, min(i, self.config.beam_width - 1)] for i in range(N_BEST)]
        texts = tf.stack([self._text(pieces, codes, readings) for readings in found], 1)
        more = [[0, 0], [0, max(0, N_BEST - self.config.beam_width)]]
        score = tf.pad(score[:, :N_BEST], more, constant_values=float("-inf"))
        return {
            "outputs": tf.where(tf.math.is_finite(score), texts, ""),
            "score": score,
            "error": error,
        }

    def segment(self, inputs):
        """The syllables of each row; see the class."""
        pieces, codes, *_, error = self._found(inputs)
        names = tf.gather(self.readings.syllables, (codes.flat_values - 1) // TONES)
        tone = (codes.flat_values - 1) % TONES
        names += tf.where(tone > 0, tf.strings.as_string(tone), "")
        spelled = codes.with_flat_values(names)
        together = tf.strings.reduce_join(spelled, axis=-1, separator=" ").flat_values
        text = tf.where(_known(codes), together, pieces.flat_values)
        syllables = spelled.merge_dims(1, 2)
        return {
            "outputs": tf.strings.reduce_join(pieces.with_flat_values(text), axis=-1),
            "syllables": syllables.to_tensor(""),
            "length": tf.cast(syllables.row_lengths(), tf.int32),
            "error": error,
        }

    def start(self, inputs):
        """The first of what is typed; see the class."""
        state = self._search().beginning(tf.size(inputs))
        return self.step(inputs, state, tf.fill([tf.size(inputs)], ""))

    def step(self, inputs, state, chosen):
        """What is typed next; see the class."""
        pieces, (codes, _), _, error = self._read(inputs)
        found, likeliest, log_p, state = self._search().type(*_dense(codes), state, chosen)
        likeliest, log_p = likeliest[:, :CANDIDATES], log_p[:, :CANDIDATES]
        names = tf.gather(self.readings.characters, tf.maximum(likeliest, 0))
        return {
            "outputs": self._text(pieces, codes, found),
            "candidates": tf.where(likeliest >= 0, names, ""),
            "log_probability": log_p,
            "state": state,
            "error": error,
        }

    def sample_requests(self):
        """A request for each signature, to check an export with: {signature: {input: array}}."""
        texts = [
            "ta shi yan jiu sheng wu de", "", "ni3hao3, sh\u00ec ji\u00e8!", "Python 3 \u6f22\u5b57",
            b"broken \xff ma",
        ]  # fmt: skip
        texts = np.array([t if isinstance(t, bytes) else t.encode() for t in texts], object)
        made = {name: {"inputs": texts} for name in self.endpoints}
        if "step" in made:
            state = self._search().beginning(len(texts)).numpy()
            chosen = np.array([b"", "他".encode(), b"", b"x", b""], object)
            made["step"] |= {"state": state, "chosen": chosen}
        return made

    def _find(self, inputs):
        """What stands in each row: pieces and codes as of `_read`; readings and scores; `error`.

        Where the letters may well be cut in another way, both are converted, and that one counts if its
        characters are so much likelier.
        """
        pieces, (codes, other), less, error = self._read(inputs)
        doubtful = tf.where(less < DOUBT)
        both = tf.concat([codes, tf.gather(other, doubtful[:, 0])], 0)
        found, score = self._search().sentences(*_dense(both))
        count = tf.size(inputs)
        one, two = tf.range(count), tf.range(count, tf.shape(score)[0])
        two = tf.tensor_scatter_nd_update(one, doubtful, two)
        best = score[:, 0]
        better = tf.gather(best, two) - tf.gather(best, one) > MARGIN * less
        place = tf.where(better, two, one)
        return pieces, *(tf.gather(t, place) for t in (both, found, score)), error

    def _read(self, inputs):
        """Text to pieces (ragged); two ways to cut them into codes (ragged: batch, pieces, syllables), by
        how much the second is less likely (batch,); and `error`."""
        text, error = clean(inputs)
        pieces, codes, other, less = self.syllables.pieces(text)
        total = tf.reduce_sum(codes.row_lengths(axis=2), axis=1)
        codes, other = (self._fitting(t, total <= LONGEST) for t in (codes, other))
        # Every second piece is letters.
        letters = tf.ragged.range(pieces.row_lengths()).flat_values % 2 == 1
        strange = pieces.with_values(letters & ~_known(codes))
        names = tf.ragged.boolean_mask(pieces, strange)[:, :5]
        names = tf.strings.reduce_join(names, axis=-1, separator=", ")
        error = _also(error, total > LONGEST, f"more than {LONGEST} syllables: not converted")
        error = _also(error, (names != "") & (total <= LONGEST), "no syllables: " + names)
        return pieces, (codes, other), less, error

    def _fitting(self, codes, fits):
        """Codes of the rows that fit, bool (batch,), of others none; without tones if none are learned."""
        if not self.config.tones:
            codes = codes.with_flat_values(codes.flat_values - (codes.flat_values - 1) % TONES)
        fits = tf.gather(fits, codes.value_rowids())  # (pieces,) of the batch
        of_piece = codes.values
        kept = tf.boolean_mask(of_piece.values, tf.gather(fits, of_piece.value_rowids()))
        lengths = tf.where(fits, of_piece.row_lengths(), 0)
        return codes.with_values(tf.RaggedTensor.from_row_lengths(kept, lengths))

    def _text(self, pieces, codes, found):
        """Pieces, with a character of `found`, readings (batch, time), in place of each syllable."""
        length = tf.reduce_sum(codes.row_lengths(axis=2), axis=1)
        flat = tf.boolean_mask(found, tf.sequence_mask(length, tf.shape(found)[1]))
        characters = codes.with_flat_values(tf.gather(self.readings.characters, flat))
        characters = tf.strings.reduce_join(characters, axis=-1).flat_values
        known, text = _known(codes), pieces.flat_values
        # What is no letters stands between two pieces that are, or at an end of the text.
        left = tf.concat([[False], known[:-1]], 0)
        right = tf.concat([known[1:], [False]], 0)
        text = tf.where(left, tf.strings.regex_replace(text, "^[ \\t\u3000]+", ""), text)
        text = tf.where(right, tf.strings.regex_replace(text, "[ \\t\u3000]+$", ""), text)
        mark = tf.strings.regex_full_match(text, "['\u2019]")
        text = tf.where(left & right & mark, "", text)
        text = tf.where(known, characters, text)
        return tf.strings.reduce_join(pieces.with_values(text), axis=-1)


def _known(codes):
    """Which pieces are syllables, bool (pieces,) of the whole batch."""
    return codes.values.row_lengths() > 0


def _dense(codes):
    """Codes (ragged: batch, pieces, syllables) to int32 (batch, time), time >= 1, and lengths."""
    codes = codes.merge_dims(1, 2)
    length = tf.cast(codes.row_lengths(), tf.int32)
    codes = codes.to_tensor(0)
    return tf.pad(codes, [[0, 0], [0, tf.maximum(1 - tf.shape(codes)[1], 0)]]), length


def _also(error, where, what):
    """`error` with one thing more in the rows `where` it is so."""
    return tf.where(where, tf.where(error == "", what, error + "; " + what), error)
