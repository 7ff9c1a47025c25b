"""Evaluates an exported language model on the test text, beside a Kneser-Ney n-gram.

python -m apps.language_model.evaluate saved_models/language_model_ptb --data-dir DIR
"""

import dataclasses
import pathlib

import numpy as np
from tqdm import tqdm

from shared import evaluation
from shared.errors import InputError, reported
from shared.files import write_jsonl
from shared.serving.clients import SavedModelClient
from shared.settings import NonNegative
from shared.text.ngram import KneserNey
from shared.text.vocabulary import END, Vocabulary

from . import cache, data
from .config import Config

METRIC = {
    "word": "perplexity per word, line ends counted, state carried over the whole text",
    "char": "bits per character, line ends counted, state carried over the whole text",
}
METRIC["subword"] = METRIC["word"]
ORDERS = {"word": range(2, 7), "char": range(2, 13), "subword": range(2, 7)}  # of the baseline


def evaluate(folder, config, splits, predictions=None):
    """Scores the test text with the SavedModel in `folder`.

    Args:
        folder: a version folder, or the folder that holds versions.
        config: Config of the model.
        splits: {name: `Split`}.
        predictions: a .jsonl file to write, with an object for each line of the text: `input`,
            `log_probability` and `tokens` of the line by itself. None writes no file.

    Returns:
        a dict: `metric` (its definition), `value`, `baseline` (its name), `baseline_value`, and more.
    """
    client, lines = SavedModelClient(folder), splits["test"]
    log_p, tokens = _score_as_one_text(client, lines, config)
    log_p_of_line, tokens_of_line = _score_lines(client, lines, config)
    if predictions:
        rows = zip(lines, map(float, log_p_of_line), map(int, tokens_of_line), strict=True)
        columns = ("input", "log_probability", "tokens")
        write_jsonl(predictions, (dict(zip(columns, row, strict=True)) for row in rows))
    vocabulary = Vocabulary(pathlib.Path(client.path, "assets", "vocabulary.txt"), config.tokenizer)
    baseline, baseline_log_p = _ngram(vocabulary, config, splits)
    characters = sum(len(line) + 1 for line in lines)
    # A perplexity of subwords is given per word, so that it can be compared.
    words = sum(len(line.encode().split()) + 1 for line in lines)
    count = words if config.tokenizer == "subword" else tokens
    scores = {
        "perplexity": np.exp(-log_p / count),
        "perplexity_line_by_line": np.exp(-np.sum(log_p_of_line, dtype=float) / count),
        "bits_per_character": -log_p / np.log(2) / characters,
        "baseline_perplexity": np.exp(-baseline_log_p / count),
        "baseline_bits_per_character": -baseline_log_p / np.log(2) / characters,
    }
    scores = {name: round(float(value), 3) for name, value in scores.items()}
    headline = "bits_per_character" if config.tokenizer == "char" else "perplexity"
    return {
        "metric": METRIC[config.tokenizer],
        "value": scores[headline],
        "baseline": baseline,
        "baseline_value": scores[f"baseline_{headline}"],
        **scores,
        "tokens": tokens,
        "characters": characters,
    }


def _score_lines(client, lines, config):
    """Returns log-probability and number of tokens of each line by itself, two lists."""
    is_long = [len(line.encode()) > config.max_request_bytes for line in lines]
    short = ["" if long else line for line, long in zip(lines, is_long, strict=True)]
    answers = client.predict_all("score", short, description="test, line by line")
    log_p, tokens = answers["log_probability"], answers["tokens"]
    for i in np.flatnonzero(is_long):  # a request with the whole line would be refused
        log_p[i], tokens[i] = _score_as_one_text(client, [lines[i]], config, progress=False)
    return log_p, tokens


def _score_as_one_text(client, lines, config, progress=True):
    """Returns log-probability and number of tokens of the lines as one text, by `start` and `step`."""
    pieces = list(_pieces(lines, config))
    answer = client.predict("start", [""])
    log_p = tokens = 0
    for piece in tqdm(pieces, desc="test, state carried", mininterval=1, disable=not progress):
        answer = client.predict("step", [piece], state=answer["state"])
        log_p += float(answer["log_probability"][0])
        tokens += int(answer["tokens"][0])
    return log_p, tokens


def _pieces(lines, config, max_lines=20):
    """Yields the lines, ends included, in pieces of at most `max_lines` lines and `max_request_bytes`.

    Only a line above that size is cut; words and subwords before a space, characters anywhere.

    Raises:
        InputError: a word is above the limit.
    """
    limit = config.max_request_bytes
    piece, count = b"", 0
    for line in lines:
        data = f"{line}\n".encode()
        if count == max_lines or (piece and len(piece) + len(data) > limit):
            yield piece.decode()
            piece, count = b"", 0
        while len(data) > limit:
            end = limit
            if config.tokenizer == "char":
                while data[end] & 0xC0 == 0x80:  # inside a character
                    end -= 1
            else:
                end = data.rfind(b" ", 1, limit + 1)
            if end < 1:
                raise InputError(
                    f"the test text has a word above the limit of a request, {limit} bytes: "
                    f"{data[:40].decode(errors='ignore')}...; use a larger --max-request-bytes in training"
                )
            yield data[:end].decode()
            data = data[end:]
        piece, count = piece + data, count + 1
    if piece:
        yield piece.decode()


def _ngram(vocabulary, config, splits):
    """Scores the test text with an interpolated modified Kneser-Ney n-gram, the baseline.

    The order is the one of `ORDERS` that is best on the validation text. For words and subwords, each line is
    scored by itself, as in the literature; for characters, line ends are part of the context, as for the
    model.

    Returns:
        the name of the baseline, and the log-probability of the test text.
    """
    ids = {name: data.encode(vocabulary, split) for name, split in splits.items()}
    end_id = None if config.tokenizer == "char" else END
    best = (-np.inf,)
    for order in ORDERS[config.tokenizer]:
        model = KneserNey.fit(ids["train"], order, vocabulary.size, end_id)
        valid = model.log_prob(ids["valid"]).sum()
        if valid > best[0]:
            best = valid, order, float(model.log_prob(ids["test"]).sum())
    return f"modified Kneser-Ney {best[1]}-gram", best[2]


@dataclasses.dataclass(frozen=True)
class Options(evaluation.Options):
    """Evaluate an exported model on the test text."""

    cache: NonNegative = (
        0  # also give the perplexity with a neural cache of this many tokens; 0: none
    )


@reported
def main(argv=None):
    """Prints the test result of a SavedModel; with --record, writes it to results/."""
    options, config, splits = evaluation.start(__package__, Config, data.splits, argv, Options)
    if options.cache and config.tokenizer == "subword":
        raise InputError("--cache needs a model with --tokenizer word or char")
    test = evaluate(options.folder, config, splits)
    if options.cache:
        test |= cache.evaluate(options.folder, config, splits, options.cache)
    evaluation.finish(__package__, options, test)


if __name__ == "__main__":
    main()
