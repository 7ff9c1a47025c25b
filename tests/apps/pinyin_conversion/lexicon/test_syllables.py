"""Segmentation in the graph, compared with every segmentation in plain Python."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from apps.pinyin_conversion.lexicon.readings import NUM_TONES
from apps.pinyin_conversion.lexicon.syllables import Syllables
from shared.errors import InputError


@pytest.fixture(scope="module")
def segment(assets):
    """A function of texts that returns the pieces of each text, with spaces between syllables."""
    graph = tf.function(
        assets.syllables.segment,
        input_signature=[tf.TensorSpec([None], tf.string)],
        autograph=False,
    )

    def spelling(code):
        if code == assets.syllables.erhua:
            return "r"
        tone = (code - 1) % NUM_TONES
        return assets.readings.syllables[(code - 1) // NUM_TONES] + (str(tone) if tone else "")

    def pieces_of(*texts):
        text, _, codes, *_ = graph(tf.constant(texts, tf.string))
        assert text.row_lengths().numpy().tolist() == codes.row_lengths().numpy().tolist()
        rows = [
            [
                " ".join(map(spelling, piece)) or name.decode()
                for name, piece in zip(*row, strict=True)
            ]
            for row in zip(text.to_list(), codes.to_list(), strict=True)
        ]
        return [[piece for piece in row if piece] for row in rows]

    return pieces_of


def test_pinyin_and_other_text(segment):
    assert segment("ta1 shi4 de", "", "Tā, hen3hǎo!", "3 ge mp3 hello", "他hen好") == [
        ["ta1", " ", "shi4", " ", "de"],
        [],
        ["ta1", ", ", "hen3 hao3", "!"],
        ["3 ", "ge", " ", "mp3", " ", "hello"],
        ["他", "hen", "好"],
    ]


def test_every_way_to_write_a_syllable(segment):
    texts = ["lv4", "LÜ4", "lu:4", "lǜ", "lu\u0308\u0300", "Lu:e"]
    assert segment(*texts) == [["lv4"]] * 5 + [["lve"]]


def test_apostrophes_and_spaces_separate_syllables(segment):
    assert segment("xian", "xi'an", "xi an", "women qu xi\u2019an") == [
        ["xian"],
        ["xi", "'", "an"],
        ["xi", " ", "an"],
        ["wo men", " ", "qu", " ", "xi", "\u2019", "an"],
    ]


def test_letters_are_segmented_as_in_train(segment):
    assert segment("tashiyanjiushengwude", "fangan", "xianzai", "womenquxian", "hen3hao3") == [
        ["ta shi yan jiu sheng wu de"],
        ["fang an"],
        ["xian zai"],
        ["wo men qu xi an"],
        ["hen3 hao3"],
    ]


def test_letters_without_a_segmentation_stay(segment):
    assert segment("hello", "tashix", "bcdf", "a\x1fb") == [
        ["hello"],
        ["tashix"],
        ["bcdf"],
        ["a", "\x1f", "b"],
    ]


def test_equals_the_best_of_all_segmentations(assets):
    readings, syllables = assets.readings, assets.syllables
    log_p = syllables._log_p.numpy()
    number = {name: i for i, name in enumerate(readings.syllables)}
    end = len(number)

    def segmentations(letters):
        if not letters:
            yield []
        for n in range(1, min(6, len(letters)) + 1):
            if letters[:n] in number:
                for tail in segmentations(letters[n:]):
                    yield [letters[:n], *tail]

    def score(names):
        ids = [end, *(number[name] for name in names), end]
        return sum(log_p[a, b] for a, b in itertools.pairwise(ids))

    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(readings.syllables, rng.integers(2, 6))) for _ in range(40)]
    texts = [letters for letters in texts if letters not in number]
    *pair, gaps = (t.numpy().tolist() for t in syllables.segment_letters(tf.constant(texts)))
    ambiguous = 0
    for letters, *both, gap in zip(texts, *pair, gaps, strict=True):
        possible = sorted(map(score, segmentations(letters)), reverse=True)
        names = [[readings.syllables[(c - 1) // NUM_TONES] for c in codes] for codes in both]
        np.testing.assert_allclose(score(names[0]), possible[0], rtol=1e-5)
        if len(possible) > 1:
            np.testing.assert_allclose(score(names[1]), possible[1], rtol=1e-5)
            np.testing.assert_allclose(gap, possible[0] - possible[1], rtol=1e-3, atol=1e-4)
        else:
            assert (names[1], gap) == ([], 1e9)
        ambiguous += len(possible) > 1
    assert ambiguous > 10


def test_letter_sequences_do_not_depend_on_each_other(assets):
    texts = ["tashi", "x", "womenquxian", "ta", "", "yanjiushengwude", "tashi"]

    graph = tf.function(
        assets.syllables.segment_letters,
        input_signature=[tf.TensorSpec([None], tf.string)],
        autograph=False,
    )

    def segment(*letters):
        best, second, gap = graph(tf.constant(letters, tf.string))
        return best.to_list(), second.to_list(), gap.numpy().tolist()

    together, single = segment(*texts), [segment(letters) for letters in texts]
    assert together == tuple([row for (row,) in column] for column in zip(*single, strict=True))
    assert segment() == ([], [], [])


def test_erhua_is_chosen_only_where_nothing_else_is_possible(segment):
    assert segment("huar", "huaren", "nver", "wanr", "er", "xianr", "zher you") == [
        ["hua r"], ["hua ren"], ["nv er"], ["wan r"], ["er"], ["xian r"], ["zhe r", " ", "you"],
    ]  # fmt: skip
    assert segment("err", "ar", "mr", "r", "hua1r4", "rhua") == [
        ["err"], ["ar"], ["mr"], ["r"], ["hua1r4"], ["rhua"],
    ]  # fmt: skip


def test_the_suffix_of_erhua_follows_a_syllable(segment, assets):
    texts = ["hua1 r5", "hua1'r", "r5 hua", "hello r", "hua, r", "hua r r", "hua\nr"]
    assert segment(*texts) == [
        ["hua1", " ", "r"],
        ["hua1", "'", "r"],
        ["r5", " ", "hua"],
        ["hello", " ", "r"],
        ["hua", ", ", "r"],
        ["hua", " ", "r", " ", "r"],
        ["hua", "\n", "r"],
    ]


def test_the_suffix_of_erhua_may_be_typed_alone(assets):
    texts = ["r", " r5 ma", ", r", "r r"]
    graph = tf.function(assets.syllables.segment, autograph=False)
    for continued, lengths in (
        (True, [[0, 1, 0], [0, 1, 0, 1, 0], [0, 0, 0], [0, 1, 0, 0, 0]]),
        (False, [[0, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0], [0, 0, 0, 0, 0]]),
    ):
        _, _, codes, *_ = graph(tf.constant(texts), tf.fill([4], continued))
        assert codes.row_lengths(2).to_list() == lengths


def test_a_model_without_the_reading_has_no_erhua(small_readings, tmp_path):
    codes = np.array([small_readings.codes[s] for s in ("ma", "xian", "yi")])
    syllables = Syllables.build([codes], small_readings, tmp_path / "syllables.npz")
    _, _, codes, *_ = syllables.segment(tf.constant(["mar", "ma r5", "mama"]))
    assert codes.row_lengths(2).to_list() == [[0, 0, 0], [0, 1, 0, 0, 0], [0, 2, 0]]


def test_the_letters_with_the_smallest_gap_get_the_alternative(assets):
    syllables = assets.syllables
    texts = ["fangan, womenquxian", "womenquxian fangan", "ta shi", "", "fangan"]
    _, _, codes, alternative, gap = syllables.segment(tf.constant(texts))
    fang, women = (
        syllables.segment_letters(tf.constant([letters])) for letters in ("fangan", "womenquxian")
    )
    assert women[2] < fang[2]
    expected = [women[2][0], women[2][0], 1e9, 1e9, fang[2][0]]
    np.testing.assert_allclose(gap, expected, rtol=1e-5)
    for row, piece, (best, second, _) in ((0, 3, women), (1, 1, women), (4, 1, fang)):
        assert codes[row, piece].numpy().tolist() == best.to_list()[0]
        assert alternative[row, piece].numpy().tolist() == second.to_list()[0]
    for row, piece in ((0, 1), (1, 3), (2, 1), (2, 3)):
        assert codes[row, piece].numpy().tolist() == alternative[row, piece].numpy().tolist()


def test_a_missing_file_is_named(small_readings, tmp_path):
    with pytest.raises(InputError, match=r"syllables\.npz is not a valid \.npz"):
        Syllables(small_readings, tmp_path / "syllables.npz")
