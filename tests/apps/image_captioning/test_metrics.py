"""Metrics beside values computed by hand."""

import math

import numpy as np
import pytest

from apps.image_captioning import baselines, metrics


def test_words():
    assert metrics.words("A dog's toy , isn't it ?") == ["a", "dog", "s", "toy", "isn", "t", "it"]
    assert metrics.words("\u0915\u0941\u0924\u094d\u0924\u093e, a_b") == [
        "\u0915\u0941\u0924\u094d\u0924\u093e",
        "a",
        "b",
    ]
    assert metrics.words("一只 狗。", language="zh") == ["一", "只", "狗"]


def test_cider_d_of_a_case_computed_by_hand():
    references = [["a dog runs", "a dog"], ["a cat"], ["the cat sits"]]
    a, dog, runs = math.log(3 / 2), math.log(3), math.log(3)  # in 2, 1 and 1 of 3 images
    a_dog = dog_runs = a_dog_runs = math.log(3)
    # The caption "a dog runs" beside itself: all cosines are 1, but there are no 4-grams.
    first = 3 / 4
    # Beside "a dog": 1-grams and 2-grams agree in part, and the lengths differ by 1.
    one = (a * a + dog * dog) / (math.hypot(a, dog, runs) * math.hypot(a, dog))
    two = a_dog * a_dog / (math.hypot(a_dog, dog_runs) * a_dog)
    second = math.exp(-1 / (2 * 6**2)) * (one + two) / 4
    expected = 10 * (first + second) / 2
    assert a_dog_runs > 0
    score = lambda outputs: metrics.cider_d(outputs, references)  # noqa: E731
    assert score(["a dog runs", "a cat", "nothing"])[0] == pytest.approx(expected)
    assert score(["x", "a cat", "nothing"])[2] == 0


def test_cider_d_clips_repeated_words():
    weight = math.log(2)
    # min(2 w, w) w / (2 w w) of 1-grams; the caption is one word longer.
    expected = 10 * math.exp(-1 / 72) * (weight * weight / (2 * weight * weight)) / 4
    assert metrics.cider_d(["dog dog", "cat"], [["dog"], ["cat"]])[0] == pytest.approx(expected)


def test_scores():
    references = [
        ["a dog runs in the park", "the dog runs"],
        ["two cats", "two cats sleep on a bed"],
    ]
    figures, definitions = metrics.scores(
        ["A dog runs in the park", "two cats sleep on a bed"], references
    )
    for n in range(1, 5):
        assert figures[f"bleu_{n}"] == pytest.approx(100)
        assert "tok:13a" in definitions[f"bleu_{n}"]
        assert "case:lc" in definitions[f"bleu_{n}"]
    assert figures["distinct"] == 100
    worse, _ = metrics.scores(["a dog"] * 2, references)
    assert worse["bleu_4"] < worse["bleu_1"] < 100
    assert worse["distinct"] == 50
    chinese, definitions = metrics.scores(["一只狗在跑"], [["一只狗在跑", "狗"]], language="zh")
    assert chinese["bleu_4"] == pytest.approx(100)
    assert "tok:zh" in definitions["bleu_4"]


def test_images_may_have_different_numbers_of_references():
    figures, _ = metrics.scores(["a b c d e", "f g h i j"], [["a b c d e"], ["x", "f g h i j"]])
    assert figures["bleu_4"] == pytest.approx(100)


def test_the_constant_caption_is_the_best_on_valid():
    train = [["a red dog runs"], ["a blue dog runs"], ["a red dog sits down"]]
    valid = [["a blue dog runs"], ["a blue dog runs fast"], ["a blue dog runs"]]
    assert baselines.constant(train, valid, "en") == "a blue dog runs"


def test_the_consensus_comes_from_similar_images():
    rng = np.random.default_rng(0)
    dogs, cats = rng.normal(size=(2, 8))
    noise = lambda: 0.1 * rng.normal(size=8)  # noqa: E731
    features = [dogs + noise() for _ in range(60)] + [cats + noise() for _ in range(60)]
    captions = [["a dog runs", f"word{i}"] for i in range(60)] + [["a cat sleeps"]] * 60
    answers = baselines.consensus(features, captions, [cats + noise(), dogs + noise()], "en")
    assert answers == ["a cat sleeps", "a dog runs"]
