"""The speed of pinyin models: milliseconds a sentence alone, sentences a second in requests of 64; and
milliseconds a syllable of those that go along as one types.

    python -m benchmarks.pinyin_conversion                    # of `default`, when it is exported
    python -m benchmarks.pinyin_conversion --data-dir DIR --model FOLDER ...

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
from shared.serving.clients import SavedModelClient
from shared.serving.export import card_of
from shared.training.provenance import hardware, versions

from . import _timing

ROUNDS, SENTENCES, TOGETHER, TYPED = 5, 512, 64, 64


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


def typed(client, texts):
    """Milliseconds of each syllable but the first, one after the other as one types them."""
    times = []
    for first, *rest in map(str.split, texts):
        state = client.predict("start", [first])["state"]
        for syllable in rest:
            start = time.perf_counter()
            state = client.predict("step", [syllable], state=state, chosen="")["state"]
            times.append(1e3 * (time.perf_counter() - start))
    return times


def measure(options):
    """What each `--model` is, and its speed."""
    return {
        "hardware": hardware(),
        "versions": versions(),
        "models": [measure_one(folder, options) for folder in options.model],
    }


def measure_one(folder, options):
    """What the model in `folder` is, and its speed."""
    card = card_of(folder, evaluate.__package__)
    config = Config(**{**card["config"], "data_dir": options.data_dir})
    rounds, count = (1, 4) if options.dry_run else (ROUNDS, SENTENCES)
    _, apart, _ = evaluate.test_sentences(config)
    apart = apart[:: max(1, len(apart) // count)][:count]
    forms = {"with spaces": apart, "without spaces": [text.replace(" ", "") for text in apart]}
    client = SavedModelClient(folder)
    rates = together(client, forms, rounds)
    times = alone(client, forms)
    if "step" in client.signatures:
        times["a syllable, as typed"] = typed(client, apart[:: max(1, count // TYPED)])
    return {
        "preset": card["preset"],
        "parameters": card["parameters"],
        "sentences": count,
        "syllables": statistics.mean(len(text.split()) for text in apart),
        "beam": config.beam_width,
        "milliseconds": {form: np.percentile(t, [50, 90]).tolist() for form, t in times.items()},
        "sentences_per_second": rates,
    }


def main(argv=None):
    parser = _timing.parser("benchmarks.pinyin_conversion")
    model = pathlib.Path("saved_models/pinyin_conversion")
    parser.add_argument("--model", type=pathlib.Path, nargs="+", default=[model])
    parser.add_argument("--data-dir", default="", help="where they were trained from files")
    options = parser.parse_args(argv)
    missing = [folder for folder in options.model if not folder.is_dir()]
    if missing and not options.tables:
        print(f"skipped: no {missing[0]}; train and export it first, or name another --model")
        return
    measured = None if options.tables else measure(options)
    _timing.publish("pinyin_conversion", tables, measured, options)


def tables(measured):
    """{place in README.md: table}."""
    names = [
        "model", "beam", "pinyin", "median, ms", "90th percentile, ms",
        f"sentences a second, {TOGETHER} in a request",
    ]  # fmt: skip
    rows = []
    for model in measured["models"]:
        name = f"`{model['preset']}`, {model['parameters'] / 1e6:.2f} M"
        rates = {form: f"{rate:,.0f}" for form, rate in model["sentences_per_second"].items()}
        for form, times in model["milliseconds"].items():
            ms = [f"{t:.1f}" for t in times]
            rows.append((name, model["beam"], form, *ms, rates.get(form, "")))
    first = measured["models"][0]
    said = f"\nOf {first['sentences']} test sentences, {first['syllables']:.1f} syllables each.\n"
    return {"pinyin_conversion": results.table(names, rows) + said}


if __name__ == "__main__":
    main()
