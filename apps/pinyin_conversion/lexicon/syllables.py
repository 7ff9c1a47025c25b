"""Text to syllables, inside the graph: which parts are pinyin, and where each syllable ends."""

import numpy as np
import tensorflow as tf

from shared.files import read_npz, write_npz
from shared.text.ngram import KneserNey

from . import pieces as text_pieces
from .readings import NUM_TONES

NUM_PATHS = 2  # segmentations of a letter sequence that are computed
LOG_ZERO = -1e9  # log-probability of what is impossible; finite, because sums of it are compared
ERHUA_LOG_P = -20.0  # the suffix of erhua is chosen only where there is no other segmentation


class Syllables(tf.Module):
    """Segments text into syllables.

    A letter sequence that is a syllable is not divided: `xian`, while `xi'an` and `xi an` are two. Any other
    sequence gets the segmentation that is most likely under a bigram model:

        argmax over s_1 ... s_n, whose spellings concatenate to the letters, of sum_t log p(s_t | s_{t-1})

    with modified Kneser-Ney smoothing (`shared.text.ngram`), s_0 and s_{n+1} being the sentence boundary.
    The second best segmentation is returned too, because often only the characters tell which one is meant.
    A sequence without a segmentation is not pinyin.

    The suffix of erhua, `huar`, has the code `erhua`. It may also stand alone after a syllable: `hua1 r5`.

    Args:
        readings: `Readings`.
        path: a .npz file written by `build`.

    Attributes:
        erhua: int, as of `Spans`.

    Raises:
        InputError: the file is missing or damaged.
    """

    def __init__(self, readings, path):
        super().__init__()
        tables = read_npz(path)
        self._log_p = tf.Variable(tables["log_p"], trainable=False, name="syllables_log_p")
        self._spans = text_pieces.Spans(readings)
        self.erhua = self._spans.erhua
        self._er = (
            readings.codes.get("er", 0) // NUM_TONES
        )  # the suffix precedes as this syllable does

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

    def segment(self, text, continued=None):
        """Splits text into letter sequences and the parts between them, and segments the letters.

        Args:
            text: string (batch,), valid UTF-8.
            continued: bool (batch,), whether there is a syllable before the text, so that it may begin
                with the suffix of erhua; None: there is none.

        Returns:
            pieces: ragged string (batch, pieces), which concatenate to the text.
            is_letters: bool (pieces of the batch,), which pieces are letter sequences.
            codes: ragged int32 (batch, pieces, syllables), empty where a piece is not pinyin.
            alternative: codes again, with the second best segmentation of the letter sequence of each
                text whose two segmentations are closest.
            gap: float32 (batch,), by how much `alternative` is less likely, a difference of
                log-probabilities; 1e9 where there is no other segmentation.
        """
        pieces, is_letters, letters = text_pieces.split(text)
        best, second, gap = self.segment_letters(letters)
        best = self._remove_suffixes(pieces, best, continued)
        smallest = tf.reduce_min(pieces.with_values(gap), axis=1)
        closest = (gap == tf.gather(smallest, pieces.value_rowids())) & (gap < -LOG_ZERO)
        alternative = _select(closest, second, best)
        best, alternative = map(pieces.with_values, (best, alternative))
        return pieces, is_letters, best, alternative, smallest

    def _remove_suffixes(self, pieces, codes, continued):
        """Removes the suffix of erhua where it stands alone and no syllable is before it.

        Only spaces or an apostrophe may be between them.
        """
        flat, rows = pieces.flat_values, pieces.value_rowids()
        between = rf"{text_pieces.SPACE}*|{text_pieces.APOSTROPHE}"
        between = tf.strings.regex_full_match(flat, between)
        is_suffix = _first(codes) == self.erhua
        is_pinyin = (codes.row_lengths() > 0) & ~is_suffix
        before = lambda t, n: tf.pad(t, [[n, 0]])[: tf.size(t)]  # noqa: E731
        # The first two pieces of a row have no neighbour on the left in their row.
        place = tf.ragged.range(pieces.row_lengths()).flat_values
        keep = before(between, 1) & before(is_pinyin, 2) & (place > 1)
        if continued is not None:
            keep |= before(between, 1) & tf.gather(continued, rows) & (place == 1)
        keep |= ~is_suffix
        values = tf.boolean_mask(codes.values, tf.gather(keep, codes.value_rowids()))
        lengths = tf.where(keep, codes.row_lengths(), 0)
        return tf.RaggedTensor.from_row_lengths(values, lengths)

    def segment_letters(self, letters):
        """Segments letter sequences; see the class.

        Args:
            letters: string (n,), as of `pieces.split`.

        Returns:
            best, second: codes of the two best segmentations, ragged int32 (n, syllables), empty where
                there is none.
            gap: float32 (n,), by how much the second is less likely; 1e9 where there is none.
        """
        codes, lengths, is_suffix = self._spans(letters)
        starts = tf.cumsum(lengths, exclusive=True)
        # The span that is the whole sequence.
        last = tf.maximum(starts + lengths - 1, 0)
        is_short = (lengths > 0) & (lengths <= text_pieces.MAX_SPAN)
        span = tf.where(is_short, last * text_pieces.MAX_SPAN + lengths - 1, 0)
        padded = tf.pad(tf.reshape(codes, [-1]), [[0, 1]])
        whole = tf.where(is_short, tf.gather(padded, span), 0)
        whole = tf.where(is_suffix, self.erhua, tf.where(whole < self.erhua, whole, 0))
        is_one = whole > 0
        single = tf.RaggedTensor.from_row_lengths(whole[is_one], tf.cast(is_one, tf.int64))
        is_long = ~is_one & (lengths > 0)
        of_letter = tf.repeat(is_long, lengths)
        best, second, gap = self._viterbi(codes[of_letter], lengths[is_long])
        count = tf.size(letters)
        place = tf.tensor_scatter_nd_update(
            tf.range(count), tf.where(is_long), count + tf.range(tf.size(gap))
        )
        merge = lambda short, long: tf.gather(tf.concat([short, long], 0), place)  # noqa: E731
        empty = tf.RaggedTensor.from_row_lengths(whole[:0], tf.zeros([count], tf.int64))
        certain = tf.fill([count], -LOG_ZERO)
        return merge(single, best), merge(empty, second), merge(certain, gap)

    def _viterbi(self, codes, lengths):
        """As `segment_letters`, for the sequences that are not one syllable.

        Viterbi with two paths per state. State (t, n): a syllable of n letters ends at letter t. Its
        predecessors are the states (t - n, m). The two best paths to each state are kept.

        Sequences are not padded: the longest comes first, step t has the sequences of more than t letters,
        and the steps are concatenated. So a long sequence costs the others nothing.

        Args:
            codes: int32 (letters, MAX_SPAN), as of `Spans`.
            lengths: int32 (n,), at least 1.
        """
        spans, num_states = text_pieces.MAX_SPAN, text_pieces.MAX_SPAN * NUM_PATHS
        starts = tf.cumsum(lengths, exclusive=True)
        place = tf.ragged.range(lengths).flat_values
        order = tf.argsort(lengths, direction="DESCENDING", stable=True)
        count, steps = tf.size(lengths), tf.reduce_max(tf.pad(lengths, [[0, 1]]))
        ascending = tf.reverse(tf.gather(lengths, order), [0])
        active = count - tf.searchsorted(ascending, tf.range(steps), side="right")
        begin = tf.cumsum(active, exclusive=True)  # of each step
        by_step = tf.ragged.range(active)
        # The index of each letter of the steps among `codes`.
        letter = tf.gather(tf.gather(starts, order), by_step.flat_values)
        letter += tf.cast(by_step.value_rowids(), tf.int32)
        first, transition, last_syllable = self._transitions(codes, place)
        codes, first, transition, last_syllable = (
            tf.gather(t, letter) for t in (codes, first, transition, last_syllable)
        )

        def forward(time, recent, origins, alphas):
            # recent: of the last `spans` letters, the latest first: (sequences, spans, spans, NUM_PATHS)
            now, rows = active[time], begin[time] + tf.range(active[time])
            recent = recent[:now]
            paths = recent + tf.gather(transition, rows)[..., tf.newaxis]
            paths = tf.reshape(paths, [now, spans, num_states])
            paths = tf.concat([paths, tf.gather(first, rows)[..., tf.newaxis]], -1)
            alpha, origin = tf.math.top_k(paths, NUM_PATHS)  # (sequences, spans, NUM_PATHS)
            origins = origins.write(time, tf.reshape(origin, [now, num_states]))
            alphas = alphas.write(time, tf.reshape(alpha, [now, num_states]))
            recent = tf.concat([alpha[:, tf.newaxis], recent[:, :-1]], 1)
            return time + 1, recent, origins, alphas

        array = lambda dtype, width: tf.TensorArray(  # noqa: E731
            dtype, steps, element_shape=[None, width], infer_shape=False
        )
        recent = tf.fill([count, spans, spans, NUM_PATHS], LOG_ZERO)
        *_, origins, alphas = tf.while_loop(
            lambda time, *_: time < steps,
            forward,
            (0, recent, array(tf.int32, num_states), array(tf.float32, num_states)),
            shape_invariants=(
                tf.TensorShape([]), tf.TensorShape([None, spans, spans, NUM_PATHS]), None, None
            ),
        )  # fmt: skip
        origins, alphas = origins.concat(), alphas.concat()
        last = tf.gather(lengths, order) - 1
        end_row = tf.gather(begin, last) + tf.range(count)
        final = tf.reshape(tf.gather(alphas, end_row), [count, spans, NUM_PATHS])
        boundary = tf.shape(self._log_p)[0] - 1
        pair = tf.gather(last_syllable, end_row)
        final += tf.gather_nd(self._log_p, tf.stack([pair, tf.fill(tf.shape(pair), boundary)], -1))[
            ..., tf.newaxis
        ]
        log_p, state = tf.math.top_k(tf.reshape(final, [count, num_states]), NUM_PATHS)
        possible = log_p > LOG_ZERO / 2

        def backward(time, end, state, path):
            # `end` is the letter at which the next syllable, from the right, ends.
            now, rows = active[time], begin[time] + tf.range(active[time])
            here, n = end[:now] == time, state[:now] // NUM_PATHS
            code = tf.gather(tf.gather(codes, rows), n, batch_dims=1)
            path = path.write(time, tf.where(here, code, 0))
            origin = tf.gather(tf.gather(origins, rows), state[:now], batch_dims=1)
            origin = tf.minimum(origin, num_states - 1)  # unused after the first syllable
            end = tf.concat([tf.where(here, end[:now] - n - 1, end[:now]), end[now:]], 0)
            state = tf.concat([tf.where(here, origin, state[:now]), state[now:]], 0)
            return time - 1, end, state, path

        end = tf.where(possible, last[:, tf.newaxis], -1)
        *_, path = tf.while_loop(
            lambda time, *_: time >= 0,
            backward,
            (steps - 1, end, state, array(tf.int32, NUM_PATHS)),
            shape_invariants=(
                tf.TensorShape([]), tf.TensorShape([None, NUM_PATHS]),
                tf.TensorShape([None, NUM_PATHS]), None,
            ),
        )  # fmt: skip
        path = tf.gather(path.concat(), tf.math.invert_permutation(letter))
        # A code with the suffix of erhua becomes two: the syllable, at the letter before, and the suffix.
        has_suffix = path > self.erhua
        syllable = tf.pad(tf.where(has_suffix, path - self.erhua, 0), [[0, 1], [0, 0]])[1:]
        path = tf.where(has_suffix, self.erhua, path) + syllable
        rows = tf.cast(lengths, tf.int64)
        paths = (tf.RaggedTensor.from_row_lengths(path[:, i], rows) for i in range(NUM_PATHS))
        best, second = (tf.ragged.boolean_mask(p, p.with_values(p.values > 0)) for p in paths)
        gap = tf.where(possible[:, 1], log_p[:, 0] - log_p[:, 1], -LOG_ZERO)
        return best, second, tf.gather(gap, tf.math.invert_permutation(order))

    def _transitions(self, codes, place):
        """Computes the log-probabilities of the spans, `LOG_ZERO` where a span is not a syllable.

        Args:
            codes: int32 (letters, MAX_SPAN), as of `Spans`.
            place: int32 (letters,), the index of each letter in its sequence.

        Returns:
            first: (letters, n), of a span at the beginning of its sequence.
            transition: (letters, n, m), of a span of n + 1 letters after one of m + 1 letters.
            last: int32 (letters, n), the last syllable of a span.
        """
        spans, has_suffix = text_pieces.MAX_SPAN, codes > self.erhua
        syllable = tf.maximum(codes - 1 - tf.where(has_suffix, self.erhua, 0), 0) // NUM_TONES
        last = tf.where(has_suffix, self._er, syllable)
        impossible = tf.where(codes > 0, tf.where(has_suffix, ERHUA_LOG_P, 0.0), LOG_ZERO)
        boundary = tf.shape(self._log_p)[0] - 1
        is_first = tf.range(spans) == place[:, tf.newaxis]
        first = tf.gather(self._log_p[boundary], syllable) + impossible
        first = tf.where((codes > 0) & is_first, first, LOG_ZERO)
        # The spans that end where each span begins, of the same sequence.
        end = tf.range(tf.size(place))[:, tf.newaxis] - tf.range(1, spans + 1)
        exists = place[:, tf.newaxis] >= tf.range(1, spans + 1)
        end = tf.where(exists, end, 0)
        before, exists = tf.gather(last, end), exists[..., tf.newaxis] & (tf.gather(codes, end) > 0)
        pair = before * (boundary + 1) + syllable[..., tf.newaxis]
        log_p = tf.gather(tf.reshape(self._log_p, [-1]), pair) + impossible[..., tf.newaxis]
        exists &= (codes > 0)[..., tf.newaxis]
        return first, tf.where(exists, log_p, LOG_ZERO), last


def _first(codes):
    """Returns the first code of each row of a ragged tensor (rows, syllables); 0 of an empty row."""
    return tf.gather(
        tf.pad(codes.values, [[0, 1]]),
        tf.where(codes.row_lengths() > 0, codes.row_starts(), tf.size(codes.values, tf.int64)),
    )


def _select(condition, x, y):
    """Returns rows of x where `condition`, else rows of y; x and y are ragged (rows, ...)."""
    count = tf.size(condition)
    place = tf.where(condition, tf.range(count), count + tf.range(count))
    return tf.gather(tf.concat([x, y], 0), place)
