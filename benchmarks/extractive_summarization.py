"""Measures the speed of summarization models: of requests, and of training.

    python -m benchmarks.extractive_summarization    # the exported presets `default` and `documents`
    python -m benchmarks.extractive_summarization --model saved_models/NAME --data-dir DIR

The texts are the first test texts: sentences, or documents. The time to find their tokens and sentences, a
part of each request, is measured by itself. Training starts from random weights. The tables are in README.md.
"""

import dataclasses
import pathlib
import statistics
import tempfile

import numpy as np
import tensorflow as tf

from apps.extractive_summarization import data, units
from apps.extractive_summarization.config import Config
from apps.extractive_summarization.labels import LabelCrossentropy
from apps.extractive_summarization.model import build
from shared import results
from shared.cli import config_from
from shared.serving.clients import SavedModelClient
from shared.serving.export import card_of
from shared.training.provenance import hardware, versions

from . import _timing

ROUNDS, BATCHES, TEXTS = 7, 40, 64
BATCH_SIZES = 1, 32  # texts per request
MODELS = [
    pathlib.Path("saved_models", name)
    for name in ("extractive_summarization", "extractive_summarization_documents")
]
SIGNATURES = "serving_default", "summarize", "explain"


def requests(client, config, texts, rounds):
    """Times requests, and the reading of their texts.

    Args:
        client: `SavedModelClient`.
        config: Config of the model.
        texts: list of str.
        rounds: number of timed calls.

    Returns:
        {name: {texts per request: milliseconds per text}}; the names are those of the signatures, and
        `read`, which finds tokens and sentences.
    """

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def read(inputs):
        found = units.read(inputs, config.level, config.language)
        return found.words.flat_values

    def ask(signature, batch):
        params = {}
        if signature == "summarize":
            params = {
                "ratio": np.full(len(batch), 0.4, np.float32),
                "max_sentences": [9] * len(batch),
            }
        client.predict(signature, batch, **params)

    def in_batches(function, batch_size):
        for begin in range(0, len(texts), batch_size):
            function(texts[begin : begin + batch_size])

    functions = {name: lambda batch, name=name: ask(name, batch) for name in SIGNATURES}
    functions["read"] = lambda batch: read(tf.constant(batch))
    calls = {
        (name, size): lambda f=function, s=size: in_batches(f, s)
        for name, function in functions.items()
        for size in BATCH_SIZES
    }
    times = _timing.medians(calls, rounds)
    return {
        name: {str(size): times[name, size] / len(texts) for size in BATCH_SIZES}
        for name in functions
    }


def training(config, splits, count, rounds):
    """Measures a training step and the input pipeline, each by itself.

    The steps use cached batches of all lengths.

    Args:
        config: Config of the model.
        splits: {name: `Split`}.
        count: number of batches.
        rounds: number of timed passes over the batches.

    Returns:
        a dict: `batch_size`; `step_ms` and `input_ms`, milliseconds per batch; `rows_per_second`, sentences
        or documents, and `units_per_second`, words or sentences.
    """
    with tempfile.TemporaryDirectory() as folder:
        assets = data.build_assets(config, splits["train"], folder)
    train, _ = data.load(config, splits, assets)
    step_ms, input_ms, weights = _timing.training_step(
        build(config, assets), LabelCrossentropy(), config.clip_norm, train, count, rounds
    )
    rows = statistics.mean(float(w.any(1).sum()) for w in weights)
    labelled = statistics.mean(float(w.sum()) for w in weights)
    return {
        "batch_size": config.batch_size,
        "step_ms": step_ms,
        "input_ms": input_ms,
        "rows_per_second": 1e3 * rows / step_ms,
        "units_per_second": 1e3 * labelled / step_ms,
    }


def measure(folder, options):
    """Returns the figures of an exported model."""
    card = card_of(folder, data.__package__)
    config = config_from(Config, card["config"], folder)
    config = dataclasses.replace(config, data_dir=tuple(options.data_dir))
    rounds, batches, count = ROUNDS, BATCHES, TEXTS
    if options.dry_run:
        rounds, batches, count = 1, 2, 2
    splits = data.splits(config)
    texts = [text for text, _ in splits["test"][:count]]
    return {
        "preset": card["preset"],
        "parameters": card["parameters"],
        "level": config.level,
        "units_per_text": statistics.mean(len(labels) for _, labels in splits["test"][:count]),
        "ms_per_text": requests(SavedModelClient(folder), config, texts, rounds),
        "training": training(config, splits, batches, rounds),
    }


def main(argv=None):
    parser = _timing.parser("benchmarks.extractive_summarization")
    parser.add_argument(
        "--model", nargs="+", type=pathlib.Path, default=MODELS, help="folders of exported models"
    )
    parser.add_argument(
        "--data-dir", nargs="+", default=[], help="folders with the data of the models"
    )
    options = parser.parse_args(argv)
    missing = [folder for folder in options.model if not folder.is_dir()]
    if not options.tables and missing:
        print(f"skipped: no {missing[0]}; train and export it first, or name another --model")
        return
    measured = None
    if not options.tables:
        figures = [measure(folder, options) for folder in options.model]
        measured = {"hardware": hardware(), "versions": versions(), "models": figures}
    _timing.publish("extractive_summarization", tables, measured, options)


def tables(measured):
    """Returns {place in README.md: table}: requests and training."""
    asked, trained = [], []
    for figures in measured["models"]:
        model = f"`{figures['preset']}`, {figures['parameters'] / 1e6:.2f} M"
        texts, units = ("sentences", "words")
        if figures["level"] == "sentence":
            texts, units = ("documents", "sentences")
        times, step = figures["ms_per_text"], figures["training"]
        size = f"{texts} of {figures['units_per_text']:.0f} {units}"
        for batch in map(str, BATCH_SIZES):
            read, whole = times["read"][batch], times["serving_default"][batch]
            rates = [f"{1e3 / times[name][batch]:.1f}" for name in SIGNATURES]
            share = f"{read:.2f} ({100 * read / whole:.0f} %)"
            asked.append((model, size, batch, *rates, share))
        share = f"{step['input_ms']:.2f} ({100 * step['input_ms'] / step['step_ms']:.1f} %)"
        rates = [
            f"{step[f'{name}_per_second']:,.0f} {what}"
            for name, what in (("rows", texts), ("units", units))
        ]
        trained.append((model, step["batch_size"], f"{step['step_ms']:.1f}", share, *rates))
    columns = ["model", "texts", "texts per request"]
    columns += [f"texts per second, `{name}`" for name in SIGNATURES]
    columns += ["tokens and sentences, ms per text"]
    names = ["model", "batch size", "step, ms", "input pipeline, ms"]
    return {
        "extractive_summarization": results.table(columns, asked),
        "extractive_summarization_training": results.table(
            [*names, "texts per second", "units per second"], trained
        ),
    }


if __name__ == "__main__":
    main()
