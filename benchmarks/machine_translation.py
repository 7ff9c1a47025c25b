"""Measures the speed of a translation model, in decoding with each beam width and in training.

    python -m benchmarks.machine_translation                    # the exported preset `default`
    python -m benchmarks.machine_translation --model saved_models/NAME --data-dir DIR

The sentences are the first test sentences. The quality of each beam width is that of all test pairs, from
the model card. Training starts from random weights. The tables are in README.md.
"""

import dataclasses
import pathlib
import statistics
import tempfile

from apps.machine_translation import data
from apps.machine_translation.config import Config
from apps.machine_translation.model import build
from apps.machine_translation.serve import N_BEST
from shared import results
from shared.cli import config_from
from shared.serving.clients import SavedModelClient
from shared.serving.export import card_of
from shared.training.losses import SmoothedCrossentropy
from shared.training.provenance import hardware, versions

from . import _timing

ROUNDS, BATCHES = 7, 40
SENTENCES, COMPARED = 64, 1000
BATCH_SIZES = 1, 32  # sentences per request


def decoding(client, sentences, signatures, rounds):
    """Measures sentences per second.

    Args:
        client: `SavedModelClient`.
        sentences: list of strings.
        signatures: {beam width: name of the signature}.
        rounds: number of timed calls.

    Returns:
        {beam width: {sentences per request: sentences per second}}.
    """

    def translate(signature, batch_size):
        for begin in range(0, len(sentences), batch_size):
            client.predict(signature, sentences[begin : begin + batch_size])

    calls = {
        (beam_width, batch_size): lambda s=signature, b=batch_size: translate(s, b)
        for beam_width, signature in signatures.items()
        for batch_size in BATCH_SIZES
    }
    rates = {
        key: 1e3 * len(sentences) / time for key, time in _timing.medians(calls, rounds).items()
    }
    return {
        beam_width: {str(size): rates[beam_width, size] for size in BATCH_SIZES}
        for beam_width in signatures
    }


def single_and_batched(client, sentences):
    """Compares the translations of single requests with those of requests of 32 sentences.

    Returns:
        a dict: number of `sentences`; number of `equal` translations; `max_score_difference`.
    """
    equal, difference = 0, 0.0
    for begin in range(0, len(sentences), 32):
        batch = sentences[begin : begin + 32]
        batched = client.predict("serving_default", batch)
        for i, sentence in enumerate(batch):
            single = client.predict("serving_default", [sentence])
            equal += single["outputs"][0] == batched["outputs"][i]
            difference = max(difference, abs(float(single["score"][0] - batched["score"][i])))
    return {"sentences": len(sentences), "equal": equal, "max_score_difference": difference}


def training(config, splits, count, rounds):
    """Measures a training step and the input pipeline, each by itself.

    The steps use cached batches of all lengths.

    Args:
        config: Config of the model.
        splits: {name: `Split`}.
        count: number of batches.
        rounds: number of timed passes over the batches.

    Returns:
        a dict: `batch_size`; `step_ms` and `input_ms`, milliseconds per batch; `tokens_per_second`, target
        tokens.
    """
    with tempfile.TemporaryDirectory() as folder:
        assets = data.build_assets(config, splits["train"], folder)
    train, _ = data.load(config, splits, assets)
    step_ms, input_ms, weights = _timing.training_step(
        build(config, assets),
        SmoothedCrossentropy(config.label_smoothing),
        config.clip_norm,
        train,
        count,
        rounds,
    )
    tokens = statistics.mean(float(w.sum()) for w in weights)
    return {
        "batch_size": config.batch_size,
        "step_ms": step_ms,
        "input_ms": input_ms,
        "tokens_per_second": 1e3 * tokens / step_ms,
    }


def measure(options):
    """Returns the result of the model in `--model`."""
    card = card_of(options.model, data.__package__)
    config = config_from(Config, card["config"], options.model)
    config = dataclasses.replace(config, data_dir=tuple(options.data_dir))
    rounds, batches, count, compared = ROUNDS, BATCHES, SENTENCES, COMPARED
    if options.dry_run:
        rounds, batches, count, compared = 1, 2, 2, 2
    splits = data.splits(config)
    sentences = [source for source, _ in splits["test"]]
    client = SavedModelClient(options.model)
    signatures = {1: "greedy", config.beam_width: "serving_default", N_BEST: "n_best"}
    rates = decoding(client, sentences[:count], signatures, rounds)
    return {
        "hardware": hardware(),
        "versions": versions(),
        "preset": card["preset"],
        "parameters": card["parameters"],
        "decoding": [
            {**figures, "sentences_per_second": rates[figures["beam_width"]]}
            for figures in card["test"]["beams"]
        ],
        "single_and_batched": single_and_batched(client, sentences[:compared]),
        "training": training(config, splits, batches, rounds),
    }


def main(argv=None):
    parser = _timing.parser("benchmarks.machine_translation")
    parser.add_argument("--model", type=pathlib.Path, default="saved_models/machine_translation")
    parser.add_argument(
        "--data-dir", nargs="+", default=[], help="folders with the data of the model"
    )
    options = parser.parse_args(argv)
    if not options.tables and not options.model.is_dir():
        print(f"skipped: no {options.model}; train and export it first, or name another --model")
        return
    measured = None if options.tables else measure(options)
    _timing.publish("machine_translation", tables, measured, options)


def tables(measured):
    """Returns {place in README.md: table}: decoding and training."""
    model = f"`{measured['preset']}`, {measured['parameters'] / 1e6:.2f} M"
    decoded = [
        (
            model,
            row["beam_width"],
            row["bleu_lowercase"],
            row["exact_match"],
            *(f"{rate:.1f}" for rate in row["sentences_per_second"].values()),
        )
        for row in measured["decoding"]
    ]
    same, step = measured["single_and_batched"], measured["training"]
    note = (
        f"\n{same['equal']:,} of {same['sentences']:,} sentences have the same translation in a request of 1 "
        f"and in a request of 32. Their scores differ by at most {same['max_score_difference']:.0e}.\n"
    )
    share = f"{step['input_ms']:.2f} ({100 * step['input_ms'] / step['step_ms']:.1f} %)"
    rate = f"{step['tokens_per_second']:,.0f}"
    trained = [(model, step["batch_size"], f"{step['step_ms']:.1f}", share, rate)]
    columns = ["model", "batch size", "step, ms", "input pipeline, ms", "target tokens per second"]
    rates = [f"sentences per second, {size} per request" for size in BATCH_SIZES]
    names = ["model", "beam width", "BLEU, lower case", "exact match, %", *rates]
    return {
        "machine_translation": results.table(names, decoded) + note,
        "machine_translation_training": results.table(columns, trained),
    }


if __name__ == "__main__":
    main()
