"""The learning rate of every step."""

import math

import keras
import pytest

from shared.training.schedules import warmup_cosine


def rates(schedule, *steps):
    return [float(schedule(step)) for step in steps]


def test_the_rate_rises_then_falls_to_zero():
    schedule = warmup_cosine(0.4, 10, 110)
    assert rates(schedule, 0, 1, 5, 10) == pytest.approx([0, 0.04, 0.2, 0.4])
    cosine = [0.2 * (1 + math.cos(math.pi * part)) for part in (0.25, 0.5, 0.9)]
    assert rates(schedule, 35, 60, 100) == pytest.approx(cosine)
    assert rates(schedule, 110, 500) == pytest.approx([0, 0], abs=1e-7)


def test_no_warm_up():
    assert rates(warmup_cosine(0.4, 0, 100), 0, 50, 100) == pytest.approx([0.4, 0.2, 0], abs=1e-7)


def test_a_training_shorter_than_its_warm_up():
    assert rates(warmup_cosine(0.4, 10, 5), 0, 4) == pytest.approx([0, 0.16])
    assert rates(warmup_cosine(0.4, 5, 5), 4) == pytest.approx([0.32])


def test_it_is_what_the_optimizer_takes():
    schedule = warmup_cosine(0.4, 10, 110)
    again = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(schedule))
    assert rates(again, 5, 60) == rates(schedule, 5, 60)
    assert keras.optimizers.SGD(schedule).learning_rate == 0
