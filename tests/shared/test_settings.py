import dataclasses
import math
from typing import Literal

import pytest

from shared.errors import InputError
from shared.settings import (
    Fraction,
    NonNegative,
    NonNegativeFloat,
    Positive,
    PositiveFloat,
    Range,
    Seed,
    check_ranges,
    ranges,
)


@dataclasses.dataclass(frozen=True)
class Config:
    name: str = "x"
    cell: Literal["lstm", "gru"] = "gru"
    units: Positive = 1
    warmup_steps: NonNegative = 0
    max_examples: Positive | None = None
    columns: tuple[NonNegative, NonNegative] = (0, 1)
    learning_rate: PositiveFloat = 0.1
    weight_decay: NonNegativeFloat = 0.0
    dropout: Fraction = 0.0
    seed: Seed = 0

    def __post_init__(self):
        check_ranges(self)


def test_values_in_range_pass():
    Config()
    Config(units=2**31 - 1, max_examples=1, columns=(5, 0), dropout=0.999, seed=2**32 - 1)
    Config(learning_rate=1e-12, weight_decay=1e9)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("units", 0),
        ("units", 2**31),
        ("warmup_steps", -1),
        ("max_examples", 0),
        ("columns", (0, -1)),
        ("learning_rate", 0.0),
        ("learning_rate", math.inf),
        ("learning_rate", math.nan),
        ("weight_decay", -1e-9),
        ("dropout", 1.0),
        ("dropout", -0.1),
        ("dropout", math.nan),
        ("seed", -1),
        ("seed", 2**32),
    ],
)
def test_values_out_of_range_name_the_flag(field, value):
    number = value[1] if isinstance(value, tuple) else value
    with pytest.raises(InputError) as error:
        Config(**{field: value})
    message = str(error.value)
    assert message.startswith(f"--{field.replace('_', '-')} must be ")
    assert message.endswith(f"Received: {number}")


def test_ranges_are_found_inside_unions_and_tuples():
    found = ranges(Config)
    assert set(found) == {f.name for f in dataclasses.fields(Config)} - {"name", "cell"}
    assert found["max_examples"] == found["units"]
    assert found["columns"] == found["warmup_steps"]


def test_the_text_of_a_range():
    assert str(Range(0, 1, open_high=True)) == "at least 0 and below 1"
    assert str(Range(0, open_low=True)) == "above 0"
    assert str(Range(1, 2)) == "at least 1 and at most 2"
