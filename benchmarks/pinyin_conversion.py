"""A pinyin model's speed: milliseconds a sentence alone, sentences a second in requests of 64.

    python -m benchmarks.pinyin_conversion                    # of `default`, when it is exported
    python -m benchmarks.pinyin_conversion --model saved_models/NAME --data-dir DIR

The sentences are taken evenly from the test sentences, with a space after each syllable and without. The
table is in README.md.
"""

import pathlib
import statistics
import time

import numpy as np

from apps.pinyin_conversion import evaluate
from apps.pinyin_conversion.config import Config
from shared import results
from shared.clients import Folder
from shared.export import card_of
from shared.provenance import hardware, versions

from . import _timing

ROUNDS, SENTENCES, TOGETHER = 5, 512, 64


def alone(client, forms):
    """Milliseconds of each sentence by itself; forms take turns: {form: list}."""
    times = {name: [] for name in forms}
    for row in zip(*forms.values(), strict=True):
        for name, text in zip(forms, row, strict=True):
            start = time.perf_counter()
            client.predict("serving_default", [text])
            times[name].append(1e3 * (time.perf_counter() - start))
    return times


def together(client, forms, rounds):
    """Sentences a second in requests of `TOGETHER`, {form: rate}."""

    def convert(texts):
        for begin in range(0, len(texts), TOGETHER):
            client.predict("serving_default", texts[begin : begin + TOGETHER])

    calls = {name: lambda texts=texts: convert(texts) for name, texts in forms.items()}
    times = _timing.medians(calls, rounds)
    return {name: 1e3 * len(texts) / times[name] for name, texts in forms.items()}


def measure(options):
    """What `--model` is, and its speed."""
    card = card_of(options.model, evaluate.__package__)
    config = Config(**{**card["config"], "data_dir": options.data_dir})
    rounds, count = (1, 4) if options.dry_run else (ROUNDS, SENTENCES)
    _, apart, _ = evaluate.test_sentences(config)
    apart = apart[:: max(1, len(apart) // count)][:count]
    forms = {"with spaces": apart, "without spaces": [text.replace(" ", "") for text in apart]}
    client = Folder(options.model)
    rates = together(client, forms, rounds)
    times = {name: np.percentile(t, [50, 90]).tolist() for name, t in alone(client, forms).items()}
    return {
        "hardware": hardware(),
        "versions": versions(),
        "preset": card["preset"],
        "parameters": card["parameters"],
        "sentences": count,
        "syllables": statistics.mean(len(text.split()) for text in apart),
        "beam": config.beam,
        "milliseconds": times,
        "sentences_per_second": rates,
    }


def main(argv=None):
    parser = _timing.parser("benchmarks.pinyin_conversion")
    parser.add_argument("--model", type=pathlib.Path, default="saved_models/pinyin_conversion")
    parser.add_argument("--data-dir", default="", help="where it was trained from files")
    options = parser.parse_args(argv)
    if not options.tables and not options.model.is_dir():
        print(f"skipped: no {options.model}; train and export it first, or name another --model")
        return
    measured = None if options.tables else measure(options)
    _timing.publish("pinyin_conversion", tables, measured, options)


def tables(measured):
    """{place in README.md: table}."""
    names = [
        "model", "beam", "pinyin", "median, ms", "90th percentile, ms",
        f"sentences a second, {TOGETHER} in a request",
    ]  # fmt: skip
    rows = [
        (
            f"`{measured['preset']}`, {measured['parameters'] / 1e6:.2f} M",
            measured["beam"],
            form,
            *(f"{ms:.1f}" for ms in times),
            f"{measured['sentences_per_second'][form]:,.0f}",
        )
        for form, times in measured["milliseconds"].items()
    ]
    said = f"\nOf {measured['sentences']} test sentences, {measured['syllables']:.1f} syllables each.\n"
    return {"pinyin_conversion": results.table(names, rows) + said}


if __name__ == "__main__":
    main()
