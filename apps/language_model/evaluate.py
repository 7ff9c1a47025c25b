"""Perplexity of an exported language model on the test text, beside a Kneser-Ney n-gram.

python -m apps.language_model.evaluate saved_models/language_model_ptb --data-dir DIR
"""

import pathlib
from typing import Annotated

import numpy as np
import tyro
from tqdm import tqdm

from shared import results
from shared.errors import InputError, reported
from shared.files import write_jsonl
from shared.serving import export
from shared.serving.clients import SavedModelClient
from shared.text.ngram import KneserNey
from shared.text.vocabulary import END, Vocabulary

from . import data
from .config import Config

COLUMNS = ("input", "log_probability", "tokens")  # of the predictions
METRIC = {
    "word": "perplexity per word, ends of line counted, the state carried over the whole text",
    "char": "bits per character, ends of line counted, the state carried over the whole text",
}
METRIC["subword"] = METRIC["word"]


def evaluate(folder, config, predictions=None):
    """Scores the test text through the SavedModel in `folder`.

    Args:
        folder: a version folder, or the folder that holds versions.
        config: says where the text is.
        predictions: a .jsonl file to write, an object for each line of the text: `COLUMNS`, the line on
            its own. None writes none.

    Returns:
        a dict: `metric` in words, its `value`, the `baseline`'s name and `baseline_value`; and more.
    """
    client = SavedModelClient(folder)
    lines = data.examples(config, "test")
    carried, tokens = _carried(client, lines)
    alone = _alone(client, lines)
    if predictions:
        rows = zip(lines, alone["log_probability"].tolist(), alone["tokens"].tolist(), strict=True)
        write_jsonl(predictions, (dict(zip(COLUMNS, row, strict=True)) for row in rows))
    vocabulary = Vocabulary(pathlib.Path(client.path, "assets", "vocabulary.txt"), config.tokenizer)
    ngram = _ngram(vocabulary, config)
    characters = sum(len(line) + 1 for line in lines)
    # However words are cut, a perplexity is one of words.
    words = sum(len(line.encode().split()) + 1 for line in lines)
    per = words if config.tokenizer == "subword" else tokens
    scores = {
        "perplexity": np.exp(-carried / per),
        "perplexity_each_line_alone": np.exp(-alone["log_probability"].sum(dtype=float) / per),
        "bits_per_character": -carried / np.log(2) / characters,
        "baseline_perplexity": np.exp(-ngram["log_probability"] / per),
        "baseline_bits_per_character": -ngram["log_probability"] / np.log(2) / characters,
    }
    scores = {name: round(float(value), 3) for name, value in scores.items()}
    headline = "bits_per_character" if config.tokenizer == "char" else "perplexity"
    return {
        "metric": METRIC[config.tokenizer],
        "value": scores[headline],
        "baseline": ngram["name"],
        "baseline_value": scores[f"baseline_{headline}"],
        **scores,
        "tokens": tokens,
        "characters": characters,
    }


def _carried(client, lines, at_once=20):
    """Log-probability of the lines as one stream, and the number of tokens; by `start` and `step`."""
    pieces = [
        "".join(f"{x}\n" for x in lines[i : i + at_once]) for i in range(0, len(lines), at_once)
    ]
    answer = client.predict("start", [""])
    total = tokens = 0
    for piece in tqdm(pieces, desc="test, state carried", mininterval=1):
        answer = client.predict("step", [piece], state=answer["state"])
        total += float(answer["log_probability"][0])
        tokens += int(answer["tokens"][0])
    return total, tokens


def _alone(client, lines, batch_size=32):
    """`log_probability` and `tokens` of each line from a fresh start, arrays (lines,); by `score`."""
    order = sorted(range(len(lines)), key=lambda i: len(lines[i]))  # less padding
    answers = [
        client.predict("score", [lines[i] for i in order[begin : begin + batch_size]])
        for begin in tqdm(
            range(0, len(lines), batch_size), desc="test, each line alone", mininterval=1
        )
    ]
    back = np.argsort(order)
    return {name: np.concatenate([a[name] for a in answers])[back] for name in COLUMNS[1:]}


def with_cache(folder, config, size):
    """Perplexity of the test text with a neural cache beside the model, carried over the whole text.

        p(w) = (1 - l) p_model(w) + l sum_i [w = w_i] exp(t h.h_i) / sum_i exp(t h.h_i)

    i: the last `size` tokens; h: the top layer's output before a token. l and t are those that are
    best on the validation text. Grave et al. 2017, "Improving neural language models with a
    continuous cache".

    Returns:
        a dict of `perplexity_with_cache` and what it was made with.
    """
    client = SavedModelClient(folder)
    vocabulary = Vocabulary(pathlib.Path(client.path, "assets", "vocabulary.txt"), config.tokenizer)
    lines = {split: data.examples(config, split) for split in ("valid", "test")}
    answers = _one_by_one(client, lines, config)
    texts = {s: (data.encode(vocabulary, lines[s]), *answers[s]) for s in lines}
    best = (np.inf,)
    for theta in (0.1, 0.2, 0.3, 0.5, 0.7, 1.0):
        cached = _cached(*texts["valid"][:2], size, theta)
        for weight in (0.02, 0.05, 0.08, 0.12, 0.16, 0.2, 0.3):
            best = min(best, (_mixed(texts["valid"][2], cached, weight), theta, weight))
    _, theta, weight = best
    perplexity = _mixed(texts["test"][2], _cached(*texts["test"][:2], size, theta), weight)
    return {
        "perplexity_with_cache": round(perplexity, 3),
        "cache": {"tokens": size, "theta": theta, "weight": weight},
    }


def _one_by_one(client, texts, config):
    """Reads texts, {split: lines}, side by side, a row each and a token at a time.

    Returns:
        {split: (h before each token, (tokens, units); the log-probability of each, (tokens,))}.
    """
    cut = (lambda line: line.encode().split()) if config.tokenizer == "word" else list
    tokens = [[token for line in lines for token in [*cut(line), "\n"]] for lines in texts.values()]
    answers = [(np.zeros((len(t), config.units), np.float32), np.zeros(len(t))) for t in tokens]
    answer = client.predict("start", [""] * len(texts))
    top = answer["state"].shape[1] // config.num_layers * (config.num_layers - 1)
    for i in tqdm(range(max(map(len, tokens))), desc="token by token", mininterval=1):
        h = answer["state"][:, top : top + config.units]
        now = [t[i] if i < len(t) else "\n" for t in tokens]  # a text that is over waits
        answer = client.predict("step", now, state=answer["state"])
        for row, (hs, log_p) in enumerate(answers):
            if i < len(log_p):
                hs[i], log_p[i] = h[row], answer["log_probability"][row]
    return dict(zip(texts, answers, strict=True))


def _cached(ids, h, size, theta, block=500):
    """The cache's probability of each token, (tokens,)."""
    p = np.zeros(len(ids))
    for begin in range(0, len(ids), block):
        now, seen = np.arange(begin, min(begin + block, len(ids))), max(0, begin - size)
        past = np.arange(seen, now[-1] + 1)
        near = (past < now[:, None]) & (past >= now[:, None] - size)
        score = np.where(near, theta * h[now] @ h[past].T, -np.inf)
        score = np.exp(score - score.max(1, keepdims=True, initial=-1e9))
        same = ids[past] == ids[now][:, None]
        p[now] = (score * same).sum(1) / np.maximum(score.sum(1), 1e-30)
    return p


def _mixed(log_p, cached, weight):
    """The perplexity of both together."""
    return float(np.exp(-np.log((1 - weight) * np.exp(log_p) + weight * cached).mean()))


def _ngram(vocabulary, config):
    """The baseline: interpolated modified Kneser-Ney, of the order that is best on the valid text.

    Words and subwords: sentence by sentence, as the literature has it. Characters: over the ends of
    lines, as the model reads them.
    """
    ids = {split: data.encode(vocabulary, data.examples(config, split)) for split in data.SPLITS}
    end = None if config.tokenizer == "char" else END
    best = (-np.inf,)
    for order in range(2, 13 if config.tokenizer == "char" else 7):
        model = KneserNey.fit(ids["train"], order, vocabulary.size, end)
        valid = model.log_prob(ids["valid"]).sum()
        if valid <= best[0]:
            break
        best = valid, order, float(model.log_prob(ids["test"]).sum())
    return {"name": f"modified Kneser-Ney {best[1]}-gram", "log_probability": best[2]}


@reported
def main(argv=None):
    """Prints the figures of a SavedModel, and records them if asked."""

    def command(
        folder: Annotated[pathlib.Path, tyro.conf.Positional],
        data_dir: str = "",
        record: bool = False,
        cache: int = 0,
    ):
        """Evaluate an exported model on the test text.

        Args:
            folder: saved_models/<name>, or a version in it
            data_dir: folder with the data, where the model was trained from files
            record: write the result to results/<preset>.json of this app
            cache: give the perplexity with a neural cache of so many tokens too
        """
        card = export.card_of(folder, __package__)
        config = Config(**{**card["config"], "data_dir": data_dir})
        if cache and config.tokenizer == "subword":
            raise InputError("--cache is for models of words or characters")
        results.check_data(card["data"], data.digests(config))
        test = evaluate(folder, config)
        if cache:
            test |= with_cache(folder, config, cache)
        for name, value in test.items():
            print(f"{name:28} {value}")
        if record:
            print(results.record(pathlib.Path(__file__).parent / "results", card, test))

    tyro.cli(command, prog=f"python -m {__package__}.evaluate", args=argv)


if __name__ == "__main__":
    main()
