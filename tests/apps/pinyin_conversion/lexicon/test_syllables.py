"""Syllables inside the graph, against every cut in plain Python."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from apps.pinyin_conversion.readings import TONES
from apps.pinyin_conversion.syllables import Syllables

from shared.errors import InputError


@pytest.fixture(scope="module")
def cut(tables):
    """A function of texts: for each, its pieces, and of each piece the syllables in it."""
    readings, syllables, *_ = tables
    pieces = tf.function(syllables.pieces, input_signature=[tf.TensorSpec([None], tf.string)])

    def spelled(code):
        tone = (code - 1) % TONES
        return readings.syllables[(code - 1) // TONES] + (str(tone) if tone else "")

    def of(*texts):
        text, codes, *_ = pieces(tf.constant(texts, tf.string))
        assert text.row_lengths().numpy().tolist() == codes.row_lengths().numpy().tolist()
        found = [
            [
                " ".join(map(spelled, piece)) or name.decode()
                for name, piece in zip(*row, strict=True)
            ]
            for row in zip(text.to_list(), codes.to_list(), strict=True)
        ]
        return [[piece for piece in row if piece] for row in found]

    return of


def test_what_is_pinyin_and_what_is_not(cut):
    assert cut("ta1 shi4 de", "", "Tā, hen3hǎo!", "3 ge mp3 hello", "他hen好") == [
        ["ta1", " ", "shi4", " ", "de"],
        [],
        ["ta1", ", ", "hen3 hao3", "!"],
        ["3 ", "ge", " ", "mp3", " ", "hello"],
        ["他", "hen", "好"],
    ]


def test_every_way_to_write_a_syllable(cut):
    assert cut("lv4", "LÜ4", "lu:4", "lǜ", "lu\u0308\u0300", "Lu:e") == [["lv4"]] * 5 + [["lve"]]


def test_apostrophes_and_spaces_part_syllables(cut):
    assert cut("xian", "xi'an", "xi an", "women qu xi\u2019an") == [
        ["xian"],
        ["xi", "'", "an"],
        ["xi", " ", "an"],
        ["wo men", " ", "qu", " ", "xi", "\u2019", "an"],
    ]


def test_runs_are_cut_as_train_has_it(cut):
    assert cut("tashiyanjiushengwude", "fangan", "xianzai", "womenquxian", "hen3hao3") == [
        ["ta shi yan jiu sheng wu de"],
        ["fang an"],
        ["xian zai"],
        ["wo men qu xi an"],
        ["hen3 hao3"],
    ]


def test_a_run_that_cannot_be_cut_stays(cut):
    assert cut("hello", "tashix", "bcdf", "a\x1fb") == [
        ["hello"],
        ["tashix"],
        ["bcdf"],
        ["a", " ", "b"],
    ]


def test_equals_the_best_of_all_cuts(tables):
    readings, syllables, *_ = tables
    log_p = syllables._log_p.numpy()
    number = {name: i for i, name in enumerate(readings.syllables)}
    end = len(number)

    def cuts(run):
        if not run:
            yield []
        for n in range(1, min(6, len(run)) + 1):
            if run[:n] in number:
                for rest in cuts(run[n:]):
                    yield [run[:n], *rest]

    def score(names):
        ids = [end, *(number[name] for name in names), end]
        return sum(log_p[a, b] for a, b in itertools.pairwise(ids))

    rng = np.random.default_rng(0)
    runs = ["".join(rng.choice(readings.syllables, rng.integers(2, 6))) for _ in range(40)]
    runs = [run for run in runs if run not in number]
    *found, less = (t.numpy().tolist() for t in syllables.cut(tf.constant(runs)))
    ambiguous = 0
    for run, *cut, apart in zip(runs, *found, less, strict=True):
        possible = sorted(map(score, cuts(run)), reverse=True)
        names = [[readings.syllables[(code - 1) // TONES] for code in codes] for codes in cut]
        np.testing.assert_allclose(score(names[0]), possible[0], rtol=1e-5)
        if len(possible) > 1:
            np.testing.assert_allclose(score(names[1]), possible[1], rtol=1e-5)
            np.testing.assert_allclose(apart, possible[0] - possible[1], rtol=1e-3, atol=1e-4)
        else:
            assert (names[1], apart) == ([], 1e9)
        ambiguous += len(possible) > 1
    assert ambiguous > 10


def test_runs_do_not_depend_on_each_other(tables):
    _, syllables, *_ = tables
    runs = ["tashi", "x", "womenquxian", "ta", "", "yanjiushengwude", "tashi"]

    def cut(*runs):
        first, second, less = syllables.cut(tf.constant(runs, tf.string))
        return first.to_list(), second.to_list(), less.numpy().tolist()

    together, alone = cut(*runs), [cut(run) for run in runs]
    assert together == tuple([row for (row,) in of] for of in zip(*alone, strict=True))
    assert cut() == ([], [], [])


def test_the_least_certain_run_of_a_text_is_cut_again(tables):
    _, syllables, *_ = tables
    texts = ["fangan, womenquxian", "womenquxian fangan", "ta shi", "", "fangan"]
    _, first, second, less = syllables.pieces(tf.constant(texts))
    fang, women = (syllables.cut(tf.constant([run])) for run in ("fangan", "womenquxian"))
    assert women[2] < fang[2]
    expected = [women[2][0], women[2][0], 1e9, 1e9, fang[2][0]]
    np.testing.assert_allclose(less, expected, rtol=1e-5)
    for row, piece, (one, other, _) in ((0, 3, women), (1, 1, women), (4, 1, fang)):
        assert first[row, piece].numpy().tolist() == one.to_list()[0]
        assert second[row, piece].numpy().tolist() == other.to_list()[0]
    for row, piece in ((0, 1), (1, 3), (2, 1), (2, 3)):
        assert first[row, piece].numpy().tolist() == second[row, piece].numpy().tolist()


def test_a_missing_file_is_named(few, tmp_path):
    with pytest.raises(InputError, match=r"syllables\.npz is no valid .npz"):
        Syllables(few, tmp_path / "syllables.npz")
