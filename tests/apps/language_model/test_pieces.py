"""The pieces in which `evaluate` reads a text: none is above the limit of a request."""

import dataclasses
import itertools

import numpy as np
import pytest

from apps.language_model import evaluate
from apps.language_model.config import TINY
from shared.errors import InputError
from shared.serving.clients import SavedModelClient


@pytest.mark.parametrize("tokenizer", ["char", "word", "subword"])
def test_pieces_are_the_text_within_the_limit_of_a_request(tokenizer):
    settings = dataclasses.replace(TINY, tokenizer=tokenizer, max_request_bytes=30)
    lines = ["a b"] * 25 + [
        "",
        "the \u6f22\u5b57 cat sat on the mat and slept for a long time",
        "end",
    ]
    pieces = list(evaluate._pieces(lines, settings, max_lines=5))
    assert "".join(pieces) == "".join(f"{line}\n" for line in lines)
    assert max(len(piece.encode()) for piece in pieces) <= 30
    assert pieces[:5] == ["a b\n" * 5] * 5
    if tokenizer != "char":
        assert all(
            piece[0] == " " or before[-1] == "\n" for before, piece in itertools.pairwise(pieces)
        )


def test_a_word_above_the_limit_of_a_request_is_an_error_except_for_characters():
    word = "\u6f22" * 20
    settings = dataclasses.replace(TINY, max_request_bytes=31)
    pieces = list(evaluate._pieces([word], settings))
    assert pieces == ["\u6f22" * 10, "\u6f22" * 10 + "\n"]
    settings = dataclasses.replace(settings, tokenizer="word")
    with pytest.raises(InputError, match="a word above the limit of a request, 31 bytes"):
        list(evaluate._pieces([word], settings))


def test_scores_do_not_depend_on_the_limit(trained):
    client = SavedModelClient(trained("language_model").saved_model)
    lines = ["The value", "", "an expression statement of the class " * 4, "a name"]
    small = dataclasses.replace(TINY, max_request_bytes=50)
    log_p, tokens = evaluate._score_as_one_text(client, lines, TINY)
    log_p_small, tokens_small = evaluate._score_as_one_text(client, lines, small)
    assert tokens == tokens_small == sum(len(line) + 1 for line in lines)
    np.testing.assert_allclose(log_p_small, log_p, rtol=1e-4)
    log_p, tokens = evaluate._score_lines(client, lines, TINY)
    log_p_small, tokens_small = evaluate._score_lines(client, lines, small)
    assert list(tokens) == list(tokens_small) == [len(line) + 1 for line in lines]
    np.testing.assert_allclose(log_p_small, log_p, rtol=1e-4)
