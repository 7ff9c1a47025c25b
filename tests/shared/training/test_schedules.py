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


@pytest.mark.parametrize("warmup_steps", [31, 100, 1000])
def test_a_warm_up_that_is_too_long(warmup_steps, capsys):
    schedule = warmup_cosine(0.4, warmup_steps, 100)
    assert rates(schedule, 0, 15, 30, 65, 100) == pytest.approx([0, 0.2, 0.4, 0.2, 0], abs=1e-7)
    assert capsys.readouterr().err == (
        f"--warmup-steps {warmup_steps:,} is too long for a training of 100 steps: 30 are used\n"
    )


def test_a_warm_up_that_is_not_too_long(capsys):
    assert rates(warmup_cosine(0.4, 30, 100), 15, 30) == pytest.approx([0.2, 0.4])
    assert capsys.readouterr().err == ""


def test_one_step_is_no_warm_up():
    assert rates(warmup_cosine(0.4, 100, 1), 0) == pytest.approx([0.4])


def test_it_is_what_the_optimizer_takes():
    schedule = warmup_cosine(0.4, 10, 110)
    again = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(schedule))
    assert rates(again, 5, 60) == rates(schedule, 5, 60)
    assert keras.optimizers.SGD(schedule).learning_rate == 0
