"""The exported module: pinyin in, Chinese text out, in one graph."""

import tensorflow as tf

from shared.serving.export import sample_batch
from shared.text.cleaning import add_error, clean, is_blank

from .lexicon.pieces import APOSTROPHE, SPACE
from .lexicon.readings import NUM_TONES
from .lexicon.spelling import ERHUA
from .search import Search

N_BEST = 5
MAX_CANDIDATES = 10  # characters that `start` and `step` return for a syllable
# The second best segmentation is converted too if its log-probability is at most MAX_GAP lower. It is
# returned if its score is higher by more than GAP_WEIGHT times that gap; 2 is the best of 0 to 4 on valid.
MAX_GAP = 4.0
GAP_WEIGHT = 2.0


class Server(tf.Module):
    """The signatures of the exported model.

    serving_default(inputs)
        converts each text. `outputs`: the text with a character in place of each syllable; `score`: the
        score of these characters (see `search`).
    n_best(inputs)
        `outputs` and `score` (batch, `N_BEST`), distinct texts, the best first; `count` (batch,), how many
        there are, for example no more than the beam is wide. Other places are "" and 0.
    segment(inputs)
        `outputs`: the text with spaces between its syllables; `syllables` (batch, time), with "" as
        padding; `length` (batch,).
    start(inputs), step(inputs, state, chosen)
        read syllables as they are typed, at the beginning or after a `state`; only of a model that is not
        bidirectional. `chosen`: the character that the user took for the last syllable before, "" for
        the best. `candidates` (batch, `MAX_CANDIDATES`): the characters of the last syllable, the best
        first, with their `log_probability`; `count` (batch,), how many there are; other places are ""
        and 0. `outputs`: the best characters of the syllables in `inputs`; `state` (batch, size): the
        input of the next step. Without a syllable, there are no candidates, and the state stays.

    Text that is not pinyin is copied; spaces beside characters are removed. `error` (batch,) says
    what was wrong with a row and names the letters that are not syllables; it is empty otherwise. A row of
    more than `config.max_request_bytes` is refused, and a blank one has no conversion: its text is "" and
    its numbers are 0. For `start` and `step`, blank text is not an error: nothing was typed yet.

    Args:
        model: a `PinyinModel`.
        config: the app's Config.
        assets: `data.Assets`.
    """

    def __init__(self, model, config, assets):
        super().__init__()
        self.config, self.readings = config, assets.readings
        self.syllables, self.dictionary = assets.syllables, assets.dictionary
        self.trigram = assets.trigram
        search = Search(model, config, assets)
        self._search = lambda: search  # a Keras model as an attribute could not be served
        texts = tf.TensorSpec([None], tf.string, name="inputs")
        graph = lambda function, *specs: tf.function(  # noqa: E731
            function, input_signature=specs, autograph=False
        )
        convert = graph(self._convert, texts)  # one graph for three signatures
        self._converted = lambda inputs: convert(inputs)
        endpoints = {
            "serving_default": graph(self.convert, texts),
            "n_best": graph(self.n_best, texts),
            "segment": graph(self.segment, texts),
        }
        if not config.bidirectional:
            state = tf.TensorSpec([None, search.state_size], tf.float32, name="state")
            chosen = tf.TensorSpec([None], tf.string, name="chosen")
            endpoints |= {
                "start": graph(self.start, texts),
                "step": graph(self.step, texts, state, chosen),
            }
        self.endpoints = endpoints  # assigned once: a dict that is changed later cannot be exported

    def convert(self, inputs):
        """Converts each row; see the class."""
        pieces, codes, readings, score, error = self._converted(inputs)
        text = self._text(pieces, codes, readings[:, 0])
        return {"outputs": text, "score": score[:, 0], "error": error}

    def n_best(self, inputs):
        """Returns several conversions of each row; see the class."""
        pieces, codes, readings, score, error = self._converted(inputs)
        readings = [readings[:, min(i, self.config.beam_width - 1)] for i in range(N_BEST)]
        texts = tf.stack([self._text(pieces, codes, hypothesis) for hypothesis in readings], 1)
        missing = [[0, 0], [0, max(0, N_BEST - self.config.beam_width)]]
        score = tf.pad(score[:, :N_BEST], missing, constant_values=float("-inf"))
        # The hypotheses of a row are different readings of the same syllables: their texts differ.
        exists = tf.math.is_finite(score) & (texts[:, :1] != "")
        return {
            "outputs": tf.where(exists, texts, ""),
            "score": tf.where(exists, score, 0.0),
            "count": tf.reduce_sum(tf.cast(exists, tf.int32), 1),
            "error": error,
        }

    def segment(self, inputs):
        """Returns the syllables of each row; see the class."""
        pieces, codes, *_, error = self._converted(inputs)
        names = [*self.readings.syllables, ERHUA]
        names = tf.gather(names, (codes.flat_values - 1) // NUM_TONES)
        tone = (codes.flat_values - 1) % NUM_TONES
        names += tf.where(tone > 0, tf.strings.as_string(tone), "")
        names = codes.with_flat_values(names)
        joined = tf.strings.reduce_join(names, axis=-1, separator=" ").flat_values
        text = tf.where(_is_pinyin(codes), joined, pieces.flat_values)
        syllables = names.merge_dims(1, 2)
        return {
            "outputs": tf.strings.reduce_join(pieces.with_flat_values(text), axis=-1),
            "syllables": syllables.to_tensor(""),
            "length": tf.cast(syllables.row_lengths(), tf.int32),
            "error": error,
        }

    def start(self, inputs):
        """Reads the first syllables that are typed; see the class."""
        state = self._search().initial_state(tf.size(inputs))
        return self.step(inputs, state, tf.fill([tf.size(inputs)], ""))

    def step(self, inputs, state, chosen):
        """Reads the next syllables that are typed; see the class."""
        search = self._search()
        pieces, (codes, _), _, error = self._read(inputs, search.has_syllable(state))
        readings, top, log_p, state = search.step(*_dense(codes), state, chosen)
        top, log_p = top[:, :MAX_CANDIDATES], log_p[:, :MAX_CANDIDATES]
        names = tf.gather(self.readings.characters, tf.maximum(top, 0))
        return {
            "outputs": self._text(pieces, codes, readings),
            "candidates": tf.where(top >= 0, names, ""),
            "log_probability": log_p,
            "count": tf.reduce_sum(tf.cast(top >= 0, tf.int32), 1),
            "state": state,
            "error": error,
        }

    def sample_requests(self):
        """Returns a request for each signature, to check an export: {signature: {input: array}}."""
        inputs = sample_batch(
            "ta shi yan jiu sheng wu de", "", "ni3hao3, sh\u00ec ji\u00e8!", "Python 3 \u6f22\u5b57",
            b"broken \xff ma",
        )  # fmt: skip
        requests = {name: {"inputs": inputs} for name in self.endpoints}
        if "step" in requests:
            state = self._search().initial_state(len(inputs)).numpy()
            requests["step"] |= {"state": state, "chosen": sample_batch("", "他", "", "x", "")}
        return requests

    def _convert(self, inputs):
        """Segments and converts each row.

        Where two segmentations are close, both are converted, and the scores of the characters count too.

        Returns:
            pieces, codes: as of `_read`.
            readings: int32 (batch, beam, time); scores: float32 (batch, beam); error: string (batch,).
        """
        pieces, (codes, alternative), gap, error = self._read(inputs)
        is_close = tf.where(gap < MAX_GAP)
        both = tf.concat([codes, tf.gather(alternative, is_close[:, 0])], 0)
        readings, score = self._search().convert(*_dense(both))
        count = tf.size(inputs)
        first, second = tf.range(count), tf.range(count, tf.shape(score)[0])
        second = tf.tensor_scatter_nd_update(first, is_close, second)
        best = score[:, 0]
        is_better = tf.gather(best, second) - tf.gather(best, first) > GAP_WEIGHT * gap
        place = tf.where(is_better, second, first)
        return pieces, *(tf.gather(t, place) for t in (both, readings, score)), error

    def _read(self, inputs, continued=None):
        """Segments each row.

        Args:
            inputs: string (batch,).
            continued: bool (batch,), whether there is a syllable before the text; None: the text is whole,
                and a blank one is an error.

        Returns:
            pieces: ragged string (batch, pieces).
            (codes, alternative): two segmentations, ragged int32 (batch, pieces, syllables).
            gap: float32 (batch,), by how much the second is less likely.
            error: string (batch,).
        """
        text, error = clean(inputs, self.config.max_request_bytes)
        blank = is_blank(text)
        text = tf.where(blank, "", text)
        pieces, is_letters, codes, alternative, gap = self.syllables.segment(text, continued)
        codes, alternative = map(self._without_tones, (codes, alternative))
        unknown = pieces.with_values(is_letters & ~_is_pinyin(codes))
        names = tf.ragged.boolean_mask(pieces, unknown)[:, :5]
        names = tf.strings.reduce_join(names, axis=-1, separator=", ")
        if continued is None:
            error = add_error(error, blank & (error == ""), "the input is blank")
        error = add_error(error, names != "", "no syllables: " + names)
        return pieces, (codes, alternative), gap, error

    def _without_tones(self, codes):
        """Removes the tones if the model has none."""
        if self.config.tones:
            return codes
        tones = (codes.flat_values - 1) % NUM_TONES
        return codes.with_flat_values(codes.flat_values - tones)

    def _text(self, pieces, codes, readings):
        """Returns the pieces with the characters of `readings` (batch, time) in place of the syllables."""
        length = tf.reduce_sum(codes.row_lengths(axis=2), axis=1)
        flat = tf.boolean_mask(readings, tf.sequence_mask(length, tf.shape(readings)[1]))
        characters = codes.with_flat_values(tf.gather(self.readings.characters, flat))
        characters = tf.strings.reduce_join(characters, axis=-1).flat_values
        is_pinyin, text = _is_pinyin(codes), pieces.flat_values
        # A piece that is not letters is between two letter pieces, or at an end of the text.
        after_pinyin = tf.concat([[False], is_pinyin[:-1]], 0)
        before_pinyin = tf.concat([is_pinyin[1:], [False]], 0)
        left = tf.strings.regex_replace(text, f"^{SPACE}+", "")
        text = tf.where(after_pinyin, left, text)
        right = tf.strings.regex_replace(text, f"{SPACE}+$", "")
        text = tf.where(before_pinyin, right, text)
        is_apostrophe = tf.strings.regex_full_match(pieces.flat_values, APOSTROPHE)
        text = tf.where(after_pinyin & before_pinyin & is_apostrophe, "", text)
        text = tf.where(is_pinyin, characters, text)
        return tf.strings.reduce_join(pieces.with_values(text), axis=-1)


def _is_pinyin(codes):
    """Returns which pieces are pinyin, bool (pieces,) of the whole batch."""
    return codes.values.row_lengths() > 0


def _dense(codes):
    """Returns codes (ragged: batch, pieces, syllables) as int32 (batch, time), time >= 1, and lengths."""
    codes = codes.merge_dims(1, 2)
    length = tf.cast(codes.row_lengths(), tf.int32)
    codes = codes.to_tensor(0)
    return tf.pad(codes, [[0, 0], [0, tf.maximum(1 - tf.shape(codes)[1], 0)]]), length
