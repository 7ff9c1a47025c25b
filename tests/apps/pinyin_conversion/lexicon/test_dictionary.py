"""The dictionary in the graph, compared with every segmentation of syllables into words."""

import collections

import numpy as np
import pytest
import tensorflow as tf

from apps.pinyin_conversion.lexicon.dictionary import (
    MAX_WORD_LENGTH,
    NUM_CANDIDATES,
    NUM_FEATURES,
    UNSEEN_COUNT,
    Dictionary,
)
from apps.pinyin_conversion.lexicon.readings import NUM_TONES
from shared.errors import InputError


@pytest.fixture(scope="module")
def dictionary_and_counts(small_readings, tmp_path_factory):
    """A dictionary of `small_readings`, and its counts, {tuple of readings: count}."""
    readings, rng = small_readings, np.random.default_rng(0)
    counts = {(i,): UNSEEN_COUNT for i in range(readings.size)}
    for n in range(1, MAX_WORD_LENGTH + 1):
        for _ in range(40):
            counts[tuple(rng.integers(readings.size, size=n).tolist())] = int(rng.integers(1, 50))
    syllable = np.repeat(readings.syllables, np.diff(readings.starts))
    words = {
        (" ".join(syllable[list(word)]), "".join(readings.characters[c] for c in word)): count
        for word, count in counts.items()
        if count != UNSEEN_COUNT
    }
    words |= {("xi an xi an xi", "西安西安西"): 99, ("xi", "吗"): 99, ("lve", "略"): 99}
    counts |= {
        word: count + UNSEEN_COUNT
        for word, count in counts.items()
        if len(word) == 1 and count != UNSEEN_COUNT
    }
    path = tmp_path_factory.mktemp("dictionary") / "dictionary.npz"
    return Dictionary.build(words, readings, path), counts


def sum_over_segmentations(codes, readings, counts):
    """Returns u, {reading: probability} for each syllable, and the probability that a word begins there."""
    total = sum(counts.values())
    syllable = np.repeat(np.arange(len(readings.syllables)), np.diff(readings.starts))

    def fits(word, start):
        return len(word) <= len(codes) - start and all(
            (code - 1) // NUM_TONES == syllable[c] and readings.tones[c, (code - 1) % NUM_TONES]
            for c, code in zip(word, codes[start:], strict=False)
        )

    def segmentations(start):
        if start == len(codes):
            yield [], 1.0
        for word, count in counts.items():
            if start < len(codes) and fits(word, start):
                for tail, p in segmentations(start + len(word)):
                    yield [word, *tail], p * count / total

    u, begins, whole = [collections.defaultdict(float) for _ in codes], np.zeros(len(codes)), 0.0
    for words, p in segmentations(0):
        whole, start = whole + p, 0
        for word in words:
            begins[start] += p
            for i, c in enumerate(word):
                u[start + i][c] += p
            start += len(word)
    return [{c: p / whole for c, p in row.items()} for row in u], begins / whole


@pytest.mark.parametrize(
    "text", ["ma", "xi an", "yi ma le xi ma", "ma1 ma5 xi xian", "an4 le5 ma3"]
)
def test_equals_the_sum_over_segmentations(dictionary_and_counts, small_readings, text):
    dictionary, counts = dictionary_and_counts
    codes = [small_readings.codes[s] for s in text.split()]
    expected, expected_begins = sum_over_segmentations(codes, small_readings, counts)
    u, begins = dictionary(tf.constant([codes]))
    np.testing.assert_allclose(begins[0], expected_begins, rtol=1e-4)
    for row, probabilities, code in zip(u.numpy()[0], expected, codes, strict=True):
        first = small_readings.starts[(code - 1) // NUM_TONES]
        np.testing.assert_allclose(
            row, [probabilities.get(first + i, 0.0) for i in range(len(row))], atol=1e-6
        )
        np.testing.assert_allclose(row.sum(), 1, rtol=1e-5)


def test_candidates_are_the_most_likely(dictionary_and_counts, small_readings):
    dictionary, _ = dictionary_and_counts
    codes = tf.constant([[small_readings.codes[s] for s in ("ma", "yi", "le")]])
    u, begins = dictionary(codes)
    candidates, features = dictionary.candidates(codes, causal=False)
    assert candidates.shape == (1, 3, NUM_CANDIDATES)
    assert features.shape == (1, 3, NUM_FEATURES)
    for t, syllable in enumerate(("ma", "yi", "le")):
        first = small_readings.starts[small_readings.syllables.index(syllable)]
        best = np.argsort(-u[0, t].numpy(), kind="stable")
        highest = np.sort(u[0, t].numpy())[::-1][:NUM_CANDIDATES]
        np.testing.assert_allclose(features[0, t, :NUM_CANDIDATES], highest)
        n = (highest > 0).sum()
        np.testing.assert_array_equal(candidates[0, t, :n], first + best[:n])
    np.testing.assert_allclose(features[0, :, NUM_CANDIDATES], begins[0])
    np.testing.assert_allclose(features[0, :, NUM_CANDIDATES + 1], [*begins[0, 1:], 1])


def test_causal_candidates_depend_on_the_last_syllables(dictionary_and_counts, small_readings):
    dictionary, _ = dictionary_and_counts
    codes = [small_readings.codes[s] for s in ("ma", "yi", "le", "xi", "an", "ma")]
    causal = dictionary.candidates(tf.constant([codes]), causal=True)
    for t in range(len(codes)):
        window = tf.constant([codes[max(0, t + 1 - MAX_WORD_LENGTH) : t + 1]])
        expected = dictionary.candidates(window, causal=False)
        for a, b in zip(causal, expected, strict=True):
            np.testing.assert_allclose(a[0, t], b[0, -1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("causal", [False, True])
def test_rows_do_not_depend_on_padding(dictionary_and_counts, small_readings, causal):
    dictionary, _ = dictionary_and_counts
    texts = ["xi an", "", "yi ma le xi ma", "ma"]
    rows = [[small_readings.codes[s] for s in text.split()] for text in texts]
    codes = tf.ragged.constant(rows, dtype=tf.int32).to_tensor(0)
    together = dictionary.candidates(tf.pad(codes, [[0, 0], [0, 2]]), causal)
    for i, row in enumerate(rows):
        single = dictionary.candidates(tf.constant([row], tf.int32, [1, len(row)]), causal)
        for a, b in zip(single, together, strict=True):
            np.testing.assert_allclose(a[0], b[i, : len(row)], rtol=1e-4, atol=1e-6)
            assert not b[i, len(row) :].numpy().any()


def test_a_missing_file_is_named(small_readings, tmp_path):
    with pytest.raises(InputError, match=r"dictionary\.npz is not a valid \.npz"):
        Dictionary(small_readings, tmp_path / "dictionary.npz")
