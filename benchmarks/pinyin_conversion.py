"""Measures the speed of pinyin models: of sentences, alone and in batches, and of single syllables; and
what a long row costs the others of its batch.

    python -m benchmarks.pinyin_conversion                    # the exported preset `default`
    python -m benchmarks.pinyin_conversion --data-dir DIR --model FOLDER ...

The sentences are spread evenly over the test sentences, and are measured with and without spaces between
syllables. Single syllables are measured if the model has the signature `step`. The table is in README.md.
"""

import dataclasses
import pathlib
import statistics
import time

import numpy as np

from apps.pinyin_conversion import data, evaluate
from apps.pinyin_conversion.config import Config
from shared import results
from shared.cli import config_from
from shared.serving.clients import SavedModelClient
from shared.serving.export import card_of
from shared.training.provenance import hardware, versions

from . import _timing

ROUNDS, SENTENCES, BATCH_SIZE, TYPED_SENTENCES = 5, 512, 64, 64
SHORT_ROWS, REFUSED_CHARACTERS = 31, 100_000


def single_requests(client, inputs):
    """Times each sentence in a request of its own; returns {form of the input: milliseconds}."""
    times = {name: [] for name in inputs}
    for row in zip(*inputs.values(), strict=True):
        for name, text in zip(inputs, row, strict=True):
            start = time.perf_counter()
            client.predict("serving_default", [text])
            times[name].append(1e3 * (time.perf_counter() - start))
    return times


def batches(client, inputs, rounds):
    """Measures requests of `BATCH_SIZE` sentences; returns {form of the input: sentences per second}."""

    def convert(texts):
        for begin in range(0, len(texts), BATCH_SIZE):
            client.predict("serving_default", texts[begin : begin + BATCH_SIZE])

    calls = {name: lambda texts=texts: convert(texts) for name, texts in inputs.items()}
    times = _timing.medians(calls, rounds)
    return {name: 1e3 * len(texts) / times[name] for name, texts in inputs.items()}


def typed_syllables(client, texts):
    """Times each syllable after the first, one request per syllable; returns milliseconds."""
    times = []
    for first, *others in map(str.split, texts):
        state = client.predict("start", [first])["state"]
        for syllable in others:
            start = time.perf_counter()
            state = client.predict("step", [syllable], state=state, chosen="")["state"]
            times.append(1e3 * (time.perf_counter() - start))
    return times


def long_rows(client, texts, limit, rounds):
    """Times `SHORT_ROWS` sentences alone, and beside one row that is long or refused.

    Args:
        client: a `SavedModelClient`.
        texts: sentences without spaces.
        limit: `max_request_bytes` of the model.
        rounds: number of rounds, whose median is taken.

    Returns:
        {name of the request: milliseconds}.
    """
    short = (texts * SHORT_ROWS)[:SHORT_ROWS]
    letters = "".join(texts)
    letters *= 1 + REFUSED_CHARACTERS // len(letters)
    requests = {
        "short rows": short,
        "and a refused row": [*short, letters[:REFUSED_CHARACTERS]],
        "the longest row": [letters[:limit]],
        "short rows and the longest": [*short, letters[:limit]],
    }
    calls = {
        name: lambda rows=rows: client.predict("serving_default", rows)
        for name, rows in requests.items()
    }
    return _timing.medians(calls, rounds)


def measure(options):
    """Returns the result of each model in `--model`."""
    return {
        "hardware": hardware(),
        "versions": versions(),
        "models": [measure_one(folder, options) for folder in options.model],
    }


def measure_one(folder, options):
    """Returns the result of the model in `folder`."""
    card = card_of(folder, evaluate.__package__)
    config = config_from(Config, card["config"], folder)
    config = dataclasses.replace(config, data_dir=tuple(options.data_dir))
    rounds, count = (1, 4) if options.dry_run else (ROUNDS, SENTENCES)
    _, separated, _ = evaluate.test_sentences(config, data.splits(config))
    separated = separated[:: max(1, len(separated) // count)][:count]
    unseparated = [text.replace(" ", "") for text in separated]
    inputs = {"with spaces": separated, "without spaces": unseparated}
    client = SavedModelClient(folder)
    rates = batches(client, inputs, rounds)
    times = single_requests(client, inputs)
    if "step" in client.signatures:
        typed = separated[:: max(1, count // TYPED_SENTENCES)]
        times["one syllable, typed"] = typed_syllables(client, typed)
    return {
        "preset": card["preset"],
        "parameters": card["parameters"],
        "sentences": count,
        "syllables": statistics.mean(len(text.split()) for text in separated),
        "beam_width": config.beam_width,
        "milliseconds": {name: np.percentile(t, [50, 90]).tolist() for name, t in times.items()},
        "sentences_per_second": rates,
        "long_rows": long_rows(client, unseparated, config.max_request_bytes, rounds),
    }


def main(argv=None):
    parser = _timing.parser("benchmarks.pinyin_conversion")
    model = pathlib.Path("saved_models/pinyin_conversion")
    parser.add_argument("--model", type=pathlib.Path, nargs="+", default=[model])
    parser.add_argument(
        "--data-dir", nargs="+", default=[], help="folders with the data of the models"
    )
    options = parser.parse_args(argv)
    missing = [folder for folder in options.model if not folder.is_dir()]
    if missing and not options.tables:
        print(f"skipped: no {missing[0]}; train and export it first, or name another --model")
        return
    measured = None if options.tables else measure(options)
    _timing.publish("pinyin_conversion", tables, measured, options)


def tables(measured):
    """Returns {place in README.md: table}."""
    names = [
        "model", "beam width", "pinyin", "median, ms", "90th percentile, ms",
        f"sentences per second, {BATCH_SIZE} per request",
    ]  # fmt: skip
    rows = []
    for model in measured["models"]:
        title = f"`{model['preset']}`, {model['parameters'] / 1e6:.2f} M"
        rates = {name: f"{rate:,.0f}" for name, rate in model["sentences_per_second"].items()}
        for name, times in model["milliseconds"].items():
            ms = [f"{t:.1f}" for t in times]
            rows.append((title, model["beam_width"], name, *ms, rates.get(name, "")))
    first = measured["models"][0]
    note = f"\n{first['sentences']} test sentences with {first['syllables']:.1f} syllables on average.\n"
    return {"pinyin_conversion": results.table(names, rows) + note + _long_rows_table(measured)}


def _long_rows_table(measured):
    """Returns the table of `long_rows`; "" for results that were recorded without it."""
    models = [model for model in measured["models"] if "long_rows" in model]
    if not models:
        return ""
    names = [*models[0]["long_rows"]]
    rows = [
        (f"`{model['preset']}`", *(f"{model['long_rows'][name]:.0f}" for name in names))
        for model in models
    ]
    note = (
        f"\nMilliseconds of a request with {SHORT_ROWS} short rows, and beside them a row of "
        f"{REFUSED_CHARACTERS:,} characters, which is refused, or one of `max_request_bytes`:\n\n"
    )
    return note + results.table(["model", *names], rows)


if __name__ == "__main__":
    main()
