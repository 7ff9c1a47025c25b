"""The neural cache against its formula written out, token by token."""

import numpy as np

from apps.language_model import evaluate


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
            evaluate._cached(ids, h, np.zeros(40), size, theta, block), expected, atol=1e-12
        )


def test_tokens_one_by_one_are_the_text_at_once(trained):
    tiny = trained("language_model")
    client = evaluate.Folder(tiny.saved_model)
    texts = {"valid": ["the statement", "", "a class"], "test": ["a name"]}
    answers = evaluate._one_by_one(client, texts, tiny.config.TINY)
    for split, lines in texts.items():
        h, log_p = answers[split]
        total, tokens = evaluate._carried(client, lines)
        assert len(h) == len(log_p) == tokens
        np.testing.assert_allclose(log_p.sum(), total, rtol=1e-4)
        assert np.isclose(evaluate._mixed(log_p, np.zeros(tokens), 0.0), np.exp(-total / tokens))
