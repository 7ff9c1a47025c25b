"""Compares the training speed of the language model with PyTorch's word_language_model.

    python -m benchmarks.language_model [--torch-python PYTHON]

Both have the same sizes: two layers, tied softmax, dropout 0.2, plain SGD. The text is random, with the
vocabulary sizes of PTB (10,000) and WikiText-2 (33,278). Our model is that of the app, trained by Keras's
train step. PyTorch is measured before and after it. The table is in README.md.
"""

import statistics
import types

import keras
import numpy as np
import tensorflow as tf

from apps.language_model.config import Config
from apps.language_model.data import Assets
from apps.language_model.model import build
from shared import results
from shared.data.batching import windows
from shared.training.provenance import hardware, versions

from . import _timing

SIZES = [  # batch, window, units, vocabulary
    (20, 35, 200, 10_000),
    (32, 35, 200, 10_000),
    (20, 35, 400, 10_000),
    (20, 35, 650, 10_000),
    (20, 35, 200, 33_278),
]
MODELS = {  # column of the table: settings
    "peephole_lstm": {"cell": "peephole_lstm"},
    "lstm": {"cell": "lstm"},
    "peephole_lstm, sampled softmax of 1,000": {"cell": "peephole_lstm", "sampled_softmax": 1000},
}


def train_step(batch, window, units, vocabulary, **settings):
    """Returns a function that trains the app's model for one step on random tokens."""
    config = Config(**settings, num_layers=2, units=units, dropout=0.2, batch_size=batch)
    model = build(config, Assets(types.SimpleNamespace(size=vocabulary)))
    model.compile(
        keras.optimizers.SGD(0.01, global_clipnorm=0.25),
        keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, reduction="mean_with_sample_weight"
        ),
    )
    ids = np.random.default_rng(0).integers(0, vocabulary, batch * window * 4)
    dataset = windows(ids, batch, window)(0)
    model.fit(dataset, verbose=0, shuffle=False)
    batches = iter(dataset.repeat())
    return lambda: tf.nest.map_structure(np.asarray, model.train_function(batches))


def measure(options):
    """Returns the result, with a row for each size."""
    rows = []
    for size in [(2, 3, 4, 1001)] if options.dry_run else SIZES:
        rounds = 1 if options.dry_run else max(10, 4000 // size[2])
        arguments = rounds, *size
        peer = lambda arguments=arguments: _timing.worker(  # noqa: E731
            options.torch_python, "benchmarks._torch_language_model", *arguments
        )
        before = peer()
        steps = {name: train_step(*size, **settings) for name, settings in MODELS.items()}
        times = _timing.medians(steps, rounds)
        if before:
            times["word_language_model"] = statistics.mean([before, peer()])
        rows.append({"size": size, **times})
        print(rows[-1], flush=True)
    return {"hardware": hardware(), "versions": versions(), "rows": rows}


def main(argv=None):
    parser = _timing.parser("benchmarks.language_model")
    parser.add_argument("--torch-python", help="a Python interpreter with torch")
    options = parser.parse_args(argv)
    measured = None if options.tables else measure(options)
    _timing.publish("language_model", tables, measured, options)


def tables(measured):
    """Returns {place in README.md: table}: tokens per second."""
    rows = measured["rows"]
    names = [name for name in rows[0] if name != "size"]
    body = [
        (
            ", ".join(map(str, row["size"])),
            *(f"{row['size'][0] * row['size'][1] / row[name] * 1e3:,.0f}" for name in names),
        )
        for row in rows
    ]
    return {"language_model": results.table(["batch, window, units, vocabulary", *names], body)}


if __name__ == "__main__":
    main()
