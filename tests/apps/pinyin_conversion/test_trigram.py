"""The trigram inside the graph, against `shared.text.ngram`."""

import numpy as np
import pytest
import tensorflow as tf

from apps.pinyin_conversion.baselines import by_counts
from apps.pinyin_conversion.trigram import Trigram
from shared.errors import InputError
from shared.text.ngram import KneserNey

SIZE = 7


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    rng = np.random.default_rng(0)
    sentences = [rng.integers(SIZE - 1, size=rng.integers(1, 9)) for _ in range(60)]
    path = tmp_path_factory.mktemp("trigram") / "trigram.npz"
    return Trigram.build(sentences, SIZE, path), sentences


def test_equals_kneser_ney(made):
    trigram, sentences = made
    rng = np.random.default_rng(1)
    reference = KneserNey.fit(
        np.concatenate([np.append(s, SIZE) for s in sentences]), 3, SIZE + 1, SIZE
    )
    ask = tf.function(trigram)
    for _ in range(20):
        new = rng.integers(SIZE, size=6)  # of which the last reading was never seen
        expected = reference.log_prob(np.append(new, SIZE))[:-1]
        before, found = trigram.begin([1]), []
        for c in new:
            log_p, after = ask([b[..., tf.newaxis] for b in before], tf.range(SIZE)[tf.newaxis])
            found.append(float(log_p[0, c]))
            before = [b[:, c] for b in after]
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"trigram\.npz is no valid \.npz"):
        Trigram(tmp_path / "trigram.npz")


def test_nothing_to_count(tmp_path):
    with pytest.raises(InputError, match="no sentence of train"):
        Trigram.build([[], [3, -1]], SIZE, tmp_path / "trigram.npz")
    assert not list(tmp_path.iterdir())


def test_baselines(few, tmp_path):
    """吗 is the most frequent ma; but after 西, 马 is, and 妈 has the tone that is told."""
    number = few.characters.index
    sentences = [[number("西"), number("马")]] * 5 + [[number("吗")]] * 8 + [[number("妈")]] * 4
    trigram = Trigram.build(sentences, few.size, tmp_path / "trigram.npz")
    counts = np.zeros((few.size, 6))
    for sentence, tones in ((sentences[0], [1, 3]), (sentences[5], [5]), (sentences[13], [1])):
        for c, tone in zip(sentence, tones, strict=True):
            counts[c, tone] += sentences.count(sentence)
    asked = ["ma", "xi ma", "ma1", "", "xi1 ma3"]
    codes = [[few.codes[s] for s in text.split()] for text in asked]
    found = by_counts(trigram, few, counts, codes, beam=4)
    assert found["most frequent character"] == ["吗", "西吗", "妈", "", "西马"]
    assert found["modified Kneser-Ney trigram"] == ["吗", "西马", "妈", "", "西马"]
