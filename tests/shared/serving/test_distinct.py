"""Equal texts of a row are merged."""

import numpy as np
import pytest
import tensorflow as tf

from shared.serving import problems
from shared.serving.decoding import distinct

INF = float("inf")
SPECS = [
    tf.TensorSpec([None, None], tf.string, name="texts"),
    tf.TensorSpec([None, None], tf.float32, name="scores"),
    tf.TensorSpec([None, None], tf.int32, name="lengths"),
]
merge = tf.function(distinct, input_signature=SPECS, autograph=False)


def plain_distinct(texts, scores, lengths):
    """The same in plain Python for one row."""
    kept = {}
    for text, score, length in zip(texts, scores, lengths, strict=True):
        if np.isfinite(score):
            kept.setdefault(text, (score, length))
    unused = [(b"", 0, 0)] * (len(texts) - len(kept))
    rows = [(text, *values) for text, values in kept.items()] + unused
    return *map(list, zip(*rows, strict=True)), len(kept)


def test_equals_plain_python():
    rng = np.random.default_rng(0)
    texts = rng.choice([b"", b"a", b"b", "\u6f22".encode(), b"a "], (2000, 6)).astype(object)
    scores = -np.sort(rng.choice([0.5, 2, INF, INF], (2000, 6))).astype(np.float32)
    lengths = rng.integers(0, 9, (2000, 6)).astype(np.int32)
    answer = [t.numpy().tolist() for t in merge(texts, scores, lengths)]
    expected = [plain_distinct(*row) for row in zip(texts, scores, lengths, strict=True)]
    texts, scores, lengths, count = map(list, zip(*expected, strict=True))
    assert answer == [texts, scores, count, lengths]
    assert set(count) == {0, 1, 2, 3, 4, 5}


def test_the_best_score_stays_and_places_are_filled():
    texts, scores, count, lengths = merge(
        [["x", "y", "x", "z"]], [[-1.0, -2.0, -3.0, -4.0]], [[1, 2, 3, 4]]
    )
    assert texts.numpy().tolist() == [[b"x", b"y", b"z", b""]]
    assert scores.numpy().tolist() == [[-1, -2, -4, 0]]
    assert lengths.numpy().tolist() == [[1, 2, 4, 0]]
    assert count.numpy().tolist() == [3]


@pytest.mark.parametrize("missing", [-INF, float("nan")])
def test_places_without_a_hypothesis_are_unused(missing):
    """A text there is not a hypothesis: it does not hide an equal one, and is not returned."""
    texts, scores, count, _ = merge(
        [["x", "y"], ["x", "x"]], [[-1, missing], [missing, -1]], [[1, 1]] * 2
    )
    assert texts.numpy().tolist() == [[b"x", b""], [b"x", b""]]
    assert scores.numpy().tolist() == [[-1, 0], [-1, 0]]
    assert count.numpy().tolist() == [1, 1]


def test_no_rows_and_no_hypotheses():
    empty = np.zeros([0, 3])
    texts, scores, count, lengths = merge(empty.astype(str), empty, empty)
    assert texts.shape == scores.shape == lengths.shape == (0, 3)
    assert count.shape == (0,)
    none = np.zeros([2, 0])
    texts, scores, count, _ = merge(none.astype(str), none, none)
    assert texts.shape == scores.shape == (2, 0)
    assert count.numpy().tolist() == [0, 0]


def test_can_be_exported(tmp_path):
    def answer(texts, scores, lengths):
        names = ("texts", "scores", "count", "lengths")
        return dict(zip(names, distinct(texts, scores, lengths), strict=True))

    function = tf.function(answer, input_signature=SPECS, autograph=False)
    tf.saved_model.save(tf.Module(), str(tmp_path), signatures={"serving_default": function})
    assert problems.problems(tmp_path) == []


def test_a_known_number_of_hypotheses_stays_known():
    spec = [tf.TensorSpec([None, 3], dtype) for dtype in (tf.string, tf.float32, tf.int32)]
    function = tf.function(distinct, input_signature=spec, autograph=False)
    shapes = [t.shape.as_list() for t in function.get_concrete_function().outputs]
    assert shapes == [[None, 3], [None, 3], [None], [None, 3]]
