"""A neural cache on top of an exported language model (Grave et al. 2017).

    p(w) = (1 - l) p_model(w) + l sum_i [w = w_i] exp(t h.h_i) / sum_i exp(t h.h_i)

i: the last tokens; h: output of the top layer before a token; t: `theta`; l: `weight`. "Improving neural
language models with a continuous cache", ICLR 2017.
"""

import pathlib

import numpy as np
from tqdm import tqdm

from shared.serving.clients import SavedModelClient
from shared.text.vocabulary import Vocabulary

from . import data

THETAS = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
WEIGHTS = (0.02, 0.05, 0.08, 0.12, 0.16, 0.2, 0.3)


def evaluate(folder, config, splits, size):
    """Computes the perplexity of the test text with a cache that is carried over the whole text.

    `theta` and `weight` are those with the best perplexity on the validation text.

    Args:
        folder: folder of the SavedModel.
        config: Config of a model of words or characters.
        splits: {name: `Split`}.
        size: number of tokens in the cache.

    Returns:
        a dict: `perplexity_with_cache`, and `cache` with the settings of the cache.
    """
    client = SavedModelClient(folder)
    path = pathlib.Path(client.path, "assets", "vocabulary.txt")
    vocabulary = Vocabulary(path, config.tokenizer)
    lines = {name: splits[name] for name in ("valid", "test")}
    states = _hidden_states(client, lines, config)
    ids = {name: data.encode(vocabulary, lines[name]) for name in lines}
    best = (np.inf,)
    for theta in THETAS:
        cache_p = _cache_probabilities(ids["valid"], states["valid"][0], size, theta)
        for weight in WEIGHTS:
            best = min(best, (_perplexity(states["valid"][1], cache_p, weight), theta, weight))
    _, theta, weight = best
    cache_p = _cache_probabilities(ids["test"], states["test"][0], size, theta)
    return {
        "perplexity_with_cache": round(_perplexity(states["test"][1], cache_p, weight), 3),
        "cache": {"tokens": size, "theta": theta, "weight": weight},
    }


def _hidden_states(client, texts, config):
    """Reads texts token by token, each text in a row of the batch.

    Args:
        texts: {name: lines}.

    Returns:
        {name: (h before each token, float32 (tokens, units); log-probability of each, (tokens,))}.
    """
    tokenize = (lambda line: line.encode().split()) if config.tokenizer == "word" else list
    tokens = [[t for line in lines for t in [*tokenize(line), "\n"]] for lines in texts.values()]
    results = [(np.zeros((len(t), config.units), np.float32), np.zeros(len(t))) for t in tokens]
    answer = client.predict("start", [""] * len(texts))
    top = answer["state"].shape[1] // config.num_layers * (config.num_layers - 1)
    for i in tqdm(range(max(map(len, tokens))), desc="token by token", mininterval=1):
        h = answer["state"][:, top : top + config.units]
        batch = [t[i] if i < len(t) else "\n" for t in tokens]  # a shorter text waits
        answer = client.predict("step", batch, state=answer["state"])
        for row, (states, log_p) in enumerate(results):
            if i < len(log_p):
                states[i], log_p[i] = h[row], answer["log_probability"][row]
    return dict(zip(texts, results, strict=True))


def _cache_probabilities(ids, h, size, theta, block=500):
    """Returns the probability that the cache gives to each token, (tokens,)."""
    p = np.zeros(len(ids))
    for begin in range(0, len(ids), block):
        current = np.arange(begin, min(begin + block, len(ids)))
        past = np.arange(max(0, begin - size), current[-1] + 1)
        in_cache = (past < current[:, None]) & (past >= current[:, None] - size)
        score = np.where(in_cache, theta * h[current] @ h[past].T, -np.inf)
        score = np.exp(score - score.max(1, keepdims=True, initial=-1e9))
        same = ids[past] == ids[current][:, None]
        p[current] = (score * same).sum(1) / np.maximum(score.sum(1), 1e-30)
    return p


def _perplexity(log_p, cache_p, weight):
    """Returns the perplexity of the model and the cache together."""
    return float(np.exp(-np.log((1 - weight) * np.exp(log_p) + weight * cache_p).mean()))
