"""Text to syllables, inside the graph: which parts are pinyin, and where each syllable ends."""

import numpy as np
import tensorflow as tf

from shared.files import read_npz, write_npz
from shared.text.ngram import KneserNey

from .readings import NUM_TONES

MAX_SPELLING_LENGTH = 10  # in characters: "chua\u0304ng", "zhuang5", "nu:e4"
NUM_PATHS = 2  # segmentations of a letter sequence that are computed
LOG_ZERO = -1e9  # log-probability of what is impossible; finite, because sums of it are compared
SEPARATOR = (
    "\x1f"  # marks the borders of pieces; ASCII's unit separator, replaced in the text first
)
LETTERS = r"(?:[\p{Latin}\p{Mn}]+[1-5]?)+"  # a letter sequence, which may be pinyin


class Syllables(tf.Module):
    """Segments text into syllables.

    A letter sequence that is a spelling is one syllable: `xian`, while `xi'an` and `xi an` are two. Any other
    sequence gets the segmentation that is most likely under a bigram model:

        argmax over s_1 ... s_n, whose spellings concatenate to the letters, of sum_t log p(s_t | s_{t-1})

    with modified Kneser-Ney smoothing (`shared.text.ngram`), s_0 and s_{n+1} being the sentence boundary.
    The second best segmentation is returned too, because often only the characters tell which one is meant.
    A sequence without a segmentation is not pinyin.

    Args:
        readings: `Readings`.
        path: a .npz file written by `build`.

    Raises:
        InputError: the file is missing or damaged.
    """

    def __init__(self, readings, path):
        super().__init__()
        tables = read_npz(path)
        self._log_p = tf.Variable(tables["log_p"], trainable=False, name="syllables_log_p")
        self._code_of = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                list(readings.codes), list(readings.codes.values()), tf.string, tf.int32
            ),
            default_value=0,
        )

    @classmethod
    def build(cls, sentences, readings, path):
        """Fits the bigram model and writes its probabilities to `path`.

        Args:
            sentences: list of int arrays (time,), codes.
            readings: `Readings`.
            path: the .npz file to write.

        Returns:
            The `Syllables` of that file.
        """
        end = len(readings.syllables)
        ids = np.concatenate([np.append((np.asarray(s) - 1) // NUM_TONES, end) for s in sentences])
        model = KneserNey.fit(ids, 2, end + 1, end)
        # Sentences of every two syllables: the second syllable and the end give all probabilities.
        a, b = np.divmod(np.arange(end * end), end)
        p = model.log_prob(np.stack([a, b, np.full_like(a, end)], 1).ravel()).reshape(end, end, 3)
        log_p = np.empty((end + 1, end + 1))
        log_p[:end, :end], log_p[:end, end], log_p[end, :end] = p[..., 1], p[0, :, 2], p[:, 0, 0]
        log_p[end, end] = -np.inf  # no sentence is empty
        write_npz(path, log_p=log_p.astype(np.float32))
        return cls(readings, path)

    def segment(self, text):
        """Splits text into letter sequences and the parts between them, and segments the letters.

        Args:
            text: string (batch,), valid UTF-8.

        Returns:
            pieces: ragged string (batch, pieces); every second piece is a letter sequence.
            codes: ragged int32 (batch, pieces, syllables), empty where a piece is not pinyin.
            alternative: codes again, with the second best segmentation of the letter sequence of each
                text whose two segmentations are closest.
            gap: float32 (batch,), by how much `alternative` is less likely, a difference of
                log-probabilities; 1e9 where there is no other segmentation.
        """
        text = tf.strings.regex_replace(text, SEPARATOR, " ")
        text = tf.strings.regex_replace(text, "([nlNL])[uU]:", "\\1\u00fc")
        marked = tf.strings.regex_replace(text, LETTERS, f"{SEPARATOR}\\0{SEPARATOR}")
        pieces = tf.strings.split(marked, SEPARATOR)
        place = tf.ragged.range(pieces.row_lengths())
        letters = tf.where(place.flat_values % 2 == 1, pieces.flat_values, "")
        best, second, gap = self.segment_letters(tf.strings.lower(letters, "utf-8"))
        smallest = tf.reduce_min(pieces.with_values(gap), axis=1)
        closest = (gap == tf.gather(smallest, pieces.value_rowids())) & (gap < -LOG_ZERO)
        alternative = _select(closest, second, best)
        return pieces, pieces.with_values(best), pieces.with_values(alternative), smallest

    def segment_letters(self, letters):
        """Segments letter sequences; see the class.

        Args:
            letters: string (n,), in lower case.

        Returns:
            best, second: codes of the two best segmentations, ragged int32 (n, syllables), empty where
                there is none.
            gap: float32 (n,), by how much the second is less likely; 1e9 where there is none.
        """
        whole = self._code_of.lookup(letters)
        single = tf.RaggedTensor.from_row_lengths(whole[whole > 0], tf.cast(whole > 0, tf.int64))
        is_long = (whole == 0) & (letters != "")
        unique, place = tf.unique(tf.boolean_mask(letters, is_long))
        best, second, gap = self._viterbi(unique)
        count = tf.size(letters)
        place = tf.tensor_scatter_nd_update(
            tf.range(count), tf.cast(tf.where(is_long), tf.int32), count + place
        )
        merge = lambda short, long: tf.gather(tf.concat([short, long], 0), place)  # noqa: E731
        empty = tf.RaggedTensor.from_row_lengths(whole[:0], tf.zeros([count], tf.int64))
        certain = tf.fill([count], -LOG_ZERO)
        return merge(single, best), merge(empty, second), merge(certain, gap)

    def _viterbi(self, letters):
        """As `segment_letters`, for sequences that are not a spelling: Viterbi with two paths per state.

        State (t, n): a syllable of n letters ends at letter t. Its predecessors are the states
        (t - n, m). The two best paths to each state are kept.
        """
        codes, length = self._spans(letters)  # (sequences, time, MAX_SPELLING_LENGTH)
        syllable = tf.maximum((codes - 1) // NUM_TONES, 0)
        first, transition = self._transitions(codes, syllable)
        count, steps, _ = tf.unstack(tf.shape(codes))
        spans = MAX_SPELLING_LENGTH
        num_states = spans * NUM_PATHS

        def forward(time, recent, origins, alphas):
            # recent: of the last `spans` letters, the latest first: (sequences, spans, spans, NUM_PATHS)
            paths = recent + transition[:, time, ..., tf.newaxis]
            paths = tf.reshape(paths, [count, spans, num_states])
            paths = tf.concat([paths, first[:, time, :, tf.newaxis]], -1)
            alpha, origin = tf.math.top_k(paths, NUM_PATHS)  # (sequences, spans, NUM_PATHS)
            origins = origins.write(time, tf.reshape(origin, [count, num_states]))
            alphas = alphas.write(time, alpha)
            recent = tf.concat([alpha[:, tf.newaxis], recent[:, :-1]], 1)
            return time + 1, recent, origins, alphas

        _, _, origins, alphas = tf.while_loop(
            lambda time, *_: time < steps,
            forward,
            (
                0,
                tf.fill([count, spans, spans, NUM_PATHS], LOG_ZERO),
                tf.TensorArray(tf.int32, steps, element_shape=[None, num_states]),
                tf.TensorArray(tf.float32, steps, element_shape=[None, spans, NUM_PATHS]),
            ),
        )
        last = tf.maximum(length - 1, 0)
        final = tf.gather(tf.transpose(alphas.stack(), [1, 0, 2, 3]), last, batch_dims=1)
        final += tf.gather(self._log_p[:, -1], tf.gather(syllable, last, batch_dims=1))[..., None]
        log_p, state = tf.math.top_k(tf.reshape(final, [count, num_states]), NUM_PATHS)
        possible = log_p > LOG_ZERO / 2

        def backward(time, end, state, path):
            # `end` is the letter at which the next syllable, from the right, ends.
            here = end == time
            n = state // NUM_PATHS
            path = path.write(time, tf.where(here, tf.gather(codes[:, time], n, batch_dims=1), 0))
            origin = tf.gather(origins.read(time), state, batch_dims=1)
            origin = tf.minimum(origin, num_states - 1)  # unused after the first syllable
            return time - 1, tf.where(here, end - n - 1, end), tf.where(here, origin, state), path

        path = tf.TensorArray(tf.int32, steps, element_shape=[None, NUM_PATHS])
        end = tf.where(possible, last[:, tf.newaxis], -1)
        *_, path = tf.while_loop(
            lambda time, *_: time >= 0, backward, (steps - 1, end, state, path)
        )
        paths = tf.transpose(path.stack(), [2, 1, 0])  # (NUM_PATHS, sequences, time)
        best, second = (tf.ragged.boolean_mask(paths[i], paths[i] > 0) for i in range(NUM_PATHS))
        return best, second, tf.where(possible[:, 1], log_p[:, 0] - log_p[:, 1], -LOG_ZERO)

    def _spans(self, letters):
        """Looks up every span of up to MAX_SPELLING_LENGTH letters.

        Returns:
            codes: int32 (sequences, time, n), of the span of n + 1 letters that ends at each letter; 0
                where it is not a spelling.
            length: int32 (sequences,), number of letters.
        """
        letters = tf.strings.unicode_split(letters, "UTF-8")
        length = tf.cast(letters.row_lengths(), tf.int32)
        letters = letters.to_tensor("")  # (sequences, time)
        letters = tf.pad(letters, [[0, 0], [0, tf.maximum(1 - tf.shape(letters)[1], 0)]])
        steps = tf.shape(letters)[1]
        span, codes = tf.fill(tf.shape(letters), ""), []
        for n in range(MAX_SPELLING_LENGTH):
            span = tf.pad(letters, [[0, 0], [n, 0]], constant_values="\n")[:, :steps] + span
            codes.append(self._code_of.lookup(span))
        return tf.stack(codes, -1), length

    def _transitions(self, codes, syllable):
        """Computes the log-probabilities of the spans, `LOG_ZERO` where a span is not a syllable.

        Returns:
            first: (sequences, time, n), of a span at the beginning of its sequence.
            transition: (sequences, time, n, m), of a span of n + 1 letters after one of m + 1 letters.
        """
        steps = tf.shape(codes)[1]
        boundary = tf.shape(self._log_p)[0] - 1
        is_first = tf.range(1, MAX_SPELLING_LENGTH + 1) == tf.range(1, steps + 1)[:, tf.newaxis]
        first = tf.gather(self._log_p[boundary], syllable)
        first = tf.where((codes > 0) & is_first, first, LOG_ZERO)

        def previous(t):  # the spans that end where each span begins
            shifted = [
                tf.pad(t, [[0, 0], [n + 1, 0], [0, 0]])[:, :steps]
                for n in range(MAX_SPELLING_LENGTH)
            ]
            return tf.stack(shifted, 2)

        before = previous(syllable)
        pair = tf.stack([before, tf.broadcast_to(syllable[..., None], tf.shape(before))], -1)
        possible = (codes > 0)[..., tf.newaxis] & (previous(codes) > 0)
        return first, tf.where(possible, tf.gather_nd(self._log_p, pair), LOG_ZERO)


def _select(condition, x, y):
    """Returns rows of x where `condition`, else rows of y; x and y are ragged (rows, ...)."""
    count = tf.size(condition)
    place = tf.where(condition, tf.range(count), count + tf.range(count))
    return tf.gather(tf.concat([x, y], 0), place)
