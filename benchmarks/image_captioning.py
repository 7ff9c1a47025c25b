"""Measures the speed of a captioning model: of requests, of their parts, and of training.

    python -m benchmarks.image_captioning                    # the exported preset `default`
    python -m benchmarks.image_captioning --model saved_models/NAME --data-dir DIR

The images are the first test images. A request is divided into the decoding of the image files, the encoder,
and the decoder with its beam search. Training starts from random weights. The tables are in README.md.
"""

import dataclasses
import pathlib
import statistics
import tempfile

import tensorflow as tf

from apps.image_captioning import data, images
from apps.image_captioning.config import Config
from apps.image_captioning.model import build
from apps.image_captioning.serve import N_BEST
from shared import results
from shared.cli import config_from
from shared.serving.clients import SavedModelClient
from shared.serving.export import card_of
from shared.training.losses import SmoothedCrossentropy
from shared.training.provenance import hardware, versions

from . import _timing

ROUNDS, BATCHES, IMAGES = 7, 20, 64
BATCH_SIZES = 1, 32  # images per request


def requests(client, files, size, max_bytes, rounds):
    """Times requests, and the parts that can be called by themselves.

    Args:
        client: `SavedModelClient`.
        files: list of image files.
        size: height and width of the images that the encoder reads.
        max_bytes: see `images.decode`.
        rounds: number of timed calls.

    Returns:
        {name: {images per request: milliseconds per image}}; the names are those of the signatures;
        `decode`, the decoding of the files; and `decode_plain`, without protection of the other rows.
    """
    spec = tf.TensorSpec([None], tf.string)

    @tf.function(input_signature=[spec], autograph=False)
    def decode(inputs):
        return images.decode(inputs, size, max_bytes)

    @tf.function(input_signature=[spec], autograph=False)
    def decode_plain(inputs):
        def one(file):
            image = tf.io.decode_image(file, channels=3, expand_animations=False)
            return tf.image.resize(image, [size, size], antialias=True)

        return tf.map_fn(one, inputs, fn_output_signature=tf.float32)

    def in_batches(function, batch_size):
        for begin in range(0, len(files), batch_size):
            function(files[begin : begin + batch_size])

    functions = {
        "decode": lambda batch: decode(tf.constant(batch)),
        "decode_plain": lambda batch: decode_plain(tf.constant(batch)),
    }
    for signature in ("features", "serving_default", "n_best"):
        functions[signature] = lambda batch, s=signature: client.predict(s, batch)
    calls = {
        (name, size): lambda f=function, s=size: in_batches(f, s)
        for name, function in functions.items()
        for size in BATCH_SIZES
    }
    times = _timing.medians(calls, rounds)
    return {
        name: {str(size): times[name, size] / len(files) for size in BATCH_SIZES}
        for name in functions
    }


def training(config, splits, assets, count, rounds):
    """Measures a training step and the input pipeline, each by itself.

    The steps use cached batches of all lengths.

    Args:
        config: Config of the model.
        splits: {name: `Split`}.
        assets: `data.Assets`.
        count: number of batches.
        rounds: number of timed passes over the batches.

    Returns:
        a dict: `batch_size`; `step_ms` and `input_ms`, milliseconds per batch; `captions_per_second` and
        `tokens_per_second`.
    """
    train, _ = data.load(config, splits, assets)
    step_ms, input_ms, weights = _timing.training_step(
        build(config, assets),
        SmoothedCrossentropy(config.label_smoothing),
        config.clip_norm,
        train,
        count,
        rounds,
    )
    captions = statistics.mean(float(w.any(1).sum()) for w in weights)
    tokens = statistics.mean(float(w.sum()) for w in weights)
    return {
        "batch_size": config.batch_size,
        "step_ms": step_ms,
        "input_ms": input_ms,
        "captions_per_second": 1e3 * captions / step_ms,
        "tokens_per_second": 1e3 * tokens / step_ms,
    }


def measure(options):
    """Returns the result of the model in `--model`."""
    card = card_of(options.model, data.__package__)
    config = config_from(Config, card["config"], options.model)
    config = dataclasses.replace(config, data_dir=tuple(options.data_dir))
    rounds, batches, count = ROUNDS, BATCHES, IMAGES
    if options.dry_run:
        rounds, batches, count = 1, 2, 2
    splits = data.splits(config)
    files = [splits["test"][i][0] for i in range(min(count, len(splits["test"])))]
    client = SavedModelClient(options.model)
    with tempfile.TemporaryDirectory() as folder:
        assets = data.build_assets(config, splits["train"], folder)
    size = assets.encoder.input_shape[1] if assets.encoder else config.image_size
    return {
        "hardware": hardware(),
        "versions": versions(),
        "preset": card["preset"],
        "parameters": card["parameters"],
        "beam_width": config.beam_width,
        "image_size": size,
        "ms_per_image": requests(client, files, size, config.max_request_bytes, rounds),
        "training": training(config, splits, assets, batches, rounds),
    }


def main(argv=None):
    parser = _timing.parser("benchmarks.image_captioning")
    parser.add_argument("--model", type=pathlib.Path, default="saved_models/image_captioning")
    parser.add_argument(
        "--data-dir", nargs="+", default=[], help="folders with the data of the model"
    )
    options = parser.parse_args(argv)
    if not options.tables and not options.model.is_dir():
        print(f"skipped: no {options.model}; train and export it first, or name another --model")
        return
    measured = None if options.tables else measure(options)
    _timing.publish("image_captioning", tables, measured, options)


def tables(measured):
    """Returns {place in README.md: table}: requests and training."""
    model = f"`{measured['preset']}`, {measured['parameters'] / 1e6:.2f} M"
    times, step = measured["ms_per_image"], measured["training"]
    rows = []
    for size in map(str, BATCH_SIZES):
        decode, features = times["decode"][size], times["features"][size]
        whole = times["serving_default"][size]
        parts = [decode, features - decode, whole - features]
        shares = [f"{part:.1f} ({100 * part / whole:.0f} %)" for part in parts]
        rates = [f"{1e3 / times[s][size]:.1f}" for s in ("serving_default", "n_best")]
        cost = int(size) * (decode - times["decode_plain"][size])
        rows.append((model, size, *rates, *shares, f"{cost:.1f}"))
    columns = [
        "model",
        "images per request",
        f"images per second, beam width {measured['beam_width']}",
        f"images per second, beam width {N_BEST}",
        "decoding of the file, ms per image",
        "encoder, ms per image",
        "decoder, ms per image",
        "protection of the other rows, ms per request",
    ]
    share = f"{step['input_ms']:.2f} ({100 * step['input_ms'] / step['step_ms']:.1f} %)"
    rates = [f"{step[name]:,.0f}" for name in ("captions_per_second", "tokens_per_second")]
    trained = [(model, step["batch_size"], f"{step['step_ms']:.1f}", share, *rates)]
    names = ["model", "batch size", "step, ms", "input pipeline, ms"]
    return {
        "image_captioning": results.table(columns, rows),
        "image_captioning_training": results.table(
            [*names, "captions per second", "tokens per second"], trained
        ),
    }


if __name__ == "__main__":
    main()
