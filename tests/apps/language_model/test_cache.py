"""The neural cache against its formula written out, token by token."""

import numpy as np
import pytest

from apps.language_model import evaluate
from shared.text.vocabulary import Vocabulary
from shared.training import runs


def test_the_cache_is_its_formula():
    rng = np.random.default_rng(0)
    ids, h, size, theta = rng.integers(0, 4, 40), rng.normal(size=(40, 3)), 7, 0.6
    expected = np.zeros(40)
    for t in range(1, 40):
        past = range(max(0, t - size), t)
        weights = np.exp([theta * h[t] @ h[i] for i in past])
        expected[t] = weights[[ids[i] == ids[t] for i in past]].sum() / weights.sum()
    for block in 5, 500:
        np.testing.assert_allclose(
            evaluate._cached(ids, h, size, theta, block), expected, atol=1e-12
        )


def test_tokens_one_by_one_are_the_text_at_once(trained):
    """Their log-probabilities, and h before each of them, the top layer's output."""
    tiny = trained("language_model")
    client = evaluate.Folder(tiny.saved_model)
    model = runs.load(tiny.run).best_model()
    embedding, stack = model.get_layer("embedding"), model.get_layer("stack")
    texts = {"valid": ["the statement", "", "a class"], "test": ["a name"]}
    answers = evaluate._one_by_one(client, texts, tiny.config.TINY)
    for split, lines in texts.items():
        h, log_p = answers[split]
        total, tokens = evaluate._carried(client, lines)
        assert len(h) == len(log_p) == tokens
        np.testing.assert_allclose(log_p.sum(), total, rtol=1e-4)
        vocabulary = Vocabulary(tiny.run / "vocabulary.txt", "char")
        ids = evaluate.data.encode(vocabulary, ["", *lines])[
            :-1
        ]  # as the text begins: after an end
        y, _ = stack(embedding(ids[np.newaxis]))
        np.testing.assert_allclose(h, y[0], rtol=1e-3, atol=1e-5)
        assert np.isclose(evaluate._mixed(log_p, np.zeros(tokens), 0.0), np.exp(-total / tokens))


def test_the_cache_of_a_whole_text(trained, monkeypatch, capsys):
    """By the command: what is best on the validation text, applied to the test text."""
    tiny = trained("language_model")
    lines = {"train": ["a class is a class"] * 9, "valid": ["a class"] * 4, "test": ["a name"] * 4}
    monkeypatch.setattr(evaluate.data, "examples", lambda config, split: lines[split])
    found = evaluate.with_cache(tiny.saved_model, tiny.config.TINY, 20)
    assert found["cache"]["tokens"] == 20
    total, tokens = evaluate._carried(evaluate.Folder(tiny.saved_model), lines["test"])
    assert found["perplexity_with_cache"] < np.exp(-total / tokens)  # the same words again
    with pytest.raises(SystemExit):  # the digests are those of another text
        evaluate.main([str(tiny.saved_model), "--cache", "20"])
    assert "not the data of the model" in capsys.readouterr().err
