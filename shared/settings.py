"""Ranges of numeric settings, declared in the types of a Config's fields and checked in one place."""

import dataclasses
import math
import typing
from typing import Annotated

from shared.errors import InputError


@dataclasses.dataclass(frozen=True)
class Range:
    """The values that a setting may have; `Annotated[int, Range(1)]` is the type of such a field.

    Args:
        low: smallest value.
        high: greatest value; None: any finite number.
        open_low: `low` itself is not allowed.
        open_high: `high` itself is not allowed.
    """

    low: float
    high: float | None = None
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, value):
        """Whether a number is in the range; NaN and infinity never are."""
        above = value > self.low if self.open_low else value >= self.low
        if self.high is None:
            return math.isfinite(value) and above
        return above and (value < self.high if self.open_high else value <= self.high)

    def __str__(self):
        low = f"above {self.low}" if self.open_low else f"at least {self.low}"
        if self.high is None:
            return low
        return f"{low} and {'below' if self.open_high else 'at most'} {self.high}"


INT32_MAX = 2**31 - 1  # numbers of this size are int32 tensors in the graph
Positive = Annotated[int, Range(1, INT32_MAX)]
NonNegative = Annotated[int, Range(0, INT32_MAX)]
Seed = Annotated[int, Range(0, 2**32 - 1)]  # what NumPy accepts
PositiveFloat = Annotated[float, Range(0, open_low=True)]
NonNegativeFloat = Annotated[float, Range(0)]
Fraction = Annotated[float, Range(0, 1, open_high=True)]


def check_ranges(config):
    """Checks every field of a dataclass whose type has a `Range`; call it in `__post_init__`.

    The Range may be inside a union or a tuple: `Positive | None`, `tuple[NonNegative, ...]`.

    Args:
        config: an instance of the dataclass.

    Raises:
        InputError: a value is out of its range; the message names the flag of the field.

    Example:

    >>> @dataclasses.dataclass
    ... class Config:
    ...     units: Positive = 0
    >>> check_ranges(Config())
    Traceback (most recent call last):
    shared.errors.InputError: --units must be at least 1 and at most 2147483647. Received: 0
    """
    for name, range_ in ranges(type(config)).items():
        value = getattr(config, name)
        for number in value if isinstance(value, tuple) else (value,):
            if number is not None and number not in range_:
                flag = f"--{name.replace('_', '-')}"
                raise InputError(f"{flag} must be {range_}. Received: {number}")


def ranges(config_class):
    """Returns the `Range` of each field that has one, {name: Range}."""
    hints = typing.get_type_hints(config_class, include_extras=True)
    found = {field.name: _range(hints[field.name]) for field in dataclasses.fields(config_class)}
    return {name: range_ for name, range_ in found.items() if range_ is not None}


def _range(hint):
    """Returns the Range inside a type hint, or None."""
    for part in getattr(hint, "__metadata__", ()):
        if isinstance(part, Range):
            return part
    parts = (_range(argument) for argument in typing.get_args(hint))
    return next((part for part in parts if part is not None), None)
