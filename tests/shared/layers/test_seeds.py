"""Seeds derived from one seed."""

import itertools

import pytest

from shared.layers.seeds import derive_seeds


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"seed": 5}, [5, 6, 7]),
        ({"seed": 5, "step": 100}, [5, 105, 205]),
        ({"seed": 0, "start": 1000}, [1000, 1001, 1002]),
        ({"seed": 2, "step": 10, "start": 1}, [3, 13, 23]),
        ({"seed": None, "step": 10, "start": 1}, [None, None, None]),
    ],
)
def test_derive_seeds(arguments, expected):
    assert list(itertools.islice(derive_seeds(**arguments), 3)) == expected
