"""A translation model's speed: sentences a second of each beam, target tokens a second of its training.

    python -m benchmarks.machine_translation                    # of `default`, when it is exported
    python -m benchmarks.machine_translation --model saved_models/NAME --data-dir DIR

The sentences are the first of the test pairs, and beside the speed of a beam stands its quality, of all test
pairs, as the model card has it. Training begins at random weights. The tables are in README.md.
"""

import pathlib
import statistics
import tempfile

import keras
import numpy as np
import tensorflow as tf

from apps.machine_translation import data
from apps.machine_translation.config import Config
from apps.machine_translation.model import SmoothedCrossentropy, build
from apps.machine_translation.serve import N_BEST
from shared import results
from shared.serving.clients import SavedModelClient
from shared.serving.export import card_of
from shared.training.provenance import hardware, versions

from . import _timing

ROUNDS, BATCHES = 7, 40
SENTENCES, COMPARED = 64, 1000
REQUESTS = 1, 32  # sentences in one


def decoding(client, sentences, beams, rounds):
    """Sentences a second of each beam: {beam: {sentences in a request: rate}}."""

    def translate(signature, batch):
        for begin in range(0, len(sentences), batch):
            client.predict(signature, sentences[begin : begin + batch])

    calls = {
        (beam, batch): lambda s=signature, b=batch: translate(s, b)
        for beam, signature in beams.items()
        for batch in REQUESTS
    }
    times = _timing.medians(calls, rounds)
    rate = lambda beam, batch: 1e3 * len(sentences) / times[beam, batch]  # noqa: E731
    return {beam: {str(batch): rate(beam, batch) for batch in REQUESTS} for beam in beams}


def alone_and_together(client, sentences):
    """How many translations are the same alone as in requests of 32, and how far scores are apart."""
    apart, same = 0.0, 0
    for begin in range(0, len(sentences), 32):
        some = sentences[begin : begin + 32]
        together = client.predict("serving_default", some)
        for i, sentence in enumerate(some):
            alone = client.predict("serving_default", [sentence])
            same += alone["outputs"][0] == together["outputs"][i]
            apart = max(apart, abs(float(alone["score"][0] - together["score"][i])))
    return {"sentences": len(sentences), "same": same, "scores_apart": apart}


def training(config, batches, rounds):
    """Milliseconds of a step, and of the input pipeline for it; tokens of the translation a second.

    The steps take turns over the same batches, of all lengths, which are made before.
    """
    with tempfile.TemporaryDirectory() as folder:
        train, _, *vocabularies = data.load(config, folder)
    model = build(config, *vocabularies)
    model.compile(
        keras.optimizers.AdamW(1e-4, global_clipnorm=config.clip_norm),
        SmoothedCrossentropy(config.label_smoothing),
    )
    made, fresh = train(0).take(batches).cache(), train(1).take(batches)
    weights = [weights.numpy() for *_, weights in made]
    model.fit(made, verbose=0, shuffle=False)

    def steps():
        of_one = iter(made)
        for _ in weights:
            logs = model.train_function(of_one)
        tf.nest.map_structure(np.asarray, logs)

    times = _timing.medians({"step": steps, "input": lambda: list(fresh)}, rounds)
    times = {name: t / len(weights) for name, t in times.items()}
    tokens = statistics.mean(float(w.sum()) for w in weights)
    return {
        "batch": config.batch_size,
        "step_ms": times["step"],
        "input_ms": times["input"],
        "tokens_per_second": 1e3 * tokens / times["step"],
    }


def measure(options):
    """What `--model` is, and its speed."""
    card = card_of(options.model, data.__package__)
    config = Config(**{**card["config"], "data_dir": options.data_dir})
    rounds, batches, count, compared = ROUNDS, BATCHES, SENTENCES, COMPARED
    if options.dry_run:
        rounds, batches, count, compared = 1, 2, 2, 2
    sentences = [source for source, _ in data.examples(config, "test")]
    client = SavedModelClient(options.model)
    beams = {1: "greedy", config.beam_width: "serving_default", N_BEST: "n_best"}
    rates = decoding(client, sentences[:count], beams, rounds)
    return {
        "hardware": hardware(),
        "versions": versions(),
        "preset": card["preset"],
        "parameters": card["parameters"],
        "decoding": [
            {**figures, "sentences_per_second": rates[figures["beam"]]}
            for figures in card["test"]["beams"]
        ],
        "alone_and_together": alone_and_together(client, sentences[:compared]),
        "training": training(config, batches, rounds),
    }


def main(argv=None):
    parser = _timing.parser("benchmarks.machine_translation")
    parser.add_argument("--model", type=pathlib.Path, default="saved_models/machine_translation")
    parser.add_argument("--data-dir", default="", help="where it was trained from files")
    options = parser.parse_args(argv)
    if not options.tables and not options.model.is_dir():
        print(f"skipped: no {options.model}; train and export it first, or name another --model")
        return
    measured = None if options.tables else measure(options)
    _timing.publish("machine_translation", tables, measured, options)


def tables(measured):
    """Decoding and training: {place in README.md: table}."""
    model = f"`{measured['preset']}`, {measured['parameters'] / 1e6:.2f} M"
    decoded = [
        (
            model,
            row["beam"],
            row["bleu_lowercase"],
            row["exact_match"],
            *(f"{rate:.1f}" for rate in row["sentences_per_second"].values()),
        )
        for row in measured["decoding"]
    ]
    alone, t = measured["alone_and_together"], measured["training"]
    said = (
        f"\nOf {alone['sentences']:,} sentences, {alone['same']:,} have the same translation alone as among "
        f"32; their scores differ by {alone['scores_apart']:.0e} at most.\n"
    )
    share = f"{t['input_ms']:.2f} ({100 * t['input_ms'] / t['step_ms']:.1f} %)"
    trained = [
        (model, t["batch"], f"{t['step_ms']:.1f}", share, f"{t['tokens_per_second']:,.0f}"),
    ]
    columns = ["model", "batch", "step, ms", "its input, ms", "target tokens a second"]
    rates = [f"sentences a second, {batch} in a request" for batch in REQUESTS]
    names = ["model", "beam", "BLEU, lower case", "right to the letter, %", *rates]
    return {
        "machine_translation": results.table(names, decoded) + said,
        "machine_translation_training": results.table(columns, trained),
    }


if __name__ == "__main__":
    main()
