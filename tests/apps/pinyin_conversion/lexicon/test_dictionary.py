"""The dictionary inside the graph, against every way to cut syllables into words."""

import collections

import numpy as np
import pytest
import tensorflow as tf
from apps.pinyin_conversion.dictionary import GUESSES, LONGEST, UNSEEN, Dictionary
from apps.pinyin_conversion.readings import TONES

from shared.errors import InputError


@pytest.fixture(scope="module")
def made(few, tmp_path_factory):
    """Of `few` readings, a dictionary and its counts, {tuple of readings: count}."""
    rng = np.random.default_rng(0)
    counts = {(i,): UNSEEN for i in range(few.size)}
    for n in range(1, LONGEST + 1):
        for _ in range(40):
            counts[tuple(rng.integers(few.size, size=n).tolist())] = int(rng.integers(1, 50))
    syllable = np.repeat(few.syllables, np.diff(few.starts))
    given = {
        (" ".join(syllable[list(word)]), "".join(few.characters[c] for c in word)): count
        for word, count in counts.items()
        if count != UNSEEN
    }
    given |= {("xi an xi an xi", "西安西安西"): 99, ("xi", "吗"): 99, ("lve", "略"): 99}
    counts |= {
        word: count + UNSEEN for word, count in counts.items() if len(word) == 1 and count != UNSEEN
    }
    path = tmp_path_factory.mktemp("dictionary") / "dictionary.npz"
    return Dictionary.build(given, few, path), counts


def of_all_cuts(codes, readings, counts):
    """u, {reading: probability} for each syllable, and how likely it is that a word begins there."""
    total = sum(counts.values())
    syllable = np.repeat(np.arange(len(readings.syllables)), np.diff(readings.starts))

    def fits(word, at):
        return len(word) <= len(codes) - at and all(
            (code - 1) // TONES == syllable[c] and readings.tones[c, (code - 1) % TONES]
            for c, code in zip(word, codes[at:], strict=False)
        )

    def cuts(at):
        if at == len(codes):
            yield [], 1.0
        for word, count in counts.items():
            if at < len(codes) and fits(word, at):
                for rest, p in cuts(at + len(word)):
                    yield [word, *rest], p * count / total

    u, begins, whole = [collections.defaultdict(float) for _ in codes], np.zeros(len(codes)), 0.0
    for words, p in cuts(0):
        whole, at = whole + p, 0
        for word in words:
            begins[at] += p
            for i, c in enumerate(word):
                u[at + i][c] += p
            at += len(word)
    return [{c: p / whole for c, p in of.items()} for of in u], begins / whole


@pytest.mark.parametrize(
    "text", ["ma", "xi an", "yi ma le xi ma", "ma1 ma5 xi xian", "an4 le5 ma3"]
)
def test_equals_all_cuts(made, few, text):
    dictionary, counts = made
    codes = [few.codes[s] for s in text.split()]
    expected, begins = of_all_cuts(codes, few, counts)
    u, found = dictionary(tf.constant([codes]))
    np.testing.assert_allclose(found[0], begins, rtol=1e-4)
    for row, of, code in zip(u.numpy()[0], expected, codes, strict=True):
        first = few.starts[(code - 1) // TONES]
        np.testing.assert_allclose(
            row, [of.get(first + i, 0.0) for i in range(len(row))], atol=1e-6
        )
        np.testing.assert_allclose(row.sum(), 1, rtol=1e-5)


def test_guesses_are_the_likeliest(made, few):
    dictionary, _ = made
    codes = tf.constant([[few.codes[s] for s in ("ma", "yi", "le")]])
    u, begins = dictionary(codes)
    readings, told = dictionary.guesses(codes, causal=False)
    assert readings.shape == (1, 3, GUESSES)
    for t, syllable in enumerate(("ma", "yi", "le")):
        first = few.starts[few.syllables.index(syllable)]
        best = np.argsort(-u[0, t].numpy(), kind="stable")
        there = np.sort(u[0, t].numpy())[::-1][:GUESSES]
        np.testing.assert_allclose(told[0, t, :GUESSES], there)
        n = (there > 0).sum()
        np.testing.assert_array_equal(readings[0, t, :n], first + best[:n])
    np.testing.assert_allclose(told[0, :, GUESSES], begins[0])
    np.testing.assert_allclose(told[0, :, GUESSES + 1], [*begins[0, 1:], 1])


def test_causal_guesses_are_of_the_syllables_so_far(made, few):
    dictionary, _ = made
    codes = [few.codes[s] for s in ("ma", "yi", "le", "xi", "an", "ma")]
    found = dictionary.guesses(tf.constant([codes]), causal=True)
    for t in range(len(codes)):
        window = tf.constant([codes[max(0, t + 1 - LONGEST) : t + 1]])
        expected = dictionary.guesses(window, causal=False)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a[0, t], b[0, -1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("causal", [False, True])
def test_rows_do_not_depend_on_padding(made, few, causal):
    dictionary, _ = made
    texts = ["xi an", "", "yi ma le xi ma", "ma"]
    rows = [[few.codes[s] for s in text.split()] for text in texts]
    codes = tf.ragged.constant(rows, dtype=tf.int32).to_tensor(0)
    together = dictionary.guesses(tf.pad(codes, [[0, 0], [0, 2]]), causal)
    for i, row in enumerate(rows):
        alone = dictionary.guesses(tf.constant([row], tf.int32, [1, len(row)]), causal)
        for a, b in zip(alone, together, strict=True):
            np.testing.assert_allclose(a[0], b[i, : len(row)], rtol=1e-4, atol=1e-6)
            assert not b[i, len(row) :].numpy().any()


def test_a_missing_file_is_named(few, tmp_path):
    with pytest.raises(InputError, match=r"dictionary\.npz is no valid \.npz"):
        Dictionary(few, tmp_path / "dictionary.npz")
