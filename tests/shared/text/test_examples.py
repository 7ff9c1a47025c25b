"""The examples in the docstrings."""

import doctest

import pytest

from shared.text import cleaning, ngram, vocabulary


@pytest.mark.parametrize("module", [cleaning, ngram, vocabulary], ids=lambda m: m.__name__)
def test_examples(module):
    failures, examples = doctest.testmod(module)
    assert examples
    assert not failures
