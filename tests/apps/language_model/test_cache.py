"""The neural cache against its formula, token by token."""

import numpy as np
import pytest

from apps.language_model import cache, data, evaluate
from shared.data.splits import TextSplit
from shared.serving.clients import SavedModelClient
from shared.text.vocabulary import Vocabulary
from shared.training import runs


def test_cache_probabilities_follow_the_formula():
    rng = np.random.default_rng(0)
    ids, h, size, theta = rng.integers(0, 4, 40), rng.normal(size=(40, 3)), 7, 0.6
    expected = np.zeros(40)
    for t in range(1, 40):
        past = range(max(0, t - size), t)
        weights = np.exp([theta * h[t] @ h[i] for i in past])
        expected[t] = weights[[ids[i] == ids[t] for i in past]].sum() / weights.sum()
    for block in 5, 500:
        np.testing.assert_allclose(
            cache._cache_probabilities(ids, h, size, theta, block), expected, atol=1e-12
        )


def test_token_by_token_equals_the_whole_text(trained):
    """Log-probabilities, and h of the top layer before each token."""
    tiny = trained("language_model")
    client = SavedModelClient(tiny.saved_model)
    model = runs.load(tiny.run).best_model()
    embedding, stack = model.get_layer("embedding"), model.get_layer("stack")
    texts = {"valid": ["the statement", "", "a class"], "test": ["a name"]}
    answers = cache._hidden_states(client, texts, tiny.config.TINY)
    for split, lines in texts.items():
        h, log_p = answers[split]
        total, tokens = evaluate._score_as_one_text(client, lines, tiny.config.TINY)
        assert len(h) == len(log_p) == tokens
        np.testing.assert_allclose(log_p.sum(), total, rtol=1e-4)
        vocabulary = Vocabulary(tiny.run / "assets" / "vocabulary.txt", "char")
        ids = data.encode(vocabulary, ["", *lines])[:-1]  # a text starts after a line end
        y, _ = stack(embedding(ids[np.newaxis]))
        np.testing.assert_allclose(h, y[0], rtol=1e-3, atol=1e-5)
        assert np.isclose(cache._perplexity(log_p, np.zeros(tokens), 0.0), np.exp(-total / tokens))


def test_the_cache_of_a_whole_text(trained, monkeypatch, capsys):
    """The settings that are best on the validation text are applied to the test text."""
    tiny = trained("language_model")
    lines = {"train": ["a class is a class"] * 9, "valid": ["a class"] * 4, "test": ["a name"] * 4}
    splits = {name: TextSplit(name, text) for name, text in lines.items()}
    result = cache.evaluate(tiny.saved_model, tiny.config.TINY, splits, 20)
    assert result["cache"]["tokens"] == 20
    client = SavedModelClient(tiny.saved_model)
    total, tokens = evaluate._score_as_one_text(client, lines["test"], tiny.config.TINY)
    assert result["perplexity_with_cache"] < np.exp(-total / tokens)  # the words are repeated
    monkeypatch.setattr(evaluate.data, "splits", lambda config: splits)
    with pytest.raises(SystemExit):  # the digests differ
        evaluate.main([str(tiny.saved_model), "--cache", "20"])
    assert "the data differ from those of the model" in capsys.readouterr().err
